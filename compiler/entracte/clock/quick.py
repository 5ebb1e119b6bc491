"""Gates on the clock with nothing but times: for comparing many schedules.

The same whole nanoseconds as `simulate` with the driver `Gates` (`clock/clock.py`), contention
and switches included; no accounts, no table, no intervals, several times faster. Loops do all
their iterations.
"""

from collections.abc import Iterator
from typing import NamedTuple

from entracte.clock.clock import Gamma
from entracte.clock.table import whole_ns
from entracte.ir import Call, Schedule
from entracte.program.steps import Placement, unroll
from entracte.program.workload import Workload


def end_and_bytes(workload: Workload, schedule: Schedule) -> tuple[int, int]:
    """The makespan in nanoseconds, and the bytes of all loads and switches."""
    run, facts = _Run(Nominal(workload), schedule), workload.facts
    ends = run.ends()
    loaded = [load.chunk for load in run.loads] + run.switches
    return ends[-1] if ends else 0, sum(facts[c].weight_bytes for c in loaded)


class _Step(NamedTuple):
    """A step of an iteration; without a chunk where it is the host's, or rests."""

    chunk: str | None
    ns: int
    function: str


class Nominal:
    """What is the same for every schedule of a workload: its steps, and all times."""

    def __init__(self, workload: Workload) -> None:
        self.workload, facts = workload, workload.facts
        self.gamma = Gamma.of(workload.contention)
        self.steps = list(_steps(workload))
        self.warm = {c: whole_ns(f.load_s) for c, f in facts.items()}
        self.cold = {c: whole_ns(f.cold_s) for c, f in facts.items()}

    def step_ends(self, schedule: Schedule) -> list[int]:
        """When each step of all iterations ends, in nanoseconds."""
        return _Run(self, schedule).ends()


class _Run:
    """What is under way: seconds left are nanoseconds times gamma's numerator, below zero where
    nothing is."""

    def __init__(self, nominal: Nominal, schedule: Schedule) -> None:
        workload = nominal.workload
        self.gamma, self.steps = nominal.gamma, nominal.steps
        self.warm, self.cold = nominal.warm, nominal.cold
        self.loads = list(unroll(workload.program, schedule))
        self.first = [_first_use(load, self.steps) for load in self.loads]
        self.awaits = [0] * len(self.steps)
        """How many loads, in their order, must be done before each step."""
        for number, first in enumerate(self.first, start=1):
            self.awaits[first] = number
        self.bound: dict[str, str] | None = {} if workload.reload_on_switch else None
        self.seen: set[str] = set()
        self.begun = self.done = 0
        self.switches: list[str] = []
        """Chunks that were loaded again for another function."""

    def ends(self) -> list[int]:
        """Of all steps."""
        ends: list[int] = []
        gamma, steps, awaits, loads = self.gamma, self.steps, self.awaits, self.loads
        now, load, step, switch, at = 0, -1, -1, -1, 0
        while at < len(steps):
            if step < 0 and switch < 0 and awaits[at] <= self.done:
                if self.bound is not None:
                    switch = self._switch(self.bound, steps[at])
                step = steps[at].ns * gamma.above if switch < 0 else -1
            if load < 0 and self.begun < len(loads) and loads[self.begun].gate < at:
                load = self._load()
            other = max(step, switch)
            both = load >= 0 and other >= 0
            left = min(load, other) if both else max(load, other)
            assert left >= 0, "deadlock"
            speed = gamma.below if both else gamma.above
            passed = -(-left // speed)
            now += passed
            load = max(0, load - passed * speed) if load >= 0 else load
            other = max(0, other - passed * speed) if other >= 0 else other
            step, switch = (other, -1) if switch < 0 else (-1, other)
            # Of two ends at once the step's comes first.
            if step == 0:
                step, at = -1, at + 1
                ends.append(now)
            elif switch == 0:
                switch, step = -1, steps[at].ns * gamma.above
            elif load == 0:
                load, self.done = -1, self.done + 1
        return ends

    def _load(self) -> int:
        """Begin the next load."""
        chunk = self.loads[self.begun].chunk
        ns = self.warm[chunk] + (0 if chunk in self.seen else self.cold[chunk])
        self.seen.add(chunk)
        if self.bound is not None:
            self.bound[chunk] = self.steps[self.first[self.begun]].function
        self.begun += 1
        return ns * self.gamma.above

    def _switch(self, bound: dict[str, str], step: _Step) -> int:
        """Load a copy again that was loaded for another function; -1 where it serves."""
        if step.chunk is None or bound[step.chunk] == step.function:
            return -1
        bound[step.chunk] = step.function
        self.switches.append(step.chunk)
        return self.warm[step.chunk] * self.gamma.above


def _steps(workload: Workload) -> Iterator[_Step]:
    rest = _Step(None, 0, "")
    for segment in workload.program.segments:
        called = [_functions(x, workload) if isinstance(x, Call) else {} for x in segment.steps]
        for i in range(segment.count):
            for x, own in zip(segment.steps, called, strict=True):
                if isinstance(x, Call) and x.is_called(i):
                    yield own[x.function_at(i)]
                else:
                    yield rest


def _functions(call: Call, workload: Workload) -> dict[str, _Step]:
    """The step that a call is, by the function that it uses."""
    facts, names = workload.facts[call.chunk], (call.function, *(name for name, _ in call.switch))
    return {n: _Step(call.chunk, call.repeat * whole_ns(facts.exec_of(n)), n) for n in names}


def _first_use(load: Placement, steps: list[_Step]) -> int:
    """The first step that its copy serves: the call that it is for may rest."""
    if steps[load.use].chunk == load.chunk:
        return load.use
    return next(n for n in range(load.use, len(steps)) if steps[n].chunk == load.chunk)
