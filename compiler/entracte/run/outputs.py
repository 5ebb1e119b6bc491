"""What a run gives, as a file: one row for each kind of output.

The ending of the file's name says which kind is meant. To add a kind, write its row here and put
it into `OUTPUTS`. numpy and what encodes pictures are imported by what writes.
"""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any, BinaryIO

from entracte.disk.folder import can_write
from entracte.disk.write import writing
from entracte.errors import RunError, WriteError
from entracte.ir import DType, Plan, Port
from entracte.run.video import video_fault, write_video


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """One kind of output."""

    kind: str
    words: str
    """What values it takes, for whoever gives another."""
    endings: tuple[str, ...]
    """Of the files that it writes, each with its dot; no two kinds share one."""
    fits: Callable[[Port], bool]
    fault: Callable[[Port, str, float], str | None] = lambda *_: None
    """(a port that fits, a file's ending, the plan's `fps`) -> why such a file cannot hold it."""
    write: Callable[[Any, Path, float], None]
    """(value, file, the plan's `fps`); the file's ending is one of `endings`."""


def _is_video(port: Port) -> bool:
    shape = port.shape
    return len(shape) == 5 and shape[:2] == (1, 3) and port.dtype is not DType.INT32


def _write_npy(value: Any, path: Path, _: float) -> None:
    with path.open("wb") as file:
        _save(value, file)


def _save(value: Any, file: BinaryIO) -> None:
    import numpy as np

    # Into what it takes for a file, numpy writes by itself, and says of a full disk only how many
    # elements it has written.
    np.save(_Writer(file.write), np.asarray(value), allow_pickle=False)  # type: ignore[call-overload]


@dataclass(frozen=True, slots=True)
class _Writer:
    """What of a file is enough to write to."""

    write: Callable[[bytes], int]


VIDEO = Output(
    kind="video",
    words="fractions in [0, 1] of (1, 3, frames, height, width)",
    endings=(".mp4", ".gif", ".png"),
    fits=_is_video,
    fault=lambda port, ending, fps: video_fault(port.shape, ending, fps),
    write=write_video,
)

TENSOR = Output(
    kind="tensor",
    words="any tensor",
    endings=(".npy",),
    fits=lambda _: True,
    write=_write_npy,
)

OUTPUTS = {row.kind: row for row in (VIDEO, TENSOR)}


def output_for(path: Path) -> Output:
    """The kind that a file's ending means. Raises `RunError` for a file that could not be
    written."""
    ending = path.suffix.lower()
    row = next((o for o in OUTPUTS.values() if ending in o.endings), None)
    if row is None:
        endings = ", ".join(e for o in OUTPUTS.values() for e in o.endings)
        raise RunError(f"{path}: the ending decides the format: give one of {endings}")
    if not path.parent.is_dir():
        raise RunError(f"{path}: there is no folder {path.parent}")
    if path.is_dir():
        raise RunError(f"{path}: is a folder; name a file")
    if not can_write(Path(os.path.realpath(path)).parent):
        raise WriteError(f"{path}: cannot be written: its folder is read-only; name another file")
    return row


def check_output(plan: Plan, path: Path) -> None:
    """Raises `RunError`, before any work is done, where the plan gives no such value."""
    row = output_for(path)
    name = plan.program.output_values[0]
    port = next((t.port for t in plan.program.tensors if t.port.name == name), None)
    if port is None:
        return
    if row.fits(port):
        if fault := row.fault(port, path.suffix.lower(), plan.program.outputs[0].rate):
            raise RunError(f"{path}: {fault}; give a file that ends in {_others(port, plan)}")
        return
    others = [e for o in OUTPUTS.values() if o.fits(port) for e in o.endings]
    raise RunError(
        f"{path}: {row.kind} files take {row.words}, the plan gives {name}, {port.dtype} of "
        f"{port.shape}; give a file that ends in {', '.join(others)}"
    )


def _others(port: Port, plan: Plan) -> str:
    """The endings of files that can hold a port."""
    endings = [(o, e) for o in OUTPUTS.values() if o.fits(port) for e in o.endings]
    return ", ".join(
        e for o, e in endings if o.fault(port, e, plan.program.outputs[0].rate) is None
    )


def write_output(value: Any, path: Path, fps: float) -> None:
    """Write a run's output in the format of the ending, whole or not at all.

    Raises `RunError`, also for whatever else a writer raises: encoders have errors of their own,
    and minutes of computing must not be lost to one.
    """
    row = output_for(path)
    try:
        with writing(path, follow=True, durable=True) as aside:
            row.write(value, aside, fps)
    except RunError:
        raise
    except Exception as error:
        # Encoders raise kinds of their own.
        why = f"{type(error).__name__}: {error}"
        raise RunError(
            f"{path}: cannot be encoded ({why}); give a file that ends in .npy"
        ) from error


def keep_output(value: Any, path: Path) -> Path | None:
    """Keep what could not be written to `path`, as a tensor: beside it, else where the system keeps
    temporary files. None where neither is possible."""
    for folder in (path.parent, Path(tempfile.gettempdir())):
        kept = folder / f"{path.stem}.partial-{token_hex(4)}.npy"
        try:
            with writing(kept, durable=True) as aside:
                _write_npy(value, aside, 0.0)
        except Exception:  # noqa: S112 (the next place is tried)
            continue
        return kept
    return None
