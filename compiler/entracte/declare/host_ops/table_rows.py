"""`gather_rows`: the few rows of a table that are asked for, read from its file.

A token table may be larger than a chunk may be. Its file is the rows one after the other, numbers
in little-endian order, and is never whole in memory.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.declare.host_ops.kinds import FILE, PATH, SIZE, TEXT, one_of
from entracte.declare.host_ops.row import (
    TENSOR,
    FileKind,
    Given,
    HostOp,
    Param,
    Place,
    Reads,
    Source,
)
from entracte.disk.read import inside
from entracte.errors import RunError
from entracte.ir import DType, Port

if TYPE_CHECKING:
    import numpy as np

NUMPY_TYPES = {DType.FP16: "<f2", DType.FP32: "<f4"}


def gather_rows(
    ids: "np.ndarray", file: Path, *, rows: int, width: int, dtype: DType
) -> "np.ndarray":
    """The rows of those numbers, [1, L, width]. Raises `RunError`."""
    import numpy as np

    numbers = np.asarray(ids).reshape(-1).astype(np.int64)
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < rows:
        stray = next(int(n) for n in numbers if not 0 <= n < rows)
        raise RunError(f"gather_rows: id {stray} is no row of {file.name}, which has {rows}")
    made = np.empty((len(numbers), width), NUMPY_TYPES[dtype])
    row_bytes = width * dtype.width_bytes
    with file.open("rb") as stream:
        for place, number in enumerate(numbers):
            data = os.pread(stream.fileno(), row_bytes, int(number) * row_bytes)
            if len(data) != row_bytes:
                raise RunError(f"gather_rows: {file} ends before row {number}; compile again")
            made[place] = np.frombuffer(data, NUMPY_TYPES[dtype])
    return made.reshape(1, len(numbers), width).astype(made.dtype.newbyteorder("="), copy=False)


def _run(params: Given, inputs: Mapping[str, Any], place: Place) -> "dict[str, np.ndarray]":
    name, wanted = params["file"], _file_bytes(params)
    file = inside(place.folder, name)
    if file is None or not file.is_file() or file.stat().st_size != wanted:
        raise RunError(
            f"gather_rows: there is no table {name} of {wanted} bytes in the build folder "
            f"{place.folder} (or it is a link out of it, or of another size); compile again"
        )
    dtype = DType(params["dtype"])
    rows, width = params["rows"], params["width"]
    return {"rows": gather_rows(inputs["ids"], file, rows=rows, width=width, dtype=dtype)}


def _file_bytes(params: Given) -> int:
    return int(params["rows"] * params["width"] * DType(params["dtype"]).width_bytes)


_SIZES = (
    Param("rows", SIZE),
    Param("width", SIZE),
    Param("dtype", one_of(DType.FP16, DType.FP32)),
)

GATHER_ROWS = HostOp(
    name="gather_rows",
    inputs=(Reads("ids", TENSOR, DType.INT32, (1, None)),),
    declared=(Param("table", PATH), Param("key", TEXT), *_SIZES),
    params=(Param("file", FILE), *_SIZES),
    ports=lambda params, tensors: (
        Port("rows", (*tensors["ids"].shape, params["width"]), DType(params["dtype"])),
    ),
    files=("file",),
    file_bytes=_file_bytes,
    sources=lambda params, weights: (Source("file", FileKind.TABLE, weights, params["table"]),),
    run=_run,
)
