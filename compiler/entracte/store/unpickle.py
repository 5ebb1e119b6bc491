"""Checkpoints that are pickles (`.bin`, `.pt`, `.pth`, `.ckpt`) become safetensors, once, in the
cache.

A pickle is a program. torch's restricted unpickler runs none but its own few calls; for the day on
which that has a hole, it works in a process of its own (`store/unpickle_child.py`), and what comes
back is a safetensors file, read like any other. The entry is named by the digest of the file.
"""

import json
import logging
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from entracte.disk.write import write_text, writing
from entracte.errors import ConfigError
from entracte.store import unpickle_child
from entracte.store.cache import REMEDY, Cache, DigestMemo
from entracte.store.origin import maker_digest
from entracte.store.seal import file_sha256
from entracte.store.tensor_file import PICKLED, first_bytes, reading, what_it_is

KIND = "unpickled"
_FILE = "weights.safetensors"
_SAID = "said.json"
_LOG = logging.getLogger("entracte")


def as_safetensors(path: Path, cache: Cache) -> Path:
    """The tensors of a pickled checkpoint as a safetensors file in the cache.

    Raises `ConfigError` with the file, what is wrong with it and what would help.
    """
    with reading(path):
        first, size = first_bytes(path)
        if not first.startswith(PICKLED):
            raise ConfigError(f"{path}: {what_it_is(first, size, 'a PyTorch checkpoint')}")
        key = f"{_sha256(path, cache)[:40]}{maker_digest(__name__)[:24]}"
    entry = cache.folder(KIND, key)
    if entry is None:
        _convert(path, size, cache, key)
        entry = cache.folder(KIND, key)
        if entry is None:
            raise ConfigError(f"cache: {path} was just converted and its entry is gone; {REMEDY}")
    _say(path, json.loads((entry / _SAID).read_text()))
    return entry / _FILE


def _say(path: Path, said: dict[str, Any]) -> None:
    if said["nest"]:
        _LOG.warning("weights: %s: read are the tensors under %r", path, said["nest"])
    if said["left_out"]:
        _LOG.warning("weights: %s: no tensors, so not read: %s", path, ", ".join(said["left_out"]))


def _sha256(path: Path, cache: Cache) -> str:
    """Of the file, computed once for a file as it is."""
    memo = DigestMemo(cache, KIND)
    known = memo.known(path).get("")
    if known is None:
        known = file_sha256(path)
        memo.note(path, {"": known})
    return known


def _convert(path: Path, size: int, cache: Cache, key: str) -> None:
    with cache.making(KIND, key) as entry:
        with writing(entry / _FILE) as file:
            said = _in_a_child(path, size, file)
        write_text(entry / _SAID, json.dumps(said))


def _in_a_child(path: Path, size: int, file: Path) -> dict[str, Any]:
    """What the child says of the file; it writes the tensors into `file`."""
    command = [sys.executable, "-P", unpickle_child.__file__, str(path.resolve()), str(size)]
    known = ("HOME", "PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "TMPDIR")
    environment = {k: os.environ[k] for k in known if k in os.environ}
    environment |= {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    with open(file, "wb") as out:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.PIPE, check=False,
            env=environment, start_new_session=True,
        )  # fmt: skip
    last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    try:
        said: dict[str, Any] = json.loads(last) if done.returncode == 0 else {}
    except ValueError:
        said = {}
    if "refused" in said:
        raise ConfigError(f"{path}: {said['refused']}")
    if "nest" not in said:
        raise ConfigError(f"{path}: {_died(done.returncode, last)}")
    return said


def _died(status: int, last: str) -> str:
    """What is said of a child that ended otherwise."""
    if status == unpickle_child.NO_MEMORY:
        return (
            "unpacked it takes more than three times its size, which no file of weights does; save "
            "its tensors as safetensors"
        )
    return (
        f"could not be read as a PyTorch checkpoint (status {status}: {last[:200]}); save its "
        "tensors as safetensors"
    )
