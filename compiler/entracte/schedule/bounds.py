"""Lower bounds: no schedule of this program in this budget is faster, and why.

All hold for every safe schedule of whole chunks, periodic or not, whatever it keeps and in
whatever order it loads; with `pages=True` also for those that load and evict parts of chunks.
`docs/planner.md` compares them. Where calls rest in some iterations (`Call.at`), what is bound is
the run in which they do.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

from entracte.ir import Call, ChunkFacts, Segment
from entracte.program.steps import Occurrence, expand
from entracte.program.workload import Workload
from entracte.schedule.window_lp import MOST, Window, least_stall_s

_PIECE = 256
"""Calls in one LP. More are cut into pieces, each with any content at its start for nothing."""
_LARGEST = 256
"""Loops of more calls per iteration get no LP."""
_RESTS = " rests "
"""In place of a chunk's name, which has no blank."""
_WRITTEN_OUT = 40
"""Calls of a loop that get windows of their own instead of an average."""


@dataclass(frozen=True, slots=True)
class Bound:
    """Seconds, and which argument gave them: compute, load, volume or window."""

    seconds: float
    name: str


def best_bound(
    workload: Workload,
    *,
    enough_s: float | None = None,
    apart_s: Callable[[], float] | None = None,
    pages: bool = False,
    most: int = MOST,
) -> Bound:
    """The largest of all. The LP, most of the work, is left out where the others already reach
    `enough_s`, the time of a schedule, to a thousandth; or the time `apart_s` that a schedule would
    take if loads and calls did not slow each other: the LP does not know that they do, so it is
    never above that. `most`: see `window_lp.least_stall_s`."""
    best = max(Bound(*lower_bound(workload)), volume(workload), key=lambda b: b.seconds)
    if enough_s is not None and enough_s <= best.seconds * 1.001:
        return best
    if apart_s is not None and workload.contention > 1 and apart_s() <= best.seconds:
        return best
    found = window(workload, pages=pages, most=most)
    # A sum of many numbers may be above another's by its rounding alone.
    return found if found.seconds > best.seconds * (1 + 1e-9) else best


def lower_bound(workload: Workload) -> tuple[float, str]:
    """What holds in any budget.

    `compute`: calls are serial and the first one waits for its load. `load`: every chunk is
    read at least once by one loader, and the last chunk's calls come after all loads.
    """
    calls = _calls(workload)
    if not calls:
        return 0.0, "compute"
    facts = workload.facts
    loading = sum(_first_s(facts[call.chunk]) for call, _ in _once(calls))
    computing = sum(sum(times) for _, times in calls)
    first_s, last_s = _ends_s(calls, facts)
    name = "compute" if computing + first_s >= loading + last_s else "load"
    return _together(workload, calls, loading), name


def _calls(workload: Workload) -> list[tuple[Call, list[float]]]:
    """All calls, each with its seconds in all iterations."""
    facts = workload.facts
    return [
        (step, _all_seconds(step, facts[step.chunk], segment))
        for segment in workload.program.segments
        for step in segment.steps
        if isinstance(step, Call)
    ]


def _ends_s(
    calls: Sequence[tuple[Call, list[float]]], facts: Mapping[str, ChunkFacts]
) -> tuple[float, float]:
    """The load before the first call, and the least call: one comes after the last load."""
    return _first_s(facts[calls[0][0].chunk]), min(min(times) for _, times in calls)


def _together(
    workload: Workload, calls: Sequence[tuple[Call, list[float]]], loading: float
) -> float:
    """Seconds of calls and of so many of loads, at least.

    One after the other but for what is beside each other: at most all calls but one after the last
    load, and all loads but the one before the first call. A second of both takes `contention`
    seconds.
    """
    computing = sum(sum(times) for _, times in calls)
    first_s, last_s = _ends_s(calls, workload.facts)
    beside = min(loading - first_s, computing - last_s)
    longer = max(computing + first_s, loading + last_s)
    return longer + min(1.0, workload.contention - 1) * beside


def _first_s(facts: ChunkFacts) -> float:
    """Seconds of a package's first load in a run."""
    return facts.load_s + facts.cold_s


def _once(calls: Sequence[tuple[Call, list[float]]]) -> list[tuple[Call, list[float]]]:
    """The first call of each chunk."""
    return list({call.chunk: (call, times) for call, times in reversed(calls)}.values())


def volume(workload: Workload) -> Bound:
    """Loads that the budget forces: every chunk once, and what does not fit again each time.

    At the end of a call only so much is present as fits beside it. All chunks of a loop are used
    before that call ends again, an iteration later, so what was not present is loaded in between;
    a load in progress counts as present. These spans do not overlap, there is one loader, and
    after the last load a call follows. What is present saves at most a fractional knapsack:
    seconds of loading for bytes, best first. Of chunks that rest, those count that are called in
    every span; spans may be several iterations long.
    """
    program, facts = workload.program, workload.facts
    calls = _calls(workload)
    if not calls:
        return Bound(0.0, "volume")
    unrolled = expand(program, facts, 1)
    total = sum(_first_s(facts[call.chunk]) for call, _ in _once(calls))
    for s, segment in enumerate(program.segments):
        own = [at for at in unrolled if at.segment == s and at.chunk is not None]
        if segment.count == 1 or not own:
            continue
        always = [at for at in own if not _at(segment, at)]
        # The call whose ends part the spans; any room where none is made in all iterations.
        room = workload.budget_bytes - max((at.need_bytes for at in always), default=0)
        again = []
        for span, chunks in _spans(segment):
            more = sum(facts[c].load_s for c in chunks) - _saved_s(chunks, facts, room)
            again.append((segment.count - 1) // span * max(0.0, more))
        total += max(again)
    return Bound(_together(workload, calls, total), "volume")


def _at(segment: Segment, at: Occurrence) -> tuple[int, ...]:
    step = segment.steps[at.step]
    return step.at if isinstance(step, Call) else ()


def _spans(segment: Segment) -> Iterator[tuple[int, list[str]]]:
    """(n, chunks that are called in any n iterations on end)"""
    rests: dict[str, int] = {}
    for step in segment.steps:
        if isinstance(step, Call):
            ends = [*step.at, segment.count] if step.at else [0, 1]
            span = max(b - a for a, b in pairwise(ends))
            rests[step.chunk] = min(span, rests.get(step.chunk, span))
    for span in sorted(set(rests.values())):
        yield span, [c for c, own in rests.items() if own <= span]


def _saved_s(chunks: Sequence[str], facts: Mapping[str, ChunkFacts], room: int) -> float:
    """Fractional knapsack: the most seconds of loading that `room` bytes hold."""
    saved = 0.0
    rest: float = max(0, room)
    own = [facts[c] for c in chunks]
    for f in sorted(own, key=lambda f: -f.load_s / max(f.weight_bytes, 1e-9)):
        share = min(1.0, rest / f.weight_bytes) if f.weight_bytes else 1.0
        saved += share * f.load_s
        rest -= share * f.weight_bytes
    return saved


def window(workload: Workload, *, pages: bool = False, most: int = MOST) -> Bound:
    """All computing, and the stalls that the window LP proves (`entracte/schedule/window_lp.py`).

    The calls are cut into runs whose stalls add up: each is a straight part with a loop's first
    iteration, its middle iterations at once, and its last one.
    """
    computing = sum(sum(times) for _, times in _calls(workload))
    stalls = 0.0
    for run in _runs(workload):
        stalls += least_stall_s(
            run.before,
            run.loop,
            run.after,
            repeats=run.repeats,
            cold=run.cold,
            pages=pages,
            most=most,
        )
    return Bound(computing + stalls, "window")


@dataclass(frozen=True, slots=True)
class _Run:
    """Consecutive windows, those of a loop's middle iterations once."""

    before: list[Window]
    cold: bool
    loop: list[Window]
    after: list[Window]
    repeats: int = 1


def _runs(workload: Workload) -> Iterator[_Run]:
    """A run ends with each loop; what follows the last one belongs to its run."""
    program, facts = workload.program, workload.facts
    unrolled = expand(program, facts, 1)
    straight: list[Window] = []
    cold, seen = True, set[str]()
    made: _Run | None = None
    for s, segment in enumerate(program.segments):
        own = [at for at in unrolled if at.segment == s and at.chunk is not None]
        windows = _windows(segment, own, workload)
        # Who knows which load of theirs was the first.
        seen.update(x.chunk for x in segment.steps if isinstance(x, Call) and x.at)
        straight += _cold(windows, facts, seen)
        if segment.count == 1 or not own:
            continue
        if made is not None:
            yield made
            made = None
        if len(windows) > _LARGEST:
            # What its other iterations load is there, for nothing.
            for piece in _pieces(straight) if straight else ():
                yield _Run(piece, cold, [], [])
                cold = False
            straight, cold = [], False
            continue
        *pieces, before = _pieces(straight)
        for piece in pieces:
            yield _Run(piece, cold, [], [])
            cold = False
        made = _loop_run(windows, before, cold, segment.count)
        straight, cold = [], False
    if made is not None:
        made = replace(made, after=[*made.after, *straight[:_PIECE]])
        yield made
        straight = straight[_PIECE:]
    for piece in _pieces(straight) if straight else ():
        yield _Run(piece, cold, [], [])
        cold = False


def _loop_run(windows: list[Window], before: list[Window], cold: bool, count: int) -> _Run:
    """`before` ends with the loop's first iteration. Few short iterations are written out."""
    if (count - 1) * len(windows) <= _WRITTEN_OUT or count <= 3:
        return _Run([*before, *windows * (count - 1)], cold, [], [])
    return _Run(before, cold, windows, list(windows), count - 2)


def _cold(
    windows: list[Window], facts: Mapping[str, ChunkFacts], seen: set[str]
) -> Iterator[Window]:
    """The same, where a chunk's first load takes its cold time. Marks chunks as seen."""
    for w in windows:
        fresh = w.chunk not in seen and not w.chunk.startswith(_RESTS)
        seen.add(w.chunk)
        yield replace(w, load_s=_first_s(facts[w.chunk])) if fresh else w


def _pieces(windows: list[Window]) -> list[list[Window]]:
    """The last one is the longest."""
    if len(windows) <= _PIECE:
        return [windows]
    cut = len(windows) % _PIECE or _PIECE
    return [windows[:cut], *_pieces(windows[cut:])]


def _windows(
    segment: Segment,
    unrolled: Sequence[Occurrence],
    workload: Workload,
) -> list[Window]:
    """Of one iteration. Where a call's function changes, its longest time hides the most.

    A call that rests in some iterations is time in which others may be loaded, in any room, and
    bounds nothing else: neither its load nor its memory.
    """
    made: list[Window] = []
    for at in unrolled:
        step = segment.steps[at.step]
        assert isinstance(step, Call)
        f = workload.facts[step.chunk]
        longest = max(_all_seconds(step, f, segment))
        room = workload.budget_bytes - at.need_bytes
        if step.at:
            made.append(Window(f"{_RESTS}{at.step}", 0, 0.0, longest, workload.budget_bytes))
        else:
            made.append(Window(step.chunk, f.weight_bytes, f.load_s, longest, room))
    return made


def _all_seconds(call: Call, facts: ChunkFacts, segment: Segment) -> list[float]:
    """Of each iteration in which it is called, by the function it uses."""
    functions = (call.function_at(i) for i in call.at or range(segment.count))
    return [call.repeat * facts.exec_of(f) for f in functions]


def periodic_s(count: int, room: int, load_s: float, exec_s: float) -> float:
    """Seconds per iteration of any schedule that does the same in every one: equal chunks.

    `count` chunks, of which `room` fit at once. With y loads per iteration, T its time:
    computing takes K e, loading y l. A streamed chunk is in memory for l + e at least, a kept
    one for T, and `room` x T is all there is: (K - y) T + y (l + e) <= k T. With every chunk
    used in every iteration y is at least K - k + 1 (the next load needs a place while the kept
    ones stay) unless everything fits. Source: scheduling.md, section 3, closed forms.
    """
    if room >= count:
        return count * exec_s
    best = float("inf")
    for y in range(count - room + 1, count + 1):
        memory = y * (load_s + exec_s) / (y - (count - room))
        best = min(best, max(count * exec_s, y * load_s, memory))
    return best if room > 1 else count * (load_s + exec_s)
