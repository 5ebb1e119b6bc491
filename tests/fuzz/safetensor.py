"""safetensors files and tokenizers, damaged by what they are made of."""

import json
import struct
from pathlib import Path
from typing import Any

from tests.fuzz.case import Case
from tests.fuzz.mutate import as_text, broken, mutated

DTYPES = ("F16", "F64", "BF16", "I64", "BOOL", "F8_E4M3", "f32", "F128", "", "U8", "C64", "F4")


def parts(raw: bytes) -> tuple[Any, bytes]:
    """Header and data."""
    (length,) = struct.unpack_from("<Q", raw)
    return json.loads(raw[8 : 8 + length]), raw[8 + length :]


def joined(header: bytes, data: bytes, length: int | None = None) -> bytes:
    """A file; `length` is what it says of its header."""
    return struct.pack("<Q", (len(header) if length is None else length) % 2**64) + header + data


def change(file: Path, case: Case) -> None:
    """Damage one."""
    rng, raw = case.rng, file.read_bytes()
    header, data = parts(raw)
    ways = (_structure, _structure, _length, _bytes, _offsets, _dtype, _values, _keys, _shape)
    way = rng.choice(ways)
    case.notes.append(f"safetensors {file.name}: {way.__name__}")
    file.write_bytes(way(header, data, case))


def _text(header: Any) -> bytes:
    return as_text(header).encode("utf-8", "surrogatepass")


def _structure(header: Any, data: bytes, case: Case) -> bytes:
    return joined(_text(mutated(header, case.rng, case.notes)), data)


def _length(header: Any, data: bytes, case: Case) -> bytes:
    text = _text(header)
    lies = (0, 1, 2, len(text) - 1, len(text) + 1, len(text) + len(data), 2**31, 2**40, 2**63, -1)
    return joined(text, data, case.rng.choice(lies))


def _bytes(header: Any, data: bytes, case: Case) -> bytes:
    if case.rng.random() < 0.5:
        return joined(broken(_text(header), case.rng, case.notes), data)
    whole = joined(_text(header), data)
    return broken(whole, case.rng, case.notes)


def _tensor(header: Any, case: Case) -> tuple[str, dict[str, Any]]:
    names = [n for n in header if n != "__metadata__"]
    name = case.rng.choice(names)
    return name, header[name]


def _offsets(header: Any, data: bytes, case: Case) -> bytes:
    _, tensor = _tensor(header, case)
    low, high = tensor["data_offsets"]
    tensor["data_offsets"] = case.rng.choice((
        [high, low], [low, high + 4], [low + 4, high], [0, 0], [low, 2**63], [-8, high], [low],
        [low, high, high], [0, len(data)], [len(data), len(data) + high - low], [low + 1, high + 1],
    ))  # fmt: skip
    return joined(_text(header), data)


def _dtype(header: Any, data: bytes, case: Case) -> bytes:
    """Of a dtype that needs other bytes, and of one that needs the same."""
    _, tensor = _tensor(header, case)
    tensor["dtype"] = case.rng.choice((*DTYPES, "I32", "U32", None, 7))
    return joined(_text(header), data)


def _values(header: Any, data: bytes, case: Case) -> bytes:
    """NaN, infinity, or numbers that fp16 has no word for."""
    _, tensor = _tensor(header, case)
    low, high = tensor["data_offsets"]
    value = case.rng.choice((float("nan"), float("inf"), 1e38, -1e6, 1e-45, 70000.0))
    made = bytearray(data)
    at = low + 4 * case.rng.randrange(max(1, (high - low) // 4))
    made[at : at + 4] = struct.pack("<f", value)
    return joined(_text(header), bytes(made))


def _keys(header: Any, data: bytes, case: Case) -> bytes:
    name, tensor = _tensor(header, case)
    kind = case.rng.randrange(4)
    if kind == 0:
        del header[name]
    elif kind == 1:
        header[case.rng.choice(("stray", "", "a" * 70_000, "../x", "\x00", "é"))] = dict(tensor)
    elif kind == 2:
        header[f"module.{name}"] = header.pop(name)
    text = _text(header)
    if kind == 3:
        again = _text({name: tensor})[1:-1]
        text = b"{" + again + b"," + text[1:]
    return joined(text, data)


def _shape(header: Any, data: bytes, case: Case) -> bytes:
    _, tensor = _tensor(header, case)
    shape = tensor["shape"]
    tensor["shape"] = case.rng.choice((
        shape[::-1], [*shape, 1], [2**32, 2**32], [2**63, 2], [-1, *shape], [0], [], [0,
        2**63], [1.5],
    ))  # fmt: skip
    return joined(_text(header), data)


# ---------------------------------------------------------------- tokenizers


def change_tokenizer(file: Path, case: Case) -> None:
    """Damage a tokenizer."""
    raw = file.read_bytes()
    if case.rng.random() < 0.3:
        file.write_bytes(broken(raw, case.rng, case.notes))
        return
    made = as_text(mutated(json.loads(raw), case.rng, case.notes))
    file.write_bytes(made.encode("utf-8", "surrogatepass"))
