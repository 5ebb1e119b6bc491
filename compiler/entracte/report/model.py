"""Plan (and run) -> page: every figure and sentence of the report, as plain frozen values."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

from entracte.calibrate.errors import ClassError, class_errors
from entracte.calibrate.observed import observations
from entracte.clock.timeline import Timeline, predicted
from entracte.inspect.about import about, about_lines
from entracte.inspect.bottleneck import FITS, cold_loads
from entracte.inspect.claims import ChunkClaim, Claim, chunk_claims, claims
from entracte.inspect.modules import held
from entracte.inspect.overview import (
    ChunkRow,
    KeptRow,
    StageRow,
    bottleneck,
    chunk_rows,
    kept_rows,
    loop_fits,
    page_bytes,
    stage_rows,
)
from entracte.ir import Plan, Run
from entracte.report.beside import Error, Side, Turns, errors, turns
from entracte.report.clip import Clip
from entracte.report.flow import Flow, flow_of
from entracte.report.helps import Help
from entracte.report.lanes import stalls, with_first_loads
from entracte.report.policies import PolicyRow
from entracte.report.track import Track, track_of
from entracte.report.words import StallGroup, kept, stall_groups
from entracte.run.alarm import Alarm, alarm_of
from entracte.run.record import observed_timeline


@dataclass(frozen=True, slots=True)
class Choice:
    """What the timeline can show: one run, or two on one axis, by their numbers."""

    name: str
    runs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """All that the template shows. `tracks`: the predicted run and, if any, the observed one."""

    title: str
    plan: Plan
    headline: str
    about: tuple[tuple[str, str], ...]
    """Label and sentence, as `plan show` begins; of lines without a label it is empty."""
    legend: tuple[tuple[str, int], ...]
    colours: dict[str, int]
    """Stage, or part of one, -> number of its colour."""
    kept: dict[str, str]
    """Chunk -> how it is kept in the predicted run."""
    holds: dict[str, str]
    """Chunk -> its modules in a few words; empty where it has none."""
    levels: tuple[KeptRow, ...]
    page_bytes: int
    stages: tuple[StageRow, ...]
    chunks: tuple[ChunkRow, ...]
    flow: Flow
    tracks: tuple[Track, ...]
    choices: tuple[Choice, ...]
    turns: Turns | None
    """The observed run beside the predicted one; None without its events."""
    errors: tuple[Error, ...]
    classes: tuple[ClassError, ...]
    """Predicted and observed by class of operations."""
    clip: Clip | None
    packages: dict[str, str]
    """Chunk -> its package, of a plan that is built."""
    stalls: tuple[StallGroup, ...]
    policies: tuple[PolicyRow, ...]
    fits: str
    """That all of the loop fits, where policies have nothing to schedule; else empty."""
    helping: tuple[Help, ...]
    claims: tuple[Claim, ...]
    chunk_claims: tuple[ChunkClaim, ...]
    run: Run | None
    alarm: Alarm | None
    overrides: tuple[tuple[str, str], ...]


def page_of(
    plan: Plan,
    policies: tuple[PolicyRow, ...],
    run: Run | None = None,
    helping: tuple[Help, ...] = (),
    clip: Clip | None = None,
) -> Page:
    """Everything the page shows. The predicted run is `entracte.clock.timeline.predicted`."""
    timeline = predicted(plan)
    chunks = chunk_rows(plan, timeline)
    colour = colours(plan)
    tracks = [predicted_track(plan, timeline)]
    seen = observed_timeline(plan, run) if run is not None and has_events(run) else None
    if run is not None and seen is not None:
        tracks.append(observed_track(plan, run, seen))
    explained = stalls(timeline.bars, timeline.waits, timeline.makespan_s)
    return Page(
        title=plan.title,
        plan=plan,
        headline=bottleneck(plan, timeline).sentence,
        about=about_lines(about(plan), run),
        legend=tuple({g.split(".")[0]: k for g, k in colour.items()}.items()),
        colours=colour,
        kept={c.id: kept(c) for c in chunks},
        holds={c.id: held(c.modules) for c in plan.chunks},
        levels=kept_rows(plan),
        page_bytes=page_bytes(plan),
        stages=stage_rows(plan, chunks, timeline),
        chunks=chunks,
        flow=flow_of(plan),
        tracks=tuple(tracks),
        choices=choices(tracks),
        turns=turns(Side(plan, timeline), Side(plan, seen)) if seen is not None else None,
        errors=errors(plan, timeline, seen) if seen is not None else (),
        classes=class_errors(observations(plan, run), plan.target) if run is not None else (),
        clip=clip,
        packages={p.chunk: p.path for p in plan.packages},
        stalls=stall_groups(
            plan, with_first_loads(explained, cold_loads(timeline.bars, plan.facts))
        ),
        policies=policies,
        fits=FITS if loop_fits(plan.program, chunks) else "",
        helping=helping,
        claims=claims(plan, run) if run is not None else (),
        chunk_claims=chunk_claims(plan, run) if run is not None else (),
        run=run,
        alarm=alarm_of(plan, run) if run is not None else None,
        overrides=_overrides(plan.settings),
    )


def has_events(run: Run) -> bool:
    """Whether a record says what was called when."""
    return any(e.queue == "compute" for e in run.bars)


def choices(tracks: Sequence[Track]) -> tuple[Choice, ...]:
    """Each run alone; and where there are two, both on one axis."""
    alone = [Choice(t.name, (i,)) for i, t in enumerate(tracks)]
    both = [Choice("Both on one axis", (0, 1))] if len(tracks) > 1 else []
    return (*alone, *both)


def predicted_track(plan: Plan, timeline: Timeline) -> Track:
    """What is predicted, under the budget and the proven peak."""
    budget, peak = plan.target.budget_bytes, plan.forecast.peak_bytes
    # The online rule may fill the budget: then the two are one line.
    proven = (("proven peak", peak),) if peak != budget else ()
    limits = (("budget", budget), *proven)
    return track_of(plan, "Predicted", timeline, limits)


def observed_track(plan: Plan, run: Run, timeline: Timeline) -> Track:
    """What was observed; `timeline` is `observed_timeline(plan, run)`."""
    # The picture ends with the last bar.
    shown = replace(timeline, makespan_s=max(e.end_s for e in timeline.bars))
    limits = (("budget", plan.target.budget_bytes), ("observed peak", run.peak_bytes))
    seen = {c.chunk: c.peak_activation_bytes for c in run.chunks}
    name = f"Observed on {run.device}"
    return replace(track_of(plan, name, shown, limits, seen), planned=False)


def colours(plan: Plan) -> dict[str, int]:
    """Stage or part -> number of its colour: parts of a stage share theirs."""
    number: dict[str, int] = {}
    graphs = [c.graph for c in plan.chunks] + [v.graph for c in plan.chunks for v in c.others]
    for graph in graphs:
        number.setdefault(graph.split(".")[0], len(number))
    return {graph: number[graph.split(".")[0]] for graph in graphs}


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
