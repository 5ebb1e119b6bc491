"""Tables that `gather_rows` reads: one weight as a file of rows, written a block at a time."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.declare.host_ops import Source
from entracte.declare.host_ops.table_rows import NUMPY_TYPES
from entracte.disk.places import weights_folder
from entracte.disk.write import writing
from entracte.errors import ConfigError
from entracte.ir import DType, Stage
from entracte.store.cache import Cache, cache_folder
from entracte.store.tensor_file import reading
from entracte.trace.checkpoint import FLOATS, Checkpoint, Place
from entracte.trace.weights import weight_source

if TYPE_CHECKING:
    import torch

_BLOCK_ELEMENTS = 2**22
"""In memory at once; a multiple of 16 of them (see `_drawn`)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A weight that becomes a file of rows."""

    where: str
    key: str
    rows: int
    width: int
    dtype: DType
    file: Path | None
    """The safetensors file that holds it; None for numbers drawn from a seed."""
    seed: int = 0


def look_at_table(stage: Stage, where: str, source: Source, cache: Cache | None = None) -> Table:
    """Where a table's numbers are, its shape checked. Raises `ConfigError`.

    Args:
        where: begins messages.
        cache: where checkpoints that are pickles become safetensors; by default the usual one.
    """
    params: Any = dict(stage.params)
    weight_source(source.place, cache)  # it refuses what is no place of weights
    kind, _, seed = source.place.partition(":")
    table = Table(
        where=where,
        key=params["key"],
        rows=params["rows"],
        width=params["width"],
        dtype=DType(params["dtype"]),
        file=None,
        seed=int(seed) if kind == "random" else 0,
    )
    if kind == "random":
        return table
    places = Checkpoint(
        stage.name, weights_folder(source.place), source.name, cache or Cache(cache_folder("auto"))
    ).places
    if table.key not in places:
        raise ConfigError(
            f"{where}.key: no file of the weights {source.name} holds {table.key!r}; they hold "
            f"{len(places)} tensors, e.g. {', '.join(sorted(places)[:3])}"
        )
    _check_stored(table, places[table.key])
    return replace(table, file=places[table.key].path)


def _check_stored(table: Table, place: Place) -> None:
    stored, named = place.stored, f"{table.where}: {place.origin}: {table.key!r}"
    if stored.shape != (table.rows, table.width):
        raise ConfigError(
            f"{named} is {list(stored.shape)}, not rows x width [{table.rows}, {table.width}]"
        )
    if stored.dtype not in FLOATS:
        raise ConfigError(
            f"{named} holds {stored.dtype}, a table is one of {', '.join(FLOATS)}; save it "
            "dequantized"
        )


def write_table(table: Table, target: Path) -> None:
    """Row after row, little-endian. Raises `ConfigError` for numbers that the type cannot hold."""
    blocks = _drawn(table) if table.file is None else _read(table)
    with writing(target) as aside, aside.open("wb") as file:
        for block in blocks:
            file.write(_bytes(table, block))


def _bytes(table: Table, block: "torch.Tensor") -> bytes:
    import torch

    wanted = torch.float16 if table.dtype is DType.FP16 else torch.float32
    made = block.to(wanted)
    if not bool(torch.isfinite(made).all()):
        raise ConfigError(
            f"{table.where}: {table.key!r} holds numbers that {table.dtype} cannot (too large, or "
            "none at all); give dtype: fp32, or other weights"
        )
    data: bytes = made.contiguous().numpy().astype(NUMPY_TYPES[table.dtype], copy=False).tobytes()
    return data


def _read(table: Table) -> "Iterator[torch.Tensor]":
    from safetensors import safe_open

    assert table.file is not None
    rows = max(1, _BLOCK_ELEMENTS // table.width)
    with reading(table.file), safe_open(table.file, framework="pt") as file:
        whole = file.get_slice(table.key)
        for begin in range(0, table.rows, rows):
            yield whole[begin : begin + rows].float()


def _drawn(table: Table) -> "Iterator[torch.Tensor]":
    """The numbers that `random:SEED` gives the weight of that key, whole or in blocks: torch draws
    sixteen at a time, and its last sixteen anew where their number is no multiple of it."""
    import torch

    generator = torch.Generator().manual_seed(zlib.crc32(table.key.encode()) ^ table.seed)
    left, scale = table.rows * table.width, table.width**-0.5
    while left:
        count = left if left < 2 * _BLOCK_ELEMENTS else _BLOCK_ELEMENTS
        yield torch.randn(count, generator=generator).mul_(scale)
        left -= count
