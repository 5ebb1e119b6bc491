"""Robustness of the online rule: planned with wrong times, run with the true ones.

    python -m tools.bench_online [--quick] [--json FILE]

For each instance and each way of being wrong, runs under the same true times: the online rule with
the wrong nominal times and with the true ones, alone and with the chunks that `policy=online` keeps
by the speed of loads; and gate-based schedules made with the wrong times and with the true ones,
executed rigidly. All times are simulated in whole nanoseconds
on the clock (clock/clock.py), which keeps accounts of its own. Seeds are fixed.
"""

import argparse
import json
import math
import random
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

from entracte.clock.clock import Gamma, simulate
from entracte.clock.driver import Driver
from entracte.clock.gates import Gates
from entracte.clock.rule import OnlineRule
from entracte.clock.table import Table, make_table
from entracte.ir import ChunkFacts, Kept, Policy, Program, Schedule
from entracte.program.workload import Workload
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.online_search import schedule_online, with_speeds
from tests.planner.programs import Part, make_program

GATES = (
    Policy("double_buffer", 1, True),
    Policy("ci_dl", 1, True, "published", margin=2),
    Policy("searched gates", 1_000_000, True, "searched"),
)
FACTORS = (0.5, 1.0, 2.0, 3.0)
GAMMAS = (1.0, 1.3, 1.6)
NOISE = 0.3
"""Standard deviation of the logarithm of every single load and step."""


# ---------------------------------------------------------------- instances


Numbers = tuple[int, float, float]
"""Of a chunk: bytes, seconds of a load, seconds of a call."""


@dataclass(frozen=True)
class Instance:
    name: str
    kind: str
    program: Program
    facts: Mapping[str, ChunkFacts]
    budget_bytes: int


@dataclass(frozen=True)
class Truth:
    """What the plan's nominal times are off by."""

    loads: float
    steps: float
    noise: float
    gamma: float

    @property
    def name(self) -> str:
        noise = ", noise" if self.noise else ""
        return f"loads x{self.loads:g}, steps x{self.steps:g}{noise}, gamma {self.gamma:g}"


def instance_of(
    name: str, kind: str, parts: list[tuple[int, list[Numbers]]], budget_bytes: int
) -> Instance:
    """Segments (iterations, chunks) that hand one small tensor on."""
    own = tuple(Part(count, tuple(size for size, _, _ in chunks)) for count, chunks in parts)
    program, _, made = make_program(own)
    rows = [row for _, chunks in parts for row in chunks]
    facts = {
        f.id: replace(f, activation_bytes=1000, load_s=load_s, exec_s=exec_s)
        for f, (_, load_s, exec_s) in zip(made, rows, strict=True)
    }
    return Instance(name, kind, program, facts, budget_bytes)


def loop_instance(chunks: int, count: int, ratio: float, share: float, seed: int) -> Instance:
    """A loop as in scheduling.md, section 5: seed 0 is equal chunks, others log-normal ones."""
    rng = random.Random(seed)

    def spread() -> list[float]:
        raw = [math.exp(rng.gauss(0, 0.5)) if seed else 1.0 for _ in range(chunks)]
        return [x * chunks / sum(raw) for x in raw]

    sizes, loads, steps = spread(), spread(), spread()
    each = 56.0 / chunks
    rows = [
        (int(1e6 * w), ratio * each * x, each * e)
        for w, x, e in zip(sizes, loads, steps, strict=True)
    ]
    weights = [size for size, _, _ in rows]
    budget = max(int(share * sum(weights)), 2 * max(weights)) + 2000
    drawn = f"log-normal {seed}" if seed else "equal"
    name = f"K={chunks} N={count} r={ratio:g} f={share:g} {drawn}"
    kind = f"K = {chunks}, {'unequal' if seed else 'equal'} chunks"
    return instance_of(name, kind, [(count, rows)], budget)


def staged_instance(share: float) -> Instance:
    """An encoder of 12 large chunks that are slow to load, a loop of 28, a decoder of 4."""
    parts = [
        (1, 12 * [(2_000_000, 2.0, 1.0)]),
        (10, 28 * [(1_000_000, 1.0, 0.8)]),
        (1, 4 * [(1_500_000, 1.5, 4.0)]),
    ]
    budget = int(share * 28_000_000) + 2000
    kind = "encoder, loop, decoder; equal chunks in each"
    return instance_of(f"12 + 10 x 28 + 4, f={share:g}", kind, parts, budget)


def instances(quick: bool) -> Iterator[Instance]:
    shares = (0.4, 0.6, 0.8)
    for share in shares:
        for ratio in (1.0,) if quick else (0.5, 1.0):
            for seed in (0, 1):
                yield loop_instance(28, 10, ratio, share, seed)
        if not quick:
            yield loop_instance(8, 10, 1.0, share, 1)
        yield staged_instance(share)


def truths(quick: bool) -> Iterator[Truth]:
    factors = (0.5, 1.0, 3.0) if quick else FACTORS
    for gamma in (1.0, 1.6) if quick else GAMMAS:
        for noise in (0.0, NOISE):
            for loads in factors:
                for steps in factors:
                    if loads == 1.0 or steps == 1.0 or {loads, steps} == {0.5, 3.0}:
                        yield Truth(loads, steps, noise, gamma)


# ---------------------------------------------------------------- runs

Times = tuple[Callable[[int, int], int], Callable[[int, int], int]]
"""What loads and steps really take."""


@dataclass(frozen=True)
class Row:
    """One instance under one truth: time and bytes of each way to run it."""

    instance: str
    kind: str
    truth: str
    group: str
    wrong: dict[str, tuple[int, int]]
    """By its name: (ns, bytes) when planned with the wrong times."""
    again: dict[str, tuple[int, int]]
    """When planned with the true ones."""

    def over_again(self, name: str, what: int = 0) -> float:
        """Over the same, re-planned with the truth; `what` 0 is time, 1 bytes."""
        return self.wrong[name][what] / self.again[name][what]

    def over_best(self, name: str) -> float:
        """Time over the best of all, re-planned with the truth."""
        return self.wrong[name][0] / min(ns for ns, _ in self.again.values())


class Bench:
    """One instance; schedules are made once for each way of being wrong."""

    def __init__(self, instance: Instance, seed: int) -> None:
        self.instance, self.seed = instance, seed
        self.schedules: dict[tuple[float, float], dict[str, Schedule]] = {}

    def row(self, truth: Truth) -> Row:
        facts = _true_facts(self.instance.facts, truth)
        times = _drawn(self.table(facts), truth, self.seed)
        as_planned = replace(truth, loads=1.0, steps=1.0)
        return Row(
            instance=self.instance.name,
            kind=self.instance.kind,
            truth=truth.name,
            group=_group(truth),
            wrong=self.ways(self.instance.facts, as_planned, times),
            again=self.ways(facts, truth, times),
        )

    def table(self, facts: Mapping[str, ChunkFacts], kept: tuple[Kept, ...] = ()) -> Table:
        return make_table(self.workload(facts), kept=kept)

    def workload(self, facts: Mapping[str, ChunkFacts]) -> Workload:
        return Workload(self.instance.program, facts, self.instance.budget_bytes)

    def ways(
        self, facts: Mapping[str, ChunkFacts], truth: Truth, times: Times
    ) -> dict[str, tuple[int, int]]:
        """Everything planned with `facts`, run with `times`."""
        program, load_ns, exec_ns = self.instance.program, *times
        gamma = Gamma(round(truth.gamma * 10), 10)
        schedules = self.planned(facts, truth)
        plain = self.table(facts)
        kept = self.table(facts, schedules["online"].kept)
        runs: dict[str, Driver] = {"online": OnlineRule(plain), "online, kept": OnlineRule(kept)}
        gates = {n: s for n, s in schedules.items() if s.driver == "gates"}
        runs |= {n: Gates(plain, program, s) for n, s in gates.items()}
        done = {}
        for name, driver in runs.items():
            run = simulate(driver, load_ns=load_ns, exec_ns=exec_ns, gamma=gamma)
            done[name] = (run.makespan_ns, run.loaded_bytes)
        return done

    def planned(self, facts: Mapping[str, ChunkFacts], truth: Truth) -> dict[str, Schedule]:
        key = truth.loads, truth.steps
        if key not in self.schedules:
            workload = self.workload(facts)
            made = {p.name: schedule_by_gates(workload, p) for p in GATES}
            rule = schedule_online(workload, made["searched gates"])
            made["online"] = with_speeds(workload, rule)
            self.schedules[key] = made
        return self.schedules[key]


def _group(truth: Truth) -> str:
    off = "as planned"
    if truth.loads != 1 or truth.steps != 1:
        off = f"loads x{truth.loads:g}, steps x{truth.steps:g}"
    return off + (", 30 % noise" if truth.noise else "")


def _true_facts(facts: Mapping[str, ChunkFacts], truth: Truth) -> dict[str, ChunkFacts]:
    return {
        c: replace(f, load_s=f.load_s * truth.loads, exec_s=f.exec_s * truth.steps)
        for c, f in facts.items()
    }


def _drawn(table: Table, truth: Truth, seed: int) -> Times:
    """The true times. The n-th load and each step take the same factor in all runs compared."""

    def factor(kind: str, n: int) -> float:
        if not truth.noise:
            return 1.0
        drawn = random.Random(f"{seed} {kind} {n}").gauss(0, truth.noise)
        return math.exp(drawn - truth.noise**2 / 2)

    def load(unit: int, n: int) -> int:
        return round(table.units[unit].load_ns * factor("load", n))

    def step(number: int, _: int) -> int:
        return round(table.exec_ns(number) * factor("step", number))

    return load, step


# ---------------------------------------------------------------- table


AGAIN = (("online", 0), ("online", 1), ("online, kept", 0), ("online, kept", 1))
AGAIN += (("searched gates", 0),)
"""What is compared with itself re-planned: of which way, 0 its time or 1 its bytes."""


def again_table(rows: list[Row]) -> str:
    """Of each group of truths: over the same policy re-planned."""
    heads = [f"{name}, {('time', 'bytes')[what]}" for name, what in AGAIN]
    cells = [lambda r, n=n, what=what: r.over_again(n, what) for n, what in AGAIN]
    return _table("truth (rows)", heads, rows, lambda r: r.group, cells)


def best_table(rows: list[Row]) -> str:
    """Of each kind of instances: time over the best of all re-planned."""
    names = list(rows[0].wrong)
    cells = [lambda r, n=n: r.over_best(n) for n in names]
    return _table("instances (rows)", names, rows, lambda r: r.kind, cells)


def bytes_table(rows: list[Row]) -> str:
    """Of each kind of instances: bytes read over those of `online` re-planned."""
    names = list(rows[0].wrong)
    cells = [lambda r, n=n: r.wrong[n][1] / r.again["online"][1] for n in names]
    return _table("instances (rows)", names, rows, lambda r: r.kind, cells)


def _table(
    first: str,
    heads: list[str],
    rows: list[Row],
    group_of: Callable[[Row], str],
    cells: list[Callable[[Row], float]],
) -> str:
    """Mean and worst of each group, as Markdown."""
    lines = ["| " + " | ".join([first, *heads]) + " |", "|" + "---|" * (1 + len(heads))]
    for group in [*dict.fromkeys(group_of(r) for r in rows), "all"]:
        some = [r for r in rows if group in (group_of(r), "all")]
        own = [_cell([cell(r) for r in some]) for cell in cells]
        lines.append("| " + " | ".join([f"{group} ({len(some)})", *own]) + " |")
    return "\n".join(lines)


def _cell(values: list[float]) -> str:
    return f"{mean(values):.3f} ({max(values):.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer instances and truths")
    parser.add_argument("--json", type=Path, help="write every row there")
    options = parser.parse_args()
    rows = []
    for n, instance in enumerate(instances(options.quick)):
        bench = Bench(instance, n)
        rows += [bench.row(truth) for truth in truths(options.quick)]
        sys.stderr.write(f"\r{len(rows)} rows")
    sys.stderr.write("\n")
    print(again_table(rows), best_table(rows), bytes_table(rows), sep="\n\n")
    ways: dict[str, Callable[[Row], float]] = {
        "itself re-planned": lambda r: r.over_again("online, kept"),
        "the best re-planned": lambda r: r.over_best("online, kept"),
    }
    for what, over in ways.items():
        above = sorted((r for r in rows if over(r) > 1.05), key=over, reverse=True)
        print(f"\nonline, kept: above 1.05 of {what} in {len(above)} of {len(rows)}")
        for r in above[:10]:
            print(f"* {over(r):.3f} {r.instance}; {r.truth}")
    if options.json:
        body = [{f: getattr(r, f) for f in Row.__dataclass_fields__} for r in rows]
        options.json.write_text(json.dumps(body, indent=1))


if __name__ == "__main__":
    main()
