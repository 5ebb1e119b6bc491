"""Our planner and its lower bound beside the exact optimum, on loops that CP-SAT can solve.

    pip install -e ".[bench]"
    python tools/bench_exact.py             # --limit S: deterministic seconds of each
    python tools/bench_exact.py --weak FILE ...       # without the extra
    python tools/bench_exact.py --lengths             # nor this

Loops of K chunks done N times as in tools/bench_plan.py, in whole numbers: computing takes
56,000 for an iteration, loading everything r x 56,000, the budget is f of all weights. The solver
has its own model (tests/planner/cp_sat.py). What is not proved in the limit is counted, and left
out of the ratios.

`--weak` takes lines of `tools/bench_plan.py --json` and tells whether the bound or the planner is
what is weak where `optimal` is more than 2 % above the bound: by the exact optimum for equal chunks
(tests/planner/equal.py, up to 14 chunks) and for unlike ones (tests/planner/unlike.py, up to 8, or
14 in a few iterations).

`--lengths`: `optimal` over the exact optimum for ten iterations of eight equal chunks whose loads
take half a call to four and a half.
"""

import argparse
import statistics
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from entracte.clock.predict import predict  # noqa: E402
from entracte.clock.table import whole_ns  # noqa: E402
from entracte.errors import DoesNotFit  # noqa: E402
from entracte.ir import Call, Segment  # noqa: E402
from entracte.program.workload import Workload  # noqa: E402
from entracte.schedule.bounds import best_bound  # noqa: E402
from entracte.schedule.choose import schedule_as_planned  # noqa: E402
from tests.planner.cp_sat import Numbers, solve  # noqa: E402
from tests.planner.equal import Equal  # noqa: E402
from tests.planner.programs import CI_DL, DOUBLE_BUFFER, OPTIMAL, Part, make_program  # noqa: E402
from tests.planner.unlike import Unlike  # noqa: E402
from tools.bench_plan import Instance, program_of, told  # noqa: E402

COMPUTING = 56_000
BYTES = 1_000_000
"""A unit of weights in bytes: tensors of the toy program are far below one."""
POLICIES = (OPTIMAL, DOUBLE_BUFFER, CI_DL)
SIZES = ((4, 2), (4, 3), (4, 5), (6, 2), (6, 3), (6, 5), (8, 2), (8, 3))
_CLOSE = 1.02
_SOLVED, _FEW, _CALLS = 14, 8, 60
"""Most chunks of which the optimum is found, in seconds to a minute; of so many unlike ones only in
so few calls, or of few."""
POINTS = ((1.0, 0.6), (2.0, 0.6), (4.0, 0.8))


@dataclass(frozen=True)
class Loop:
    """Chunks in whole numbers."""

    weights: tuple[int, ...]
    loads: tuple[int, ...]
    times: tuple[int, ...]
    count: int
    budget: int

    def numbers(self) -> Numbers:
        every = range(self.count)
        return Numbers(
            order=tuple(c for _ in every for c in range(len(self.weights))),
            weights=self.weights,
            loads=self.loads,
            times=self.times * self.count,
            needs=(0,) * (len(self.weights) * self.count),
            budget=self.budget,
        )

    def workload(self) -> Workload:
        """The same for the planner, a unit of time as a millisecond."""
        sizes = tuple(w * BYTES for w in self.weights)
        program, _, made = make_program((Part(self.count, sizes),))
        facts = {
            f.id: replace(f, activation_bytes=0, load_s=load / 1000, exec_s=e / 1000)
            for f, load, e in zip(made, self.loads, self.times, strict=True)
        }
        return Workload(program, facts, self.budget * BYTES + 64)


@dataclass(frozen=True)
class Compared:
    """Seconds."""

    case: str
    bound: float
    optimum: float
    found: dict[str, float]


def loop(kind: str, chunks: int, count: int, point: tuple[float, float], seed: int) -> Loop:
    ratio, share = point
    draw = Random(f"{kind} {chunks} {seed}")

    large = set(Random(f"large {chunks} {seed}").sample(range(chunks), chunks // 4))

    def parts(total: float) -> tuple[int, ...]:
        drawn = [1.0] * chunks
        if kind == "lognormal":
            drawn = [draw.lognormvariate(0, 0.5) for _ in drawn]
        elif kind == "bimodal":
            drawn = [3.0 if k in large else 1.0 for k in range(chunks)]
        return tuple(max(1, round(total * x / sum(drawn))) for x in drawn)

    weights = parts(1000)
    loads = tuple(round(ratio * COMPUTING * w / sum(weights)) for w in weights)
    return Loop(weights, loads, parts(COMPUTING), count, int(share * sum(weights)))


def instances(seeds: int) -> Iterator[tuple[str, Loop]]:
    for chunks, count in SIZES:
        for point in POINTS:
            for kind in ("equal", "lognormal", "bimodal"):
                for seed in range(1 if kind == "equal" else seeds):
                    yield f"K={chunks} N={count}", loop(kind, chunks, count, point, seed)


def compared(case: str, made: Loop, limit: float) -> Compared | None:
    """None where nothing fits, or the optimum is not proved in time. Raises `AssertionError` if a
    bound is above the optimum, a policy below it, or the two solvers do not agree."""
    workload = made.workload()
    try:
        schedules = {p.name: schedule_as_planned(workload, p) for p in POLICIES}
    except DoesNotFit:
        return None
    solved = solve(made.numbers(), limit=limit)
    if solved is None or not solved.proved:
        return None
    found = {name: predict(workload, s).makespan_s for name, s in schedules.items()}
    n = made.numbers()
    other = Unlike(n.order, n.times, n.weights, n.loads, n.budget)
    assert other.optimum(solved.end) == solved.end, (case, made, solved)
    optimum, bound = solved.end / 1000, best_bound(workload).seconds
    assert bound <= optimum + 1e-6, (case, made, bound, optimum)
    assert min(found.values()) >= optimum - 1e-6, (case, made, found, optimum)
    return Compared(case, bound, optimum, found)


def table(rows: Sequence[tuple[str, Compared | None]]) -> str:
    names = [p.name for p in POLICIES]
    lines = [
        "| instances | solved | bound / optimum: mean, least | "
        + " | ".join(f"{x} / optimum: mean, worst" for x in names)
        + " | optimal is the optimum |",
        "| --- | ---: | ---: |" + " ---: |" * len(names) + " ---: |",
    ]
    for case in ["all", *dict.fromkeys(case for case, _ in rows)]:
        tried = [row for own, row in rows if case in ("all", own)]
        made = [row for row in tried if row is not None]
        if not made:
            lines.append(f"| {case} | 0 of {len(tried)} |" + " — |" * (len(names) + 2))
            continue
        tight = [x.bound / x.optimum for x in made]
        cells = [f"{statistics.mean(tight):.3f}, {min(tight):.3f}"]
        for name in names:
            over = [x.found[name] / x.optimum for x in made]
            cells.append(f"{statistics.mean(over):.3f}, {max(over):.3f}")
        same = sum(x.found["optimal"] <= x.optimum * (1 + 1e-6) for x in made)
        lines.append(f"| {case} | {len(made)} of {len(tried)} | {' | '.join(cells)} | {same} |")
    return "\n".join(lines)


def weak_table(paths: Sequence[Path]) -> Iterator[str]:
    """Lines, each as soon as it is found: some take minutes."""
    yield "| K | N | chunks | r | f | planner / bound | bound / optimum | planner / optimum |"
    yield "| ---: | ---: | --- | ---: | ---: | ---: | ---: | ---: |"
    outcomes = [told(x) for path in paths for x in path.open() if x.strip()]
    for o in sorted(outcomes, key=lambda o: -o.over):
        i = o.instance
        if i is None or o.over <= _CLOSE or o.policy != OPTIMAL.name:
            continue
        cells = ["not solved", "not solved"]
        if _is_solved(i):
            optimum = _optimum_s(i, o.seconds)
            cells = [f"{x:.3f}" for x in (o.seconds / o.over / optimum, o.seconds / optimum)]
        kind = i.kind if i.kind == "equal" else f"{i.kind} {i.seed}"
        row = [str(x) for x in (i.chunks, i.iterations, kind, i.ratio, i.share)]
        yield f"| {' | '.join([*row, f'{o.over:.3f}', *cells])} |"


def _is_solved(i: Instance) -> bool:
    is_easy = i.kind == "equal" or i.chunks <= _FEW or i.chunks * i.iterations <= _CALLS
    return i.chunks <= _SOLVED and is_easy


def _optimum_s(i: Instance, planned_s: float) -> float:
    workload = Workload(*program_of(i))
    if i.kind == "equal":
        return _equal_s(workload, i)
    facts = [workload.facts[c] for s in workload.program.segments for c in _chunks_of(s)]
    found = Unlike(
        order=tuple(range(i.chunks)) * i.iterations,
        times=[whole_ns(f.exec_s) for f in facts] * i.iterations,
        weights=[f.weight_bytes for f in facts],
        loads=[whole_ns(f.load_s) for f in facts],
        budget=workload.budget_bytes,
    )
    return found.optimum(whole_ns(planned_s)) / 1e9


def _chunks_of(segment: Segment) -> Iterator[str]:
    return (step.chunk for step in segment.steps if isinstance(step, Call))


def _equal_s(workload: Workload, i: Instance) -> float:
    """The exact optimum; times of calls and loads are whole multiples of a tenth of a call's."""
    facts = next(iter(workload.facts.values()))
    tenth = facts.exec_s / 10
    load = round(facts.load_s / tenth)
    assert abs(load * tenth - facts.load_s) < 1e-9
    slots = workload.budget_bytes // facts.weight_bytes
    order = tuple(range(i.chunks)) * i.iterations
    return Equal(order, (10,) * len(order), load, slots).optimum() * tenth


def lengths_table() -> str:
    lines = [
        "| room for | loops | above 1.005 | worst: planner / optimum | a load in calls |",
        "| ---: | ---: | ---: | ---: | ---: |",
    ]
    order, times = tuple(range(8)) * 10, (10,) * 80
    for slots in (2, 3, 4, 6, 7):
        over = []
        for load in range(5, 45):
            made = Loop((1,) * 8, (load,) * 8, (10,) * 8, 10, slots)
            workload = made.workload()
            planned = predict(workload, schedule_as_planned(workload, OPTIMAL)).makespan_s
            over.append((1000 * planned / Equal(order, times, load, slots).optimum(), load))
        worst, load = max(over)
        above = sum(x > 1.005 for x, _ in over)
        lines.append(f"| {slots} | {len(over)} | {above} | {worst:.3f} | {load / 10} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--limit",
        type=float,
        default=20.0,
        help="of each instance, in the solver's deterministic seconds",
    )
    parser.add_argument("--seeds", type=int, default=2, help="of unequal chunks")
    parser.add_argument("--weak", type=Path, nargs="+", help="lines of bench_plan.py --json")
    parser.add_argument("--lengths", action="store_true", help="loads of many lengths")
    given = parser.parse_args()
    if given.lengths:
        print(lengths_table())
        return
    if given.weak:
        for line in weak_table(given.weak):
            print(line, flush=True)
        return
    rows = []
    for case, made in instances(given.seeds):
        rows.append((case, compared(case, made, given.limit)))
        print(case, rows[-1][1], file=sys.stderr, flush=True)
    print(table(rows))


if __name__ == "__main__":
    main()
