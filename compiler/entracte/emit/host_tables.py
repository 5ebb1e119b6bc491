"""Tables that `gather_rows` reads: one weight as a file of rows, written a block at a time."""

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.declare.host_ops import Source
from entracte.declare.host_ops.table_rows import NUMPY_TYPES
from entracte.disk.write import writing
from entracte.errors import ConfigError
from entracte.ir import DType
from entracte.store.tensor_file import read_header, reading
from entracte.trace.weights import weight_source, weights_folder

if TYPE_CHECKING:
    import torch

_BLOCK_ELEMENTS = 2**22
"""In memory at once; a multiple of 16 of them (see `_drawn`)."""
_FLOATS = ("F64", "F32", "F16", "BF16")


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


def look_at_table(where: str, source: Source, params: Mapping[str, Any]) -> Table:
    """Where a table's numbers are, its shape checked. Raises `ConfigError`."""
    key, rows, width = params["key"], params["rows"], params["width"]
    weight_source(source.place)  # it refuses what is no place of weights
    kind, _, seed = source.place.partition(":")
    random = kind == "random"
    table = Table(
        where=where,
        key=key,
        rows=rows,
        width=width,
        dtype=DType(params["dtype"]),
        file=None if random else _file_with(where, weights_folder(source.place), source.name, key),
        seed=int(seed) if random else 0,
    )
    if table.file is not None:
        _check_stored(table)
    return table


def _file_with(where: str, folder: Path, stem: str, key: str) -> Path:
    place = folder / stem
    with reading(place):
        inner = sorted(place.glob("*.safetensors")) if place.is_dir() else []
    files = inner or [p for p in (place, Path(f"{place}.safetensors")) if p.is_file()]
    holding = [file for file in files if key in read_header(file)]
    if len(holding) == 1:
        return holding[0]
    if holding:
        raise ConfigError(f"{where}.key: {key!r} is in {holding[0]} and in {holding[1]}; keep one")
    if not files:
        raise ConfigError(
            f"{where}.table: there are no weights {place}.safetensors or {place}/*.safetensors; "
            "check pipeline.weights"
        )
    held = sorted(k for file in files for k in read_header(file))
    raise ConfigError(
        f"{where}.key: no file of {place} holds {key!r}; it holds {len(held)} tensors, e.g. "
        f"{', '.join(held[:3])}"
    )


def _check_stored(table: Table) -> None:
    assert table.file is not None
    stored = read_header(table.file)[table.key]
    if stored.shape != (table.rows, table.width):
        raise ConfigError(
            f"{table.where}: {table.file}: {table.key!r} is {list(stored.shape)}, not rows x width "
            f"[{table.rows}, {table.width}]"
        )
    if stored.dtype not in _FLOATS:
        raise ConfigError(
            f"{table.where}: {table.file}: {table.key!r} holds {stored.dtype}, a table is one of "
            f"{', '.join(_FLOATS)}; save it dequantized"
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
