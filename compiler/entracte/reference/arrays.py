"""Weights that are inputs of a graph: a file of arrays, in pages of owned memory."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import torch

from entracte.ir import DType, Port
from entracte.reference import mil
from entracte.reference.blob import BlobFile
from entracte.reference.errors import PackageError
from entracte.reference.pages import Datum, PagedWeights
from entracte.reference.weights import Key

__all__ = ["ArrayWeights"]

_TORCH = {DType.FP16: torch.float16, DType.FP32: torch.float32, DType.INT32: torch.int32}


class ArrayWeights(PagedWeights):
    """The arrays of a file, as views on reserved addresses: read and freed page by page.

    Attributes:
        tensors: name -> the array. What it holds is right while all pages are there.
    """

    def __init__(
        self, path: Path, ports: Sequence[Port], sizes: Sequence[int], direct: bool = False
    ) -> None:
        """`sizes`: bytes of each page, of the arrays' data in the file's order.

        Raises:
            PackageError: the file is not as long as the arrays make it, or cannot be read.
        """
        self._path, self._ports = path, tuple(ports)
        # No program refers to them: they come into one as its inputs.
        none = mil.Program(str(path), str(path.parent), {}, {}, "")
        super().__init__(none, sizes, direct)
        self.tensors = {
            port.name: self._alone_of(str(path), i).view(_TORCH[port.dtype]).reshape(port.shape)
            for i, port in enumerate(self._ports)
        }

    def _alone_of(self, file: str, i: int) -> torch.Tensor:
        """An array's bytes as a storage of its own: who counts memory by storages counts it once,
        and no more than it."""
        raw = self._raw[file, i]
        start = raw.storage_offset() - self._memory.bytes.storage_offset()
        return self._memory.tensor(start, start + raw.numel())

    def _located(self) -> dict[Key, Datum]:
        at = self._size() - sum(p.size_bytes for p in self._ports)
        if at < 0:
            raise self._fail("is shorter than its arrays", "")
        found = {}
        for i, port in enumerate(self._ports):
            found[str(self._path), i] = Datum(str(self._path), at, at + port.size_bytes)
            at += port.size_bytes
        return found

    def _size(self) -> int:
        try:
            return os.stat(self._path).st_size
        except OSError as error:
            raise self._fail(f"cannot be read: {error.strerror}", "") from None

    def _file(self, name: str) -> BlobFile:
        if name not in self._files:
            try:
                self._files[name] = BlobFile(str(self._path), self._path, self._direct)
            except OSError as error:
                raise PackageError(str(self._path), f"cannot be read: {error.strerror}") from None
        return self._files[name]
