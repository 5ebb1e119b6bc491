"""The runner under the online rule, on the null device and on real packages."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from entracte.cli.observed import run_lines
from entracte.clock.drivers import make_driver
from entracte.clock.table import page_counts, pages_of
from entracte.devices.null import NullDevice
from entracte.errors import PlanError, RunError
from entracte.plan.file import check_plan
from entracte.program.workload import Workload
from entracte.run.runner import run_plan, whole_note
from tests.planner.plans import ONLINE, plan_of
from tests.planner.programs import Part, parts
from tests.planner.test_run_null import erratic
from tests.planner.test_run_reference import COUNT, SIZE, folder, plan_of_loop


class OnlyWhole(NullDevice):
    """One that cannot load pages: the protocol's check finds no such methods."""

    def __getattribute__(self, name):
        if name in ("open", "load_page", "free_page"):
            raise AttributeError(name)
        return super().__getattribute__(name)


__all__ = ["folder"]


def run(plan, device):
    return run_plan(plan, Path("nowhere"), device, {}, constants={"x": np.zeros(4, np.float16)})


def calls_of(plan, ends):
    return [
        s.chunk
        for g in plan.program.segments
        for i in range(ends[g.name] if g.until else g.count)
        for s in g.steps
        if s.is_called(i)
        for _ in range(s.repeat)
    ]


@settings(max_examples=80, deadline=None)
@given(parts, st.integers(0, 400), st.integers(0, 2**32), st.booleans())
def test_any_timing_and_early_end_stay_within_the_claimed_peak(shape, extra, seed, early):
    """The device's ledger refuses an overrun, a double load and a call of what is not there."""
    plan = plan_of(shape, ONLINE, extra)
    device, ends = erratic(plan, seed, early)
    outcome = run(plan, device)
    assert [c for what, c in device.log if what == "call"] == calls_of(plan, ends)
    assert dict(outcome.run.iterations) == {
        g.name: ends[g.name] for g in plan.program.segments if g.until
    }
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0
    loads = [c for what, c in device.log if what == "load"]
    assert outcome.run.loaded_bytes == sum(
        next(p.weight_bytes for p in plan.packages if p.chunk == c) for c in loads
    )


def test_it_loads_while_it_computes():
    """The first call does not return before the next chunk's load has begun."""
    plan = plan_of((Part(3, (70, 80, 90)),), ONLINE, 90)
    begun = threading.Event()

    def pause(what, chunk):
        if (what, chunk) == ("load", "c0.01"):
            begun.set()
        if (what, chunk) == ("call", "c0.00"):
            assert begun.wait(5.0)

    run(plan, NullDevice(plan.forecast.peak_bytes, pause))


@pytest.mark.parametrize(("when", "chunk"), [("load", "c0.01"), ("call", "c0.01")])
def test_a_failure_ends_the_run_with_its_error_and_frees_everything(when, chunk):
    plan = plan_of((Part(3, (50, 60)),), ONLINE, 0)

    def pause(what, name):
        if (what, name) == (when, chunk):
            raise RunError("the disk is gone")

    device = NullDevice(plan.forecast.peak_bytes, pause)
    with pytest.raises(RunError, match="the disk is gone"):
        run(plan, device)
    # A load that failed leaves what the device made of it; the runner never had its handle.
    assert device.resident_bytes() == (60 if when == "load" else 0)


def test_a_plan_is_checked_for_what_the_rule_needs():
    plan = plan_of((Part(3, (50, 60)),), ONLINE, 30)
    check_plan(plan)
    driver = make_driver(Workload.of(plan), plan.schedule)
    assert driver.table.budget_bytes == plan.target.budget_bytes
    tight = replace(plan, schedule=replace(plan.schedule, budget_bytes=60))
    with pytest.raises(PlanError):
        make_driver(Workload.of(tight), tight.schedule)


def test_a_real_loop_ends_early_and_switches_functions(folder):  # noqa: F811
    """As tests/planner/test_run_reference has it for gates: 2 + 2 + 1 + 1 + 1 = 7 > 6.5."""
    from entracte.devices.reference import ReferenceDevice

    plan, device = plan_of_loop(ONLINE), ReferenceDevice()
    zeros = np.zeros(SIZE, np.float32)
    outcome = run_plan(plan, folder, device, {}, constants={"zeros": zeros})
    wanted = np.where(np.arange(SIZE) % 2, 3.5, 7.0).astype(np.float32)
    np.testing.assert_array_equal(outcome.output, wanted)
    assert outcome.run.iterations == (("loop", 5),) and COUNT > 5
    assert outcome.run.chunks[0].loads == 1
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0


def test_plan_run_says_that_the_rule_decided():
    plan = plan_of((Part(2, (50, 60)),), ONLINE, 30)
    lines = run_lines(plan, run(plan, NullDevice(plan.forecast.peak_bytes)).run)
    assert any("the online rule decided" in line for line in lines)


# ---------------------------------------------------------------- pages


def paged(plan, page_bytes=4096):
    return replace(plan, target=replace(plan.target, page_bytes=page_bytes))


def grown(shape):
    """Chunks of up to five pages of 4 KiB, most of them of uneven size."""
    return tuple(replace(p, weights=tuple(101 * w for w in p.weights)) for p in shape)


@settings(max_examples=80, deadline=None)
@given(parts, st.integers(0, 400), st.integers(0, 2**32), st.booleans())
def test_pages_stay_within_the_claimed_peak_for_any_timing(shape, extra, seed, early):
    """The ledger refuses a page loaded twice, a call that lacks one, and an overrun."""
    plan = paged(plan_of(grown(shape), ONLINE, 101 * extra))
    check_plan(plan)
    device, ends = erratic(plan, seed, early)
    outcome = run(plan, device)
    assert [c for what, c in device.log if what == "call"] == calls_of(plan, ends)
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert device.resident_bytes() == 0
    loads = [c for what, c in device.log if what == "load"]
    assert sum(c.loads for c in outcome.run.chunks) == len(loads)
    moved = {q: [e.size_bytes for e in outcome.run.bars if e.queue == q] for q in ("load", "free")}
    assert sum(moved["load"]) == sum(moved["free"]) == outcome.run.loaded_bytes
    assert len(moved["load"]) == len(loads) and sorted(moved["load"]) == sorted(moved["free"])
    # Pages of a chunk differ by a byte, and no page is larger than the target's.
    pages, weight = pages_of(Workload.of(plan)), {f.id: f.weight_bytes for f in plan.facts}
    least = sum(weight[c] // pages[c] for c in loads)
    assert least <= outcome.run.loaded_bytes <= least + len(loads)
    assert all(weight[c] <= 4096 * pages[c] for c in loads)


def test_less_than_a_package_is_loaded_where_less_is_free():
    """Room for one and a half of two chunks: each iteration reloads half a chunk or little more."""
    shape = (Part(8, (40_960, 40_960)),)
    plan = plan_of(shape, ONLINE, 20_480)
    # The gates, of whole packages, leave the half unused; the rule may have all of the budget.
    budget_bytes = plan.target.budget_bytes
    plan = replace(plan, forecast=replace(plan.forecast, peak_bytes=budget_bytes))
    whole, pages = (run(p, NullDevice(budget_bytes)).run.loaded_bytes for p in (plan, paged(plan)))
    assert whole == 16 * 40_960
    assert pages <= 2 * 40_960 + 7 * 2 * 24_576


@pytest.mark.parametrize(("when", "chunk"), [("load", "c0.01"), ("call", "c0.01")])
def test_a_failure_frees_the_pages_that_are_there(when, chunk):
    plan = paged(plan_of((Part(3, (10_000, 12_000)),), ONLINE, 0))

    def pause(what, name):
        if (what, name) == (when, chunk):
            raise RunError("the disk is gone")

    device = NullDevice(plan.forecast.peak_bytes, pause)
    with pytest.raises(RunError, match="the disk is gone"):
        run(plan, device)
    assert device.resident_bytes() == 0


def test_a_device_without_pages_loads_whole_packages_and_says_so(golden):
    plan = paged(plan_of((Part(3, (10_000, 12_000)),), ONLINE, 1000), 8192)
    device = OnlyWhole(plan.forecast.peak_bytes)
    outcome = run(plan, device)
    assert outcome.run.peak_bytes <= plan.forecast.peak_bytes
    assert {c for what, c in device.log if what == "load"} == {"c0.00", "c0.01"}
    assert outcome.run.loaded_bytes == 3 * 22_000
    golden.check(str(whole_note(plan, device)) + "\n")
    assert whole_note(plan, NullDevice()) is None
    assert whole_note(paged(plan, 0), device) is None
    gates = replace(plan.schedule, driver="gates")
    assert whole_note(replace(plan, schedule=gates), device) is None


@pytest.mark.parametrize("page_bytes", [1, -4096])
def test_a_plan_with_absurd_pages_is_refused(page_bytes):
    plan = paged(plan_of((Part(3, (50, 60)),), ONLINE, 30), page_bytes)
    with pytest.raises(PlanError, match=f"page_bytes: {page_bytes} is (not 0 or at|negative)"):
        check_plan(plan)


def test_more_pages_than_the_rule_can_look_at_are_refused():
    (facts, *_) = plan_of((Part(3, (50, 60)),), ONLINE, 30).facts
    assert page_counts([replace(facts, weight_bytes=4096 * 65_536)], 4096) == {facts.id: 65_536}
    with pytest.raises(PlanError, match="makes 65537 pages, more than 65536; give larger ones"):
        page_counts([replace(facts, weight_bytes=4096 * 65_536 + 1)], 4096)


def test_a_real_loop_by_pages_ends_early_and_switches_functions(folder):  # noqa: F811
    """Its package is smaller than a page: one page, opened once."""
    from entracte.devices.reference import ReferenceDevice

    plan, device = paged(plan_of_loop(ONLINE)), ReferenceDevice()
    zeros = np.zeros(SIZE, np.float32)
    outcome = run_plan(plan, folder, device, {}, constants={"zeros": zeros})
    wanted = np.where(np.arange(SIZE) % 2, 3.5, 7.0).astype(np.float32)
    np.testing.assert_array_equal(outcome.output, wanted)
    assert outcome.run.iterations == (("loop", 5),)
    assert outcome.run.chunks[0].loads == 1
    assert device.resident_bytes() == 0


# ---------------------------------------------------------------- the null device's ledger


def test_the_null_device_refuses_what_no_device_could_do():
    (package,) = plan_of((Part(1, (100,)),), ONLINE, 0).packages
    device = NullDevice(120)
    with pytest.raises(RunError, match="has 100 bytes, its pages 99"):
        device.open(package, Path(), [50, 49])
    handle = device.open(package, Path(), [60, 40])
    assert device.resident_bytes() == 0
    for load in (device.load, lambda p, f: device.open(p, f, [100])):
        with pytest.raises(RunError, match="c0.00 is loaded twice"):
            load(package, Path())
    device.load_page(handle, 1)
    assert device.resident_bytes() == 40
    with pytest.raises(RunError, match="called without its page 0"):
        device.call(handle, "main", {"in": np.zeros(4)})
    with pytest.raises(RunError, match="page 1 of c0.00 is loaded twice"):
        device.load_page(handle, 1)
    with pytest.raises(RunError, match="page 2 of c0.00 is not one of its pages"):
        device.load_page(handle, 2)
    with pytest.raises(RunError, match="page 0 of c0.00 is not there"):
        device.free_page(handle, 0)
    device.load_page(handle, 0)
    device.call(handle, "main", {"in": np.zeros(4)})
    device.free_page(handle, 0)
    assert device.resident_bytes() == 40
    device.free(handle)
    assert device.resident_bytes() == 0
    small = NullDevice(99)
    handle = small.open(package, Path(), [60, 40])
    small.load_page(handle, 0)
    with pytest.raises(RunError, match="100 bytes in use, budget 99"):
        small.load_page(handle, 1)
