"""Placing against a copy of it that is slow and plain: it adds every load to every step that it is
there for, and asks each gate by itself."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from entracte.program.steps import START, expand
from entracte.program.workload import Workload
from entracte.schedule.given import Conflict, Given
from entracte.schedule.place import place
from entracte.schedule.retention import few
from tests.planner.programs import OPTIMAL, POLICIES, Part, make_program, parts
from tests.planner.test_schedule import by_id, least_budget


@settings(max_examples=150, deadline=None)
@given(
    parts,
    st.sampled_from(POLICIES),
    st.integers(0, 300),
    st.sets(st.integers(0, 12)),
)
def test_loads_are_placed_as_early_as_there_is_room(drawn, policy, extra, chosen):
    program, _, facts = make_program(drawn)
    workload = Workload(program, by_id(facts), least_budget(program, facts) + extra)
    names = [f.id for f in facts]
    kept = {
        s: frozenset(
            x.chunk for x in g.steps if x.chunk is not None and names.index(x.chunk) in chosen
        )
        for s, g in enumerate(program.segments)
        if g.is_loop
    }
    known = Given(workload)
    found = place(known, policy, kept)
    proper = plainly(known, policy, kept)
    if isinstance(proper, Conflict):
        # Both say that it does not fit; each stops at the first load that it finds so.
        assert found == proper
    else:
        assert list(found) == proper


def test_of_two_iterations_one_chunk_goes_before_another_comes():
    """The first goes after its second call, the last comes for its first one: beside the large
    call between them is one of them, and never both."""
    program, _, facts = make_program((Part(count=2, weights=(100, 1, 100)),))
    first, large, last = facts
    facts = (first, replace(large, activation_bytes=10_000), last)
    need = max(at.need_bytes for at in expand(program, by_id(facts)))
    workload = Workload(program, by_id(facts), need + 1 + 100 + 50)
    (loop,) = (s for s, g in enumerate(program.segments) if g.count == 2)
    kept = {loop: frozenset((first.id, last.id))}
    found = place(Given(workload), OPTIMAL, kept)
    assert [(chunk, use, free) for chunk, use, free, _ in found] == [
        (first.id, 0, 3), (large.id, 1, 1), (last.id, 2, 5), (large.id, 4, 4),
    ]  # fmt: skip


def plainly(known, policy, kept):
    steps, budget = known.unrolled, known.budget
    there = [s.need_bytes for s in steps]
    loads, until = [], {}
    for use, at in enumerate(steps):
        keep = at.chunk in kept.get(at.segment, ())
        if at.chunk is None or (keep and at.iteration > 0) or until.get(at.chunk, START) >= use:
            continue
        free = last_use(steps, use, keep)
        weight = known.facts[at.chunk].weight_bytes
        for t in range(use, free + 1):
            if there[t] + weight > budget:
                return Conflict(steps[t], there[t] - steps[t].need_bytes + weight)
        allowed = least_gate(known, policy, loads, use, until.get(at.chunk, START))
        has_room = [x + weight <= budget for x in there]
        gate = earliest(known, use, allowed, has_room) if policy.lookahead else use - 1
        for t in range(gate + 1, free + 1):
            there[t] += weight
        loads.append((at.chunk, use, free, gate))
        until[at.chunk] = free
    return loads


def last_use(steps, use, keep):
    """Of a kept chunk the last one in its loop, else the last of calls in a row."""
    at, free = steps[use], use
    for t in range(use + 1, len(steps)):
        in_a_row = all(x[:2] == at[:2] and x.chunk == at.chunk for x in steps[use : t + 1])
        if (steps[t].segment, steps[t].chunk) == (at.segment, at.chunk) and (keep or in_a_row):
            free = t
    return free


def least_gate(known, policy, loads, use, freed):
    """Behind the gate of the load before it, and behind its own chunk's last copy."""
    late = [freed, *(gate for _, _, _, gate in loads[-1:])]
    if policy.lookahead and len(loads) >= policy.lookahead:
        late.append(loads[-policy.lookahead][1] - 1)
    if policy.keep == "published":
        late.append(known.published(use))
    return max(late)


def earliest(known, use, allowed, has_room):
    """Step by step back from its use, as far as a plan can say; at last over slices."""

    def may(gate):
        return gate >= allowed and all(has_room[gate + 1 : use])

    gate = use - 1
    while gate > known.earliest[use] and may(gate - 1):
        gate -= 1
    far = known.before[use]
    return far if gate == known.earliest[use] and far is not None and may(far) else gate


def test_a_few_of_many_are_the_first_ones_rather():
    assert list(few(list(range(30)))) == [0, 1, 3, 9, 27]
    assert list(few([7])) == [7]
    assert list(few([])) == []
