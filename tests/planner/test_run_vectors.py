"""tests/vectors/runs.jsonl: whole runs, for runners in other languages, are what happens today."""

import json
from itertools import islice

import pytest

from entracte.ir import Call, HostStep
from entracte.program.slices import is_blended
from tests.planner.runs import by_hand, drawn
from tools.make_run_vectors import (
    FILE,
    MOST_BYTES,
    RESTS_FILE,
    line_of,
    lines,
    read,
    rests_lines,
)

HEAD, *LINES = FILE.read_text().splitlines()
RUNS = [json.loads(line) for line in LINES]


def test_runs_go_as_the_file_says():
    """From what stands in each line; the others on a slow day."""
    for line in LINES[::6]:
        assert line_of(read(line)) == line


def test_the_lines_are_those_of_the_tool():
    assert next(lines()) == HEAD
    for line, run in zip(LINES, islice(by_hand(), 0, None, 4), strict=False):
        assert line_of(run) in LINES, line[:60]
    for run in RUNS[40::60]:
        n = int(run["name"].split()[1])
        assert line_of(drawn(n)) in LINES


def test_the_file_of_calls_that_rest_is_what_the_tool_writes():
    """Another runner finds both: calls that rest, and loads that are left out for them."""
    assert RESTS_FILE.read_text() == "".join(f"{line}\n" for line in rests_lines())
    for line in RESTS_FILE.read_text().splitlines()[1:]:
        run = read(line)
        (loop,) = (g for g in run.program.segments if g.is_loop)
        asks = {x.chunk: len(x.at) or loop.count for x in loop.steps if x.rests_by}
        happened = " ; ".join(json.loads(line)["log"])
        for chunk, most in asks.items():
            assert 2 <= happened.count(f" ; call {chunk} ") < most


@pytest.mark.slow
def test_the_whole_file_is_what_the_tool_writes():
    assert FILE.read_text() == "".join(f"{line}\n" for line in lines())


def steps():
    for run in map(read, LINES):
        for segment in run.program.segments:
            for step in segment.steps:
                yield run, segment, step


def test_the_vectors_show_what_they_are_there_for():
    """Vectors that showed nothing special would still pass."""
    assert sum(r["name"].startswith("drawn") for r in RUNS) >= 300
    assert max(map(len, LINES)) <= MOST_BYTES and FILE.stat().st_size < 4e6
    online = [r["schedule"].get("driver") == "online" for r in RUNS]
    assert 80 <= sum(online) <= len(online) - 80
    ended = [any(line.split(" ", 2)[1].endswith("!") for line in r["log"][1:]) for r in RUNS]
    assert sum(ended) >= 100
    happened = " ; ".join(line for r in RUNS for line in r["log"])
    for thing in json.loads(HEAD)["format"]["things"]:
        assert happened.count(f" ; {thing.split()[0]} ") > 30, thing
    assert happened.count(" merged ") > 100 and happened.count(" f1 ") > 3
    calls = [(r, g, s) for r, g, s in steps() if isinstance(s, Call)]
    assert sum(isinstance(s, HostStep) for _, _, s in steps()) > 100
    assert sum(bool(s.at) for _, _, s in calls) > 50
    assert sum(s.repeat > 1 for _, _, s in calls) > 100
    outputs = [b for _, _, s in calls for b in s.outputs]
    assert sum(is_blended(b.windows) for b in outputs) > 20
    tensors = [t for run in map(read, LINES) for t in run.program.tensors]
    assert sum(t.slots > 1 for t in tensors) > 20 and sum(t.streamed > 0 for t in tensors) > 50
