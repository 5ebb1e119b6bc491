"""Where the weights of a converted package are, so that other packages can be stamped from it.

A template is made by converting a chunk twice with numbered random weights, markers. What the two
programs do not agree on, beside the bytes of weights found again in them, would depend on weights
in a way that is not understood: then there is no template, and every chunk is converted. So a
template proves that each stored constant either is one weight (cast to the stored type, perhaps
with two axes exchanged) or the same whatever the weights are, and that nothing else differs.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from entracte.declare.scheme import Scheme, scheme_of
from entracte.lower import package
from entracte.lower.errors import LowerError
from entracte.lower.stamp import Field, Layout, Pieces, forms

__all__ = ["find_layout", "marker", "offset_spans"]

_RECORD = struct.Struct("<IIQQQ")
_SENTINEL = 0xDEADBEEF
_MOST_EXCHANGES = 3
_DRAWN = 1_048_573
"""Numbers that are drawn for one marker: the largest prime below 2**20."""
_PREFIX_BYTES = 64
"""By which data that may be the same is found."""


def marker(slot: int, shape: Sequence[int], seed: int) -> np.ndarray:
    """Random fp32 numbers of [-1, 1) that belong to one slot: no two slots or seeds give the same.

    A smaller shape gives the first of the same numbers. They come again after a prime number of
    elements, so that no two rows or columns are alike: a large chunk has a billion, and copying is
    quicker than drawing.
    """
    size = prod(shape)
    generator = np.random.default_rng([seed, slot])
    # Even: normal numbers take eight times as long.
    values = generator.random(min(size, _DRAWN), dtype=np.float32)
    values *= 2
    values -= 1
    return np.resize(values, size).reshape(tuple(shape))


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
    again = Pieces(layout, lambda slot: marker(slot, shapes[slot], 1), dict.fromkeys(shapes, ""))
    agree = all(np.array_equal(bins[1][f.start : f.start + f.size], again.of(f)) for f in fields)
    return layout if agree and _same_elsewhere(bins, layout) else None


def offset_spans(path: Path, spec: Any) -> dict[int, tuple[int, int]]:
    """Offset of every record that a package's program reads -> start and size of its data."""
    blob = np.memmap(path / package.WEIGHT_FILE, dtype=np.uint8, mode="r")
    return {at: (s.start, s.stop - s.start) for at, s in _records(blob, spec).items()}


def _spans(blob: np.ndarray, spec: Any) -> list[slice]:
    """The data of every constant that the program reads from the file, in the file's order."""
    return sorted(_records(blob, spec).values(), key=lambda span: span.start)


def _records(blob: np.ndarray, spec: Any) -> dict[int, slice]:
    offsets: set[int] = set()
    for function in spec.mlProgram.functions.values():
        for block in function.block_specializations.values():
            offsets |= set(_offsets(block))
    spans = {}
    for offset in sorted(offsets):
        raw = bytes(blob[offset : offset + _RECORD.size])
        sentinel, _, size, start, _ = _RECORD.unpack(raw)
        if sentinel != _SENTINEL:
            raise LowerError(f"weight.bin: no record at {offset}")
        spans[offset] = slice(start, start + size)
    return spans


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
    wanted: dict[tuple[int, bytes], list[int]] = {}
    for i, span in enumerate(spans):
        wanted.setdefault(_start(blob[span]), []).append(i)
    found: dict[int, _Place] = {}
    for slot, exchange in _tries(shapes):
        if len(found) == len(spans):
            break
        for piece, data in forms(marker(slot, shapes[slot], 0), exchange, scheme):
            for i in wanted.get(_start(data), ()):
                if i not in found and np.array_equal(blob[spans[i]], data):
                    found[i] = (slot, exchange, piece)
    return [found[i] for i in sorted(found)]


def _tries(shapes: Mapping[int, Sequence[int]]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Slot and exchange: all weights as they are first, then each with axes exchanged."""
    exchanges = {slot: list(_exchanges(len(shape))) for slot, shape in shapes.items()}
    for turn in range(_MOST_EXCHANGES):
        yield from ((slot, e[turn]) for slot, e in exchanges.items() if turn < len(e))


def _start(data: np.ndarray) -> tuple[int, bytes]:
    """Size and first bytes."""
    return len(data), data[:_PREFIX_BYTES].tobytes()


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
