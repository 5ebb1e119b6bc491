"""Plan (and run) -> page: every figure and sentence of the report, as plain frozen values."""

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from compiler.errors import PlanError
from compiler.ir import Call, Event, Package, Plan, Run
from compiler.report.flow import Flow, flow_of
from compiler.report.lanes import bars, stalls
from compiler.report.observed import ChunkClaim, Claim, chunk_claims, claims, waits_of
from compiler.report.policies import PolicyRow
from compiler.report.track import Track, track_of
from compiler.report.words import StallGroup, bottleneck, kept, stall_groups
from compiler.timeline import Timeline, predicted


@dataclass(frozen=True, slots=True)
class StageRow:
    """A stage (or hoisted part of one). `colour` is shared by the parts of a stage."""

    name: str
    colour: int
    chunks: int
    weight_bytes: int
    activation_bytes: int
    flops: int
    calls: int
    compute_s: float
    wait_s: float
    loaded_bytes: int


@dataclass(frozen=True, slots=True)
class ChunkRow:
    id: str
    stage: str
    colour: int
    weight_bytes: int
    activation_bytes: int
    output_bytes: int
    flops: int
    load_s: float
    exec_s: float
    loads: int
    calls: int
    kept: str
    wait_s: float
    form: str
    """Precision, or how the weights are compressed; empty for a dry run."""
    psnr_db: float | None


@dataclass(frozen=True, slots=True)
class Page:
    """All that the template shows. `tracks`: the predicted run and, if any, the observed one."""

    title: str
    plan: Plan
    headline: str
    legend: tuple[tuple[str, int], ...]
    stages: tuple[StageRow, ...]
    chunks: tuple[ChunkRow, ...]
    flow: Flow
    tracks: tuple[Track, ...]
    stalls: tuple[StallGroup, ...]
    policies: tuple[PolicyRow, ...]
    claims: tuple[Claim, ...]
    chunk_claims: tuple[ChunkClaim, ...]
    run: Run | None
    overrides: tuple[tuple[str, str], ...]


MOST_STEPS = 100_000
"""Steps of all iterations that are drawn: a hundred times the full-size pipeline's."""


def page_of(plan: Plan, policies: tuple[PolicyRow, ...], run: Run | None = None) -> Page:
    """Everything the page shows. The predicted run is `compiler.timeline.predicted`.

    Raises `PlanError` for a plan of more steps than can be drawn."""
    check_size(plan)
    timeline = predicted(plan)
    shown = bars(timeline.events)
    tracks = [_predicted(plan, timeline)]
    if run is not None and any(e.queue == "compute" for e in run.events):
        tracks.append(_observed(plan, run))
    explained = stalls(timeline.events, timeline.waits, timeline.makespan_s)
    return Page(
        title=plan.title,
        plan=plan,
        headline=bottleneck(plan),
        legend=tuple({g.split(".")[0]: k for g, k in colours(plan).items()}.items()),
        stages=_stages(plan, shown, timeline),
        chunks=_chunks(plan, shown, timeline),
        flow=flow_of(plan),
        tracks=tuple(tracks),
        stalls=stall_groups(plan, explained),
        policies=policies,
        claims=claims(plan, run) if run is not None else (),
        chunk_claims=chunk_claims(plan, run) if run is not None else (),
        run=run,
        overrides=_overrides(plan.settings),
    )


def check_size(plan: Plan) -> None:
    """A few bytes of a plan can say very many iterations: refused before they are followed."""
    steps = plan.program.step_count
    if steps > MOST_STEPS:
        raise PlanError(
            f"report: the plan has {steps} steps, and at most {MOST_STEPS} are drawn; compile "
            "it with fewer iterations"
        )


def _predicted(plan: Plan, timeline: Timeline) -> Track:
    limits = (
        ("budget", plan.target.budget_bytes),
        ("proven peak", plan.forecast.peak_bytes),
    )
    return track_of(plan, "Predicted", timeline.events, timeline.waits, timeline.makespan_s, limits)


def _observed(plan: Plan, run: Run) -> Track:
    events = tuple(sorted(run.events, key=lambda e: (e.start_s, e.end_s)))
    waits = waits_of(plan, events)
    end = max(e.end_s for e in events)
    limits = (("budget", plan.target.budget_bytes), ("observed peak", run.peak_bytes))
    seen = {c.chunk: c.peak_activation_bytes for c in run.chunks}
    return track_of(plan, f"Observed on {run.device}", events, waits, end, limits, seen)


def colours(plan: Plan) -> dict[str, int]:
    """Stage or part -> number of its colour: parts of a stage share theirs."""
    number: dict[str, int] = {}
    for graph in dict.fromkeys(c.graph for c in plan.chunks):
        number.setdefault(graph.split(".")[0], len(number))
    return {c.graph: number[c.graph.split(".")[0]] for c in plan.chunks}


def _stages(plan: Plan, shown: Sequence[Event], timeline: Timeline) -> tuple[StageRow, ...]:
    colour, facts = colours(plan), {f.id: f for f in plan.facts}
    seconds, calls = dict(plan.forecast.stage_s), plan.program.call_counts
    flops, waits, loaded = _flops(plan), _wait_s(timeline), _loaded(shown)
    rows = []
    for graph in dict.fromkeys(c.graph for c in plan.chunks):
        ids = [c.id for c in plan.chunks if c.graph == graph]
        rows.append(
            StageRow(
                name=graph,
                colour=colour[graph],
                chunks=len(ids),
                weight_bytes=sum(facts[i].weight_bytes for i in ids),
                activation_bytes=max(facts[i].activation_bytes for i in ids),
                flops=sum(flops[i] for i in ids),
                calls=calls.get(ids[0], 0),
                compute_s=seconds.get(graph, 0.0),
                wait_s=sum(waits[i] for i in ids),
                loaded_bytes=sum(loaded[i] for i in ids),
            )
        )
    return tuple(rows)


def _chunks(plan: Plan, shown: Sequence[Event], timeline: Timeline) -> tuple[ChunkRow, ...]:
    colour, facts = colours(plan), {f.id: f for f in plan.facts}
    packages = {p.chunk: p for p in plan.packages}
    calls, flops, waits = plan.program.call_counts, _flops(plan), _wait_s(timeline)
    loads = Counter(e.label for e in shown if e.queue == "load")
    keeps = kept(plan, shown)
    return tuple(
        ChunkRow(
            id=c.id,
            stage=c.graph,
            colour=colour[c.graph],
            weight_bytes=facts[c.id].weight_bytes,
            activation_bytes=facts[c.id].activation_bytes,
            output_bytes=sum(p.size_bytes for p in c.outputs),
            flops=flops[c.id],
            load_s=facts[c.id].load_s,
            exec_s=facts[c.id].exec_s,
            loads=loads[c.id],
            calls=calls.get(c.id, 0),
            kept=keeps[c.id],
            wait_s=waits[c.id],
            form=_form(packages.get(c.id)),
            psnr_db=packages[c.id].psnr_db if c.id in packages else None,
        )
        for c in plan.chunks
    )


def _form(package: Package | None) -> str:
    if package is None:
        return ""
    return package.precision if package.compression == "none" else package.compression


def _wait_s(timeline: Timeline) -> Counter[str]:
    seconds: Counter[str] = Counter()
    for w in timeline.waits:
        seconds[w.chunk] += w.end_s - w.start_s  # type: ignore[assignment]
    return seconds


def _loaded(shown: Sequence[Event]) -> Counter[str]:
    loaded: Counter[str] = Counter()
    for e in shown:
        loaded[e.label] += e.size_bytes if e.queue == "load" else 0
    return loaded


def _flops(plan: Plan) -> Counter[str]:
    """Operations of all calls of each chunk, by the functions they use."""
    chunks = {c.id: c for c in plan.chunks}
    total: Counter[str] = Counter()
    for segment in plan.program.segments:
        for step in segment.steps:
            if not isinstance(step, Call):
                continue
            by = {v.name: v.flops for v in chunks[step.chunk].variants}
            for i in range(segment.count):
                once = by.get(step.function_at(i), chunks[step.chunk].flops)
                total[step.chunk] += step.repeat * once
    return total


def _overrides(settings: str) -> tuple[tuple[str, str], ...]:
    """The leaves of the settings, `a.b.c` and its value, for the page's last section."""
    try:
        tree = json.loads(settings)
    except (json.JSONDecodeError, RecursionError):
        return ()
    return tuple(_leaves(tree, ""))


def _leaves(tree: object, path: str) -> list[tuple[str, str]]:
    if isinstance(tree, dict) and tree:
        return [x for k, v in tree.items() for x in _leaves(v, f"{path}.{k}" if path else str(k))]
    text = tree if isinstance(tree, str) else json.dumps(tree)
    return [(path, text)] if path else []
