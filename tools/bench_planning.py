"""Processor seconds of planning alone, for full-size pipelines under several budgets.

    python -m tools.bench_planning                     # every full-size pipeline, 1 to 6 GB
    python -m tools.bench_planning --pipelines on_device_sora --memory 1.35GB 1.5GB
    python -m tools.bench_planning --shared --pipelines on_device_sora   # partition=shared
    python -m tools.bench_planning --json > now.jsonl             # a line for each case
    python -m tools.bench_planning --table now.jsonl --before then.jsonl

Counted is all between traces and plan: the choice of chunks and loads (`decide_job`), and the
forecast with its lower bound. Not counted are tracing, imports, the proof and the checks of the
plan. Each case is planned in a process of its own, which knows nothing of the cases before. The
first run traces, seconds to minutes a pipeline; then traces come from the cache. `--before` tells
which plans are no longer the same.
"""

import argparse
import gc
import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from entracte.check.proof import check
from entracte.codec import encode
from entracte.decide.decide import decide_job
from entracte.declare.compose import compose
from entracte.declare.read import Job, read
from entracte.errors import DoesNotFit
from entracte.ir import MeasuredPipeline
from entracte.plan.forecast import forecast
from entracte.store.cache import Cache, cache_folder

CONF = Path(__file__).resolve().parents[1] / "conf" / "pipeline"
MEMORY = ("1GB", "1.35GB", "1.5GB", "1.75GB", "2GB", "2.5GB", "3.3GB", "4GB", "5GB", "6GB")


@dataclass(frozen=True)
class Outcome:
    """One pipeline under one budget; `makespan_s` 0 where it does not fit."""

    pipeline: str
    memory: str
    decide_s: float = 0.0
    forecast_s: float = 0.0
    makespan_s: float = 0.0
    bound_s: float = 0.0
    loaded_bytes: int = 0
    chunks: int = 0
    plan: str = ""
    """SHA-256 of all that was decided; bounds are not in it."""

    @property
    def planning_s(self) -> float:
        """Of the processor."""
        return self.decide_s + self.forecast_s


def full_size() -> list[str]:
    """The pipelines of `conf/` but the tiny ones, and `folder`, which needs one."""
    names = sorted(path.stem for path in CONF.glob("*.yaml"))
    return [name for name in names if name != "folder" and not name.startswith("tiny")]


def outcomes(pipeline: str, memory: Sequence[str], overrides: Sequence[str]) -> Iterator[Outcome]:
    """Of one pipeline, which is traced once."""
    from entracte.lower.backend import CORE_ML
    from entracte.trace.wire import trace_pipeline

    words = [f"pipeline={pipeline}", *overrides]
    jobs = {m: read(compose([*words, f"target.memory={m}"])) for m in memory}
    first = jobs[memory[0]]
    cache = Cache(cache_folder(first.cache))
    source = trace_pipeline(first.pipeline, CORE_ML, cache=cache).measured
    for given, job in jobs.items():
        yield Outcome(**_apart(pipeline, given, job, source))


def _apart(pipeline: str, memory: str, job: Job, source: MeasuredPipeline) -> dict[str, object]:
    """Planned in a process of its own."""
    out, back = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        try:
            made = _planned(pipeline, memory, job, source)
            os.write(back, json.dumps(asdict(made)).encode())
        finally:
            os._exit(0)
    os.close(back)
    with os.fdopen(out, "rb") as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    if not text:
        raise SystemExit(f"{pipeline} in {memory}: planning failed, see above")
    return dict(json.loads(text))


def _planned(pipeline: str, memory: str, job: Job, source: MeasuredPipeline) -> Outcome:
    # Imports are not counted.
    import scipy.optimize
    import scipy.sparse  # noqa: F401

    # Touches what the parent's memory shares with this process, which would be copied meanwhile.
    gc.collect()
    begun = time.process_time()
    try:
        made = decide_job(job, source)
    except DoesNotFit:
        return Outcome(pipeline, memory, time.process_time() - begun)
    decided = time.process_time()
    chunks, facts = made.partition.chunks, made.facts
    proof = check(made.program, facts, made.schedule, budget_bytes=job.target.budget_bytes)
    proven = time.process_time()
    promise = forecast(made.workload, made.schedule, proof)
    ended = time.process_time()
    body = [encode(x) for x in (made.program, *chunks, *facts, made.schedule)]
    return Outcome(
        pipeline=pipeline,
        memory=memory,
        decide_s=decided - begun,
        forecast_s=ended - proven,
        makespan_s=promise.makespan_s,
        bound_s=promise.lower_bound_s,
        loaded_bytes=promise.loaded_bytes,
        chunks=len(chunks),
        plan=hashlib.sha256(json.dumps(body).encode()).hexdigest(),
    )


# ---------------------------------------------------------------- tables


def table(made: Sequence[Outcome]) -> str:
    """Seconds of planning, a line for each pipeline; "—" where it does not fit."""
    memory = list(dict.fromkeys(o.memory for o in made))
    lines = [
        f"| pipeline | {' | '.join(f'`{m}`' for m in memory)} |",
        f"| --- |{' ---: |' * len(memory)}",
    ]
    for pipeline in dict.fromkeys(o.pipeline for o in made):
        own = {o.memory: o for o in made if o.pipeline == pipeline}
        cells = [f"{own[m].planning_s:.2f}" if m in own and own[m].plan else "—" for m in memory]
        lines.append(f"| {pipeline} | {' | '.join(cells)} |")
    return "\n".join(lines)


def changes(made: Sequence[Outcome], before: Sequence[Outcome]) -> str:
    """Plans that are not the same as before, and seconds of planning in all."""
    old = {(o.pipeline, o.memory): o for o in before}
    pairs = [(old[key], o) for o in made if (key := (o.pipeline, o.memory)) in old]
    lines = [
        "| pipeline | memory | predicted s, before | now | now / before | read GB, before | now |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for then, now in pairs:
        if then.plan != now.plan:
            ratio = now.makespan_s / then.makespan_s if then.makespan_s else 0.0
            lines.append(
                f"| {now.pipeline} | `{now.memory}` | {then.makespan_s:.2f} | "
                f"{now.makespan_s:.2f} | {ratio:.4f} | {then.loaded_bytes / 1e9:.1f} | "
                f"{now.loaded_bytes / 1e9:.1f} |"
            )
    same = sum(a.plan == b.plan for a, b in pairs)
    spent = [sum(p[i].planning_s for p in pairs) for i in (0, 1)]
    text = f"{same} of {len(pairs)} the same; planning {spent[0]:.1f} s, now {spent[1]:.1f} s"
    return "\n".join([*lines, "", text]) if same < len(pairs) else text


def told(paths: Sequence[Path]) -> list[Outcome]:
    """Of lines of `--json`."""
    return [Outcome(**json.loads(line)) for path in paths for line in path.open() if line.strip()]


def main() -> None:
    """See above."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pipelines", nargs="+", help="default: every full-size one")
    parser.add_argument("--memory", nargs="+", default=list(MEMORY))
    parser.add_argument("--target", default="iphone15pro")
    parser.add_argument("--shared", action="store_true", help="partition=shared")
    parser.add_argument("--override", action="append", default=[], help="as `compile` takes them")
    parser.add_argument("--json", action="store_true", help="a line for each case")
    parser.add_argument("--table", type=Path, nargs="+", help="of files of such lines")
    parser.add_argument("--before", type=Path, nargs="+", help="such lines to compare with")
    given = parser.parse_args()
    made = told(given.table) if given.table else []
    overrides = [f"target={given.target}", *given.override]
    overrides += ["partition=shared"] if given.shared else []
    for pipeline in () if given.table else given.pipelines or full_size():
        for outcome in outcomes(pipeline, given.memory, overrides):
            made.append(outcome)
            if given.json:
                print(json.dumps(asdict(outcome)), flush=True)
    if not given.json:
        print(table(made))
        if given.before:
            print(f"\n{changes(made, told(given.before))}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    if peak:
        print(f"peak memory of a case: {peak:.0f} MiB", file=sys.stderr)


if __name__ == "__main__":
    main()
