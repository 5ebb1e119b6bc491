"""Weights that are loaded and freed a page at a time, at addresses that never change.

The data of all records, in the order of the file, is cut into pages. Each has its place in
reserved addresses (`owned.Reserved`), laid out as the file is, so that a page is read straight
into its place and tensors are views made once. Memory comes and goes in blocks of the system's own
pages: one that two pages share is there while either is.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from entracte.reference import mil
from entracte.reference.info import blobs
from entracte.reference.owned import HUGE_BYTES, PAGE_BYTES, Reserved
from entracte.reference.weights import NEAR_BYTES, Key, Weights

_SNAP_BYTES = 64 << 10
"""Headers of some hundreds of records: how far data lies behind where it would be without them."""


@dataclass(frozen=True, slots=True)
class Datum:
    """Where the data of a record is: bytes [start, stop) of a weight file."""

    file: str
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Stretch:
    """Bytes [start, stop) of a file and the address `at` of the first; both are whole blocks."""

    file: str
    start: int
    stop: int
    at: int

    @property
    def stop_at(self) -> int:
        """The address after its last byte."""
        return self.at + self.stop - self.start


@dataclass(frozen=True, slots=True)
class Extent:
    """Addresses [low, high) of a page's data inside one stretch."""

    stretch: int
    low: int
    high: int


def stretches(data: Sequence[Datum]) -> tuple[Stretch, ...]:
    """Data by rising place; what is near each other in a file is near each other in memory."""
    found: list[Stretch] = []
    for d in data:
        last = found[-1] if found else None
        if last is not None and last.file == d.file and d.start <= last.stop + NEAR_BYTES:
            found[-1] = replace(last, stop=d.stop)
            continue
        at = 0 if last is None else _blocks(last.stop_at) * PAGE_BYTES
        found.append(Stretch(d.file, d.start // PAGE_BYTES * PAGE_BYTES, d.stop, at))
    return tuple(found)


def cut(
    data: Sequence[tuple[int, int, int]], sizes: Sequence[int]
) -> tuple[tuple[Extent, ...], ...]:
    """The pages: data in order, `sizes` bytes to each.

    Args:
        data: (stretch, first address, address behind the last) of each record's data; as many
            bytes as the pages together.
    """
    pages = []
    pieces = iter(data)
    stretch = low = high = 0
    for size in sizes:
        extents: list[Extent] = []
        while size:
            if low == high:
                stretch, low, high = next(pieces)
            taken = min(size, high - low)
            if extents and extents[-1].stretch == stretch:
                extents[-1] = replace(extents[-1], high=low + taken)
            else:
                extents.append(Extent(stretch, low, low + taken))
            low, size = low + taken, size - taken
        pages.append(tuple(extents))
    return tuple(pages)


def snapped(pages: Sequence[tuple[Extent, ...]]) -> tuple[tuple[Extent, ...], ...]:
    """Pages that end a little above a multiple of `HUGE_BYTES` end there, the next begin there.

    Cut at multiples of it, data lies there but for the headers of the records before: so pages are
    whole huge pages, and the headers' bytes are all in the last page.
    """
    found: list[tuple[Extent, ...]] = []
    for page in pages:
        last = found[-1][-1] if found and found[-1] else None
        if last is not None and page and page[0].stretch == last.stretch:
            at = last.high // HUGE_BYTES * HUGE_BYTES
            if last.high - at <= _SNAP_BYTES and last.low < at:
                found[-1] = (*found[-1][:-1], replace(last, high=at))
                page = (replace(page[0], low=at), *page[1:])
        found.append(tuple(page))
    return tuple(found)


class PagedWeights(Weights):
    """All blob constants of all functions of a package; none of their bytes is there at first.

    Constants handed out are views on reserved addresses: what is computed with them, or copied
    from them, while a page is missing is wrong. `complete` says whether all are there.

    Attributes:
        copied: whether a constant was handed out that is no view: it holds memory of its own.
    """

    def __init__(self, program: mil.Program, sizes: Sequence[int], direct: bool = False) -> None:
        """`sizes`: bytes of each page.

        Raises:
            PackageError: a record is not what the program says, or two share their data; the
                pages are more or fewer bytes than the data.
        """
        super().__init__(program, own=True, direct=direct)
        self._sizes = tuple(sizes)
        self.copied = False
        self._beside_bytes = 0
        self._lock = threading.Lock()
        """A page may be freed while another one is read."""
        self._there: set[int] = set()
        """Pages whose memory is taken; those that are read as well are ready."""
        self._ready: set[int] = set()
        self._shared: Counter[int] = Counter()
        """First and last blocks of the extents that are there -> of how many."""
        places = self._located()
        data = sorted(places.values(), key=lambda d: (d.file, d.start))
        self._check(data)
        self._stretches = stretches(data)
        self._reserve(places, data)

    # -- what is there ----------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether all pages are there."""
        return len(self._ready) == len(self._sizes)

    @property
    def missing(self) -> int | None:
        """The first page that is not there."""
        return next((p for p in range(len(self._sizes)) if p not in self._ready), None)

    @property
    def resident_bytes(self) -> int:
        """Bytes of the pages that are there or being read."""
        return sum(self._sizes[p] for p in tuple(self._there)) + self._beside_bytes

    def load(self, page: int) -> None:
        """Read a page's bytes and no others (but for the blocks at its ends).

        Raises:
            PackageError: it is there, there is no such page, or the file cannot be read.
        """
        if not 0 <= page < len(self._sizes) or page in self._there:
            why = "is loaded twice" if page in self._there else f"is none of {len(self._sizes)}"
            raise self._fail(f"page {page} {why}", "")
        with self._lock:
            blocks = self._take(page)
        try:
            for stretch, low, high in blocks:
                self._read_blocks(stretch, low, high)
        except BaseException:
            self._drop(page)
            raise
        self._ready.add(page)

    def free(self, page: int) -> None:
        """Give a page's memory back. Raises `PackageError` where it is not there."""
        if page not in self._ready:
            raise self._fail(f"page {page} is freed but not loaded", "")
        self._drop(page)

    def _drop(self, page: int) -> None:
        with self._lock:
            self._ready.discard(page)
            self._there.remove(page)
            for extent in self._pages[page]:
                self._shared.subtract(_ends(extent))
            for _, low, high in self._alone(page):
                self._memory.drop(low, high)

    def rest(self) -> None:
        """Free all pages and close the files; `load` opens them again."""
        for page in tuple(self._there):
            self._drop(page)
        for key in self._raw.keys() - self._places:
            del self._raw[key]
        self._beside_bytes, self.copied = 0, False
        for file in self._files.values():
            file.close()
        self._files.clear()

    # -- Weights ----------------------------------------------------------------------------

    def fetch(self, wanted: Mapping[Key, tuple[mil.TensorType, str]]) -> None:
        """Nothing to do: pages are read one by one."""

    def tensor(self, value: mil.Value, op: str) -> torch.Tensor:
        """See `Weights`; notes where the tensor is a copy beside the pages."""
        made = super().tensor(value, op)
        whole = self._memory.bytes.untyped_storage().data_ptr()
        if value.blob is not None and made.untyped_storage().data_ptr() != whole:
            self.copied = True
        return made

    def _read(self, key: Key, kind: mil.TensorType, op: str) -> torch.Tensor:
        raw = super()._read(key, kind, op)
        self._beside_bytes += raw.numel()
        return raw

    def close(self) -> None:
        """See `Weights`."""
        self.rest()
        super().close()

    # -- making -----------------------------------------------------------------------------

    def _located(self) -> dict[Key, Datum]:
        """Every record with data, checked."""
        found = {}
        for function in self._program.functions.values():
            for key, (kind, op) in blobs(function).items():
                if key not in found and kind.nbytes:
                    start, nbytes = self._file(key[0]).locate(key[1], kind, op)
                    found[key] = Datum(key[0], start, start + nbytes)
        return found

    def _check(self, data: Sequence[Datum]) -> None:
        for one, other in zip(data, data[1:], strict=False):
            if one.file == other.file and other.start < one.stop:
                raise self._fail(f"two records share the data at {other.start}: no pages", "")
        held = sum(d.stop - d.start for d in data)
        if not self._sizes or min(self._sizes) < 0 or sum(self._sizes) != held:
            raise self._fail(
                f"holds {held} bytes of weights, its {len(self._sizes)} pages by the plan "
                f"{sum(self._sizes)}",
                "",
            )

    def _reserve(self, places: Mapping[Key, Datum], data: Sequence[Datum]) -> None:
        addresses = dict(_addresses(data, self._stretches))
        self._pages = snapped(cut([addresses[d] for d in data], self._sizes))
        size = _blocks(self._stretches[-1].stop_at) * PAGE_BYTES if self._stretches else 0
        try:
            self._memory = Reserved(size)
        except (OSError, OverflowError, ValueError):
            raise self._fail(f"no {size} addresses to be had", "") from None
        for extent in (s for page in self._pages for s in page):
            # Nothing is before a stretch's first byte.
            first = extent.low - self._stretches[extent.stretch].at < PAGE_BYTES
            self._memory.huge(
                extent.low // PAGE_BYTES * PAGE_BYTES if first else extent.low, extent.high
            )
        for key, datum in places.items():
            _, low, high = addresses[datum]
            self._raw[key] = self._memory.bytes[low:high]
        self._places = frozenset(places)

    # -- blocks -----------------------------------------------------------------------------

    def _take(self, page: int) -> list[tuple[Stretch, int, int]]:
        """Addresses of the blocks to be read for a page, which then count as its own too."""
        alone = list(self._alone(page))
        self._there.add(page)
        for extent in self._pages[page]:
            self._shared.update(_ends(extent))
        return alone

    def _alone(self, page: int) -> Iterator[tuple[Stretch, int, int]]:
        """Addresses of the blocks of a page in which no other page is."""
        for extent in self._pages[page]:
            first, last = extent.low // PAGE_BYTES, (extent.high - 1) // PAGE_BYTES
            low = first + (self._shared[first] > 0)
            high = last + 1 - (self._shared[last] > 0)
            if low < high:
                yield self._stretches[extent.stretch], low * PAGE_BYTES, high * PAGE_BYTES

    def _read_blocks(self, stretch: Stretch, low: int, high: int) -> None:
        view = self._memory.view(low, high)
        try:
            wanted = min(high, stretch.stop_at) - low
            self._file(stretch.file).read_into(view, stretch.start + low - stretch.at, wanted)
        finally:
            view.release()


def _addresses(
    data: Sequence[Datum], found: Sequence[Stretch]
) -> Iterator[tuple[Datum, tuple[int, int, int]]]:
    """(stretch, first address, address behind the last) of each datum; both by rising place."""
    k = 0
    for d in data:
        while found[k].file != d.file or d.stop > found[k].stop:
            k += 1
        low = d.start - found[k].start + found[k].at
        yield d, (k, low, low + d.stop - d.start)


def _ends(extent: Extent) -> set[int]:
    """The blocks that an extent may share with another."""
    return {extent.low // PAGE_BYTES, (extent.high - 1) // PAGE_BYTES}


def _blocks(nbytes: int) -> int:
    """How many blocks hold so many bytes."""
    return -(-nbytes // PAGE_BYTES)
