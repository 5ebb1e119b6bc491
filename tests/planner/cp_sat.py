"""The exact optimum of a schedule by a constraint solver: CP-SAT of OR-Tools (extra `bench`).

Written from the semantics alone (docs/planner.md, ARCHITECTURE.md): plain integers, nothing of the
planner, the clock or the proof. Any order of loads, any retention, nothing periodic.

    calls are serial in a fixed order; one loader, serial, never interrupted; both overlap freely
    a call waits for its chunk; a chunk is in memory once at most
    a copy counts beside every call that ends after the copy's load started and before it is
    dropped; beside each call all copies, with what the call needs itself, fit in the budget

A copy that serves no later call is dropped when its call ends: to keep it longer only costs room.

Every solution is said in one way only, without which proofs took minutes for nine calls: `there`
is true if and only if the load began before that call ended (so it is for all later ones), and a
load that does not happen "begins" when the copy's last call ends.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Numbers:
    """A problem in whole numbers: bytes and times in any units.

    Attributes:
        order: the chunk of each call.
        weights, loads: of each chunk.
        times, needs: of each call; times are above 0.
    """

    order: Sequence[int]
    weights: Sequence[int]
    loads: Sequence[int]
    times: Sequence[int]
    needs: Sequence[int]
    budget: int


@dataclass(frozen=True)
class Solved:
    """The best end of the last call that was found, and what no schedule is faster than: they are
    the same number if `proved`."""

    end: int
    at_least: int

    @property
    def proved(self) -> bool:
        return self.end == self.at_least


def solve(given: Numbers, *, limit: float = 60.0) -> Solved | None:
    """None where no schedule fits. `limit` is in the solver's own deterministic seconds, which do
    not depend on what else the machine does; where they run out `Solved.proved` is False."""
    from ortools.sat.python import cp_model

    if any(
        given.weights[c] + need > given.budget
        for c, need in zip(given.order, given.needs, strict=True)
    ):
        return None
    solver = cp_model.CpSolver()
    solver.parameters.max_deterministic_time = limit
    solver.parameters.num_workers = 1
    model = _model(given)
    status = solver.solve(model)
    at_least = round(solver.best_objective_bound)
    if status == cp_model.UNKNOWN:
        # One after the other, nothing kept, always fits.
        return Solved(_serial(given), at_least)
    assert status in (cp_model.OPTIMAL, cp_model.FEASIBLE), solver.status_name(status)
    return Solved(round(solver.objective_value), at_least)


def _serial(given: Numbers) -> int:
    return sum(given.times) + sum(given.loads[c] for c in given.order)


def _model(given: Numbers) -> Any:
    from ortools.sat.python import cp_model

    model = cp_model.CpModel()
    calls, latest = range(len(given.order)), _serial(given)
    ends = [model.new_int_var(0, latest, f"end{t}") for t in calls]
    beside: list[list[Any]] = [[] for _ in calls]
    busy = []
    last: dict[int, int] = {}
    for t in calls:
        chunk = given.order[t]
        length, before = given.loads[chunk], last.get(chunk)
        stays = model.new_bool_var(f"stays{t}") if before is not None else None
        begin = model.new_int_var(0, latest, f"load{t}")
        loads = model.new_constant(1) if stays is None else stays.negated()
        busy.append(model.new_optional_fixed_size_interval_var(begin, length, loads, f"loading{t}"))
        starts = ends[t] - given.times[t]
        model.add(starts >= (ends[t - 1] if t else 0))
        model.add(starts >= begin + length).only_enforce_if(loads)
        if before is not None:
            model.add(begin >= ends[before]).only_enforce_if(loads)
            model.add(begin == ends[before]).only_enforce_if(stays)
        for other, there in _places(model, t, before, stays):
            model.add(begin >= ends[other]).only_enforce_if(there.negated())
            model.add(begin < ends[other]).only_enforce_if(there)
            beside[other].append(given.weights[chunk] * there)
        last[chunk] = t
    model.add_no_overlap(busy)
    for t in calls:
        room = given.budget - given.needs[t] - given.weights[given.order[t]]
        model.add(sum(beside[t]) <= room)
    model.minimize(ends[-1])
    return model


def _places(model: Any, t: int, before: int | None, stays: Any) -> Iterator[tuple[int, Any]]:
    """The calls since the last one of a chunk, and whether its copy counts beside each: once it
    does, it does beside the later ones too."""
    earlier = stays
    for other in range(0 if before is None else before + 1, t):
        there = model.new_bool_var(f"there{t}_{other}")
        if earlier is not None:
            model.add_implication(earlier, there)
        earlier = there
        yield other, there
