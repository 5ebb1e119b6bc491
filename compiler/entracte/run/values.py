"""Values of a run in a folder: a safetensors file for each tensor, and notes; read as a stranger's.

A tensor of several slots is one array with an axis for them in front. It is written slot by slot,
so that nothing is in memory twice.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

from entracte.codec import parse_json
from entracte.disk.write import write_text, writing
from entracte.errors import ConfigError
from entracte.ir import DType, TensorDecl
from entracte.store.tensor_file import read_header, reading, whole_file

NOTES = "notes.json"
_KEY = "value"
_MOST_NOTES_BYTES = 2**20
_LONGEST_NOTE = 2000
_WORDS = {"float16": "F16", "float32": "F32", "int32": "I32", "int64": "I64"}
"""numpy's types in safetensors' words."""
_TYPES = {word: name for name, word in _WORDS.items()}
ALLOWED = {DType.FP16: ("F16", "F32"), DType.FP32: ("F32",), DType.INT32: ("I32", "I64")}
"""What a device may hold a tensor of a type as."""


def file_of(decl: TensorDecl, place: int) -> str:
    """The name of a tensor's file; `place` is its place among those of the folder."""
    return f"{place:04}-{_WORDS_OF[decl.port.dtype]}.safetensors"


_WORDS_OF = {DType.FP16: "fp16", DType.FP32: "fp32", DType.INT32: "int32"}


def _shape(decl: TensorDecl) -> tuple[int, ...]:
    return decl.port.shape if decl.slots == 1 else (decl.slots, *decl.port.shape)


def write_value(path: Path, decl: TensorDecl, pieces: Sequence[Any]) -> None:
    """Write a tensor's slots, one for most, as numpy arrays.

    Raises `ConfigError` for what is not what the program declares, or no number, and `WriteError`.
    """
    import numpy as np

    word = _WORDS.get(str(pieces[0].dtype), "")
    for piece in pieces:
        shape = tuple(piece.shape)
        if _WORDS.get(str(piece.dtype)) != word or word not in ALLOWED[decl.port.dtype]:
            raise ConfigError(f"{decl.name} is {piece.dtype}, not {decl.port.dtype}")
        if shape != decl.port.shape:
            raise ConfigError(f"{decl.name} has the shape {shape}, not {decl.port.shape}")
        check_numbers(decl.name, piece)
    shape, size_bytes = _shape(decl), sum(piece.nbytes for piece in pieces)
    entry = {"dtype": word, "shape": shape, "data_offsets": (0, size_bytes)}
    header = json.dumps({_KEY: entry}, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    with writing(path) as aside, aside.open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        for piece in pieces:
            file.write(memoryview(np.ascontiguousarray(piece).reshape(-1).view(np.uint8).data))


def check_numbers(name: str, array: Any) -> None:
    """Infinite values may be meant (masks are made of them); what is no number never is. Raises
    `ConfigError`."""
    import numpy as np

    # The least of all is no number where one of them is none; nothing is made for it.
    if array.size and array.dtype.kind == "f" and np.isnan(array.min()):
        raise ConfigError(f"{name} holds what is no number (NaN)")


def read_values(folder: Path, decls: Sequence[TensorDecl]) -> dict[str, Any]:
    """Tensors by name: numpy arrays, and of several slots a list of them. All are looked at, and
    are mapped: none is in memory before it is copied.

    Raises `ConfigError` for files that do not hold just these tensors.
    """
    return {d.name: _read(folder / file_of(d, k), d) for k, d in enumerate(decls)}


def copied(value: Any) -> Any:
    """What `read_values` gives of a tensor, in memory."""
    import numpy as np

    return [np.array(x) for x in value] if isinstance(value, list) else np.array(value)


def _read(path: Path, decl: TensorDecl) -> Any:
    import numpy as np

    stored, shape = read_header(path), _shape(decl)
    found = stored.get(_KEY)
    if found is None or len(stored) != 1:
        raise ConfigError(f"{path}: holds other tensors than one, {_KEY!r}")
    if found.shape != shape or found.dtype not in ALLOWED[decl.port.dtype]:
        raise ConfigError(
            f"{path}: holds {found.dtype} of {found.shape}, the plan's {decl.name} is "
            f"{decl.port.dtype} of {shape}"
        )
    dtype = np.dtype(_TYPES[found.dtype]).newbyteorder("<")
    with reading(path):
        # The only tensor of a file that was checked: its bytes are the last ones.
        begin = path.stat().st_size - prod(shape) * dtype.itemsize
        array: Any = np.zeros(shape, dtype) if not prod(shape) else np.memmap(
            path, dtype, "r", begin, shape
        ).view(np.ndarray)  # fmt: skip
    check_numbers(f"{path}: {decl.name}", array)
    return array if decl.slots == 1 else list(array)


def write_notes(folder: Path, notes: Iterable[str]) -> None:
    """What host steps had to say when the values were made."""
    write_text(folder / NOTES, json.dumps(list(notes)))


def read_notes(folder: Path) -> tuple[str, ...]:
    """Raises `ConfigError` for what no host step could have said."""
    path = folder / NOTES
    with reading(path):
        data = whole_file(path, _MOST_NOTES_BYTES)
    try:
        found = None if data is None else parse_json(data)
    except ValueError as error:
        raise ConfigError(f"{path}: no JSON ({error})") from None
    if not isinstance(found, list) or not all(_is_note(x) for x in found):
        raise ConfigError(f"{path}: no list of lines of text")
    return tuple(found)


def _is_note(text: object) -> bool:
    return isinstance(text, str) and 0 < len(text) <= _LONGEST_NOTE and text.isprintable()


def sizes_bytes(arrays: Mapping[str, Any]) -> int:
    """Of all arrays, slots among them."""
    return sum(
        sum(x.nbytes for x in value) if isinstance(value, list) else value.nbytes
        for value in arrays.values()
    )
