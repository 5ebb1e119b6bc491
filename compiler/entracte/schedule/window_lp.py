"""The window LP: a proven lower bound on stalls, by SciPy's HiGHS.

Source: shared reference scheduling.md, section 3 (window LP and cyclic LP). Window t runs from the
end of call t - 1 to the end of call t: a stall s_t, then the call. For each use j of a chunk (of
load time l and weight w), whose previous use is q and which is call p, and each window t between:

    x    1 if the copy of use q was retained until p, else 0
    G_t  share of the chunk that is present at the end of window t; G = x at q, G = 1 at p
    b_t  1 if the copy has its memory while call t runs (its load started before t ended)
    y_t  seconds of this load that pass during call t; the rest, l (G_t - G_t-1) - y_t, are in s_t

    minimise  sum of s_t
    l (G_t - G_t-1) - y_t >= 0,  x <= G_t <= b_t,  b does not fall
    y_t <= e_t (b_t - x)                    (a load in progress has the whole chunk's memory)
    sum_j y_jt <= e_t;  sum_j (l_j (G_jt - G_j,t-1) - y_jt) <= s_t     (one loader)
    b of call t is a combination of sets of whole chunks that fit      (memory)

Every real schedule gives such numbers, so no schedule stalls less than the optimum. Where there
are too many sets (`_SETS`), memory is sum_j w_j b_jt <= room_t - w of call t instead, with room_t
the largest sum of chunk weights that fits beside what call t needs.

**n iterations of a loop in one.** The numbers of n iterations in the middle of a loop are averaged
over these iterations. All rows are linear, so the averages satisfy them. The iterations before and
after the middle ones stay as they are, and what reaches over the borders is linked: of a chunk that
is last used in call q and next used in the iteration after, the share present at the border is

    n (average at an iteration's begin) = n (average at an iteration's end) + A - Z

with A what the iterations before hand on and Z what the last of the middle ones hands on; likewise
the retained shares x. Only that memory there does not have to grow (b) across the border is lost.

**Groups of windows.** K chunks over K windows are K^2 variables, so where they are many,
consecutive windows are one group, which ends with one of its calls: G and b are of that call alone,
y and s are sums over the group. G and b only grow before a use, so each row still holds, or is
a sum of such rows with b of the group's end in it, where it is largest. What is lost is memory
beside the other calls, and the order of loads within a group. The windows before a use in its own
group are a piece without a look at memory.

**Pages.** Where parts of chunks can be loaded and evicted, a load in progress has only the memory
of what is loaded: b = G, without the y-row, and room_t is not rounded down.

The value is not the solver's word: it is computed from its dual solution, which is valid however
inexact (weak duality: the dual's rest is charged at the variables' bounds).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from entracte.schedule.dual import Entries, dual_bound
from entracte.schedule.room import fullest

MOST = 1_200
"""A few tenths of a second."""


@dataclass(frozen=True, slots=True)
class Window:
    """A call: its chunk, the seconds it takes, and the bytes that chunks may take meanwhile."""

    chunk: str
    weight_bytes: int
    load_s: float
    exec_s: float
    room_bytes: int


def least_stall_s(  # noqa: PLR0913 - the windows, and what is known of them
    before: Sequence[Window],
    loop: Sequence[Window] = (),
    after: Sequence[Window] = (),
    *,
    repeats: int = 1,
    cold: bool = False,
    pages: bool = False,
    most: int = MOST,
) -> float:
    """Seconds that any schedule waits in these windows, at least.

    Args:
        before, loop, after: consecutive calls, those of the loop `repeats` times. The loop's chunks
            are called in `before` and in `after` too.
        cold: nothing is loaded before the first one; else anything may be.
        pages: parts of chunks can be loaded and evicted.
        most: looks at a chunk in a group of windows, about: a second's work are some thousands.

    0.0 where HiGHS fails.
    """
    size = max(1, -(-_looks(before, loop, after) // most))
    return _Lp(before, loop, after, repeats, cold, pages, size).solve()


def _looks(before: Sequence[Window], loop: Sequence[Window], after: Sequence[Window]) -> int:
    """At a chunk in a window between two of its uses, in all."""
    total, last = len(loop) ** 2 // 2, dict[str, int]()
    for p, w in enumerate([*before, *loop, *after]):
        total += p - last.get(w.chunk, 0)
        last[w.chunk] = p
    return total


_SETS = 1_000
"""Largest sets of chunks beside a call that are combined; where there are more, bytes count."""
_SHARES = 2_000_000
"""And of all calls together, times the calls: beyond that the LP takes minutes."""
_SUMS = 2_000
"""Subset sums that are followed; where there are more, rooms are not rounded down."""
Sum = dict[int, float]
"""A sum of variables with factors."""


class _Lp:
    """Rows and columns as lists; all variables are between 0 and an upper bound."""

    def __init__(  # noqa: PLR0913 - the same, and the size of groups
        self,
        before: Sequence[Window],
        loop: Sequence[Window],
        after: Sequence[Window],
        repeats: int,
        cold: bool,
        pages: bool,
        size: int,
    ) -> None:
        self.windows = [*before, *loop, *after]
        self.begin, self.end = len(before), len(before) + len(loop)
        self.repeats, self.cold, self.pages = repeats, cold, pages
        self.last: list[int] = []
        """The last window of each group."""
        self.group: list[int] = []
        """Of each window, the number of its group."""
        for start, stop in ((0, self.begin), (self.begin, self.end), (self.end, len(self.windows))):
            for first, end in _groups(start, stop, size):
                self.group += [len(self.last)] * (end - first)
                self.last.append(end - 1)
        self.scale = float(max([1, *(w.weight_bytes for w in self.windows)]))
        self.upper: list[float] = []
        self.cost: list[float] = []
        self.entries: Entries = [], [], []
        self.right: list[float] = []
        total = sum(w.load_s for w in self.windows)
        self.stall = [self.variable(total, self.times(t)) for t in self.last]
        self.loading: list[Sum] = [{} for _ in self.last]
        self.waiting: list[Sum] = [{s: -1.0} for s in self.stall]
        self.fixed_wait = [0.0] * len(self.last)
        self.exec_s = [0.0] * len(self.last)
        for g, w in zip(self.group, self.windows, strict=True):
            self.exec_s[g] += w.exec_s
        self.memory: list[Sum] = [{} for _ in self.windows]
        self.others: list[dict[str, int]] = [{} for _ in self.windows]
        """Chunks that have a place in a window's memory here, with their weights."""
        self.shares = 0
        self.build()

    def times(self, t: int) -> float:
        """How often a window happens."""
        return float(self.repeats) if self.begin <= t < self.end else 1.0

    def variable(self, upper: float, cost: float = 0.0) -> int:
        self.upper.append(upper)
        self.cost.append(cost)
        return len(self.upper) - 1

    def row(self, terms: Sum, right: float) -> None:
        """sum of terms <= right"""
        rows, columns, values = self.entries
        rows += [len(self.right)] * len(terms)
        columns += terms.keys()
        values += terms.values()
        self.right.append(right)

    def build(self) -> None:
        last: dict[str, int] = {}
        for p, w in enumerate(self.windows):
            q = last.get(w.chunk)
            if q is None:
                self.open(p)
            elif self.begin <= p < self.end and q < self.begin:
                self.around(p, q)
            elif not (p >= self.end and q < self.end and self.begin < self.end):
                self.again(p, q)
            elif q < self.begin:
                # Called before and after the loop, not in it: may have been kept for nothing.
                self.use(p, range(self.end, p), {self.variable(1.0): 1.0}, {})
            last[w.chunk] = p
        for g, t in enumerate(self.last):
            self.row(self.loading[g], self.exec_s[g])
            self.row(self.waiting[g], -self.fixed_wait[g])
            w = self.windows[t]
            room = max(0, w.room_bytes - w.weight_bytes)
            if self.pages or not self.whole(t, room):
                room = room if self.pages else _filled(room, self.others[t])
                self.row(self.memory[t], room / self.scale)

    def whole(self, t: int, room: int) -> bool:
        """Rows that hold the copies beside call t to combinations of whole ones that fit; False
        where they are too many."""
        places: dict[int, Sum] = {}
        for held in self.memory[t]:
            weight = round(self.memory[t][held] * self.scale)
            places.setdefault(weight, {})[held] = 1.0
        weights = sorted(places, reverse=True)
        limit = min(_SETS, _SHARES // len(self.windows) - self.shares)
        sets = fullest(room, weights, [len(places[w]) for w in weights], limit)
        if not sets:
            return False
        self.shares += len(sets)
        shares = [self.variable(1.0) for _ in sets]
        self.row(dict.fromkeys(shares, 1.0), 1.0)
        for k, weight in enumerate(weights):
            full = {x: -float(counts[k]) for x, counts in zip(shares, sets, strict=True)}
            self.row(_sum((places[weight], 1.0), (full, 1.0)), 0.0)
        return True

    def use(self, p: int, windows: range, start: Sum, keep: Sum) -> None:
        """Call p finds what is there at the start, and what is loaded in these windows; what is
        missing then is loaded in the stall before it: l (1 - G) <= s."""
        self.wait(p, self.windows[p].load_s, self.span(p, windows, start, keep))

    def open(self, p: int) -> None:
        """A chunk's first call."""
        if self.begin < self.end <= p:
            self.use(p, range(self.end, p), self.behind(p), {})
            return
        if self.cold:
            self.use(p, range(p), {}, {})
            return
        keep, present = self.variable(1.0), self.variable(1.0)
        self.row({keep: 1.0, present: -1.0}, 0.0)
        self.use(p, range(p), {present: 1.0}, {keep: 1.0})

    def behind(self, p: int) -> Sum:
        """What is there at the loop's end of a chunk that is first called after it: what was loaded
        before the loop, and in it. There the seconds of its load take loader time, n times their
        averages; the memory it takes in the loop is left out."""
        present = {self.variable(1.0): 1.0}
        if not self.cold:
            return present
        w = self.windows[p]
        given = self.span(p, range(self.begin), {}, {})
        loaded: Sum = {}
        for g in sorted(set(self.group[self.begin : self.end])):
            during, waited = self.variable(w.load_s), self.variable(w.load_s)
            self.loading[g][during] = 1.0
            self.waiting[g][waited] = 1.0
            loaded |= {during: float(self.repeats), waited: float(self.repeats)}
        self.row(_sum((present, w.load_s), (given, -w.load_s), (loaded, -1.0)), 0.0)
        return present

    def again(self, p: int, q: int) -> None:
        """A call whose previous one is q."""
        kept = {self.variable(1.0): 1.0}
        self.use(p, range(q + 1, p), kept, kept)

    def around(self, p: int, q: int) -> None:
        """A chunk's first call in the loop, p; q is the last one before it. Also its first call
        after the loop, which is linked with both."""
        chunk, n = self.windows[p].chunk, float(self.repeats)
        calls = range(p, self.end)
        last = max(t for t in calls if self.windows[t].chunk == chunk)
        later = range(self.end, len(self.windows))
        next_ = next((t for t in later if self.windows[t].chunk == chunk), None)
        first_keep = {self.variable(1.0): 1.0}
        keep = {self.variable(1.0): 1.0}
        last_keep: Sum = {} if next_ is None else {self.variable(1.0): 1.0}
        handed: Sum = {} if next_ is None else {self.variable(1.0): 1.0}
        # Before the loop, then around its iterations.
        given = self.span(p, range(q + 1, self.begin), first_keep, first_keep)
        tail_keep = _sum((keep, 1.0), (last_keep, 1.0 / n), (first_keep, -1.0 / n))
        self.between(tail_keep)
        tail = self.span(p, range(last + 1, self.end), tail_keep, tail_keep)
        # Of the n ends one is `handed`, the others are between 0 and 1.
        others = _sum((tail, 1.0), (handed, -1.0 / n))
        self.row(_sum((others, -1.0)), 0.0)
        self.row(others, (n - 1.0) / n)
        head = _sum((tail, 1.0), (given, 1.0 / n), (handed, -1.0 / n))
        self.row(_sum((keep, 1.0), (head, -1.0)), 0.0)
        self.use(p, range(self.begin, p), head, keep)
        if next_ is not None:
            self.row(_sum((last_keep, 1.0), (handed, -1.0)), 0.0)
            self.use(next_, range(self.end, next_), handed, last_keep)

    def between(self, terms: Sum) -> None:
        """0 <= terms <= 1"""
        self.row(terms, 1.0)
        self.row(_sum((terms, -1.0)), 0.0)

    def span(self, p: int, windows: range, start: Sum, keep: Sum) -> Sum:
        """Windows between two uses; returns what is present at their end."""
        w = self.windows[p]
        reserved = None
        for g, last, exec_s in self.pieces(windows):
            part = self.variable(1.0)
            during = self.variable(min(exec_s, w.load_s))
            held = part if self.pages or last != self.last[g] else self.variable(1.0)
            if last != self.last[g]:
                # Before its own call, beside others whose memory is not looked at.
                self.row(_sum(({during: 1.0}, 1.0), (keep, exec_s)), exec_s)
            elif not self.pages:
                self.row({part: 1.0, held: -1.0}, 0.0)
                progress = _sum((keep, exec_s), ({held: 1.0}, -exec_s))
                self.row(_sum(({during: 1.0}, 1.0), (progress, 1.0)), 0.0)
                if reserved is not None:
                    self.row({reserved: 1.0, held: -1.0}, 0.0)
            if last == self.last[g]:
                reserved = held
                self.memory[last][held] = w.weight_bytes / self.scale
                self.others[last][w.chunk] = w.weight_bytes
            self.loading[g][during] = 1.0
            # l (G - G before) - y >= 0, and it is part of the stall.
            grows = _sum(({part: 1.0}, w.load_s), ({during: 1.0}, -1.0), (start, -w.load_s))
            self.row(_sum((grows, -1.0)), 0.0)
            self.waiting[g] = _sum((self.waiting[g], 1.0), (grows, 1.0))
            start = {part: 1.0}
        return start

    def pieces(self, windows: range) -> Iterator[tuple[int, int, float]]:
        """Group by group: its number, the last of these windows in it, and their calls' seconds."""
        t = windows.start
        while t < windows.stop:
            g = self.group[t]
            stop = min(windows.stop, self.last[g] + 1)
            yield g, stop - 1, sum(w.exec_s for w in self.windows[t:stop])
            t = stop

    def wait(self, p: int, load_s: float, present: Sum) -> None:
        g = self.group[p]
        self.fixed_wait[g] += load_s
        self.waiting[g] = _sum((self.waiting[g], 1.0), (present, -load_s))
        self.row(present, 1.0)

    def solve(self) -> float:
        """The dual bound."""
        return dual_bound(self.entries, self.cost, self.right, self.upper)


def _groups(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Runs of about `size` windows, as nearly equal as can be."""
    number = -(-(stop - start) // size)
    ends = [start + (stop - start) * k // number for k in range(1, number + 1)] if number else []
    return zip([start, *ends], ends, strict=False)


def _filled(room: int, others: Mapping[str, int]) -> int:
    """The largest sum of whole chunks in a room."""
    sums = {0}
    for weight in others.values():
        sums |= {x + weight for x in sums if x + weight <= room}
        if len(sums) > _SUMS:
            return room
    return max(sums)


def _sum(*terms: tuple[Sum, float]) -> Sum:
    """Sums times factors, added."""
    made: Sum = {}
    for columns, factor in terms:
        for column, value in columns.items():
            made[column] = made.get(column, 0.0) + factor * value
    return made
