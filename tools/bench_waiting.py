"""Would the online rule gain by waiting for a call that is nearly over? Beside the exact optimum.

    python -m tools.bench_waiting                     # g8.jsonl ...: lines of bench_plan.py --json

The rule gives up a chunk for the next load at once. If the chunk in use would be given up sooner
than any that may go, here it waits for the end of its call, where no more than a share of the call
is left. Times are nominal; with waiting the better counts of keeping what was planned and nothing.

The first table: eight equal chunks, ten iterations, loads of half a call to four and a half. The
second, of files: instances more than 0.2 % above the bound which the rule runs, over itself without
waiting.
"""

import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from entracte.clock.clock import Gamma
from entracte.clock.predict import predict
from entracte.clock.quick_rule import Course, Order, QuickRule
from entracte.clock.table import Table, make_table
from entracte.program.workload import Workload
from entracte.schedule.choose import schedule_as_planned
from tests.planner.equal import Equal
from tests.planner.programs import OPTIMAL
from tools.bench_exact import Loop
from tools.bench_plan import program_of, told

SHARES = (0.0, 0.1, 0.25, 0.5)
"""Of a call: what may be left of it."""


class Waiting(QuickRule):
    """The rule, which waits; without contention."""

    def __init__(self, course: Course, table: Table, share: float) -> None:
        self.share, self.now, self.began, self.runs = share, 0, 0, -1
        super().__init__(course, table, Gamma.of(1.0))

    def _loaded(self, now: int, ns: int) -> None:
        self.now = now
        super()._loaded(now, ns)

    def _stepped(self, now: int, ns: int) -> None:
        self.now = now
        super()._stepped(now, ns)

    def _decide(self) -> None:
        super()._decide()
        self._note_begin()

    def _note_begin(self) -> None:
        if self.running and self.runs != len(self.ends):
            self.runs, self.began = len(self.ends), self.now

    def _fetch(self, at: int, order: Order) -> None:
        self._note_begin()
        if not (self.running and self._waits(at, order)):
            super()._fetch(at, order)

    def _waits(self, at: int, order: Order) -> bool:
        course = self.course
        left = course.exec_ns[at] - (self.now - self.began)
        missing = [x for x in order if x[1] not in self.there and x[0] < course.end]
        if not missing or left > self.share * course.exec_ns[at]:
            return False
        use, unit = missing[0]
        room = course.size[unit] + course.most_need(at, use)
        if self.held + room <= self.table.budget_bytes:
            return False
        own = course.units[at]
        again = next(n for n, u in course.orders[at + 1] if u == own)
        free = [n for n, u in order if u in self.there and self._may_go(at, n, u)]
        return self._may_go(at, again, own) and again > max([use, *free])

    def _may_go(self, at: int, use: int, unit: int) -> bool:
        return use >= self.course.stop[at] or unit not in self._kept_units()


def ends_s(workload: Workload) -> list[float]:
    """As planned, then for each share."""
    schedule = schedule_as_planned(workload, OPTIMAL)
    planned = schedule.kept if schedule.driver == "online" else ()
    tables = [make_table(workload, kept=kept) for kept in {(), planned}]
    course = Course(tables[0])
    waiting = (min(Waiting(course, t, x).ends[-1] for t in tables) / 1e9 for x in SHARES[1:])
    return [predict(workload, schedule).makespan_s, *waiting]


def lengths_table() -> str:
    lines = _head("room for", [f"{_name(x)}: above 1.005, worst" for x in SHARES])
    order, times = tuple(range(8)) * 10, (10,) * 80
    for slots in (2, 3, 4, 6, 7):
        rows = []
        for load in range(5, 45):
            made = Loop((1,) * 8, (load,) * 8, (10,) * 8, 10, slots).workload()
            optimum = Equal(order, times, load, slots).optimum() / 1000
            rows.append([x / optimum for x in ends_s(made)])
        cells = [
            f"{sum(x > 1.005 for x in own)}, {max(own):.3f}" for own in zip(*rows, strict=True)
        ]
        lines.append(f"| {slots} | {' | '.join(cells)} |")
    return "\n".join(lines)


def files_table(paths: list[Path]) -> str:
    lines = _head("chunks", ["loops", *(f"{_name(x)}: mean, least, most" for x in SHARES[1:])])
    found: dict[str, list[list[float]]] = {}
    for kind, workload in _instances(paths):
        first, *others = ends_s(workload)
        found.setdefault(kind, []).append([x / first for x in others])
    for kind, rows in found.items():
        columns = zip(*rows, strict=True)
        cells = [f"{statistics.mean(x):.4f}, {min(x):.3f}, {max(x):.3f}" for x in columns]
        lines.append(f"| {kind} | {len(rows)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _instances(paths: list[Path]) -> Iterator[tuple[str, Workload]]:
    for outcome in (told(line) for path in paths for line in path.open() if line.strip()):
        i = outcome.instance
        if i is not None and outcome.driver == "online" and outcome.over > 1.002:
            yield i.kind, Workload(*program_of(i))


def _name(share: float) -> str:
    return f"{share:g} of a call" if share else "as it is"


def _head(first: str, names: list[str]) -> list[str]:
    return ["| " + " | ".join([first, *names]) + " |", "| ---: |" + " ---: |" * len(names)]


def main() -> None:
    print(lengths_table())
    if len(sys.argv) > 1:
        print("", files_table([Path(x) for x in sys.argv[1:]]), sep="\n")


if __name__ == "__main__":
    main()
