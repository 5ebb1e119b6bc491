"""Write a plan of 1,000 chunks, for the figures of the Swift runner.

    python -m tools.bench_swift FOLDER
    swift run -c release entracte-bench plan FOLDER        # in compiler/swift

The plan is made of numbers: a text encoder, a loop of 14 iterations over 990 chunks, a decoder.
"""

import argparse
import random
import sys
from dataclasses import replace
from pathlib import Path

from entracte.plan.file import write_plan
from tests.planner.plans import plan_of
from tests.planner.programs import DOUBLE_BUFFER, ONLINE, Part

CHUNKS = 990


def main() -> None:
    """Write it into the folder that is named."""
    reader = argparse.ArgumentParser(description=__doc__)
    reader.add_argument("folder", type=Path)
    reader.add_argument("driver", nargs="?", choices=("online",), help="gates without it")
    words = reader.parse_args()
    folder = words.folder
    folder.mkdir(parents=True, exist_ok=True)
    drawn = random.Random(1)
    weights = tuple(drawn.randrange(10**6, 10**7) for _ in range(CHUNKS))
    shape = (Part(1, weights[:8]), Part(14, weights), Part(1, weights[:2]))
    policy = ONLINE if words.driver else DOUBLE_BUFFER
    plan = plan_of(shape, replace(policy, retain=False), 3 * 10**7)
    path = write_plan(plan, folder)
    sys.stdout.write(f"{path}: {path.stat().st_size} bytes, {len(plan.chunks)} chunks\n")


if __name__ == "__main__":
    main()
