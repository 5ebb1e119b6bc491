"""Several seeds of one prompt in one process: everything each time, computed once, loaded once.

    python -m tools.bench_several BUILD            # --seeds 4 --rounds 7
    python -m tools.bench_several PLAN --predict   # of a dry run: a first seed and a further one

The three ways take turns on the reference device, in one process that has run the plan before.
Printed are medians of the rounds, of all seeds together: seconds, those of the processor, and what
was loaded. docs/running.md has the figures.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from entracte.clock.predict import predict
from entracte.disk.folder import fresh
from entracte.ir import Plan
from entracte.plan.file import read_plan
from entracte.program.conditions import conditions
from entracte.program.workload import Workload
from entracte.run.conditioning import Conditioning
from entracte.run.execute import OpenBuild, open_build
from entracte.run.left_out import proven_without
from entracte.run.series import Series
from entracte.units import format_bytes, format_seconds


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--predict", action="store_true")
    words = parser.parse_args()
    if words.predict:
        _predict(read_plan(words.build))
        return
    opened = open_build(words.build, device="reference", keep=False)
    opened.compute({"seed": 0})
    ways = {"everything each time": (False, False), "computed once": (True, False),
            "computed and loaded once": (True, True)}  # fmt: skip
    rounds: dict[str, list[tuple[float, ...]]] = {way: [] for way in ways}
    for _ in range(words.rounds):
        for way, (reuse, carry) in ways.items():
            rounds[way].append(_round(opened, words.seeds, reuse=reuse, carry=carry))
    print(f"| {words.seeds} seeds | time | processor | loading | loads | read | peak |")
    print("|---|---|---|---|---|---|---|")
    for way, rows in rounds.items():
        wall, own, loading, loads, read, peak = map(statistics.median, zip(*rows, strict=True))
        print(
            f"| {way} | {wall:.2f} s | {own:.2f} s | {1000 * loading:.0f} ms | {loads:.0f} | "
            f"{format_bytes(int(read))} | {format_bytes(int(peak))} |"
        )


def _predict(plan: Plan) -> None:
    """The plan's whole program, and without what a seed before it has stored."""
    rest, _ = proven_without(plan, conditions(plan.program))
    stored = sum(t.size_bytes for t in rest.program.tensors if t.name in rest.given)
    print("| seed | predicted time | waiting | read | stored values |")
    print("|---|---|---|---|---|")
    for seed, program, schedule, size in (
        ("first", plan.program, plan.schedule, 0),
        ("further", rest.program, rest.schedule, stored),
    ):
        found = predict(replace(Workload.of(plan), program=program), schedule)
        print(
            f"| {seed} | {format_seconds(found.makespan_s)} | {format_seconds(found.stall_s)} | "
            f"{format_bytes(found.loaded_bytes)} | {format_bytes(size)} |"
        )


def _round(opened: OpenBuild, seeds: int, *, reuse: bool, carry: bool) -> tuple[float, ...]:
    """Seconds, of the processor, of loading; loads, bytes read, the largest peak of one run."""
    with fresh(Path(tempfile.gettempdir()), "bench-several") as folder:
        own = replace(opened, conditioning=Conditioning(folder) if reuse else None)
        begun, own_begun, runs = time.perf_counter(), time.process_time(), []
        with Series(opened.plan, opened.device) as series:
            for seed in range(seeds):
                following = {"seed": seed + 1} if seed + 1 < seeds else None
                outcome = own.compute(
                    {"seed": seed}, series=series if carry else None, following=following
                )
                runs.append(outcome.run)
        wall, spent = time.perf_counter() - begun, time.process_time() - own_begun
    return (
        wall,
        spent,
        sum(c.load_s for run in runs for c in run.chunks),
        sum(c.loads for run in runs for c in run.chunks),
        sum(run.loaded_bytes for run in runs),
        max(run.peak_bytes for run in runs),
    )


if __name__ == "__main__":
    main()
