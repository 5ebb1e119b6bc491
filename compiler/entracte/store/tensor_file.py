"""safetensors files from strangers: the header is read and checked here before anybody maps one.

The format (github.com/huggingface/safetensors): 8 bytes of the header's length, a JSON object of
tensors (`dtype`, `shape`, `data_offsets`) and texts (`__metadata__`), then their bytes, gapless.
"""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

from entracte.codec import parse_json
from entracte.errors import ConfigError

_LENGTH_BYTES = 8
_MOST_HEADER_BYTES = 100_000_000
"""The library's own limit."""
_MOST_BYTES = 1 << 62
_BITS = {
    "BOOL": 8, "U8": 8, "I8": 8, "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6,
    "F6_E3M2": 6, "I16": 16, "U16": 16, "F16": 16, "BF16": 16, "I32": 32, "U32": 32, "F32": 32,
    "F64": 64, "I64": 64, "U64": 64, "C64": 64,
}  # fmt: skip
LFS_POINTER = b"version https://git-lfs"
"""First bytes of what Git LFS leaves in a file's place."""
_OTHERS = (
    (
        LFS_POINTER,
        "a Git LFS pointer, the numbers are not there; run `git lfs pull`",
    ),
    (
        b"PK\x03\x04",
        "a zip archive, maybe a PyTorch checkpoint; name it .pt, or save it as safetensors",
    ),
    (b"\x80", "a pickle, maybe a PyTorch checkpoint; name it .pt, or save it as safetensors"),
    (b"<", "a web page; download the file itself"),
    (b"GGUF", "a GGUF file; save it as safetensors"),
    (b"\x89HDF", "an HDF5 file; save it as safetensors"),
)
"""What often lies where weights should, by its first bytes."""
_SIGNS = {
    "a safetensors file": "its header's length is wrong",
    "a PyTorch checkpoint": "it begins with other bytes",
}
PICKLED = (b"PK\x03\x04", b"\x80")
"""First bytes of PyTorch's own files."""


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of a file."""

    dtype: str
    shape: tuple[int, ...]


def read_header(path: Path) -> dict[str, Stored]:
    """The tensors of a file by key. Raises `ConfigError` with the file, the tensor, a way out."""
    with reading(path):
        header, data_bytes = _header(path)
        return _tensors(path, _parsed(path, header), data_bytes)


def read_texts(path: Path) -> dict[str, str]:
    """The texts of a file by key. Raises `ConfigError` as `read_header` does."""
    with reading(path):
        header, _ = _header(path)
        found = _parsed(path, header).get("__metadata__", {})
        texts = found if isinstance(found, dict) else {}
        return {key: text for key, text in texts.items() if isinstance(text, str)}


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Whatever the system or the library has against a file is a `ConfigError` that names it."""
    try:
        yield
    except ConfigError:
        raise
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror or error})") from None
    except Exception as error:
        if type(error).__name__ != "SafetensorError":  # it is not imported for this
            raise
        raise _fault(path, f"not a whole safetensors file ({error})") from None


@contextmanager
def _regular(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """A file, and its size."""
    # Not to wait for whoever might write into a pipe.
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | getattr(os, "O_CLOEXEC", 0))
    with os.fdopen(handle, "rb") as file:
        state = os.fstat(handle)
        if not stat.S_ISREG(state.st_mode):
            raise ConfigError(f"{path}: not a regular file; give the file itself")
        yield file, state.st_size


def whole_file(path: Path, most_bytes: int) -> bytes | None:
    """A small file's bytes; None where it is larger. Raises `ConfigError` for what is no regular
    file."""
    with _regular(path) as (file, size):
        return file.read(size) if size <= most_bytes else None


def first_bytes(path: Path) -> tuple[bytes, int]:
    """A file's first bytes, and its size. Raises `ConfigError` for what is no regular file."""
    with _regular(path) as (file, size):
        return file.read(32), size


def _header(path: Path) -> tuple[bytes, int]:
    """The header's bytes, and how many follow it."""
    with _regular(path) as (file, size):
        raw = file.read(_LENGTH_BYTES)
        length = int.from_bytes(raw, "little")
        left = size - _LENGTH_BYTES
        if len(raw) < _LENGTH_BYTES or not 2 <= length <= min(left, _MOST_HEADER_BYTES):
            raise _fault(path, what_it_is(raw + file.read(24), size))
        return file.read(length), left - length


def what_it_is(first: bytes, size: int, wanted: str = "a safetensors file") -> str:
    """What lies where weights should, by its first bytes."""
    if size == 0:
        return "empty; download it again"
    found = (what for mark, what in _OTHERS if first.startswith(mark))
    return next(found, f"not {wanted}, or only a part of one ({_SIGNS[wanted]})")


def _parsed(path: Path, header: bytes) -> dict[str, Any]:
    try:
        found = parse_json(header)
    except ValueError as error:
        raise _fault(path, f"its header is no JSON ({error})") from None
    if not isinstance(found, dict):
        raise _fault(path, "its header is no table of tensors")
    return found


def _tensors(path: Path, header: dict[str, Any], data_bytes: int) -> dict[str, Stored]:
    found, places = {}, []
    for key, entry in header.items():
        if key == "__metadata__":
            continue
        stored, place = _tensor(entry)
        if stored is None:
            raise _fault(path, f"its header says of {key[:100]!r} what cannot be: {entry!r:.200}")
        found[key] = stored
        places.append((*place, key))
    at = 0
    for start, stop, key in sorted(places):
        if start != at:
            what = "overlap those before them" if start < at else "leave a gap"
            raise _fault(path, f"the bytes of {key[:100]!r} ({start} to {stop}) {what}")
        at = stop
    if at != data_bytes:
        what = "has a part of them only: download it again" if at > data_bytes else "holds more"
        raise _fault(
            path, f"its tensors take {at} bytes, the file has {data_bytes} for them; it {what}"
        )
    return found


def _tensor(entry: Any) -> tuple[Stored | None, tuple[int, int]]:
    """A tensor and where it lies; None for what is none."""
    nothing = None, (0, 0)
    if not isinstance(entry, dict) or entry.keys() != {"dtype", "shape", "data_offsets"}:
        return nothing
    dtype, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(dtype, str) or dtype not in _BITS:
        return nothing
    if not _are_sizes(shape) or not _are_sizes(offsets) or len(offsets) != 2:
        return nothing
    bits = prod(shape) * _BITS[dtype]
    if bits % 8 or bits // 8 != offsets[1] - offsets[0]:
        return nothing
    return Stored(dtype, tuple(shape)), (offsets[0], offsets[1])


def _are_sizes(value: Any) -> bool:
    return isinstance(value, list) and all(
        isinstance(n, int) and not isinstance(n, bool) and 0 <= n < _MOST_BYTES for n in value
    )


def _fault(path: Path, what: str) -> ConfigError:
    return ConfigError(f"{path}: {what}")
