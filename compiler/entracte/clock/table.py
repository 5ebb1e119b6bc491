"""A program as drivers and machines read it: numbers, in iterations that are never unrolled.

Steps of all iterations are numbered 0, 1, 2, ... as in `program.steps`; `Table.end` is the number
after the last one and means "never". Times are whole nanoseconds, sizes whole bytes. Specified in
docs/online-rule.md, whose names are used here.
"""

from bisect import bisect_left, bisect_right, insort
from collections.abc import Collection, Iterable, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace

from entracte.errors import PlanError
from entracte.ir import MIN_PAGE_BYTES, Call, ChunkFacts, Kept, Step
from entracte.program.steps import lifetimes, where_is
from entracte.program.workload import Workload

SCALE = 4096
"""The scale 1: scales are fixed-point numbers with 12 binary digits after the point."""
_REMEMBERED = 2048
CUT_BYTES = 2**21
"""Large pages end at multiples of this: what memory comes in at once is not cut in two."""
MAX_PAGES = 2**16
"""Of a plan: the rule looks at all of them after each event."""


@dataclass(frozen=True, slots=True)
class Unit:
    """What is loaded at once: a package, or one page of it. `load_ns` is the nominal time, of its
    first load in a run `cold_ns` more."""

    chunk: str
    page: int
    size_bytes: int
    load_ns: int
    cold_ns: int = 0


@dataclass(frozen=True, slots=True)
class TableStep:
    """One step. `need_bytes`: its activations and every tensor alive while it runs."""

    chunk: str | None
    need_bytes: int
    exec_ns: int
    """Of all slices of a map together; 0 for a host step."""
    switch: tuple[tuple[int, int], ...] = ()
    """(ns, n) by rising n: takes `ns` while the iteration is below n; then `exec_ns`."""
    left_bytes: int = 0
    """Of the tensors alive between this step and the next. No driver reads it."""
    end_bytes: int = 0
    """The same where this step is the last of its segment."""
    at: tuple[int, ...] = ()
    """The iterations of its segment in which it is called; empty: in all. In others it takes no
    time, and needs no chunk and `idle_bytes`."""
    idle_bytes: int = 0
    asks: int | None = None
    """The step of its iteration by which it may rest."""

    def exec_at(self, iteration: int) -> int:
        """Nominal nanoseconds in an iteration of its segment."""
        return next((ns for ns, n in self.switch if iteration < n), self.exec_ns)

    def idle(self) -> "TableStep":
        """What it is where it is not called."""
        return replace(
            self, chunk=None, need_bytes=self.idle_bytes, exec_ns=0, switch=(), at=(), idle_bytes=0
        )


@dataclass(frozen=True, slots=True)
class TableSegment:
    """Steps in order, `count` times."""

    count: int
    steps: tuple[TableStep, ...]


@dataclass(frozen=True, slots=True)
class Level:
    """Chunks kept while loads, compared with steps, take `slower` / 4096 times as long as planned,
    or longer."""

    slower: int
    chunks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Use:
    """When a chunk is called next, and its units."""

    use: int
    chunk: str
    units: tuple[int, ...]
    before_ns: int
    """Nominal time of all steps before the use."""


@dataclass(frozen=True, slots=True)
class _Home:
    """A segment that calls a chunk, and at which of its steps, in which iterations (empty: all)."""

    base: int
    length: int
    count: int
    steps: tuple[tuple[int, tuple[int, ...]], ...]

    def next_use(self, n: int) -> int | None:
        iteration, step = divmod(max(0, n - self.base), self.length)
        found = []
        for k, at in self.steps:
            i = iteration if k >= step else iteration + 1
            if at:
                place = bisect_left(at, i)
                i = at[place] if place < len(at) else self.count
            if i < self.count:
                found.append(self.base + i * self.length + k)
        return min(found, default=None)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Iterations of a segment that take the same nominal times."""

    first: int
    before_ns: int
    """Of the whole program before iteration `first`."""
    prefix_ns: tuple[int, ...]
    """Of the first k steps of one iteration; the last entry is the whole iteration."""


class Table:
    """Program, sizes and nominal times. Never changes."""

    def __init__(
        self,
        units: tuple[Unit, ...],
        segments: tuple[TableSegment, ...],
        budget_bytes: int,
        kept: Iterable[Kept] = (),
    ) -> None:
        """`kept`: chunks that stay loaded over their loop while the largest other one of it still
        fits beside them; those too many are left out (`_with_room`)."""
        self.units, self.segments, self.budget_bytes = units, segments, budget_bytes
        self.bases, self.end = _bases(segments)
        self.units_of: dict[str, tuple[int, ...]] = {}
        for u, unit in enumerate(units):
            self.units_of[unit.chunk] = (*self.units_of.get(unit.chunk, ()), u)
        self._uses: dict[int, tuple[Use, ...]] = {}
        """Answers that were given: they are the same every time, and for all kept sets."""
        self._idle = tuple(tuple(x.idle() for x in s.steps) for s in segments)
        self._called = tuple(tuple(frozenset(x.at) for x in s.steps) for s in segments)
        """`at` of each step, for questions."""
        self._homes = self._homes_of(segments)
        self._pieces, self._total_ns = _pieces(segments)
        self._margins = tuple(self._mean_load_ns(s) for s in segments)
        self._most = tuple(max(x.need_bytes for x in s.steps) for s in segments)
        self.levels = self._levels_of(kept)

    # ------------------------------------------------------------ questions

    def step(self, n: int) -> TableStep:
        """The step with this number, below `end`, as it is in its iteration."""
        s = self._segment_of(n)
        steps = self.segments[s].steps
        iteration, k = divmod(n - self.bases[s], len(steps))
        at = self._called[s][k]
        return steps[k] if not at or iteration in at else self._idle[s][k]

    def exec_ns(self, n: int) -> int:
        """Nominal time of the step with this number."""
        s = self._segment_of(n)
        return self.step(n).exec_at((n - self.bases[s]) // len(self.segments[s].steps))

    def where(self, n: int) -> tuple[int, int, int]:
        """Segment, iteration and step of the step with this number."""
        return where_is(self.segments, self.bases, n)

    def asking(self, n: int) -> tuple[int, ...]:
        """The steps of its iteration that may rest by what step n makes."""
        s, _, k = self.where(n)
        return tuple(n - k + j for j, x in enumerate(self.segments[s].steps) if x.asks == k)

    def after(self, n: int, over: bool) -> int:
        """The step after step n; if the loop of step n is over, the first one after the loop."""
        if not over:
            return n + 1
        return self.segment_end(n)

    def next_use(self, chunk: str, n: int) -> int:
        """The first step from n on that calls the chunk, if no loop ends early; else `end`."""
        for home in self._homes[chunk]:
            use = home.next_use(n)
            if use is not None:
                return use
        return self.end

    def uses(self, n: int, resting: Collection[int] = ()) -> tuple[Use, ...]:
        """The next use of every chunk from step n on, by rising use, then by number, without those
        steps that are known to rest."""
        found = self._all_uses(n)
        if not resting:
            return found
        return tuple(sorted((self._use_but(x, resting) for x in found), key=_when))

    def _use_but(self, use: Use, resting: Collection[int]) -> Use:
        n = use.use
        while n in resting:
            n = self.next_use(use.chunk, n + 1)
        return use if n == use.use else replace(use, use=n, before_ns=self.nominal_before(n))

    def _all_uses(self, n: int) -> tuple[Use, ...]:
        if n not in self._uses:
            if len(self._uses) >= _REMEMBERED:
                self._uses = {n - 1: self._uses[n - 1]} if n - 1 in self._uses else {}
            self._uses[n] = self._uses_from(n)
        return self._uses[n]

    def _uses_from(self, n: int) -> tuple[Use, ...]:
        """From those of the step before, only the chunk that it calls changes its place."""
        before = self._uses.get(n - 1)
        if before is None:
            return tuple(sorted((self._use(c, n) for c in self.units_of), key=_when))
        called = self.step(n - 1).chunk
        if called is None:
            return before
        others = [x for x in before if x.chunk != called]
        insort(others, self._use(called, n), key=_when)
        return tuple(others)

    def _use(self, chunk: str, n: int) -> Use:
        use = self.next_use(chunk, n)
        return Use(use, chunk, self.units_of[chunk], self.nominal_before(use))

    def most_need(self, first: int, last: int) -> int:
        """The largest need of the steps `first` to `last`, both included, as if none rested."""
        s, most = self._segment_of(first), 0
        while first <= last:
            segment = self.segments[s]
            length = len(segment.steps)
            stop = min(last + 1, self.bases[s] + segment.count * length)
            if stop - first >= length:
                most = max(most, self._most[s])
            else:
                within = range(first - self.bases[s], stop - self.bases[s])
                most = max([most, *(segment.steps[k % length].need_bytes for k in within)])
            first, s = stop, s + 1
        return most

    def nominal_before(self, n: int) -> int:
        """Nominal nanoseconds of all steps before step n."""
        if n >= self.end:
            return self._total_ns
        s = self._segment_of(n)
        iteration, k = divmod(n - self.bases[s], len(self.segments[s].steps))
        pieces = self._pieces[s]
        piece = pieces[bisect_right(pieces, iteration, key=lambda p: p.first) - 1]
        whole = (iteration - piece.first) * piece.prefix_ns[-1]
        return piece.before_ns + whole + piece.prefix_ns[k]

    def segment_end(self, n: int) -> int:
        """The number after the last step of step n's segment."""
        s = self._segment_of(n)
        return self.bases[s + 1] if s + 1 < len(self.bases) else self.end

    def kept(self, slower: int) -> tuple[str, ...]:
        """Chunks to keep while loads, compared with steps, take slower / 4096 times as long as
        planned: those of the last level that is not above that."""
        return next((x.chunks for x in reversed(self.levels) if x.slower <= slower), ())

    def margin_ns(self, n: int) -> int:
        """Mean nominal load time of the chunks of step n's segment, rounded down."""
        return self._margins[self._segment_of(n)]

    def size_bytes(self, chunk: str) -> int:
        """Of all units of a chunk."""
        return sum(self.units[u].size_bytes for u in self.units_of[chunk])

    @property
    def total_ns(self) -> int:
        """Nominal nanoseconds of all steps."""
        return self._total_ns

    # ------------------------------------------------------------ making

    def keeping(self, kept: Iterable[Kept]) -> "Table":
        """The same with other kept chunks."""
        other = copy(self)
        other.levels = self._levels_of(kept)
        return other

    def _levels_of(self, kept: Iterable[Kept]) -> tuple[Level, ...]:
        return tuple(
            Level(round(k.slower * SCALE), self._with_room(k.chunks))
            for k in sorted(kept, key=lambda k: k.slower)
        )

    def _segment_of(self, n: int) -> int:
        return bisect_right(self.bases, n) - 1

    def _homes_of(self, segments: tuple[TableSegment, ...]) -> dict[str, list[_Home]]:
        """By chunk, in the order of the segments."""
        homes: dict[str, list[_Home]] = {c: [] for c in self.units_of}
        for base, segment in zip(self.bases, segments, strict=True):
            calls: dict[str, list[tuple[int, tuple[int, ...]]]] = {}
            for k, step in enumerate(segment.steps):
                if step.chunk is not None:
                    calls.setdefault(step.chunk, []).append((k, step.at))
            for chunk, steps in calls.items():
                home = _Home(base, len(segment.steps), segment.count, tuple(steps))
                homes[chunk].append(home)
        return homes

    def _mean_load_ns(self, segment: TableSegment) -> int:
        chunks = {x.chunk for x in segment.steps if x.chunk is not None}
        total = sum(self.units[u].load_ns for c in chunks for u in self.units_of[c])
        return total // len(chunks) if chunks else 0

    def _with_room(self, kept: Iterable[str]) -> tuple[str, ...]:
        """Those of the kept chunks that leave room for any other of their segment: without it
        nothing could run. In order of first call."""
        wanted = set(kept)
        chosen = [c for c in self.units_of if c in wanted]
        for s, segment in enumerate(self.segments):
            called = {x.chunk for x in segment.steps}
            while (over := self._over(chosen, called, self._most[s])) > 0:
                here = [c for c in chosen if c in called]
                enough = [c for c in here if self.size_bytes(c) >= over]
                # The first of the smallest that suffice, else the first of the largest.
                choice = min(enough, key=self.size_bytes, default=max(here, key=self.size_bytes))
                chosen.remove(choice)
        return tuple(chosen)

    def _over(self, kept: list[str], called: set[str | None], need: int) -> int:
        """Bytes by which a segment's kept chunks with its largest other one exceed the budget; 0
        where it keeps none."""
        sizes = {c: self.size_bytes(c) for c in self.units_of if c in called}
        held = sum(size for c, size in sizes.items() if c in kept)
        others = sorted((size for c, size in sizes.items() if c not in kept), reverse=True)
        if not set(kept) & set(sizes):
            return 0
        return held + sum(others[:1]) + need - self.budget_bytes


def _when(use: Use) -> tuple[int, tuple[int, ...]]:
    return use.use, use.units


def _bases(segments: tuple[TableSegment, ...]) -> tuple[list[int], int]:
    bases, total = [], 0
    for segment in segments:
        bases.append(total)
        total += segment.count * len(segment.steps)
    return bases, total


def _pieces(segments: tuple[TableSegment, ...]) -> tuple[list[list[_Piece]], int]:
    """Each segment's iterations, cut where a function switches, or a call begins or ends to
    rest."""
    result, total = [], 0
    for segment in segments:
        cuts = {0} | {n for x in segment.steps for _, n in x.switch}
        called = [frozenset(x.at) for x in segment.steps]
        for at in set(called):
            cuts |= {i for i in range(1, segment.count) if (i in at) != (i - 1 in at)}
        firsts = sorted(n for n in cuts if n < segment.count)
        pieces = []
        for first, stop in zip(firsts, [*firsts[1:], segment.count], strict=True):
            prefix = [0]
            for step, at in zip(segment.steps, called, strict=True):
                own = step.exec_at(first) if not at or first in at else 0
                prefix.append(prefix[-1] + own)
            pieces.append(_Piece(first, total, tuple(prefix)))
            total += (stop - first) * prefix[-1]
        result.append(pieces)
    return result, total


def make_table(
    workload: Workload, *, pages: Mapping[str, int] | None = None, kept: Iterable[Kept] = ()
) -> Table:
    """The table of a program. Units are in order of first call, then of page.

    Args:
        pages: chunk -> into how many pages it is split; 1 where it is not named.
        kept: chunks that stay loaded over their loop, e.g. a plan's `schedule.kept`.
    """
    facts = workload.facts
    size = {t.name: t.size_bytes for t in workload.program.tensors}.__getitem__
    alive = lifetimes(workload.program)

    def step(s: int, k: int, what: Step) -> TableStep:
        names = alive[s, k]
        during, after, at_end = (
            sum(map(size, x)) for x in (names.during, names.after, names.at_end)
        )
        made = replace(_step(what, during, facts), left_bytes=after, end_bytes=at_end)
        return replace(made, asks=_asked(workload.program.segments[s].steps, what))

    segments = tuple(
        TableSegment(g.count, tuple(step(s, k, x) for k, x in enumerate(g.steps)))
        for s, g in enumerate(workload.program.segments)
    )
    order = dict.fromkeys(x.chunk for g in segments for x in g.steps if x.chunk is not None)
    units = tuple(u for c in order for u in split(facts[c], (pages or {}).get(c, 1)))
    return Table(units, segments, workload.budget_bytes, kept)


def followed(first: Table, then: Table, budget_bytes: int, kept: Iterable[Kept]) -> Table:
    """The table of a program and of another one right after it, with the same chunks and pages:
    its steps go on from the end of the first, whose units have the numbers that they have there."""
    units = (*first.units, *(u for u in then.units if u.chunk not in first.units_of))
    return Table(units, (*first.segments, *then.segments), budget_bytes, kept)


def pages_of(workload: Workload) -> dict[str, int]:
    """chunk -> pages into which its weights are cut. Raises `PlanError` as `page_counts` does."""
    return page_counts(workload.facts.values(), workload.page_bytes)


def page_counts(facts: Iterable[ChunkFacts], page_bytes: int) -> dict[str, int]:
    """Pages of at most `page_bytes`; one for the whole package where that is 0.

    Raises `PlanError` where they are smaller than `MIN_PAGE_BYTES` or more than `MAX_PAGES`.
    """
    if page_bytes == 0:
        return {}
    if page_bytes < MIN_PAGE_BYTES:
        raise PlanError(
            f"target.page_bytes is {page_bytes}; give at least {MIN_PAGE_BYTES}, or 0 for whole "
            "packages"
        )
    pages = {f.id: max(1, -(-f.weight_bytes // page_bytes)) for f in facts}
    if sum(pages.values()) > MAX_PAGES:
        raise PlanError(
            f"target.page_bytes={page_bytes} makes {sum(pages.values())} pages, more than "
            f"{MAX_PAGES}; give larger ones, or 0 for whole packages"
        )
    return pages


def split(facts: ChunkFacts, n: int) -> list[Unit]:
    """Equal pages; what does not divide goes to the first ones, one byte or nanosecond each. Pages
    of twice `CUT_BYTES` or more are cut at multiples of it, the next ones above the equal cuts."""
    size, load, cold = facts.weight_bytes, whole_ns(facts.load_s), whole_ns(facts.cold_s)

    def cut(j: int) -> int:
        """The bytes before page j."""
        if size // n < 2 * CUT_BYTES or j == n:
            return size // n * j + min(j, size % n)
        return -(-size * j // (n * CUT_BYTES)) * CUT_BYTES

    def share(ns: int, j: int) -> int:
        return ns // n + (j < ns % n)

    return [
        Unit(facts.id, j, cut(j + 1) - cut(j), share(load, j), share(cold, j)) for j in range(n)
    ]


def _step(step: Step, tensors_bytes: int, facts: Mapping[str, ChunkFacts]) -> TableStep:
    if not isinstance(step, Call):
        return TableStep(None, tensors_bytes, 0)
    f = facts[step.chunk]

    def ns(function: str) -> int:
        return step.repeat * whole_ns(f.exec_of(function))

    return TableStep(
        step.chunk,
        tensors_bytes + f.activation_bytes,
        ns(step.function),
        tuple((ns(name), n) for name, n in step.switch),
        at=step.at,
        idle_bytes=tensors_bytes if step.at else 0,
    )


def _asked(steps: Sequence[Step], step: Step) -> int | None:
    """The step that makes what says whether a call rests."""
    if not isinstance(step, Call) or not step.rests_by:
        return None
    return next(k for k, x in enumerate(steps) if step.rests_by in {b.tensor for b in x.outputs})


def whole_ns(seconds: float) -> int:
    """Nearest whole nanosecond, halves to even."""
    return round(seconds * 1e9)
