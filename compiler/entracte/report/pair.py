"""Two plans, or two runs of one plan, on one page: what differs first, then both on one axis."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace

from entracte.clock.timeline import Timeline, predicted
from entracte.inspect.causes import CAUSES
from entracte.inspect.compare import FIGURE_NAMES, ChunkChange, Figure, Setting, compare
from entracte.inspect.modules import held
from entracte.ir import Plan, Run
from entracte.report.beside import Side, Turns, turns
from entracte.report.clip import Clip
from entracte.report.model import (
    Choice,
    colours,
    has_events,
    observed_track,
    predicted_track,
)
from entracte.report.track import KINDS, Track
from entracte.run.alarm import Alarm, alarm_of
from entracte.run.origin import plan_digest
from entracte.run.record import observed_timeline
from entracte.units import format_bytes, format_seconds

LETTERS = ("A", "B")
_NEAR = 1e-9
"""Seconds that are no difference, as a share of a whole run."""


@dataclass(frozen=True, slots=True)
class Given:
    """A plan with its place as it was given, and what was recorded of it, if anything."""

    place: str
    plan: Plan
    run: Run | None = None
    clip: Clip | None = None


@dataclass(frozen=True, slots=True)
class Moved:
    """Seconds of a stage's calls, or of waits for its loads, in A and in B."""

    stage: str
    what: str
    seconds: tuple[float, float]

    @property
    def change_s(self) -> float:
        """By how much it grew from A to B."""
        return self.seconds[1] - self.seconds[0]


@dataclass(frozen=True, slots=True)
class Pair:
    """All that the page shows. `of_runs`: of one plan, so that what was observed is compared."""

    given: tuple[Given, Given]
    of_runs: bool
    headline: str
    figures: tuple[Figure, ...]
    stalls: tuple[Figure, ...]
    moved: tuple[Moved, ...]
    """The largest change first; those that are the same are left out."""
    same: int
    """So many are the same."""
    settings: tuple[Setting, ...]
    chunks: tuple[ChunkChange, ...]
    turns: Turns | None
    tracks: tuple[Track, ...]
    choices: tuple[Choice, ...]
    colours: dict[str, int]
    legend: tuple[tuple[str, int], ...]
    alarms: tuple[Alarm | None, Alarm | None]


def pair_of(a: Given, b: Given) -> Pair:
    """A and B, of which B is told as a change of A."""
    of_runs = plan_digest(a.plan) == plan_digest(b.plan) and None not in (a.run, b.run)
    timelines = [predicted(g.plan) for g in (a, b)]
    seen = [_observed(g) for g in (a, b)]
    chosen = seen if of_runs and None not in seen else timelines
    sides = [Side(g.plan, t) for g, t in zip((a, b), chosen, strict=True) if t is not None]
    made = compare(a.plan, b.plan)
    figures = tuple(_run_figures(a.run, b.run)) if of_runs else made.figures
    moved = tuple(_moved(*sides)) if not of_runs or None not in seen else ()
    near = _NEAR * max(t.makespan_s for t in timelines)
    changed = [m for m in moved if abs(m.change_s) > near]
    tracks, choices = _tracks((a, b), timelines, seen, of_runs=of_runs)
    colour = _colours(a.plan, b.plan)
    return Pair(
        given=(a, b),
        of_runs=of_runs,
        headline=_headline(figures, of_runs=of_runs),
        figures=figures,
        stalls=()
        if of_runs
        else tuple(replace(f, name=CAUSES.get(f.name, f.name)) for f in made.stalls),
        moved=tuple(sorted(changed, key=lambda m: -abs(m.change_s))),
        same=len(moved) - len(changed),
        settings=made.settings,
        chunks=made.chunks,
        turns=turns(*sides) if moved else None,
        tracks=tracks,
        choices=choices,
        colours=colour,
        legend=tuple({g.split(".")[0]: k for g, k in colour.items()}.items()),
        alarms=(_alarm(a), _alarm(b)),
    )


def _observed(given: Given) -> Timeline | None:
    run = given.run
    return observed_timeline(given.plan, run) if run is not None and has_events(run) else None


def _alarm(given: Given) -> Alarm | None:
    return alarm_of(given.plan, given.run) if given.run is not None else None


def _colours(*plans: Plan) -> dict[str, int]:
    """Stages of one name have one colour in both."""
    number: dict[str, int] = {}
    graphs = [graph for plan in plans for graph in colours(plan)]
    for graph in graphs:
        number.setdefault(graph.split(".")[0], len(number))
    return {graph: number[graph.split(".")[0]] for graph in graphs}


# ---------------------------------------------------------------- what differs


def _run_figures(a: Run | None, b: Run | None) -> Iterator[Figure]:
    assert a is not None and b is not None
    loads = [sum(c.loads for c in r.chunks) for r in (a, b)]
    yield Figure("observed time", "seconds", a.wall_s, b.wall_s)
    yield Figure("waiting", "seconds", a.stall_s, b.stall_s)
    yield Figure("observed peak", "bytes", a.peak_bytes, b.peak_bytes)
    yield Figure("loaded", "bytes", a.loaded_bytes, b.loaded_bytes)
    yield Figure("loads", "count", *loads)


def _moved(a: Side, b: Side) -> Iterator[Moved]:
    """Calls and waits of each stage: in a predicted run they are all of its time."""
    one, two = _spent(a), _spent(b)
    for stage, what in dict.fromkeys((*one, *two)):
        key = (stage, what)
        yield Moved(stage, what, (one.get(key, 0.0), two.get(key, 0.0)))


def _spent(side: Side) -> dict[tuple[str, str], float]:
    stage = {c.id: c.graph for c in side.plan.chunks}
    made: dict[tuple[str, str], float] = defaultdict(float)
    for e in side.timeline.bars:
        if e.queue == "compute":
            made[stage[e.label], "computing"] += e.end_s - e.start_s
    for w in side.timeline.waits:
        made[stage[w.chunk], "waiting for its loads"] += w.end_s - w.start_s
    return made


def _headline(figures: Sequence[Figure], *, of_runs: bool) -> str:
    """What B is, beside A, in the figures that people choose by."""
    by_name = {f.name: f for f in figures}
    time = by_name["observed time" if of_runs else "makespan"]
    peak = by_name["observed peak" if of_runs else "peak"]
    how, of = ("observed", "observed") if of_runs else ("predicted", "proven")
    return (
        f"B beside A: {how} time {_by(time, ('shorter', 'longer'))}, read "
        f"{_by(by_name['loaded'], ('less', 'more'))}, {of} peak {_by(peak, ('lower', 'higher'))}."
    )


def _by(f: Figure, words: tuple[str, str]) -> str:
    if abs(f.change) <= _NEAR * abs(f.before):
        return "the same"
    amount = abs(f.change)
    told = format_seconds(amount) if f.unit == "seconds" else format_bytes(round(amount))
    share = f" ({f.after / f.before:.2f} ×)" if f.before else ""
    return f"{told} {words[f.change > 0]}{share}"


# ---------------------------------------------------------------- the picture


def _tracks(
    given: tuple[Given, Given],
    timelines: Sequence[Timeline],
    seen: Sequence[Timeline | None],
    *,
    of_runs: bool,
) -> tuple[tuple[Track, ...], tuple[Choice, ...]]:
    """Of runs of one plan: both, and what was predicted. Of plans: both predictions, and what was
    observed of each."""
    made: list[Track] = []
    shared = given[0].plan.target.budget_bytes == given[1].plan.target.budget_bytes
    for k, timeline in enumerate(timelines[: 1 if of_runs else 2]):
        track = predicted_track(given[k].plan, timeline)
        made.append(track if of_runs else _named(track, k, shared=shared))
    numbers: dict[int, int] = {}
    for k, (g, t) in enumerate(zip(given, seen, strict=True)):
        if t is not None and g.run is not None:
            numbers[k] = len(made)
            made.append(_named(observed_track(g.plan, g.run, t), k, shared=shared))
    return tuple(made), _choices(made, numbers, of_runs=of_runs)


def _choices(made: Sequence[Track], seen: dict[int, int], *, of_runs: bool) -> tuple[Choice, ...]:
    both = [] if of_runs else [Choice("A and B, predicted", (0, 1))]
    if len(seen) == 2:
        both.append(Choice("A and B, observed", (seen[0], seen[1])))
    both += [
        Choice(f"{LETTERS[k]}, predicted and observed", (0 if of_runs else k, number))
        for k, number in seen.items()
    ]
    return (*both, *(Choice(t.name, (i,)) for i, t in enumerate(made)))


def _named(track: Track, k: int, *, shared: bool) -> Track:
    """Of A or B; lines of both that are not the same say whose they are."""
    letter = LETTERS[k]
    limits = tuple(
        (name if shared and name == "budget" else f"{name} {letter}", size)
        for name, size in track.limits
    )
    return replace(track, name=f"{letter}: {track.name.lower()}", plan=k, limits=limits)


# ---------------------------------------------------------------- the page


def render_pair(pair: Pair) -> str:
    """One HTML file, as `report.page.render` makes one of a plan."""
    from entracte.report.page import TIMELINE_SCRIPTS, fill

    data = {
        "plans": [_plan(pair, g.plan) for g in pair.given],
        "kinds": KINDS,
        "tracks": [asdict(t) for t in pair.tracks],
        "choices": [asdict(c) for c in pair.choices],
    }
    scripts = ("base.js", "units.js", "tables.js", *TIMELINE_SCRIPTS)
    values = {"pair": pair, "page": pair, "names": FIGURE_NAMES, "letters": LETTERS}
    return fill("pair.html", scripts, data, values)


def _plan(pair: Pair, plan: Plan) -> dict[str, object]:
    weights = {f.id: f for f in plan.facts}
    packages = {p.chunk: p.path for p in plan.packages}
    return {
        "chunks": [
            {
                "id": c.id,
                "stage": c.graph,
                "colour": pair.colours[c.graph],
                "weight_bytes": weights[c.id].weight_bytes,
                "activation_bytes": weights[c.id].activation_bytes,
                "holds": held(c.modules),
                "package": packages.get(c.id, ""),
            }
            for c in plan.chunks
        ],
        "segments": [
            {"name": g.name, "count": g.count, "loop": g.is_loop} for g in plan.program.segments
        ],
    }
