"""One converted program, many packages: equal chunks get their weights written in, not converted.

A template's layout (`entracte.lower.template` finds it) says which stored constant is which weight,
in which form: cast to the stored type, perhaps with two axes exchanged, or compressed.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from entracte.declare.scheme import Scheme, scheme_of
from entracte.disk.folder import make_folder
from entracte.disk.write import write_bytes, writing
from entracte.lower import package
from entracte.lower.compress import pieces
from entracte.lower.errors import LowerError
from entracte.lower.rename import rename
from entracte.lower.rounding import FEW, cast, extremes
from entracte.store.seal import note_sha256

__all__ = ["Field", "Layout", "Pieces", "Unstampable", "forms", "stamp"]

_FP16, _FP32 = "fp16", "fp32"
_TYPES: dict[str, np.dtype[Any]] = {
    _FP16: np.dtype(np.float16),
    _FP32: np.dtype(np.float32),
}
_TORCH = {_FP16: torch.float16, _FP32: torch.float32}
_FP16_MAX = 65504.0
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


def forms(
    values: np.ndarray, exchange: tuple[int, ...], scheme: Scheme | None
) -> Iterator[tuple[str, np.ndarray]]:
    """All that a package may store of a weight: (a `Field.piece`, its bytes)."""
    arranged = _arranged(values, exchange)
    for name in _TYPES:
        yield name, _bytes(_cast(arranged, name))
    if scheme is not None and scheme.takes(values.shape):
        yield from pieces(_cast(arranged, _FP16), scheme).items()


def _arranged(values: np.ndarray, exchange: tuple[int, ...]) -> np.ndarray:
    return np.ascontiguousarray(np.swapaxes(values, *exchange)) if exchange else values


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values).reshape(-1).view(np.uint8)


def _cast(values: np.ndarray, name: str) -> np.ndarray:
    """To the stored type, as coremltools does it: what is too large becomes infinite."""
    made = cast(values, _TORCH[name])
    if name == _FP16 and values.size < FEW:
        lost = (made == 0) & (values != 0)
        made[lost] = np.copysign(_SMALLEST, values[lost])
    return made


class Pieces:
    """The bytes of a layout's fields; what was computed for a weight serves its other pieces."""

    def __init__(
        self, layout: Layout, weights: Callable[[int], np.ndarray], names: Mapping[int, str]
    ) -> None:
        """`weights`: slot -> fp32 values; `names` are told in errors."""
        self._scheme = scheme_of(layout.compression)
        self._weights, self._names = weights, names
        self._last: tuple[tuple[int, tuple[int, ...]], dict[str, np.ndarray]] | None = None

    def of(self, field: Field) -> np.ndarray:
        """Raises `Unstampable` for values that fp16 cannot hold, `LowerError` for NaN, infinity."""
        if field.piece in _TYPES:
            return _bytes(_cast(self._taken(field), field.piece))
        key = (field.slot, field.exchange)
        if self._last is None or self._last[0] != key:
            assert self._scheme is not None, "a dense layout has no pieces"
            self._last = (key, pieces(_cast(self._taken(field), _FP16), self._scheme))
        return self._last[1][field.piece]

    def _taken(self, field: Field) -> np.ndarray:
        values = self._weights(field.slot)
        low, high = extremes(values)
        if not np.isfinite(max(high, -low)):
            name = self._names[field.slot]
            raise LowerError(f"weight `{name}` contains NaN or infinity: the checkpoint is damaged")
        if field.piece != _FP32 and max(high, -low) > _FP16_MAX:
            raise Unstampable("a weight exceeds fp16")
        return _arranged(values, field.exchange)


def stamp(
    template: Path,
    layout: Layout,
    weights: Callable[[int], np.ndarray],
    *,
    features: Mapping[str, Mapping[str, str]],
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
    make_folder((path / package.WEIGHT_FILE).parent)
    write_bytes(path / package.MODEL_FILE, spec.SerializeToString(deterministic=True))
    digest = hashlib.sha256()
    found = Pieces(layout, weights, names)
    source = np.memmap(template / package.WEIGHT_FILE, dtype=np.uint8, mode="r")
    with writing(path / package.WEIGHT_FILE) as aside, aside.open("wb") as file:

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
    note_sha256(path / package.WEIGHT_FILE, digest.hexdigest())
    package.write_manifest(path, digest.hexdigest())
    return package.digest_of(path, digest.hexdigest())


def _of_size(data: np.ndarray, field: Field, name: str) -> np.ndarray:
    if len(data) != field.size:
        raise LowerError(f"weight `{name}` has {len(data)} bytes, the program wants {field.size}")
    return data


def _start_writing(handle: int) -> None:
    """Let the disk begin: otherwise gigabytes of written pages wait in memory."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
