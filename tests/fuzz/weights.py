"""A folder of weights, as downloads, disks and strangers leave them."""

import io
import os
import pickle  # noqa: TID251 - what a stranger writes
import shutil
import struct
import zipfile
from collections.abc import Sequence
from pathlib import Path

from tests.fuzz import places, safetensor
from tests.fuzz.case import Case, Door
from tests.fuzz.mutate import as_text, mutated

STEMS = ("text", "hint", "denoise", "smooth", "decode")


def doors(case: Case) -> Sequence[Door]:
    """One of its files damaged, replaced, or spread over several."""
    folder, rng = case.folder / "weights", case.rng
    shutil.copytree(case.base / "weights", folder)
    what = rng.random()
    if what < 0.12:
        _tokenizer(case, folder)
    elif what < 0.2:
        _sharded(case, folder)
    elif what < 0.28:
        _pickled(case, folder)
    elif what < 0.45:
        names = (*(f"{s}.safetensors" for s in STEMS), "tokenizer.json")
        file = folder / rng.choice(names)
        places.replace(file, rng, case.base.parent / "sentinel", case.notes)
    elif what < 0.48:
        places.replace(folder, rng, case.base.parent / "sentinel", case.notes)
    else:
        safetensor.change(folder / f"{rng.choice(STEMS)}.safetensors", case)
    return [Door(("weights", _spelled(case, folder), str(case.folder / "out")))]


def _spelled(case: Case, folder: Path) -> str:
    if case.rng.random() < 0.97:
        return str(folder)
    spec = case.rng.choice((
        "random:x", "random:", "random:99999999999999999999", "random:²", "package:", "package:/",
        "package:no.such.package/x", "package:json", "package:entracte.graphs", "''", "weights/no",
        "http://example.com/x", "~nobody/x", "random:-1", "package:..", "package:.x",
        "package:entracte.graphs/../../x",
    ))  # fmt: skip
    case.notes.append(f"weights: {spec}")
    return spec


def _tokenizer(case: Case, folder: Path) -> None:
    safetensor.change_tokenizer(folder / "tokenizer.json", case)


def _sharded(case: Case, folder: Path) -> None:
    """A folder of shards with an index that lies; or of shards that share a key."""
    stem = case.rng.choice(STEMS)
    file, place = folder / f"{stem}.safetensors", folder / stem
    place.mkdir()
    names = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    shutil.move(file, place / names[0])
    case.notes.append(f"shards of {stem}")
    if case.rng.random() < 0.5:
        shutil.copyfile(place / names[0], place / names[1])
    if case.rng.random() < 0.7:
        safetensor.change(place / names[0], case)
    if case.rng.random() < 0.5:
        (place / "model.safetensors.index.json").write_text(_index(case, place / names[0]))
    if case.rng.random() < 0.2:
        _write_evil(place / "pytorch_model.bin", case)


def _index(case: Case, shard: Path) -> str:
    """Of the one shard, changed; or one that names what is elsewhere."""
    lie = '{"metadata": {}, "weight_map": {"inner.weight": "../../../sentinel/victim.txt"}}'
    if case.rng.random() < 0.3 or not shard.is_file():
        return case.rng.choice((lie, "{", "", "[]", '{"weight_map": 1}'))
    try:
        keys = [k for k in safetensor.parts(shard.read_bytes())[0] if k != "__metadata__"]
    except (ValueError, TypeError, struct.error):
        return lie
    body = {"metadata": {"total_size": 1}, "weight_map": dict.fromkeys(keys, shard.name)}
    if case.rng.random() < 0.8:
        body = mutated(body, case.rng, case.notes)
    return as_text(body)


# ---------------------------------------------------------------- pickles


def _pickled(case: Case, folder: Path) -> None:
    """A checkpoint in torch's own formats: sound, damaged, or a program."""
    import torch
    from safetensors.torch import load_file

    rng, stem = case.rng, case.rng.choice(STEMS)
    given = folder / f"{stem}.safetensors"
    tensors = load_file(given)
    given.unlink()
    file = folder / f"{stem}{rng.choice(('.bin', '.pt', '.pth', '.ckpt'))}"
    case.notes.append(f"pickle {file.name}")
    what = rng.random()
    if what < 0.3:
        _write_evil(file, case)
        return
    name = rng.choice(list(tensors))
    change = rng.choice(("none", "nested", "object", "meta", "dtype", "sparse", "lost"))
    case.notes.append(f"{change} {name}")
    whole: object = tensors
    if change == "nested":
        whole = {"state_dict": tensors, "epoch": 3}
    elif change == "object":
        whole = {**tensors, "opt": Evil(f"touch {_mark(case)}")}
    elif change == "lost":
        del tensors[name]
    elif change != "none":
        tensors[name] = {
            "meta": lambda x: x.to("meta"), "dtype": lambda x: x.to(torch.complex64),
            "sparse": lambda x: x.to_sparse(),
        }[change](tensors[name])  # fmt: skip
    torch.save(whole, file, _use_new_zipfile_serialization=rng.random() < 0.7)
    if what > 0.6:
        file.write_bytes(_damaged(file.read_bytes(), case))


def _damaged(raw: bytes, case: Case) -> bytes:
    made = bytearray(raw)
    if case.rng.random() < 0.3:
        return raw[: case.rng.randrange(len(raw))]
    for _ in range(case.rng.choice((1, 3, 20))):
        made[case.rng.randrange(len(made))] = case.rng.randrange(256)
    return bytes(made)


class Evil:
    """What unpickles as a call."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


def _mark(case: Case) -> Path:
    """Who writes there has run a stranger's words, and the watch sees it."""
    return case.base.parent / "sentinel" / "ran"


def _write_evil(file: Path, case: Case) -> None:
    """A pickle that starts a program: bare, in torch's archive, or in disguise."""
    mark, rng = _mark(case), case.rng
    bare = pickle.dumps(Evil(f"touch {mark}"), protocol=rng.choice((0, 2, 4)))
    global_call = f"cbuiltins\nexec\n(S\"open({str(mark)!r}, 'w')\"\ntR.".encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as made:
        made.writestr("archive/data.pkl", rng.choice((bare, global_call)))
        made.writestr("archive/version", "3\n")
    file.write_bytes(rng.choice((bare, b"\x80\x02" + global_call, archive.getvalue())))
    case.notes.append(f"a program in {file.name}")
