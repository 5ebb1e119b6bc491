"""Weight files: format MIL blob storage v2, checked record by record.

A file is a 64-byte header and, at each offset a program names, a 64-byte record
(`<IIQQQ`: sentinel, element type, data bytes, data offset, padding bits) that says where its data
lies. Verified bit for bit against coremltools' own writer (reference page, section 2).
"""

from __future__ import annotations

import mmap
import os
import struct
from pathlib import Path

import torch

from entracte.reference import mil
from entracte.reference.errors import PackageError
from entracte.reference.owned import PAGE_BYTES, open_direct, read_into, read_pages

_SENTINEL = 0xDEADBEEF
_RECORD = struct.Struct("<IIQQQ")
_STORED = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 5: "bf16", 6: "int16", 7: "uint16", 8: "int4",
    9: "uint1", 10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
    16: "fp8e4m3fn", 17: "fp8e5m2",
}  # fmt: skip
RECORD_BYTES = 64
"""A record's own size; coremltools' writer puts the data right behind it."""


class BlobFile:
    """One weight file, open for reading; `close` releases it.

    With `direct`, `read` leaves the page cache out where the file system can do that.
    """

    def __init__(self, package: str, path: Path, direct: bool = False) -> None:
        self.package = package
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self._direct = open_direct(path) if direct else None
        self.size = os.fstat(self._handle).st_size
        self._map: mmap.mmap | None = None

    def locate(
        self, offset: int, kind: mil.TensorType, op: str, record: bytes | None = None
    ) -> tuple[int, int]:
        """(data offset, data bytes) of the record at `offset`, checked against the type.

        Args:
            record: the record's own 64 bytes, if they are known already.

        Raises:
            PackageError: the record or its data lies outside the file, or disagrees with `kind`.
        """
        if offset < 0 or offset + _RECORD.size > self.size:
            raise self._fail(f"record at {offset} lies outside the file ({self.size} bytes)", op)
        raw = record or os.pread(self._handle, _RECORD.size, offset)
        sentinel, stored, nbytes, start, padding = _RECORD.unpack_from(raw)
        if sentinel != _SENTINEL:
            raise self._fail(f"no record at offset {offset}", op)
        if start + nbytes > self.size:
            raise self._fail(
                f"data {start}..{start + nbytes} lie outside the file ({self.size} bytes)", op
            )
        name = _STORED.get(stored, f"type {stored}")
        # Booleans have no stored type of their own.
        if name != kind.dtype and not (kind.dtype == "bool" and name in ("uint8", "int8")):
            raise self._fail(f"holds {name}, the program says {kind.dtype}", op)
        if kind.nbytes != nbytes or padding >= 8:
            raise self._fail(f"holds {nbytes} bytes, the program's type needs {kind.nbytes}", op)
        return start, nbytes

    def read(self, start: int, stop: int) -> tuple[torch.Tensor, int]:
        """Bytes [start, stop) of the file and what is before them in their first page.

        Returns:
            The bytes (uint8, in owned memory), and the file offset of the first one.

        Raises:
            PackageError: the file ends early, or cannot be read.
        """
        low = start // PAGE_BYTES * PAGE_BYTES
        try:
            region = read_pages(self._reading, low, stop - low)
        except OSError as error:
            raise self._fail(f"cannot be read: {error.strerror}", "") from None
        if region is None:
            raise self._fail("the file ends early", "")
        return torch.frombuffer(region, dtype=torch.uint8, count=stop - low), low

    def read_into(self, view: memoryview, start: int, wanted: int) -> None:
        """At least `wanted` bytes from `start` on into `view`; both are whole pages.

        Raises:
            PackageError: the file ends early, or cannot be read.
        """
        try:
            whole = read_into(self._reading, view, start, wanted)
        except OSError as error:
            raise self._fail(f"cannot be read: {error.strerror}", "") from None
        if not whole:
            raise self._fail("the file ends early", "")

    @property
    def _reading(self) -> int:
        return self._handle if self._direct is None else self._direct

    def view(self) -> mmap.mmap:
        """The file mapped copy-on-write: tensors may borrow it, nothing reaches the disk."""
        if self._map is None:
            self._map = mmap.mmap(self._handle, self.size, access=mmap.ACCESS_COPY)
        return self._map

    def close(self) -> None:
        """Give the file back. A borrowed map lives on until its last tensor is gone."""
        for handle in (self._handle, self._direct):
            if handle is not None and handle >= 0:
                os.close(handle)
        self._handle, self._direct = -1, None
        self._map = None

    def _fail(self, message: str, op: str) -> PackageError:
        return PackageError(self.package, message, op=op, place=self.path.name)
