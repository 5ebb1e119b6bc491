"""Several seeds of one prompt in one process: everything each time, computed once, loaded once.

    python -m tools.bench_several BUILD            # --seeds 4 --rounds 7

The three ways take turns on the reference device, in one process that has run the plan before. Printed are medians
of the rounds, of all seeds together: seconds and what was loaded. docs/running.md has the figures.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from entracte.disk.folder import fresh
from entracte.run.conditioning import Conditioning
from entracte.run.execute import OpenBuild, open_build
from entracte.run.series import Series
from entracte.units import format_bytes


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("build", type=Path)
    parser.add_argument("--seeds", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    words = parser.parse_args()
    opened = open_build(words.build, device="reference", keep=False)
    opened.compute({"seed": 0})
    ways = {"everything each time": (False, False), "computed once": (True, False),
            "computed and loaded once": (True, True)}  # fmt: skip
    rounds: dict[str, list[tuple[float, float, int, int, int]]] = {way: [] for way in ways}
    for _ in range(words.rounds):
        for way, (reuse, carry) in ways.items():
            rounds[way].append(_round(opened, words.seeds, reuse=reuse, carry=carry))
    print(f"| {words.seeds} seeds | time | loading | loads | read | most |")
    print("|---|---|---|---|---|---|")
    for way, rows in rounds.items():
        wall, loading, loads, read, peak = (statistics.median(x) for x in zip(*rows, strict=True))
        print(
            f"| {way} | {wall:.2f} s | {1000 * loading:.0f} ms | {loads:.0f} | "
            f"{format_bytes(int(read))} | {format_bytes(int(peak))} |"
        )


def _round(
    opened: OpenBuild, seeds: int, *, reuse: bool, carry: bool
) -> tuple[float, float, int, int, int]:
    """Seconds, of them loading, loads, bytes read, and the largest peak of one run."""
    with fresh(Path(tempfile.gettempdir()), "bench-several") as folder:
        own = replace(opened, conditioning=Conditioning(folder) if reuse else None)
        begun, runs = time.perf_counter(), []
        with Series(opened.plan, opened.device) as series:
            for seed in range(seeds):
                following = {"seed": seed + 1} if seed + 1 < seeds else None
                outcome = own.compute(
                    {"seed": seed}, series=series if carry else None, following=following
                )
                runs.append(outcome.run)
        wall = time.perf_counter() - begun
    return (
        wall,
        sum(c.load_s for run in runs for c in run.chunks),
        sum(c.loads for run in runs for c in run.chunks),
        sum(run.loaded_bytes for run in runs),
        max(run.peak_bytes for run in runs),
    )


if __name__ == "__main__":
    main()
