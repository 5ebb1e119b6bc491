"""Constant tensors: owned bytes or views on the mapped weight file, unpacked where sub-byte."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from entracte.reference import mil
from entracte.reference.blob import RECORD_BYTES, BlobFile
from entracte.reference.dtypes import NUMPY, TORCH
from entracte.reference.errors import PackageError
from entracte.reference.package import blob_file

_WIDENED = {"uint16": np.int32, "uint32": np.int64, "uint64": np.int64}
NEAR_BYTES = 4096
"""Records no further apart than this are read together: reading the gap costs less than a call."""

Key = tuple[str, int]
"""Where a blob constant is: the file's name in the program, and the record's offset."""


@dataclass(frozen=True, slots=True)
class Packed:
    """Stored bytes of a constant with its type; `unpack` makes the tensor."""

    raw: torch.Tensor
    type: mil.TensorType


class Weights:
    """All blob constants of one load, each record read once.

    Attributes:
        resident_bytes: bytes held for the constants handed out so far (owned memory, or the
            mapped file's pages when borrowed).
    """

    def __init__(self, program: mil.Program, own: bool, direct: bool = False) -> None:
        self._program = program
        self._own, self._direct = own, direct
        self._files: dict[str, BlobFile] = {}
        self._raw: dict[Key, torch.Tensor] = {}

    @property
    def resident_bytes(self) -> int:
        """See the class."""
        return sum(raw.numel() for raw in self._raw.values())

    def fetch(self, wanted: Mapping[Key, tuple[mil.TensorType, str]]) -> None:
        """Read blob constants into owned memory, neighbours in one go. Borrowed ones stay mapped.

        Args:
            wanted: type and operation name of each constant; those held already are left out.

        Raises:
            PackageError: a record is not what the program says, or the file ends early.
        """
        if not self._own:
            return
        for name in sorted({name for name, _ in wanted}):
            sizes = {
                offset: kind.nbytes or 0
                for (file, offset), (kind, _) in wanted.items()
                if file == name and (file, offset) not in self._raw and kind.nbytes
            }
            for near in _neighbours(sizes, self._file(name).size):
                self._fetch(name, near, wanted)

    def _fetch(
        self, name: str, near: _Neighbours, wanted: Mapping[Key, tuple[mil.TensorType, str]]
    ) -> None:
        file = self._file(name)
        held, base = file.read(near.start, near.stop)
        for offset in near.offsets:
            kind, op = wanted[name, offset]
            at = offset - base
            record = held[at : at + RECORD_BYTES].numpy().tobytes()
            start, nbytes = file.locate(offset, kind, op, record)
            # Data that does not lie behind its record is read by itself when it is asked for.
            if start >= base and start + nbytes <= base + held.numel():
                self._raw[name, offset] = held[start - base : start - base + nbytes]

    def packed(self, value: mil.Value, op: str) -> Packed:
        """A constant as it is stored."""
        kind = value.type
        if not isinstance(kind, mil.TensorType) or kind.elements is None:
            raise self._fail("a constant that is not a tensor of known shape", op)
        if value.blob is None:
            if value.data is None:
                raise self._fail(f"a {kind.dtype} constant cannot be a tensor", op)
            return Packed(torch.frombuffer(bytearray(value.data), dtype=torch.uint8)
                          if value.data else torch.empty(0, dtype=torch.uint8), kind)  # fmt: skip
        key = value.blob
        if key not in self._raw:
            self._raw[key] = self._read(key, kind, op)
        elif self._raw[key].numel() != kind.nbytes:
            raise self._fail("two constants share a record but not its size", op)
        return Packed(self._raw[key], kind)

    def tensor(self, value: mil.Value, op: str) -> torch.Tensor:
        """A constant as a dense tensor (see `unpack`)."""
        return unpack(self.packed(value, op))

    def release(self, key: object) -> None:
        """Forget a blob constant, by its (file, offset), whose stored form is not needed."""
        self._raw.pop(key, None)  # type: ignore[call-overload]

    def close(self) -> None:
        """Drop every constant and close the files."""
        self._raw.clear()
        for file in self._files.values():
            file.close()

    def _read(self, key: Key, kind: mil.TensorType, op: str) -> torch.Tensor:
        name, offset = key
        file = self._file(name)
        start, nbytes = file.locate(offset, kind, op)
        if nbytes == 0:
            return torch.empty(0, dtype=torch.uint8)
        if not self._own:
            return torch.frombuffer(file.view(), dtype=torch.uint8, count=nbytes, offset=start)
        held, base = file.read(start, start + nbytes)
        return held[start - base :]

    def _file(self, name: str) -> BlobFile:
        if name not in self._files:
            path = blob_file(Path(self._program.package), Path(self._program.model_folder), name)
            self._files[name] = BlobFile(self._program.package, path, self._direct)
        return self._files[name]

    def _fail(self, message: str, op: str) -> PackageError:
        return PackageError(self._program.package, message, op=op)


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Neighbouring records of one file and the bytes [start, stop) that hold them."""

    start: int
    stop: int
    offsets: tuple[int, ...]


def _neighbours(sizes: Mapping[int, int], limit: int) -> Iterator[_Neighbours]:
    """Records (offset: data bytes) of a file of `limit` bytes, those near each other together."""
    near: list[int] = []
    stop = 0
    for offset in sorted(o for o in sizes if o >= 0 and o + RECORD_BYTES <= limit):
        if near and offset > stop + NEAR_BYTES:
            yield _Neighbours(near[0], stop, tuple(near))
            near = []
        near.append(offset)
        stop = min(max(stop, offset + RECORD_BYTES + sizes[offset]), limit)
    if near:
        yield _Neighbours(near[0], stop, tuple(near))


def unpack(packed: Packed) -> torch.Tensor:
    """Dense tensor of a stored constant.

    Whole-byte types are views. Sub-byte types become one int8 or uint8 per element. uint16,
    uint32 and uint64 become the next wider signed type.
    """
    raw, kind = packed.raw, packed.type
    shape: tuple[int, ...] = kind.shape  # type: ignore[assignment]
    if kind.dtype in _WIDENED:
        wide = raw.numpy().view(NUMPY[kind.dtype]).astype(_WIDENED[kind.dtype])
        return torch.from_numpy(wide).reshape(shape)
    bits = mil.DTYPE_BITS[kind.dtype]
    if bits < 8:
        values = _unpack_bits(raw, bits, kind.elements or 0)
        if kind.dtype == "int4":
            values = (values ^ 8).view(torch.int8) - 8
        return values.reshape(shape)
    # An immediate or a mapped record is aligned to 64 bytes or freshly allocated; both view safely.
    return raw.view(TORCH[kind.dtype]).reshape(shape)


def _unpack_bits(raw: torch.Tensor, bits: int, count: int) -> torch.Tensor:
    """Elements packed lowest bit first; 3 and 6 bits cross byte boundaries."""
    if 8 % bits == 0:
        shifts = torch.arange(0, 8, bits, dtype=torch.uint8)
        words = raw[:, None]
    else:
        padded = torch.zeros((raw.numel() + 2) // 3 * 3, dtype=torch.uint8)
        padded[: raw.numel()] = raw
        triple = padded.reshape(-1, 3).to(torch.int32)
        words = (triple[:, 0] | triple[:, 1] << 8 | triple[:, 2] << 16)[:, None]
        shifts = torch.arange(0, 24, bits, dtype=torch.int32)
    values = (words >> shifts) & ((1 << bits) - 1)
    return values.reshape(-1)[:count].to(torch.uint8)
