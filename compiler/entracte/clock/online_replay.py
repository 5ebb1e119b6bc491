"""The online rule under nominal times, told in the words of `simulate`: events, waits, stalls."""

from collections.abc import Mapping

from entracte.clock.online_simulate import Bar, Gamma, OnlineRun, simulate_online
from entracte.clock.simulate import STALLS, Simulation, Wait, cause_of
from entracte.clock.table import Table, make_table, page_counts
from entracte.ir import ChunkFacts, Event, Program, Schedule


def replay_online(
    program: Program,
    facts: Mapping[str, ChunkFacts],
    schedule: Schedule,
    *,
    contention: float = 1.0,
    page_bytes: int = 0,
    ends: Mapping[int, int] | None = None,
) -> Simulation:
    """What a runner that follows the rule does if loads and calls take their nominal times.

    `ends` maps segments to the iterations they do where they end early.
    """
    pages = page_counts(facts.values(), page_bytes)
    table = make_table(program, facts, schedule.budget_bytes, pages, schedule.kept)
    run = simulate_online(table, gamma=gamma_of(contention), ends=ends)
    return _told(program, table, run)


def gamma_of(contention: float) -> Gamma:
    """As a fraction, to a thousandth."""
    return Gamma(round(1000 * contention), 1000)


def _told(program: Program, table: Table, run: OnlineRun) -> Simulation:
    waits = tuple(_waits(program, table, run))
    stage_s: dict[str, float] = {}
    stalls = dict.fromkeys(STALLS, 0.0)
    for wait in waits:
        stalls[wait.cause] += wait.end_s - wait.start_s
    for bar in run.bars:
        if bar.queue == "compute":
            s, _, k = table.where(bar.what)
            stage = program.segments[s].steps[k].stage
            stage_s[stage] = stage_s.get(stage, 0.0) + _s(bar.end_ns - bar.start_ns)
    return Simulation(
        makespan_s=_s(run.makespan_ns),
        compute_s=_s(run.compute_ns),
        loading_s=_s(run.loading_ns),
        loads=run.loads,
        loaded_bytes=run.loaded_bytes,
        events=tuple(_event(table, bar) for bar in run.bars if _is_shown(table, bar)),
        stage_s=tuple(stage_s.items()),
        stalls=tuple((cause, s) for cause, s in stalls.items() if s > 0),
        waits=waits,
    )


def _waits(program: Program, table: Table, run: OnlineRun) -> list[Wait]:
    """Between the end of one step and the start of the next the compute unit waits for a load;
    for a host step it waits only after an early end, for the room that a load in flight takes."""
    waits, before = [], 0
    for bar in run.bars:
        if bar.queue != "compute":
            continue
        if bar.start_ns > before:
            s, iteration, _ = table.where(bar.what)
            chunk = table.step(bar.what).chunk or ""
            cause = cause_of(program, bar.what, s, iteration)
            waits.append(Wait(chunk, s, iteration, _s(before), _s(bar.start_ns), cause))
        before = bar.end_ns
    return waits


def _is_shown(table: Table, bar: Bar) -> bool:
    """Host steps are no bars of a timeline."""
    return bar.queue != "compute" or table.step(bar.what).chunk is not None


def _event(table: Table, bar: Bar) -> Event:
    # What is dropped when all steps are done belongs to the last one.
    s, iteration, _ = table.where(min(bar.step, table.end - 1))
    if bar.queue == "compute":
        label, size = table.step(bar.what).chunk or "", 0
    else:
        label, size = table.units[bar.what].chunk, table.units[bar.what].size_bytes
    return Event(bar.queue, label, s, iteration, _s(bar.start_ns), _s(bar.end_ns), size)


def _s(ns: int) -> float:
    return ns / 1e9
