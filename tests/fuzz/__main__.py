"""`python -m tests.fuzz`: many cases, resumable, and what came of them."""

import argparse
import json
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path

from tests.fuzz.case import Outcome
from tests.fuzz.kinds import KINDS, spread
from tests.fuzz.loop import _outcome, outcomes

_EVERY = 500


def main() -> int:
    """0 if every case kept the bounds."""
    asked = _arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    results = asked.out / f"results-{asked.seed}.jsonl"
    known = {} if asked.only is not None else _known(results)
    cases = _cases(asked)
    rest = [c for c in cases if c not in known]
    print(f"{len(cases)} cases, {len(cases) - len(rest)} of them known from {results}", flush=True)
    begun = time.monotonic()
    with results.open("a") as file:
        for k, outcome in enumerate(outcomes(rest, asked.out, asked.seed), 1):
            known[outcome.kind, outcome.index] = outcome
            if asked.only is None:
                file.write(json.dumps(asdict(outcome)) + "\n")
            if outcome.is_bad or asked.only is not None:
                print(_line(outcome, asked.seed), flush=True)
            if k % _EVERY == 0:
                print(f"{k} of {len(rest)}, {time.monotonic() - begun:.0f} s", flush=True)
                file.flush()
    return show([known[c] for c in cases])


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=[k.name for k in KINDS], help="only this kind")
    parser.add_argument("--only", type=int, help="this index of --kind, told in full")
    parser.add_argument("--short", action="store_true", help="kinds mixed as in CI")
    parser.add_argument(
        "--out", type=Path, default=Path("build/fuzz"),
        help="results, and the folders of cases that broke a bound; the same again goes on",
    )  # fmt: skip
    return parser.parse_args()


def _cases(asked: argparse.Namespace) -> list[tuple[str, int]]:
    if asked.only is not None:
        return [(asked.kind, asked.only)]
    if asked.kind:
        return [(asked.kind, k) for k in range(asked.cases)]
    return spread(asked.cases, short=asked.short)


def _known(results: Path) -> dict[tuple[str, int], Outcome]:
    if not results.is_file():
        return {}
    found = [_outcome(line) for line in results.read_bytes().splitlines() if line.endswith(b"}")]
    return {(o.kind, o.index): o for o in found}


def _line(o: Outcome, seed: int) -> str:
    return f"{o.kind} --seed {seed} --only {o.index}: {o.verdict}: {o.what.strip()[-1500:]}"


def show(found: list[Outcome]) -> int:
    """The figures; the exit status."""
    for kind in KINDS:
        mine = [o for o in found if o.kind == kind.name]
        if not mine:
            continue
        counts = Counter(o.verdict for o in mine)
        slowest, largest = max(mine, key=lambda o: o.cpu_s), max(mine, key=lambda o: o.memory_bytes)
        print(
            f"{kind.name:8} {len(mine):6} cases: "
            + ", ".join(f"{n} {verdict}" for verdict, n in counts.most_common())
            + f"; {sum(o.cpu_s for o in mine):.0f} s, slowest {slowest.cpu_s:.2f} s"
            f" ({slowest.index}), largest {largest.memory_bytes / 1e6:.0f} MB ({largest.index})"
        )
    bad = [o for o in found if o.is_bad]
    print(f"{len(found)} cases, {len(bad)} broke a bound")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
