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
from pathlib import Path
from typing import Any

import numpy as np

from entracte.declare.scheme import Scheme, scheme_of
from entracte.lower import package
from entracte.lower.compress import pieces
from entracte.lower.errors import LowerError
from entracte.lower.rename import rename

__all__ = ["Field", "Layout", "Unstampable", "find_layout", "marker", "stamp"]

_RECORD = struct.Struct("<IIQQQ")
_SENTINEL = 0xDEADBEEF
_FP16, _FP32 = "fp16", "fp32"
_TYPES: dict[str, np.dtype[Any]] = {
    _FP16: np.dtype(np.float16),
    _FP32: np.dtype(np.float32),
}
_FP16_MAX = 65504.0
_FEW = 400
"""Below so many elements coremltools keeps values that fp16 would round to zero (its
`_check_underflow_to_zero`)."""
_SMALLEST = np.nextafter(np.float16(0), np.float16(1))


class Unstampable(Exception):
    """These weights cannot be written into the template: the chunk must be converted."""


@dataclass(frozen=True, slots=True)
class Field:
    """Bytes [start, start + size) of weight.bin are a weight, or a piece of a compressed one."""

    start: int
    size: int
    slot: int
    exchange: tuple[int, ...]
    """The two axes that are exchanged; empty for none."""
    piece: str
    """`fp16` or `fp32` for the weight itself; a name of `compress.pieces` otherwise."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the weights are in a template's weight.bin of `total` bytes."""

    fields: tuple[Field, ...]
    total: int
    compression: str


def marker(slot: int, shape: Sequence[int], seed: int) -> np.ndarray:
    """Random fp32 numbers that belong to one slot: no two slots or seeds give the same.

    A smaller shape gives the first of the same numbers.
    """
    generator = np.random.default_rng([seed, slot])
    return generator.standard_normal(tuple(shape), dtype=np.float32)


def find_layout(
    first: Path, second: Path, shapes: Mapping[int, Sequence[int]], compression: str
) -> Layout | None:
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
    spans = [
        span
        for span in _spans(bins[0], package.read_spec(first))
        if not np.array_equal(bins[0][span], bins[1][span])
    ]
    places = _places(bins[0], spans, shapes, scheme_of(compression))
    if len(places) < len(spans):
        return None
    fields = tuple(
        Field(span.start, span.stop - span.start, *place)
        for span, place in zip(spans, places, strict=True)
    )
    layout = Layout(fields, len(bins[0]), compression)
    again = _Pieces(layout, lambda slot: marker(slot, shapes[slot], 1))
    agree = all(np.array_equal(bins[1][f.start : f.start + f.size], again.of(f)) for f in fields)
    return layout if agree and _same_elsewhere(bins, layout) else None


def _spans(blob: np.ndarray, spec: Any) -> list[slice]:
    """The data of every constant that the program reads from the file, in the file's order."""
    offsets: set[int] = set()
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            offsets |= set(_offsets(block))
    spans = []
    for offset in sorted(offsets):
        raw = bytes(blob[offset : offset + _RECORD.size])
        sentinel, _, size, start, _ = _RECORD.unpack(raw)
        if sentinel != _SENTINEL:
            raise LowerError(f"weight.bin: no record at {offset}")
        spans.append(slice(start, start + size))
    return sorted(spans, key=lambda span: span.start)


def _offsets(block: Any) -> Iterator[int]:
    for operation in block.operations:
        values = [*operation.attributes.values()]
        values += [b.value for a in operation.inputs.values() for b in a.arguments]
        for value in values:
            if value.WhichOneof("value") == "blobFileValue":
                yield value.blobFileValue.offset
        for inner in operation.blocks:
            yield from _offsets(inner)


_Place = tuple[int, tuple[int, ...], str]
"""slot, exchange, piece"""


def _places(
    blob: np.ndarray,
    spans: Sequence[slice],
    shapes: Mapping[int, Sequence[int]],
    scheme: Scheme | None,
) -> list[_Place]:
    """Which weight, in which form, each span holds; fewer than spans if one holds none."""
    wanted = {_sha(blob[span]): i for i, span in enumerate(spans)}
    sizes = {span.stop - span.start for span in spans}
    found: dict[int, _Place] = {}
    for slot, exchange in _tries(shapes):
        if len(found) == len(wanted):
            break
        for piece, data in _forms(marker(slot, shapes[slot], 0), exchange, scheme):
            i = wanted.get(_sha(data)) if len(data) in sizes else None
            if i is not None:
                found.setdefault(i, (slot, exchange, piece))
    return [found[i] for i in sorted(found)]


def _tries(shapes: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Slot and exchange: all weights as they are first, then each with axes exchanged."""
    exchanges = {slot: list(_exchanges(len(shape))) for slot, shape in shapes.items()}
    for turn in range(_MOST_EXCHANGES):
        yield from ((slot, e[turn]) for slot, e in exchanges.items() if turn < len(e))


def _sha(data: np.ndarray) -> bytes:
    return hashlib.sha256(np.ascontiguousarray(data).data).digest()


def _forms(
    values: np.ndarray, exchange: tuple[int, ...], scheme: Scheme | None
) -> Iterator[tuple[str, np.ndarray]]:
    """All that a package may store of a weight: (a `Field.piece`, its bytes)."""
    arranged = _arranged(values, exchange)
    for name in _TYPES:
        yield name, _bytes(_cast(arranged, name))
    if scheme is not None and scheme.takes(values.shape):
        yield from pieces(_cast(arranged, _FP16), scheme).items()


def _exchanges(rank: int) -> Iterator[tuple[int, ...]]:
    """None, the last two axes (a transposed matrix), the first two (a transposed convolution)."""
    yield ()
    if rank >= 2:
        yield (rank - 2, rank - 1)
    if rank >= 3:
        yield (0, 1)


_MOST_EXCHANGES = 3


def _same_elsewhere(bins: Sequence[np.ndarray], layout: Layout) -> bool:
    return all(np.array_equal(bins[0][a:b], bins[1][a:b]) for a, b in _gaps(layout))


def _gaps(layout: Layout) -> Iterator[tuple[int, int]]:
    """The stretches of the file that are no weight."""
    at = 0
    for field in layout.fields:
        yield at, field.start
        at = field.start + field.size
    yield at, layout.total


def _arranged(values: np.ndarray, exchange: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(np.swapaxes(values, *exchange)) if exchange else values


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _cast(values: np.ndarray, name: str) -> np.ndarray:
    """To the stored type, as coremltools does it."""
    with np.errstate(over="ignore"):
        made = values.astype(_TYPES[name])
    if name == _FP16 and values.size < _FEW:
        lost = (made == 0) & (values != 0)
        made[lost] = np.copysign(_SMALLEST, values[lost])
    return made


class _Pieces:
    """The bytes of a layout's fields; what was computed for a weight serves its other pieces."""

    def __init__(self, layout: Layout, weights: Callable[[int], np.ndarray]) -> None:
        self._scheme = scheme_of(layout.compression)
        self._weights = weights
        self._last: tuple[tuple[int, tuple[int, ...]], dict[str, np.ndarray]] | None = None

    def of(self, field: Field) -> np.ndarray:
        """Raises `Unstampable` for values that fp16 cannot hold."""
        if field.piece in _TYPES:
            values = _arranged(self._weights(field.slot), field.exchange)
            if field.piece == _FP16:
                _check_range(values)
            return _bytes(_cast(values, field.piece))
        key = (field.slot, field.exchange)
        if self._last is None or self._last[0] != key:
            values = _arranged(self._weights(field.slot), field.exchange)
            _check_range(values)
            assert self._scheme is not None, "a dense layout has no pieces"
            self._last = (key, pieces(_cast(values, _FP16), self._scheme))
        return self._last[1][field.piece]


def _check_range(values: np.ndarray) -> None:
    if max(float(values.max()), -float(values.min())) > _FP16_MAX:
        raise Unstampable("a weight exceeds fp16")


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
    found = _Pieces(layout, lambda slot: _finite(weights(slot), names[slot]))
    source = np.memmap(template / package.WEIGHT_FILE, dtype=np.uint8, mode="r")
    with (path / package.WEIGHT_FILE).open("wb") as file:

        def put(data: np.ndarray) -> None:
            file.write(data.data)
            digest.update(data.data)

        at = 0
        for field in layout.fields:
            put(source[at : field.start])
            put(_of_size(found.of(field), field, names[field.slot]))
            at = field.start + field.size
            _start_writing(file.fileno())
        put(source[at:])
    package.write_manifest(path, digest.hexdigest())
    return package.digest_of(path, digest.hexdigest())


def _finite(values: np.ndarray, name: str) -> np.ndarray:
    if not np.isfinite(max(float(values.max()), -float(values.min()))):
        raise LowerError(f"weight `{name}` contains NaN or infinity: the checkpoint is damaged")
    return values


def _of_size(data: np.ndarray, field: Field, name: str) -> np.ndarray:
    if len(data) != field.size:
        raise LowerError(f"weight `{name}` has {len(data)} bytes, the program wants {field.size}")
    return data


def _start_writing(handle: int) -> None:
    """Let the disk begin: otherwise gigabytes of written pages wait in memory."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
