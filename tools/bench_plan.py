"""Every policy over the lower bound, on a grid of made-up loops and on the real pipelines.

    python tools/bench_plan.py --quick          # under 40 s: N = 10, r = 1 and 2, no pipelines
    python tools/bench_plan.py --grid           # all of scheduling.md, section 5
    python tools/bench_plan.py --off-grid       # 108 other instances
    python tools/bench_plan.py --pipelines      # traces are cached after the first run

`--ratios` does only `optimal` by package, without what it keeps at other speeds of loads.
`--chunks K` does those of K chunks, `--part 1/5` every fifth one from the first; `--json` prints a
line for each outcome, and `--table FILE ...` makes the table of such lines.

A grid instance is a loop of K chunks done N times: per iteration, computing takes 56 s and
loading everything r x 56 s; the budget is f of all weights, and the activations. Chunks are
equal, or log-normal (sigma 0.5, sizes and times independent), or bimodal (a quarter three times
larger).
"""

import argparse
import json
import random
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from entracte.clock.predict import Prediction, predict  # noqa: E402
from entracte.errors import DoesNotFit  # noqa: E402
from entracte.ir import ChunkFacts, Policy, Program, Schedule  # noqa: E402
from entracte.program.workload import Workload  # noqa: E402
from entracte.schedule.bounds import best_bound  # noqa: E402
from entracte.schedule.choose import BASELINES, make_schedule, schedule_as_planned  # noqa: E402
from tests.planner.programs import OPTIMAL, Part, make_program  # noqa: E402

COMPUTING_S = 56.0
RATIOS = (0.1, 0.3, 0.5, 1.0, 2.0, 4.0)
SHARES = (0.1, 0.2, 0.4, 0.6, 0.8, 0.95)
POLICIES = (*BASELINES, OPTIMAL)
PAGES = 16
"""Pages of an average chunk, where the device loads by pages."""


@dataclass(frozen=True)
class Instance:
    """One cell of the grid."""

    chunks: int
    iterations: int
    ratio: float
    share: float
    kind: str
    seed: int = 0


@dataclass(frozen=True)
class Outcome:
    """One policy on one instance."""

    case: str
    policy: str
    over: float
    bound: str
    reads: float
    """Bytes loaded, in models per iteration (pipelines: in models)."""
    seconds: float
    planning_s: float
    driver: str = "gates"
    instance: Instance | None = None


def grid(quick: bool) -> Iterator[Instance]:
    kinds = (("equal", 0), ("lognormal", 1), ("lognormal", 2), ("bimodal", 1))
    for chunks in (8, 28) if quick else (8, 28, 56):
        for iterations in (10,) if quick else (1, 10, 30):
            for kind, seed in kinds[:2] if quick or chunks == 56 else kinds:
                for ratio in RATIOS[3:5] if quick else RATIOS:
                    for share in SHARES[1::2] if quick else SHARES:
                        yield Instance(chunks, iterations, ratio, share, kind, seed)


def off_grid() -> Iterator[Instance]:
    """108 that the grid does not have: few, middling and many chunks, other draws and points."""
    for chunks, iterations in ((6, 20), (14, 10), (40, 5)):
        for kind, seed in (("equal", 0), ("lognormal", 3), ("bimodal", 2)):
            for ratio in (0.7, 1.0, 3.0):
                for share in (0.3, 0.5, 0.7, 0.9):
                    yield Instance(chunks, iterations, ratio, share, kind, seed)


def program_of(i: Instance) -> tuple[Program, dict[str, ChunkFacts], int]:
    """The program, its facts and the budget."""
    generator = random.Random(f"{i.kind} {i.chunks} {i.seed}")
    ones = [1.0] * i.chunks
    weights, times = ones, ones
    if i.kind == "lognormal":
        weights = [generator.lognormvariate(0, 0.5) for _ in ones]
        times = [generator.lognormvariate(0, 0.5) for _ in ones]
    elif i.kind == "bimodal":
        large = set(generator.sample(range(i.chunks), i.chunks // 4))
        weights = times = [3.0 if k in large else 1.0 for k in range(i.chunks)]
    sizes = tuple(int(1e9 * w / sum(weights)) for w in weights)
    program, _, made = make_program((Part(i.iterations, sizes),))
    facts = {}
    for f, size, seconds in zip(made, sizes, times, strict=True):
        load_s = i.ratio * COMPUTING_S * size / sum(sizes)
        exec_s = COMPUTING_S * seconds / sum(times)
        facts[f.id] = replace(f, activation_bytes=0, load_s=load_s, exec_s=exec_s)
    # Tensors of the toy program: a few bytes beside a gigabyte.
    return program, facts, int(i.share * sum(sizes)) + 64


def solve(instance: Instance, ratios: bool = False) -> list[Outcome]:
    """All policies, by package and by page; with `ratios` only `optimal`, by package."""
    workload = Workload(*program_of(instance))
    total = sum(f.weight_bytes for f in workload.facts.values())
    label = "equal" if instance.kind == "equal" else "unequal"
    case = f"K={instance.chunks} {label}"
    policies = (OPTIMAL,) if ratios else POLICIES
    plan = schedule_as_planned if ratios else make_schedule
    try:
        made = [(p.name, *_planned(workload, p, plan)) for p in policies]
    except DoesNotFit:
        return []
    ways = [(False, made)]
    if not ratios:
        page_bytes = total // (PAGES * instance.chunks)
        by_page = _planned(replace(workload, page_bytes=page_bytes), OPTIMAL, plan)
        ways.append((True, [("optimal, pages", *by_page)]))
    outcomes = []
    for pages, own in ways:
        fastest = min(result.makespan_s for _, _, result, _ in own)
        # Plans are judged by the strongest bound, window by window, whatever that costs.
        bound = best_bound(workload, enough_s=fastest, pages=pages, most=sys.maxsize)
        outcomes += [
            Outcome(
                case=case,
                policy=name,
                over=result.makespan_s / bound.seconds,
                bound=bound.name,
                reads=result.loaded_bytes / total / instance.iterations,
                seconds=result.makespan_s,
                planning_s=spent,
                driver=schedule.driver,
                instance=instance,
            )
            for name, schedule, result, spent in own
        ]
    return outcomes


def _planned(
    workload: Workload, policy: Policy, plan: Callable[[Workload, Policy], Schedule]
) -> tuple[Schedule, Prediction, float]:
    """The schedule, what it does, and the CPU seconds of planning."""
    begin = time.process_time()
    schedule = plan(workload, policy)
    spent = time.process_time() - begin
    return schedule, predict(workload, schedule), spent


# ---------------------------------------------------------------- the real pipelines

CASES = {
    "demo, 24 MiB": ["target.memory=24MiB"],
    "on_device_sora, 3.3 GB, fp16": ["pipeline=on_device_sora"],
    "on_device_sora, 3.3 GB, int8": ["pipeline=on_device_sora", "compression=int8"],
    "on_device_sora, 1.5 GB, fp16": ["pipeline=on_device_sora", "target.memory=1.5GB"],
    "on_device_sora, 1.5 GB, int8": [
        "pipeline=on_device_sora",
        "target.memory=1.5GB",
        "compression=int8",
    ],
}


def pipelines() -> Iterator[Outcome]:
    """Dry runs for an iPhone 15 Pro; the partition is chosen for each policy anew."""
    for case, overrides in CASES.items():
        for policy in POLICIES:
            yield planned(case, policy, overrides)


def planned(case: str, policy: Policy, overrides: Sequence[str]) -> Outcome:
    from entracte.decide.decide import decide
    from entracte.declare.compose import compose
    from entracte.declare.read import read
    from entracte.lower.backend import CORE_ML
    from entracte.store.cache import Cache, cache_folder
    from entracte.trace.wire import trace_pipeline

    job = read(compose(["target=iphone15pro", f"policy={policy.name}", *overrides]))
    traced = trace_pipeline(job.pipeline, CORE_ML, cache=Cache(cache_folder(job.cache)))
    begin = time.process_time()
    made = decide(traced.measured, job.target, job.policy)
    spent = time.process_time() - begin
    facts = made.workload.facts
    result = predict(made.workload, made.schedule)
    bound = best_bound(made.workload)
    return Outcome(
        case=case,
        policy=policy.name,
        over=result.makespan_s / bound.seconds,
        bound=bound.name,
        reads=result.loaded_bytes / sum(f.weight_bytes for f in facts.values()),
        seconds=result.makespan_s,
        planning_s=spent,
        driver=made.schedule.driver,
    )


# ---------------------------------------------------------------- tables


def grid_table(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| instances | policy | number | mean | median | p90 | p99 | worst | within 5 % | reads "
        "| planning s, mean (worst) |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for case in ["all", *sorted({o.case for o in outcomes})]:
        for policy in dict.fromkeys(o.policy for o in outcomes):
            own = [o for o in outcomes if o.policy == policy and case in ("all", o.case)]
            lines.append(_grid_line(case, policy, own))
    return "\n".join(lines)


def _grid_line(case: str, policy: str, own: Sequence[Outcome]) -> str:
    over = sorted(o.over for o in own)
    spent = [o.planning_s for o in own]

    def at(share: float) -> float:
        return over[min(len(over) - 1, int(share * len(over)))]

    close = sum(x <= 1.05 for x in over) / len(over)
    return (
        f"| {case} | {policy} | {len(over)} | {statistics.mean(over):.3f} | {at(0.5):.3f} | "
        f"{at(0.9):.3f} | {at(0.99):.3f} | {over[-1]:.3f} | {100 * close:.0f} % | "
        f"{statistics.mean(o.reads for o in own):.2f} | "
        f"{statistics.mean(spent):.2f} ({max(spent):.2f}) |"
    )


def pipeline_table(outcomes: Sequence[Outcome]) -> str:
    lines = [
        "| pipeline | policy | predicted s | over the bound | which | models read | planning s |",
        "| --- | --- | ---: | ---: | --- | ---: | ---: |",
    ]
    lines += [
        f"| {o.case} | {o.policy} | {o.seconds:.2f} | {o.over:.3f} | {o.bound} | {o.reads:.2f} | "
        f"{o.planning_s:.2f} |"
        for o in outcomes
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a part of the grid")
    parser.add_argument("--grid", action="store_true", help="the grid only")
    parser.add_argument("--off-grid", action="store_true", help="108 other instances only")
    parser.add_argument("--pipelines", action="store_true", help="the pipelines only")
    parser.add_argument("--ratios", action="store_true", help="`optimal` by package only")
    parser.add_argument("--chunks", type=int, nargs="+", help="instances of so many chunks only")
    parser.add_argument("--part", default="1/1", help="I/N: every N-th instance from the I-th on")
    parser.add_argument("--json", action="store_true", help="a line for every outcome")
    parser.add_argument("--table", type=Path, nargs="+", help="of files of such lines")
    given = parser.parse_args()
    if given.table:
        print(
            grid_table([told(line) for path in given.table for line in path.open() if line.strip()])
        )
        return
    every = not (given.grid or given.off_grid or given.pipelines or given.quick)
    instances = [*off_grid()] if given.off_grid else []
    if given.grid or given.quick or every:
        instances += grid(given.quick)
    wanted = [x for x in instances if not given.chunks or x.chunks in given.chunks]
    first, step = (int(x) for x in given.part.split("/"))
    loops: list[Outcome] = []
    for instance in wanted[first - 1 :: step]:
        made = solve(instance, given.ratios)
        loops += made
        for outcome in made if given.json else ():
            print(json.dumps(asdict(outcome)), flush=True)
    real = list(pipelines()) if given.pipelines or every else []
    if given.json:
        for outcome in real:
            print(json.dumps(asdict(outcome)))
        return
    if loops:
        print(grid_table(loops))
    if real:
        print(pipeline_table(real))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\npeak memory of this process: {peak:.0f} MiB")


def told(line: str) -> Outcome:
    """An outcome of a line of `--json`."""
    made = json.loads(line)
    instance = made.pop("instance")
    return Outcome(**made, instance=Instance(**instance) if instance else None)


if __name__ == "__main__":
    main()
