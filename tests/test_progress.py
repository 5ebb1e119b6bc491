"""Progress by a scripted clock: shares, times left and pace by arithmetic, and their words."""

import json
from dataclasses import replace

import pytest

from entracte.cli import console as shown
from entracte.cli.batch import expected_of
from entracte.cli.console import Bars
from entracte.cli.progress import How, bar_text, how_of, left, line_text, taken, times_text, turn
from entracte.errors import ConfigError
from entracte.inspect.pace import Pace, loops_of, pace_of, steps_s
from entracte.ir import Bar
from entracte.progress.tracker import Tracker
from entracte.progress.values import Expected, LoopSpan, PhaseTime, Progress, merged
from entracte.store.cache import Cache
from entracte.store.times import FIRST, Times
from tests.planner.plans import make_plan

MIB = 2**20
LAST = (
    PhaseTime("trace", 10.0, 5),
    PhaseTime("plan", 2.0, 1),
    PhaseTime("convert", 80.0, 40 * MIB),
    PhaseTime("compare", 8.0, 4),
)
"""100 s in all."""
LIKE = Expected(LAST, ground="convert", follows=(("compare", "convert"),))


class Clock:
    """Seconds that only the test moves."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def to(self, seconds: float) -> None:
        self.now = 1000.0 + seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


def now(tracker: Tracker) -> Progress:
    progress = tracker.now()
    assert progress is not None
    return progress


def test_phases_are_weighted_by_what_they_cost_last_time(clock):
    tracker = Tracker(LIKE, clock)
    assert tracker.now() is None
    tracker.phase("trace", 5)
    tracker.advance("a", 2)
    p = now(tracker)
    # What is to be converted is not known yet: no time left.
    assert (p.share, p.left_s, p.late) == (pytest.approx(4 / 100), None, False)
    clock.to(10)
    tracker.phase("plan", 1)
    clock.to(12)
    tracker.phase("convert", 40 * MIB, unit_bytes=True)
    assert now(tracker).share == pytest.approx(0.12)
    clock.to(52)
    tracker.advance("b", 20 * MIB)
    p = now(tracker)
    # 12 s over, 40 of 80 s of the conversion, 8 s to come.
    assert p.share == pytest.approx(0.52)
    assert (p.left_s, p.phase_s, p.seconds) == (48.0, 40.0, 52.0)


def test_half_the_work_is_expected_to_take_half_the_time(clock):
    tracker = Tracker(LIKE, clock)
    tracker.phase("convert", 20 * MIB, unit_bytes=True)
    # Comparing follows it: 40 s and 4.
    assert now(tracker).left_s == 44.0
    clock.to(10)
    assert now(tracker).left_s == 34.0
    # Three quarters of 40 s after 10: it is faster than it was.
    tracker.advance("a", 15 * MIB)
    assert now(tracker).left_s == 14.0
    tracker.phase("compare", 2)
    assert now(tracker).left_s == 4.0


def test_with_all_in_the_cache_nothing_is_left(clock):
    tracker = Tracker(LIKE, clock)
    tracker.phase("convert", 0, unit_bytes=True)
    assert (now(tracker).left_s, now(tracker).share) == (0.0, 0.0)


def test_without_a_job_before_there_are_shares_and_no_time_left(clock):
    tracker = Tracker(Expected(LAST), clock)
    tracker.phase("trace", 5)
    clock.to(50)
    tracker.advance("a", 5)
    p = now(tracker)
    # It weighs what it took last time: 10 of 100.
    assert (p.share, p.left_s, p.late) == (pytest.approx(0.1), None, False)
    tracker = Tracker(Expected(), clock)
    tracker.phase("advise", 8)
    tracker.advance("a", 2)
    assert (now(tracker).share, now(tracker).left_s) == (0.25, None)


def test_a_time_left_counts_down_and_ends_when_it_is_refuted(clock):
    tracker = Tracker(Expected((PhaseTime("convert", 60.0, 6),), "convert"), clock)
    tracker.phase("convert", 6)
    seen = []
    for second in (0, 15, 30, 45, 60, 66, 68, 240):
        clock.to(second)
        seen.append((now(tracker).left_s, now(tracker).late))
    # 10 % of 60 s and a second more are let pass.
    assert seen[:6] == [(60.0, False), (45.0, False), (30.0, False), (15.0, False), (0.0, False),
                        (0.0, False)]  # fmt: skip
    assert seen[6:] == [(None, True), (None, True)]


def test_a_small_phase_that_is_late_does_not_take_the_rest_along(clock):
    tracker = Tracker(Expected(LAST, ground="plan"), clock)
    tracker.phase("plan", 1)
    clock.to(8)
    # 6 s over; 88 s are to come and 8 are spent: up to 1 + 10 % of 96 pass.
    p = now(tracker)
    assert (p.left_s, p.late) == (88.0, False)


def test_time_alone_moves_a_share_only_within_the_unit_that_runs(clock):
    tracker = Tracker(Expected((PhaseTime("compare", 40.0, 4),), "compare"), clock)
    tracker.phase("compare", 4)
    shares = []
    for second in (5, 10, 30):
        clock.to(second)
        shares.append(now(tracker).share)
    assert shares == [0.125, 0.25, 0.25]


def test_a_share_never_goes_back(clock):
    tracker = Tracker(LIKE, clock)
    tracker.phase("trace", 5)
    tracker.advance("a", 5)
    tracker.phase("convert", 80 * MIB, unit_bytes=True)
    # 10 of 100; then it turns out that 160 s are to be converted: 10 of 178.
    assert now(tracker).share == pytest.approx(0.1)
    tracker.advance("b", 40 * MIB)
    assert now(tracker).share == pytest.approx(90 / 178)


def test_of_several_runs_each_is_a_part_of_all(clock):
    """Three runs of four seconds each."""
    pace = Pace((1.0, 3.0), ("text", "denoise"), (), same=True)
    names = ["run 1/3", "run 2/3", "run 3/3"]
    tracker = Tracker(expected_of(pace, names), clock)
    told = []
    for k, name in enumerate(names):
        tracker.phase(name, 2, units_s=pace.steps_s, names=pace.names)
        told.append((now(tracker).share, now(tracker).left_s))
        clock.to(4 * k + 1)
        tracker.at("text", 1)
        clock.to(4 * k + 4)
        tracker.at("denoise", 2)
    assert told == [
        (0.0, 12.0), (pytest.approx(1 / 3), 8.0), (pytest.approx(2 / 3), 4.0),
    ]  # fmt: skip
    assert now(tracker).share == 1.0
    # What another device's run took is no ground for a time left.
    assert expected_of(replace(pace, same=False), names).ground == ""
    assert expected_of(pace, []) == Expected()


def test_several_run_at_once_by_name(clock):
    tracker = Tracker(clock=clock)
    tracker.phase("convert", 100, unit_bytes=True)
    for name in ("a.00", "a.01"):
        tracker.start(name)
    assert now(tracker).name == "a.00, a.01"
    tracker.advance("a.00", 50)
    assert (now(tracker).name, now(tracker).done) == ("a.01", 50)


LOOP = LoopSpan("sample", 2, 3, 4)


def test_a_loop_has_an_iteration_and_a_pace(clock):
    tracker = Tracker(clock=clock)
    names = ["tokens", "text", *["denoise", "guide", "step"] * 4, "decode"]
    tracker.phase("run", 15, loops=[LOOP], names=names)
    assert (now(tracker).name, now(tracker).loop) == ("tokens", None)
    # Iterations take 9 s at first, then 2, 3 and 4.
    ends = [1, 2, 5, 8, 11, 12, 12.5, 13, 14, 15, 16, 17, 18, 20, 25]
    told = []
    for done, second in enumerate(ends, 1):
        clock.to(second)
        tracker.at("", done)
        told.append((now(tracker).name, now(tracker).loop))
    rounds = [r and (r.iteration, r.count, r.each_s) for _, r in told]
    assert rounds[:4] == [None, (1, 4, None), (1, 4, None), (1, 4, None)]
    assert rounds[4:7] == [(2, 4, 9.0)] * 3
    assert rounds[7:10] == [(3, 4, 2.0)] * 3
    assert rounds[10:13] == [(4, 4, 2.5)] * 3
    assert rounds[13:] == [None, None]
    assert [name for name, _ in told] == [*names[1:], ""]


def test_a_run_that_is_twice_as_slow_as_last_time_takes_twice_as_long(clock):
    tracker = Tracker(Expected(ground="run"), clock)
    tracker.phase("run", 4, units_s=[1.0, 2.0, 3.0, 4.0])
    assert now(tracker).left_s == 10.0
    clock.to(2)
    tracker.at("", 1)
    p = now(tracker)
    assert (p.share, p.left_s) == (0.1, 18.0)
    clock.to(5)
    assert now(tracker).left_s == 15.0
    clock.to(6)
    assert now(tracker).left_s == 14.0
    # The second step should have ended at 6 s; 1 s and 10 % of the run's 10 pass.
    clock.to(7.9)
    assert (now(tracker).left_s, now(tracker).late) == (14.0, False)
    clock.to(8.1)
    assert (now(tracker).left_s, now(tracker).late) == (None, True)
    tracker.at("", 2)
    # 8.1 s for what took 3.
    assert now(tracker).left_s == pytest.approx(7 * 8.1 / 3)


def test_a_loop_that_ends_early_does_not_look_fast(clock):
    tracker = Tracker(Expected(ground="run"), clock)
    tracker.phase("run", 5, units_s=[1.0, 1.0, 1.0, 1.0, 6.0])
    clock.to(1)
    tracker.at("", 1)
    clock.to(2)
    tracker.at("", 4)
    assert now(tracker).left_s == 6.0


def test_what_phases_took_is_summed_by_name_and_remembered(clock):
    tracker = Tracker(clock=clock)
    for name, total, seconds in (("trace", 4, 2), ("convert", 10, 7), ("plan", 1, 1),
                                 ("convert", 5, 8)):  # fmt: skip
        tracker.phase(name, total)
        clock.to(clock.now - 1000 + seconds)
    took = tracker.end()
    trace, plan = PhaseTime("trace", 2.0, 4), PhaseTime("plan", 1.0, 1)
    assert took == (trace, PhaseTime("convert", 15.0, 15), plan)  # fmt: skip
    assert times_text(took, 80) == "phases  trace 2.00 s, convert 15.00 s, plan 1.00 s"
    assert times_text(took, 40).splitlines() == [
        "phases  trace 2.00 s, convert 15.00 s,", "        plan 1.00 s",
    ]  # fmt: skip
    # All was in the cache, and nothing had to be compared.
    last = (trace, PhaseTime("convert", 9.0, 3), PhaseTime("compare", 4.0, 2), plan)
    now_s = (PhaseTime("trace", 1.0, 4), PhaseTime("convert", 0.1, 0), plan)
    assert merged(last, now_s) == (now_s[0], *last[1:])
    assert merged((), now_s) == now_s


def test_the_cache_keeps_what_a_compile_took(tmp_path):
    cache = Cache(tmp_path)
    first = Times(cache, "a" * 64, "f" * 64, FIRST)
    assert first.expected().phases == FIRST and first.expected().ground == ""
    first.keep(LAST)
    assert first.expected() == LIKE
    # Its form alone weighs phases and is no ground; nor is a job that converted nothing.
    assert Times(cache, "b" * 64, "f" * 64).expected() == replace(LIKE, ground="")
    idle = Times(cache, "c" * 64, "d" * 64)
    idle.keep([PhaseTime("trace", 1.0, 5), PhaseTime("convert", 0.0, 0)])
    assert idle.expected().ground == ""


# ---------------------------------------------------------------- of plans and records


def test_steps_take_what_a_record_says_and_host_steps_fall_to_the_next_call():
    program = make_plan().program
    loops = loops_of(program)
    assert all(program.segments[0].count > 1 or loop.first > 0 for loop in loops)
    bars = [
        Bar("load", "x", 0, 0, 0, 0.0, 9.0),
        Bar("compute", "x", 0, 0, len(program.segments[0].steps) - 1, 1.0, 2.0),
    ]
    taken_s = steps_s(program, bars, 5.0)
    assert len(taken_s) == program.step_count
    last = len(program.segments[0].steps) - 1
    assert (taken_s[last], taken_s[-1], sum(taken_s)) == (2.0, 3.0, 5.0)


def test_a_plan_alone_weighs_its_steps_and_promises_no_time(tmp_path):
    plan = make_plan()
    pace = pace_of(plan, tmp_path, "reference")
    assert not pace.same and len(pace.names) == plan.program.step_count
    assert sum(pace.steps_s) == pytest.approx(plan.forecast.makespan_s)
    twice = pace.twice("tracing")
    assert len(twice.names) == len(twice.steps_s) == 2 * len(pace.names)
    assert twice.names[0] == "tracing" and twice.names[1:] == (2 * pace.names)[1:]
    firsts = [loop.first for loop in twice.loops]
    own = [loop.first for loop in pace.loops]
    assert firsts == own + [first + len(pace.names) for first in own]


# ---------------------------------------------------------------- words

SEEN = Progress(phase="convert", name="denoise.03, denoise.04", done=112 * MIB, of=230 * MIB,
                unit_bytes=True, phase_s=40.0, seconds=72.4, share=0.629, left_s=45.2,
                late=False)  # fmt: skip


def test_the_words():
    assert line_text(SEEN) == (
        "convert: 112 MiB of 230 MiB, denoise.03, denoise.04; 62 % of all in 1 min 12 s, about "
        "45 s left"
    )
    assert left(replace(SEEN, left_s=None)) == left(replace(SEEN, left_s=0.2)) == ""
    assert left(replace(SEEN, left_s=None, late=True)) == "longer than last time"
    assert left(replace(SEEN, left_s=200.0)) == "about 3 min left"
    assert left(replace(SEEN, left_s=9000.0)) == "about 2.5 h left"


def test_a_run_says_its_iteration(clock):
    tracker = Tracker(clock=clock)
    tracker.phase("run", 30, loops=[LoopSpan("sample", 0, 1, 30)], names=["denoise"] * 30)
    for done in range(12):
        clock.to(1.8 * done)
        tracker.at("", done)
    assert turn(now(tracker).loop) == "iteration 12 of 30, 1.80 s/iteration"
    assert bar_text(now(tracker), 80).plain.splitlines()[1] == (
        "run  iteration 12 of 30, 1.80 s/iteration  denoise"
    )


@pytest.mark.parametrize("width", [40, 80, 120])
def test_a_bar_fits_into_the_terminal(width):
    lines = bar_text(replace(SEEN, name="denoise.00 template, " * 9), width).plain.splitlines()
    assert len(lines) == 2 and max(map(len, lines)) <= width
    assert lines[0].startswith(("━" * 15 + "─" * 9 + "  62 %  1 min 12 s")[: width - 1])


# ---------------------------------------------------------------- the commands


class Screen:
    """Stands in for stderr's console."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def print(self, text: object, **_: object) -> None:
        self.lines.append(str(text))


@pytest.fixture
def screen(monkeypatch) -> Screen:
    made = Screen()
    monkeypatch.setattr(shown, "errors", made)
    monkeypatch.setattr(Bars, "_watch", lambda self: None)
    return made


def scripted(bars: Bars, clock: Clock) -> None:
    """A phase of two units that take 12 s each, looked at every second; then a short one."""
    with bars:
        bars.phase("trace", 2)
        for second in range(1, 25):
            clock.to(second)
            bars.beat()
            if second % 12 == 0:
                bars.advance(f"unit {second // 12}")
        bars.phase("plan", 1)


def test_without_a_terminal_a_line_at_each_phase_and_every_ten_seconds(clock, screen):
    scripted(Bars(How("lines"), clock=clock), clock)
    assert [line.split(";")[0] for line in screen.lines] == [
        "trace: 0 of 2", "trace: 0 of 2", "trace: 1 of 2", "plan: 0 of 1",
    ]  # fmt: skip
    assert [line.partition(" in ")[2] for line in screen.lines] == ["0 s", "10 s", "20 s", "24 s"]


def test_verbose_tells_every_unit_and_quiet_nothing(clock, screen):
    scripted(Bars(How("lines", verbose=True), clock=clock), clock)
    assert [x for x in screen.lines if x.endswith("done")] == [
        "  unit 1 is done", "  unit 2 is done",
    ]  # fmt: skip
    screen.lines.clear()
    scripted(Bars(How("none"), clock=clock), clock)
    assert screen.lines == []


def test_json_is_one_object_a_line(clock, screen):
    bars = Bars(How("json"), Expected((PhaseTime("trace", 24.0, 2),), "trace"), clock)
    scripted(bars, clock)
    told = [json.loads(line) for line in screen.lines]
    assert [x["event"] for x in told] == [
        "phase", "running", "unit", "running", "unit", "phase", "end",
    ]  # fmt: skip
    assert [x.get("left_s") for x in told[:5]] == [24.0, 14.0, 12.0, 2.0, 0.0]
    assert set(told[0]) == {"event", "phase", "name", "done", "of", "unit_bytes", "phase_s",
                            "seconds", "share", "left_s", "late", "loop"}  # fmt: skip
    assert told[-1] == {
        "event": "end", "ok": True, "seconds": 24.0,
        "phases": [{"phase": "trace", "seconds": 24.0, "work": 2},
                   {"phase": "plan", "seconds": 0.0, "work": 1}],
    }  # fmt: skip


def test_flags_are_taken_before_hydra_sees_them():
    how, rest = taken(["+target=host", "--quiet", "-m", "sampler.steps=3"])
    assert how == How("none") and rest == ["+target=host", "-m", "sampler.steps=3"]
    assert taken(["--progress", "json"]) == (How("json"), [])
    assert taken(["--progress=lines", "--cfg", "job"]) == (How("lines"), ["--cfg", "job"])
    assert taken(["--verbose"])[0] == How("lines", verbose=True)
    assert taken([]) == (How(), [])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("xml", False, False), "--progress xml: not one of auto, lines, json, none"),
        (("json", True, False), "--quiet tells no progress and --progress json asks for it"),
        ((None, True, True), "--quiet tells no progress and --verbose asks for it"),
        (("json", False, True), "--verbose tells progress in lines, not as json"),
    ],
)
def test_flags_that_exclude_each_other_are_refused(words, said):
    form, quiet, verbose = words
    with pytest.raises(ConfigError, match=said):
        how_of(form, quiet=quiet, verbose=verbose)
