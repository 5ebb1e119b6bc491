"""tests/vectors/online.json: read as another implementation would read it."""

import json

import pytest

from entracte.clock.driver import Evict, Fetch, LoadDone, Start, StepDone
from entracte.clock.rule import begin, react
from entracte.clock.table import Table, TableSegment, TableStep, Unit
from entracte.ir import Kept
from tools.make_online_vectors import FILE, text

VECTORS = json.loads(FILE.read_text())["vectors"]
KINDS = {"evict": Evict, "start": Start, "fetch": Fetch}


def step_of(chunk, need, ns, switch, at=(), idle=0) -> TableStep:
    return TableStep(chunk, need, ns, tuple(map(tuple, switch)), at=tuple(at), idle_bytes=idle)


def table_of(vector) -> Table:
    segments = tuple(
        TableSegment(
            g["count"],
            tuple(step_of(*x) for x in g["steps"]),
        )
        for g in vector["segments"]
    )
    units = tuple(Unit(*u) for u in vector["units"])
    kept = [Kept(slower, tuple(chunks)) for slower, chunks in vector["kept_by_plan"]]
    return Table(units, segments, vector["budget_bytes"], kept)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda v: v["name"])
def test_the_rule_gives_the_vectors_decisions(vector):
    table = table_of(vector)
    assert [[x.slower, list(x.chunks)] for x in table.levels] == vector["kept"]
    ledger = None
    for n, moment in enumerate(vector["trace"]):
        kind, *given = moment["event"]
        if kind == "begin":
            ledger, decisions = begin(table)
        else:
            event = LoadDone(*given) if kind == "load_done" else StepDone(*given)
            ledger, decisions = react(table, ledger, event)
        assert list(decisions) == [KINDS[k](x) for k, x in moment["decisions"]], n
        for name in ("at", "running", "loading", "exec_scale", "load_scale"):
            assert getattr(ledger, name) == moment[name], (n, name)
        assert sorted(ledger.resident) == moment["resident"], n
        assert sorted(ledger.seen) == moment["seen"], n
    assert (ledger.at, ledger.resident, ledger.loading) == (table.end, frozenset(), None)


def test_the_file_is_what_the_tool_writes():
    assert FILE.read_text() == text()


def moments(name):
    return next(v for v in VECTORS if v["name"] == name)["trace"]


def test_the_vectors_show_what_they_say():
    """Vectors that showed nothing special would still pass: look at what each is there for."""
    waits = [
        m
        for m in moments("end_with_a_load_in_flight")
        if not m["running"] and m["loading"] is not None and m["at"] == 27
    ]
    assert waits, "no step waits for a load that nobody needs any more"
    assert any(m["event"][-1] is True for m in moments("staged_end_1"))
    assert sum(d[0] == "fetch" for m in moments("switch") for d in m["decisions"]) < 24
    needs = [d for m in moments("needs") for d in m["decisions"]]
    before_start = [a for a, b in zip(needs, needs[1:], strict=False) if b[0] == "start"]
    assert any(d[0] == "evict" for d in before_start)
    kept = next(v for v in VECTORS if v["name"] == "unequal_kept_too_many")
    assert kept["kept"] == [[0, ["a", "b", "e"]]]
    speeds = [m["load_scale"] * 4096 // m["exec_scale"] for m in moments("kept_by_speed")]
    assert min(speeds) < 1.5 * 4096 and max(speeds) > 2.5 * 4096
    assert {m["load_scale"] for m in moments("cold")} == {4096}
    rests = moments("rests")
    # `b` (unit 1) is not loaded for iteration 1, nor `c` (2) for iterations 2 to 4.
    at = [(m["at"], d[1]) for m in rests for d in m["decisions"] if d[0] == "fetch"]
    assert not [n for n, unit in at if unit == 2 and 8 <= n < 16]
    assert any(m["event"] == ["step_done", 0, False] for m in rests)
    room = [d for m in moments("rests_room") for d in m["decisions"]]
    assert sum(d[0] == "fetch" for d in room) < 6 * 3
    scales = [m["load_scale"] for m in moments("loop_slow_loads")]
    assert 2.5 * 4096 < scales[-1] <= 3 * 4096
