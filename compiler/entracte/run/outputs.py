"""What a run gives, as a file: one row for each kind of output.

The ending of the file's name says which kind is meant. To add a kind, write its row here and put
it into `OUTPUTS`. numpy and what encodes pictures are imported by what writes.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entracte.errors import RunError
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
    import numpy as np

    np.save(path, np.asarray(value), allow_pickle=False)


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
    return row


def check_output(plan: Plan, path: Path) -> None:
    """Raises `RunError`, before any work is done, where the plan gives no such value."""
    row = output_for(path)
    name = plan.program.output
    port = next((t.port for t in plan.program.tensors if t.port.name == name), None)
    if port is None:
        return
    if row.fits(port):
        if fault := row.fault(port, path.suffix.lower(), plan.fps):
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
    return ", ".join(e for o, e in endings if o.fault(port, e, plan.fps) is None)


def write_output(value: Any, path: Path, fps: float) -> None:
    """Write a run's output in the format of the ending, aside first and then renamed."""
    row = output_for(path)
    aside = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        row.write(value, aside, fps)
        os.replace(aside, path)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from None
    except RunError:
        raise
    except Exception as error:
        # Encoders raise kinds of their own.
        what = f"{type(error).__name__}: {error}"
        raise RunError(
            f"{path}: cannot be encoded ({what}); give a file that ends in .npy"
        ) from error
    finally:
        aside.unlink(missing_ok=True)
