"""A plan whose chunks compute nothing, to measure what a runner itself takes for a step.

    python -m tools.make_bench_plan FOLDER [--chunks 200] [--iterations 30]

One loop over so many chunks of unlike sizes, in memory for about half of them, with the online
rule. Then, of a release build of compiler/swift: `entracte-bench step FOLDER`.
"""

import argparse
from pathlib import Path

from entracte.ir import Plan
from entracte.plan.file import write_plan
from tests.planner.chain import Part
from tests.planner.plans import plan_of
from tests.planner.programs import ONLINE

SIZES = range(60, 101)
"""Bytes of the chunks' weights: nobody loads them."""


def bench_plan(chunks: int, iterations: int) -> Plan:
    """The plan; 200 chunks take half a minute to plan."""
    weights = tuple(SIZES[k * 37 % len(SIZES)] for k in range(chunks))
    return plan_of((Part(iterations, weights),), ONLINE, sum(weights) // 2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--chunks", type=int, default=200)
    parser.add_argument("--iterations", type=int, default=30)
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    print(write_plan(bench_plan(options.chunks, options.iterations), options.folder))


if __name__ == "__main__":
    main()
