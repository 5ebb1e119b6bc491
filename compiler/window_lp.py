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
    sum_j w_j b_jt <= room_t - w of call t                            (memory)

Every real schedule gives such numbers, so no schedule stalls less than the optimum. `room_t` is
the largest sum of chunk weights that fits beside what call t needs.

**n iterations of a loop in one.** Take the numbers of n iterations and average them over the
iterations. All rows are linear, so the averages satisfy them, except where a use reaches back
before the first iteration: there a copy may be present for nothing. That is one iteration in n:
`G at the loop's start <= G at its end + g / n`, where the g are what was present before the first
one and fit into memory together. So n times the optimum of this small LP bounds the n iterations.

**Pages.** Where parts of chunks can be loaded and evicted, a load in progress has only the memory
of what is loaded: b = G, without the y-row, and room_t is not rounded down.

The value is not the solver's word: it is computed from its dual solution, which is valid however
inexact (weak duality: the dual's rest is charged at the variables' bounds).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Window:
    """A call: its chunk, the seconds it takes, and the bytes that chunks may take meanwhile."""

    chunk: str
    weight_bytes: int
    load_s: float
    exec_s: float
    room_bytes: int


def least_stall_s(
    windows: Sequence[Window], *, cold: bool = False, repeats: int = 0, pages: bool = False
) -> float:
    """Seconds that any schedule waits in these windows, at least.

    Args:
        windows: consecutive calls; with `repeats`, those of one iteration.
        cold: nothing is loaded before the first one.
        repeats: so many iterations, after at least one; the sum over all is returned.
        pages: parts of chunks can be loaded and evicted.

    0.0 where HiGHS fails.
    """
    return _Lp(windows, cold, repeats, pages).solve()


class _Lp:
    """Rows and columns as lists; all variables are between 0 and an upper bound."""

    def __init__(self, windows: Sequence[Window], cold: bool, repeats: int, pages: bool) -> None:
        self.windows, self.cold, self.repeats, self.pages = windows, cold, repeats, pages
        self.scale = float(max([1, *(w.weight_bytes for w in windows)]))
        self.upper: list[float] = []
        self.cost: list[float] = []
        self.entries: list[tuple[int, int, float]] = []
        self.right: list[float] = []
        total = sum(w.load_s for w in windows)
        self.stall = [self.variable(total, max(1, repeats)) for _ in windows]
        self.loading: list[dict[int, float]] = [{} for _ in windows]
        self.waiting: list[dict[int, float]] = [{s: -1.0} for s in self.stall]
        self.fixed_wait = [0.0] * len(windows)
        self.memory: list[dict[int, float]] = [{} for _ in windows]
        self.before: dict[int, float] = {}
        self.build()

    def variable(self, upper: float, cost: float = 0.0) -> int:
        self.upper.append(upper)
        self.cost.append(cost)
        return len(self.upper) - 1

    def row(self, terms: dict[int, float], right: float) -> None:
        """sum of terms <= right"""
        number = len(self.right)
        self.entries += [(number, column, value) for column, value in terms.items()]
        self.right.append(right)

    def build(self) -> None:
        last = {w.chunk: p for p, w in enumerate(self.windows)} if self.repeats else {}
        for p, w in enumerate(self.windows):
            self.use(p, last.get(w.chunk))
            last[w.chunk] = p
        for t, w in enumerate(self.windows):
            self.row(self.loading[t], w.exec_s)
            self.row(self.waiting[t], -self.fixed_wait[t])
            room = (w.room_bytes - w.weight_bytes) / self.scale
            self.row(self.memory[t], max(0.0, room))
        if self.before:
            self.row(self.before, self.windows[-1].room_bytes / self.scale)

    def use(self, p: int, q: int | None) -> None:
        """The variables of one use: from its previous one, around the end where it must."""
        if q is None:
            start: dict[int, float] = {}
            keep = None
            if not self.cold:
                keep = self.variable(1.0)
                present = self.variable(1.0)
                self.row({keep: 1.0, present: -1.0}, 0.0)
                start = {present: 1.0}
            start, _ = self.span(p, range(p), start, keep)
        elif q < p:
            keep = self.variable(1.0)
            start, _ = self.span(p, range(q + 1, p), {keep: 1.0}, keep)
        else:
            start = self.around(p, q)
        # What is still missing is loaded in the stall before the use: l (1 - G) <= s.
        self.wait(p, self.windows[p].load_s, 1.0, start)

    def around(self, p: int, q: int) -> dict[int, float]:
        tail = self.variable(1.0)
        head, gift = self.variable(1.0), self.variable(1.0)
        share = 1.0 / self.repeats
        self.row({tail: 1.0, head: -1.0}, 0.0)
        self.row({head: 1.0, tail: -1.0}, share)
        self.before[gift] = self.before.get(gift, 0.0) + self.windows[p].weight_bytes / self.scale
        start, _ = self.span(p, range(q + 1, len(self.windows)), {tail: 1.0}, tail)
        start = start | {gift: share}
        start, _ = self.span(p, range(p), start, head)
        return start

    def span(
        self, p: int, windows: range, start: dict[int, float], keep: int | None
    ) -> tuple[dict[int, float], int | None]:
        """Windows between two uses; returns what is present at the end, as a sum."""
        w = self.windows[p]
        reserved = None
        for t in windows:
            own = self.windows[t]
            part = self.variable(1.0)
            during = self.variable(min(own.exec_s, w.load_s))
            held = part if self.pages else self.variable(1.0)
            if not self.pages:
                self.row({part: 1.0, held: -1.0}, 0.0)
                terms = {during: 1.0, held: -own.exec_s}
                if keep is not None:
                    terms[keep] = own.exec_s
                self.row(terms, 0.0)
                if reserved is not None:
                    self.row({reserved: 1.0, held: -1.0}, 0.0)
            reserved = held
            self.memory[t][held] = w.weight_bytes / self.scale
            self.loading[t][during] = 1.0
            # l (G - G before) - y >= 0, and it is part of the stall.
            grows = {part: w.load_s, during: -1.0}
            for column, value in start.items():
                grows[column] = grows.get(column, 0.0) - w.load_s * value
            self.row({column: -value for column, value in grows.items()}, 0.0)
            for column, value in grows.items():
                self.waiting[t][column] = self.waiting[t].get(column, 0.0) + value
            start = {part: 1.0}
        return start, reserved

    def wait(self, p: int, load_s: float, share: float, start: dict[int, float]) -> None:
        self.fixed_wait[p] += load_s * share
        for column, value in start.items():
            self.waiting[p][column] = self.waiting[p].get(column, 0.0) - load_s * value
        self.row(dict(start), share)

    def solve(self) -> float:
        """The dual bound."""
        import numpy as np
        from scipy.optimize import linprog
        from scipy.sparse import csr_array

        rows, columns, values = (np.array(x) for x in zip(*self.entries, strict=True))
        shape = (len(self.right), len(self.upper))
        matrix: Any = csr_array((values, (rows, columns)), shape=shape)
        cost, right, upper = (np.array(x) for x in (self.cost, self.right, self.upper))
        bounds = np.stack([np.zeros_like(upper), upper], axis=1)
        done = linprog(cost, A_ub=matrix, b_ub=right, bounds=bounds, method="highs")
        if done.ineqlin is None or done.ineqlin.marginals is None:
            return 0.0
        dual = np.minimum(np.asarray(done.ineqlin.marginals, dtype=float), 0.0)
        if dual.shape != right.shape or not np.isfinite(dual).all():
            return 0.0
        rest = cost - matrix.T @ dual
        return max(0.0, float(dual @ right + np.minimum(rest, 0.0) @ upper))
