"""Torch eager, the reference device and ONNX Runtime on the same modules.

    python tools/bench_reference.py --prepare                            # convert and export only
    python tools/bench_reference.py --markdown docs/reference-speed.md   # and time

Everybody runs in turn in one process, `--repeats` rounds after a warm-up; medians of the rounds
are printed, and medians of each round's ratio. With one thread the clock is the process's CPU
time, which on a free core is the wall clock and on a shared one leaves the other programs out;
with more it is the wall clock. Packages, ONNX files and rows are kept in --folder; `--add` keeps
the rows of earlier runs that this one does not measure anew.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
# Waiting threads of one contestant must not take the cores of the next.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

from tools.bench_models import CASES, Case, make  # noqa: E402

PRECISIONS = ("fp32", "fp16")
ORT_AIM = 1.3
MARKER = "<!-- figures: tools/bench_reference.py writes below this line -->"


@dataclass(frozen=True)
class Row:
    """Seconds of one module, package and number of threads."""

    case: str
    precision: str
    threads: int
    eager_s: float
    device_s: float
    runtime_s: float
    to_eager: float
    to_runtime: float
    aim: float
    error: float
    """Of the device's result against eager's: L2 error over L2 norm."""


def main() -> None:
    """Make what is missing, time, print."""
    options = _options()
    rows: list[Row] = []
    for name in options.only:
        case = make(name)
        for precision in options.precisions:
            _prepare(case, name, precision, options.folder)
            if not options.prepare:
                rows += _time(case, name, precision, options)
    if rows:
        rows = _kept(rows, options)
        text = _table(rows) + "\n\n" + _machine()
        print(text)
        if options.markdown is not None:
            _write(options.markdown, text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("build/bench_reference"))
    parser.add_argument("--only", type=_names(CASES), default=list(CASES), help="cases, by comma")
    parser.add_argument("--precisions", type=_names(PRECISIONS), default=list(PRECISIONS))
    parser.add_argument("--threads", type=lambda t: [int(n) for n in t.split(",")], default=[1, 2])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--prepare", action="store_true", help="convert and export only")
    parser.add_argument("--add", action="store_true", help="to the rows of earlier runs")
    parser.add_argument("--markdown", type=Path, help="put the table below the file's marker")
    return parser.parse_args()


def _kept(rows: list[Row], options: argparse.Namespace) -> list[Row]:
    """The rows with those of earlier runs, in the order of the cases; written for later ones."""
    file = options.folder / "rows.json"
    found = {}
    if options.add and file.exists():
        found = {_key(row): row for row in (Row(**r) for r in json.loads(file.read_text()))}
    found |= {_key(row): row for row in rows}
    order = [make(name).title for name in CASES]
    merged = sorted(found.values(), key=lambda r: (order.index(r.case), r.precision, r.threads))
    made = file.with_suffix(".new")
    made.write_text(json.dumps([asdict(row) for row in merged], indent=1))
    os.replace(made, file)
    return merged


def _key(row: Row) -> tuple[str, str, int]:
    return row.case, row.precision, row.threads


def _names(known: Any) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        unknown = sorted(set(names) - set(known))
        if unknown:
            raise argparse.ArgumentTypeError(f"{unknown}: not among {', '.join(known)}")
        return names

    return parse


def _paths(name: str, precision: str, folder: Path) -> tuple[Path, Path]:
    return folder / f"{name}_{precision}.mlpackage", folder / f"{name}_{precision}.onnx"


def _prepare(case: Case, name: str, precision: str, folder: Path) -> None:
    """Convert the module and export the package, unless both are there."""
    import torch

    from entracte.lower.convert import Conversion, convert_chunk
    from entracte.lower.ports import DType, Port
    from entracte.reference.export_onnx import export_onnx

    package, model = _paths(name, precision, folder)
    if package.exists() and model.exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    kind = DType.FP16 if precision == "fp16" else DType.FP32
    with torch.no_grad():
        (result,) = case.module(*case.inputs.values())
    convert_chunk(
        case.module, tuple(case.inputs.values()),
        inputs=[Port(n, tuple(v.shape), kind) for n, v in case.inputs.items()],
        outputs=[Port("y", tuple(result.shape), kind)],
        how=Conversion(precision, "iOS18", "none"), path=package,
    )  # fmt: skip
    print(f"{package}: {export_onnx(package, model).agreement}", flush=True)


def _time(case: Case, name: str, precision: str, options: argparse.Namespace) -> list[Row]:
    import torch

    from entracte.reference import load

    package, model = _paths(name, precision, options.folder)
    rows = []
    with load(package) as device, torch.no_grad():
        feed = {
            n: v.numpy() for n, v in zip(case.inputs, device.prepared(case.inputs), strict=True)
        }
        for threads in options.threads:
            torch.set_num_threads(threads)
            session = _session(model, threads)
            runs = (
                lambda: case.module(*case.inputs.values()),
                lambda: device.predict(case.inputs),
                lambda session=session: session.run(None, feed),
            )
            wanted, found = runs[0]()[0], runs[1]()["y"].float()
            error = float((found - wanted).norm() / wanted.norm())
            clock = time.process_time if threads == 1 else time.perf_counter
            every = [[_seconds(run, clock) for run in runs] for _ in range(options.repeats + 1)]
            rounds = every[1:]
            rows.append(_row(case, precision, threads, rounds, error))
            print(_line(rows[-1]), flush=True)
    return rows


def _session(model: Path, threads: int) -> Any:
    import onnxruntime

    chosen = onnxruntime.SessionOptions()
    chosen.intra_op_num_threads = threads
    chosen.log_severity_level = 3
    chosen.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return onnxruntime.InferenceSession(model, chosen, providers=["CPUExecutionProvider"])


def _seconds(run: Callable[[], Any], clock: Callable[[], float]) -> float:
    began = clock()
    run()
    return clock() - began


def _row(
    case: Case, precision: str, threads: int, rounds: list[list[float]], error: float
) -> Row:  # fmt: skip
    eager, device, runtime = (statistics.median(times) for times in zip(*rounds, strict=True))
    return Row(
        case.title, precision, threads, eager, device, runtime,
        statistics.median(d / e for e, d, _ in rounds),
        statistics.median(d / r for _, d, r in rounds),
        case.aim, error,
    )  # fmt: skip


def _line(row: Row) -> str:
    times = " | ".join(f"{1e3 * s:.0f}" for s in (row.eager_s, row.device_s, row.runtime_s))
    eager, runtime = _judged(row.to_eager, row.aim), _judged(row.to_runtime, ORT_AIM)
    head = f"| {row.case} | {row.precision} | {row.threads} | {times}"
    return f"{head} | {eager} | {runtime} | {row.error:.1e} |"


def _judged(ratio: float, aim: float) -> str:
    return f"{ratio:.2f} (<= {aim})" if ratio <= aim else f"**{ratio:.2f}** (missed {aim})"


def _table(rows: list[Row]) -> str:
    head = (
        "| module | package | threads | eager ms | device ms | ONNX Runtime ms | device / eager "
        "(aim) | device / ONNX Runtime (aim) | device against eager |\n"
        "|---|---|--:|--:|--:|--:|--:|--:|--:|"
    )
    return "\n".join([head, *(_line(row) for row in rows)])


def _machine() -> str:
    import onnxruntime
    import torch

    model = next(
        line.split(":")[1].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith("model name")
    )
    return (
        f"{model}, {os.cpu_count()} cores; torch {torch.__version__}, ONNX Runtime "
        f"{onnxruntime.__version__}. One thread in CPU time, more in wall time."
    )


def _write(path: Path, text: str) -> None:
    """Replace what is below the marker."""
    kept = path.read_text().split(MARKER)[0] if path.exists() else "# Speed\n\n"
    made = path.with_name(f".{path.name}.new")
    made.write_text(f"{kept}{MARKER}\n\n{text}\n")
    os.replace(made, path)


if __name__ == "__main__":
    main()
