"""What the online rule should keep: sets of chunks, searched by letting the rule run.

The rule evicts what is needed last, which is best for chunks of one size. For others, and where
memory is a little short, some chunks are better kept over their loop. A set is judged by the
rule on the clock (`clock/clock.py`), with a program whose long loops are cut short, at
equal time by the bytes it loads.

Which set is best depends on how slow loads are beside calls, and nobody knows that before the
plan runs. So sets are searched for several speeds (`LEVELS`), and the rule keeps those of the
speed that it sees. The work is bounded by counts, never by a clock.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from entracte.clock.clock import Gamma, simulate
from entracte.clock.quick_rule import Course, QuickRule
from entracte.clock.rule import OnlineRule
from entracte.clock.table import Table, make_table, pages_of
from entracte.ir import Call, Kept, Policy, Program, Schedule
from entracte.program.steps import functions_of, pace_of, shortened
from entracte.program.workload import Workload
from entracte.schedule.bounds import lower_bound
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.given import Given
from entracte.schedule.pace import Cost
from entracte.schedule.retention import neighbours

LEVELS = ((0.0, 0.5), (0.7, 1.0), (1.2, 1.5), (1.75, 2.0), (2.5, 3.0), (3.5, 4.5), (5.5, 7.0))
"""(from how many times slower loads the set is kept, how many times slower it is searched for)"""
_WORK = 6_000
"""Steps simulated while climbing in each loop; a quarter at levels other than the planned one."""
_EFFORT = 0.25
"""Of the search by gates, at levels other than the planned one."""
_CLOSE = 1.0005
"""A run this close to what no schedule can beat is not improved further."""

_GATES = Policy("gates", 1_000_000, True, "searched")


@dataclass(frozen=True, slots=True)
class _Trial:
    kept: frozenset[str]
    cost: Cost


def schedule_online(workload: Workload, by_gates: Schedule) -> Schedule:
    """The online rule with what it keeps if times are as planned; gates as in `by_gates`.

    Raises `PlanError` for a program that is beyond the rule's numbers.
    """
    made = replace(by_gates, driver="online", kept=(), resident=())
    search = _Search(workload, 1.0)
    best: frozenset[str] = frozenset()
    # By pages, evicting what is used last is all but optimal by itself (docs/planner.md).
    if not workload.page_bytes:
        best = search.best([best, frozenset(by_gates.resident)]).kept
    chunks = tuple(sorted(best))
    resident = search.resident(Kept(0.0, chunks))
    return replace(made, kept=_merged([Kept(0.0, chunks)]), resident=resident)


def with_speeds(workload: Workload, online: Schedule, given: Given | None = None) -> Schedule:
    """The same, with what to keep where loads turn out faster or slower than planned. For whole
    packages. Raises `PlanError` where slower loads would be beyond the rule's numbers."""
    levels: list[Kept] = []
    given = given or Given(workload)
    before = planned = frozenset(c for k in online.kept for c in k.chunks)
    for slower, speed in LEVELS:
        best = planned
        if speed != 1.0:
            search = _Search(workload, speed)
            best = search.best(_hints(search, planned, before, given)).kept
        levels.append(Kept(slower, tuple(sorted(best))))
        before = best
    return replace(online, kept=_merged(levels))


def _hints(
    search: "_Search", planned: frozenset[str], before: frozenset[str], given: Given
) -> Iterator[frozenset[str]]:
    """Lazily: where nothing needs to be kept, nothing is searched."""
    yield frozenset()
    yield planned
    yield before
    yield search.by_gates(given)


def _merged(kept: list[Kept]) -> tuple[Kept, ...]:
    """Levels that keep the same are one; nothing at all if no level keeps anything."""
    distinct: list[Kept] = []
    for level in kept:
        if not distinct or distinct[-1].chunks != level.chunks:
            distinct.append(level)
    return tuple(distinct) if any(k.chunks for k in distinct) else ()


class _Search:
    """One program at one speed of its loads. Trials that were made are remembered."""

    def __init__(self, workload: Workload, speed: float) -> None:
        self.speed, self.gamma = speed, Gamma.of(workload.contention)
        self.facts = {
            c: replace(f, load_s=f.load_s * speed, cold_s=f.cold_s * speed)
            for c, f in workload.facts.items()
        }
        self.workload = replace(workload, facts=self.facts)
        self.program = workload.program
        self.short = shortened(self.program)
        short = replace(self.workload, program=self.short)
        self.table = make_table(short, pages=pages_of(short))
        self.functions = functions_of(self.short) if workload.reload_on_switch else None
        self.course = None if workload.page_bytes else Course(self.table, self.functions)
        self.enough_s = lower_bound(self.workload)[0] * _CLOSE
        self.weights_bytes = sum(f.weight_bytes for f in self.facts.values())
        self.trials: dict[tuple[str, ...], Cost] = {}

    def best(self, hints: Iterable[frozenset[str]]) -> _Trial:
        """The best of the hints, the first of equal ones, then of what climbing from it finds, loop
        by loop."""
        best = None
        for hint in hints:
            trial = self.tried(hint)
            best = trial if best is None or trial.cost < best.cost else best
            if self._is_enough(best):
                return best
        assert best is not None
        for chunks in self._loops():
            best = self._climb(chunks, best)
        return best

    def by_gates(self, given: Given) -> frozenset[str]:
        """What the best gates found keep at this speed."""
        made = schedule_by_gates(self.workload, _GATES, effort=_EFFORT, given=given)
        return frozenset(made.resident)

    def tried(self, kept: frozenset[str]) -> _Trial:
        table = self.table.keeping((Kept(0.0, tuple(kept)),))
        key = table.kept(0)
        if key not in self.trials:
            self.trials[key] = self._cost(table)
        return _Trial(frozenset(key), self.trials[key])

    def resident(self, kept: Kept) -> tuple[str, ...]:
        """Chunks of loops that a run under these times loads at most once in each loop."""
        loads: dict[tuple[int, str], int] = {}
        for step, unit in self._loads(self.table.keeping((replace(kept, slower=0.0),))):
            u = self.table.units[unit]
            key = (self.table.where(step)[0], u.chunk)
            loads[key] = loads.get(key, 0) + (u.page == 0)
        return tuple(
            sorted(
                {chunk for s, chunk in _loop_chunks(self.program) if loads.get((s, chunk), 0) <= 1}
            )
        )

    def _is_enough(self, trial: _Trial) -> bool:
        """Nothing is read twice, or nothing is left to gain in time."""
        return trial.cost[1] <= self.weights_bytes or trial.cost[0] <= self.enough_s

    def _climb(self, chunks: list[str], best: _Trial) -> _Trial:
        """One chunk more, one exchanged, one less; the first that helps, until none does."""
        seconds = [self.facts[c].load_s for c in chunks]
        left = _WORK // max(1, self.table.end)
        left = left if self.speed == 1.0 else left // 4
        improved = True
        while improved and not self._is_enough(best):
            improved = False
            others = best.kept.difference(chunks)
            kept = tuple(i for i, c in enumerate(chunks) if c in best.kept)
            for positions in neighbours(kept, seconds):
                before = len(self.trials)
                trial = self.tried(others.union(chunks[i] for i in positions))
                left -= len(self.trials) - before
                if trial.cost < best.cost:
                    best, improved = trial, True
                    break
                if left <= 0:
                    return best
        return best

    def _loops(self) -> list[list[str]]:
        by_loop: dict[int, list[str]] = {}
        for s, chunk in _loop_chunks(self.program):
            by_loop.setdefault(s, []).append(chunk)
        return list(by_loop.values())

    def _loads(self, table: Table) -> list[tuple[int, int]]:
        """(step that it is for, unit) of each."""
        if self.course is not None:
            run = QuickRule(self.course, table, self.gamma)
            return list(zip(run.serves, (unit for _, unit in run.loads), strict=True))
        made = simulate(OnlineRule(table), gamma=self.gamma, functions=self.functions)
        return [(x.step, x.what) for x in made.intervals if x.queue == "load"]

    def _cost(self, table: Table) -> Cost:
        """Of the whole program: loops that were cut short go on at their last pace."""
        assert self.course is not None, "by pages nothing is kept"
        run = QuickRule(self.course, table, self.gamma)
        seconds, loaded = max(run.ends[-1], run.loads[-1][0]) / 1e9, float(run.loaded_bytes)
        for s, segment in enumerate(self.program.segments):
            more = segment.count - self.short.segments[s].count
            if more > 0:
                ns, bytes_ = _pace(table, s, pace_of(segment), run)
                seconds += more * ns / 1e9
                loaded += more * bytes_
        return round(seconds, 9), loaded


def _pace(table: Table, segment: int, over: int, run: QuickRule) -> tuple[float, float]:
    """Nanoseconds and bytes loaded per iteration, over so many of the last ones that were run."""
    count, length = table.segments[segment].count, len(table.segments[segment].steps)
    last = table.bases[segment] + count * length - 1
    begin, end = run.ends[last - over * length], run.ends[last]
    loaded = sum(table.units[u].size_bytes for at, u in run.loads if begin < at <= end)
    return (end - begin) / over, loaded / over


def _loop_chunks(program: Program) -> list[tuple[int, str]]:
    """(segment, chunk) of all loops, in order of use, each once."""
    return list(
        dict.fromkeys(
            (s, x.chunk)
            for s, g in enumerate(program.segments)
            if g.count > 1
            for x in g.steps
            if isinstance(x, Call)
        )
    )
