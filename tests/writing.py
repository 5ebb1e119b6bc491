"""Outputs written without a run: what `run/sinks.py` does with pieces that a test has."""

from pathlib import Path

import numpy as np

from entracte.errors import RunError, WriteError
from entracte.ir import DType, Output, Port
from entracte.run.outputs import FORMATS, Made
from entracte.run.sinks import FileSink, place_of

DTYPES = {"float16": DType.FP16, "float32": DType.FP32, "float64": DType.FP32, "int32": DType.INT32}
AXES = {"video": 2, "audio": -1, "text": 1}
RANGES = {"audio": (-1.0, 1.0)}


def made(value, kind="tensor", rate=8.0, name="x", folder=Path(), **more) -> Made:
    """An output that is this value."""
    low, high = RANGES.get(kind, (0.0, 1.0))
    fields = {"axis": AXES.get(kind, 0), "rate": rate, "low": low, "high": high} | more
    output = Output(name=name, kind=kind, values=("a",), **fields)
    port = Port(name, tuple(value.shape), DTYPES.get(value.dtype.name, DType.FP32))
    return Made(output, port, folder)


def write_pieces(pieces, path, kind=None, rate=8.0, **more) -> FileSink:
    """Write pieces of one output as they would come from a run."""
    place = place_of(path)
    kind = kind or place.format.kinds[-1]
    whole = made(pieces[0], kind, rate, **more)
    whole = made(np.concatenate(pieces, whole.output.axis), kind, rate, **more) if len(
        pieces
    ) > 1 else whole  # fmt: skip
    sink = FileSink(place, [whole])
    sink.begin()
    try:
        for piece in pieces:
            sink.take("x", piece)
        sink.finish()
    finally:
        sink.abandon()
    return sink


def write_output(value, path, rate=8.0, kind=None, **more) -> None:
    """Write an output whole. Raises `RunError`, where the disk has refused `WriteError`."""
    sink = write_pieces([value], path, kind, rate, **more)
    if sink.fault:
        kind_of = WriteError if "cannot be written" in sink.fault else RunError
        raise kind_of(sink.fault)


def endings(kind: str) -> list[str]:
    """Of all files that hold an output of a kind."""
    return [f.ending for f in FORMATS.values() if kind in f.kinds]
