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

from compiler.reference import program as ir
from compiler.reference.errors import PackageError

_SENTINEL = 0xDEADBEEF
_RECORD = struct.Struct("<IIQQQ")
_STORED = {
    1: "fp16", 2: "fp32", 3: "uint8", 4: "int8", 5: "bf16", 6: "int16", 7: "uint16", 8: "int4",
    9: "uint1", 10: "uint2", 11: "uint4", 12: "uint3", 13: "uint6", 14: "int32", 15: "uint32",
    16: "fp8e4m3fn", 17: "fp8e5m2",
}  # fmt: skip


class BlobFile:
    """One weight file, open for reading; `close` releases it."""

    def __init__(self, package: str, path: Path) -> None:
        self.package = package
        self.path = path
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        self.size = os.fstat(self._handle).st_size
        self._map: mmap.mmap | None = None

    def locate(self, offset: int, kind: ir.TensorType, op: str) -> tuple[int, int]:
        """(data offset, data bytes) of the record at `offset`, checked against the type.

        Raises:
            PackageError: the record or its data lies outside the file, or disagrees with `kind`.
        """
        if offset < 0 or offset + _RECORD.size > self.size:
            raise self._fail(f"record at {offset} lies outside the file ({self.size} bytes)", op)
        raw = os.pread(self._handle, _RECORD.size, offset)
        sentinel, stored, nbytes, start, padding = _RECORD.unpack(raw)
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

    def read_into(self, target: memoryview, start: int) -> None:
        """Fill `target` with the file's bytes from `start` on."""
        done = 0
        while done < len(target):
            got = os.preadv(self._handle, [target[done:]], start + done)
            if got <= 0:
                raise self._fail("the file ends early", "")
            done += got

    def view(self) -> mmap.mmap:
        """The file mapped copy-on-write: tensors may borrow it, nothing reaches the disk."""
        if self._map is None:
            self._map = mmap.mmap(self._handle, self.size, access=mmap.ACCESS_COPY)
        return self._map

    def close(self) -> None:
        """Give the file back. A borrowed map lives on until its last tensor is gone."""
        if self._handle >= 0:
            os.close(self._handle)
        self._handle = -1
        self._map = None

    def _fail(self, message: str, op: str) -> PackageError:
        return PackageError(self.package, message, op=op, place=self.path.name)
