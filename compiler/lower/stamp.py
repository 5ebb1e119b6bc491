"""One converted program, many packages: equal chunks get their weights written in, not converted.

A template is made by converting a chunk twice with numbered random weights, markers. What the two
programs do not agree on, beside the bytes of weights found again in them, would depend on weights
in a way that is not understood: then there is no template, and every chunk is converted. So a
template proves that each stored constant either is one weight (cast to the stored type, perhaps
with two axes exchanged) or the same whatever the weights are, and that nothing else differs.
"""

from __future__ import annotations

import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from compiler.lower import package
from compiler.lower.errors import LowerError
from compiler.lower.rename import rename

__all__ = ["Field", "Layout", "Unstampable", "find_layout", "marker", "stamp"]

_RECORD = struct.Struct("<IIQQQ")
_SENTINEL = 0xDEADBEEF
_FP16, _FP32 = 1, 2
_TYPES: dict[int, np.dtype[Any]] = {_FP16: np.dtype(np.float16), _FP32: np.dtype(np.float32)}
_FP16_MAX = 65504.0
_FEW = 400
"""Below so many elements coremltools keeps values that fp16 would round to zero (its
`_check_underflow_to_zero`)."""
_SMALLEST = np.nextafter(np.float16(0), np.float16(1))


class Unstampable(Exception):
    """These weights cannot be written into the template: the chunk must be converted."""


@dataclass(frozen=True, slots=True)
class Field:
    """Bytes [start, start + size) of weight.bin are a weight."""

    start: int
    size: int
    slot: int
    exchange: tuple[int, ...]
    """The two axes that are exchanged; empty for none."""
    stored: int
    """The blob format's number for the type: 1 fp16, 2 fp32."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the weights are in a template's weight.bin of `total` bytes."""

    fields: tuple[Field, ...]
    total: int


def marker(slot: int, shape: Sequence[int], seed: int) -> np.ndarray:
    """Random fp32 numbers that belong to one slot: no two slots or seeds give the same.

    A smaller shape gives the first of the same numbers.
    """
    generator = np.random.default_rng([seed, slot])
    return generator.standard_normal(tuple(shape), dtype=np.float32)


def find_layout(first: Path, second: Path, shapes: Mapping[int, Sequence[int]]) -> Layout | None:
    """Where each weight went, by looking for markers in two conversions.

    Args:
        first, second: packages converted with the markers of seeds 0 and 1.
        shapes: of the weights that had markers, by slot.

    Returns:
        None if the packages differ in anything else.
    """
    pair = [p / package.WEIGHT_FILE for p in (first, second)]
    models = [(p / package.MODEL_FILE).read_bytes() for p in (first, second)]
    if models[0] != models[1] or not all(p.is_file() for p in pair):
        return None
    bins = [np.memmap(p, dtype=np.uint8, mode="r") for p in pair]
    if len(bins[0]) != len(bins[1]):
        return None
    fields = []
    for start, size, stored in _records(bins[0], package.read_spec(first)):
        span = slice(start, start + size)
        if np.array_equal(bins[0][span], bins[1][span]):
            continue
        found = _find(bins, span, stored, shapes)
        if found is None:
            return None
        fields.append(found)
    layout = Layout(tuple(sorted(fields, key=lambda f: f.start)), len(bins[0]))
    return layout if _same_elsewhere(bins, layout) else None


def _records(blob: np.ndarray, spec: Any) -> Iterator[tuple[int, int, int]]:
    """(data start, data bytes, stored type) of every constant the program reads from the file."""
    offsets: set[int] = set()
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            offsets |= set(_offsets(block))
    for offset in sorted(offsets):
        raw = bytes(blob[offset : offset + _RECORD.size])
        sentinel, stored, size, start, _ = _RECORD.unpack(raw)
        if sentinel != _SENTINEL:
            raise LowerError(f"weight.bin: no record at {offset}")
        yield start, size, stored


def _offsets(block: Any) -> Iterator[int]:
    for operation in block.operations:
        values = [*operation.attributes.values()]
        values += [b.value for a in operation.inputs.values() for b in a.arguments]
        for value in values:
            if value.WhichOneof("value") == "blobFileValue":
                yield value.blobFileValue.offset
        for inner in operation.blocks:
            yield from _offsets(inner)


def _find(
    bins: Sequence[np.ndarray], span: slice, stored: int, shapes: Mapping[int, Sequence[int]]
) -> Field | None:
    """The weight whose markers both files hold in this place."""
    size = span.stop - span.start
    for slot, shape in shapes.items():
        if stored not in _TYPES or prod(shape) * _TYPES[stored].itemsize != size:
            continue
        if not _begins_with(bins[0][span], slot, stored):
            continue  # the first number stays the first whatever is exchanged
        for exchange in _exchanges(len(shape)):
            field = Field(span.start, size, slot, exchange, stored)
            if all(
                np.array_equal(bins[seed][span], _bytes(marker(slot, shape, seed), field))
                for seed in (0, 1)
            ):
                return field
    return None


def _begins_with(data: np.ndarray, slot: int, stored: int) -> bool:
    first = marker(slot, (1,), 0).astype(_TYPES[stored]).view(np.uint8)
    return np.array_equal(data[: len(first)], first)


def _exchanges(rank: int) -> Iterator[tuple[int, ...]]:
    """None, the last two axes (a transposed matrix), the first two (a transposed convolution)."""
    yield ()
    if rank >= 2:
        yield (rank - 2, rank - 1)
    if rank >= 3:
        yield (0, 1)


def _same_elsewhere(bins: Sequence[np.ndarray], layout: Layout) -> bool:
    return all(np.array_equal(bins[0][a:b], bins[1][a:b]) for a, b in _gaps(layout))


def _gaps(layout: Layout) -> Iterator[tuple[int, int]]:
    """The stretches of the file that are no weight."""
    at = 0
    for field in layout.fields:
        yield at, field.start
        at = field.start + field.size
    yield at, layout.total


def _bytes(values: np.ndarray, field: Field) -> np.ndarray:
    """What coremltools stores for a weight: cast, axes exchanged."""
    arranged = np.swapaxes(values, *field.exchange) if field.exchange else values
    made = np.ascontiguousarray(_cast(arranged, field.stored))
    return made.reshape(-1).view(np.uint8)


def _cast(values: np.ndarray, stored: int) -> np.ndarray:
    if stored == _FP32:
        return values.astype(np.float32)
    with np.errstate(over="ignore"):
        made = values.astype(np.float16)
    if values.size < _FEW:
        lost = (made == 0) & (values != 0)
        made[lost] = np.copysign(_SMALLEST, values[lost])
    return made


def stamp(
    template: Path,
    layout: Layout,
    weights: Callable[[int], np.ndarray],
    *,
    features: Mapping[str, str],
    names: Mapping[int, str],
    path: Path,
) -> str:
    """Write the package at `path` (new) from a template and a chunk's own weights.

    Args:
        template: a converted package with neutral names.
        weights: slot -> fp32 values; asked for once per place, in the file's order.
        features, names: as for `rename`.

    Returns:
        The package's canonical digest.

    Raises:
        Unstampable: a value that fp16 cannot hold; conversion treats those in its own way.
        LowerError: a weight contains NaN or infinity.
    """
    spec = package.read_spec(template)
    rename(spec, features, names)
    (path / package.WEIGHT_FILE).parent.mkdir(parents=True)
    (path / package.MODEL_FILE).write_bytes(spec.SerializeToString(deterministic=True))
    digest = hashlib.sha256()
    source = np.memmap(template / package.WEIGHT_FILE, dtype=np.uint8, mode="r")
    with (path / package.WEIGHT_FILE).open("wb") as file:

        def put(data: np.ndarray) -> None:
            file.write(data.data)
            digest.update(data.data)

        at = 0
        for field in layout.fields:
            put(source[at : field.start])
            put(_checked(weights(field.slot), field, names[field.slot]))
            at = field.start + field.size
            _start_writing(file.fileno())
        put(source[at:])
    package.write_manifest(path, digest.hexdigest())
    return package.digest_of(path, digest.hexdigest())


def _checked(values: np.ndarray, field: Field, name: str) -> np.ndarray:
    largest = max(float(values.max()), -float(values.min()))
    if not np.isfinite(largest):
        raise LowerError(f"weight `{name}` contains NaN or infinity: the checkpoint is damaged")
    if field.stored == _FP16 and largest > _FP16_MAX:
        raise Unstampable(f"weight `{name}` exceeds fp16")
    data = _bytes(values, field)
    if len(data) != field.size:
        raise LowerError(f"weight `{name}` has {len(data)} bytes, the program wants {field.size}")
    return data


def _start_writing(handle: int) -> None:
    """Let the disk begin: otherwise gigabytes of written pages wait in memory."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
