"""Robustness of the online rule: planned with wrong times, run with the true ones.

    python tools/bench_online.py [--quick] [--json FILE]

For each instance and each way of being wrong, runs under the same true times: the online rule with
the wrong nominal times and with the true ones, alone and with the chunks that `policy=online` keeps
by the speed of loads; and gate-based schedules made with the wrong times and with the true ones,
executed rigidly. All times are simulated in whole nanoseconds
with entracte/clock/online_simulate.py, which keeps the byte ledger. Seeds are fixed.
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

from entracte.clock.online import Decision, Event, Evict, Fetch, LoadDone, Start
from entracte.clock.online_simulate import Driver, Gamma, simulate_online
from entracte.clock.table import Table, make_table
from entracte.ir import (
    Binding,
    Call,
    ChunkFacts,
    DType,
    Kept,
    Policy,
    Port,
    Program,
    Schedule,
    Segment,
    TensorDecl,
)
from entracte.program.assemble import with_frees
from entracte.program.steps import START, unroll
from entracte.schedule.by_gates import schedule_by_gates
from entracte.schedule.online_search import schedule_online, with_speeds

GATES = (
    Policy("double_buffer", 1, True),
    Policy("ci_dl", 1, True, "ci_dl", 2),
    Policy("searched gates", 1_000_000, True, "optimal"),
)
FACTORS = (0.5, 1.0, 2.0, 3.0)
GAMMAS = (1.0, 1.3, 1.6)
NOISE = 0.3
"""Standard deviation of the logarithm of every single load and step."""


# ---------------------------------------------------------------- instances


@dataclass(frozen=True)
class Instance:
    name: str
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


def chain(parts: list[tuple[str, int, list[str]]]) -> Program:
    """Segments (name, count, chunks) that hand one small tensor on."""
    tensors, segments, current = [TensorDecl(Port("x", (1,), DType.FP16))], [], "x"
    for name, count, chunks in parts:
        state, first = f"{name}.state", current
        looped = count > 1
        current = state if looped else first
        tensors += [TensorDecl(Port(state, (1,), DType.FP16))] if looped else []
        steps = []
        for chunk in chunks:
            made = f"{chunk}.out"
            tensors.append(TensorDecl(Port(made, (1,), DType.FP16)))
            read, write = (Binding("in", current),), (Binding("out", made),)
            steps.append(Call(stage=name, chunk=chunk, inputs=read, outputs=write))
            current = made
        carried = ((state, first, current),) if looped else ()
        current = state if looped else current
        segments.append(Segment(name=name, count=count, steps=tuple(steps), state=carried))
    constants = (Port("x", (1,), DType.FP16),)
    made_program = Program(
        inputs=(),
        constants=constants,
        tensors=tuple(tensors),
        segments=tuple(segments),
        output=current,
    )
    return with_frees(made_program)


def facts_of(chunk: str, weight: int, load_s: float, exec_s: float) -> ChunkFacts:
    return ChunkFacts(
        id=chunk, weight_bytes=weight, activation_bytes=1000, load_s=load_s, exec_s=exec_s
    )


def loop_instance(chunks: int, count: int, ratio: float, share: float, seed: int) -> Instance:
    """A loop as in scheduling.md, section 5: seed 0 is equal chunks, others log-normal ones."""
    rng = random.Random(seed)

    def spread() -> list[float]:
        raw = [math.exp(rng.gauss(0, 0.5)) if seed else 1.0 for _ in range(chunks)]
        return [x * chunks / sum(raw) for x in raw]

    names = [f"c.{k:02d}" for k in range(chunks)]
    sizes, loads, steps = spread(), spread(), spread()
    each = 56.0 / chunks
    facts = {
        n: facts_of(n, int(1e6 * w), ratio * each * x, each * e)
        for n, w, x, e in zip(names, sizes, loads, steps, strict=True)
    }
    largest = max(f.weight_bytes for f in facts.values())
    budget = max(int(share * sum(f.weight_bytes for f in facts.values())), 2 * largest) + 2000
    kind = f"log-normal {seed}" if seed else "equal"
    name = f"K={chunks} N={count} r={ratio:g} f={share:g} {kind}"
    return Instance(name, chain([("loop", count, names)]), facts, budget)


def staged_instance(share: float) -> Instance:
    """An encoder of 12 large chunks that are slow to load, a loop of 28, a decoder of 4."""
    encoder = [f"a.{k:02d}" for k in range(12)]
    body = [f"b.{k:02d}" for k in range(28)]
    decoder = [f"d.{k:02d}" for k in range(4)]
    facts = {c: facts_of(c, 2_000_000, 2.0, 1.0) for c in encoder}
    facts |= {c: facts_of(c, 1_000_000, 1.0, 0.8) for c in body}
    facts |= {c: facts_of(c, 1_500_000, 1.5, 4.0) for c in decoder}
    budget = int(share * 28_000_000) + 2000
    parts = [("encoder", 1, encoder), ("loop", 10, body), ("decoder", 1, decoder)]
    return Instance(f"12 + 10 x 28 + 4, f={share:g}", chain(parts), facts, budget)


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


# ---------------------------------------------------------------- a fixed schedule


class GateDriver(Driver):
    """Executes a schedule as run/runner.py does: each load waits for its gate, in order."""

    def __init__(self, table: Table, program: Program, schedule: Schedule) -> None:
        super().__init__(table)
        self.queue = list(unroll(program, schedule))
        self.ended, self.next, self.taken = START, 0, 0
        self.there: set[int] = set()
        self.flying: int | None = None
        self.running = False
        self.frees: dict[int, list[int]] = {}
        for p in self.queue:
            self.frees.setdefault(p.free, []).append(self.table.units_of[p.chunk][0])

    def begin(self) -> tuple[Decision, ...]:
        return self.decide([])

    def react(self, event: Event) -> tuple[Decision, ...]:
        if isinstance(event, LoadDone):
            assert self.flying is not None
            self.there.add(self.flying)
            self.flying = None
            return self.decide([])
        self.ended, self.next, self.running = self.next, self.next + 1, False
        freed = self.frees.get(self.ended, [])
        self.there -= set(freed)
        return self.decide([Evict(u) for u in freed])

    def decide(self, decisions: list[Decision]) -> tuple[Decision, ...]:
        if not self.running and self.next < self.table.end:
            chunk = self.table.step(self.next).chunk
            if chunk is None or self.table.units_of[chunk][0] in self.there:
                self.running = True
                decisions.append(Start(self.next))
        more = self.flying is None and self.taken < len(self.queue)
        if more and self.queue[self.taken].gate <= self.ended:
            self.flying = self.table.units_of[self.queue[self.taken].chunk][0]
            self.taken += 1
            decisions.append(Fetch(self.flying))
        return tuple(decisions)


# ---------------------------------------------------------------- runs

Times = tuple[Callable[[int, int], int], Callable[[int, int], int]]
"""What loads and steps really take."""


@dataclass(frozen=True)
class Row:
    """One instance under one truth: time and bytes of each way to run it."""

    instance: str
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
            truth=truth.name,
            group=_group(truth),
            wrong=self.ways(self.instance.facts, as_planned, times),
            again=self.ways(facts, truth, times),
        )

    def table(self, facts: Mapping[str, ChunkFacts], kept: tuple[Kept, ...] = ()) -> Table:
        return make_table(self.instance.program, facts, self.instance.budget_bytes, kept=kept)

    def ways(
        self, facts: Mapping[str, ChunkFacts], truth: Truth, times: Times
    ) -> dict[str, tuple[int, int]]:
        """Everything planned with `facts`, run with `times`."""
        program, load_ns, exec_ns = self.instance.program, *times
        gamma = Gamma(round(truth.gamma * 10), 10)
        schedules = self.planned(facts, truth)
        plain = self.table(facts)
        kept = self.table(facts, schedules["online"].kept)
        runs: dict[str, Driver] = {"online": Driver(plain), "online, kept": Driver(kept)}
        gates = {n: s for n, s in schedules.items() if s.rule == "gates"}
        runs |= {n: GateDriver(plain, program, s) for n, s in gates.items()}
        done = {}
        for name, driver in runs.items():
            run = simulate_online(
                driver.table, load_ns=load_ns, exec_ns=exec_ns, gamma=gamma, driver=driver
            )
            done[name] = (run.makespan_ns, run.loaded_bytes)
        return done

    def planned(self, facts: Mapping[str, ChunkFacts], truth: Truth) -> dict[str, Schedule]:
        key = truth.loads, truth.steps
        if key not in self.schedules:
            budget, program = self.instance.budget_bytes, self.instance.program
            made = {p.name: schedule_by_gates(program, facts, p, budget) for p in GATES}
            rule = schedule_online(program, facts, made["searched gates"])
            made["online"] = with_speeds(program, facts, rule)
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


def table_of(rows: list[Row]) -> str:
    """Mean and worst of each group, as Markdown."""
    names = list(rows[0].wrong)
    head = [
        "truth",
        "online / itself re-planned",
        "its bytes",
        "online, kept / itself",
        "its bytes",
    ]
    lines = ["| " + " | ".join([*head, *(f"{n} / best" for n in names)]) + " |"]
    lines.append("|" + "---|" * (len(head) + len(names)))
    for group in [*dict.fromkeys(r.group for r in rows), "all"]:
        some = [r for r in rows if group in (r.group, "all")]
        cells = [
            _cell([r.over_again(n, what) for r in some])
            for n in ("online", "online, kept")
            for what in (0, 1)
        ]
        cells += [_cell([r.over_best(n) for r in some]) for n in names]
        lines.append("| " + " | ".join([group, *cells]) + " |")
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
    print(table_of(rows))
    for name in ("online", "online, kept"):
        above = sorted((r for r in rows if r.over_again(name) > 1.05), key=_worst(name))
        print(f"\n{name}: above 1.05 of itself re-planned in {len(above)} of {len(rows)}")
        for r in above[:5]:
            print(f"* {r.over_again(name):.3f} {r.instance}; {r.truth}")
    if options.json:
        body = [{f: getattr(r, f) for f in Row.__dataclass_fields__} for r in rows]
        options.json.write_text(json.dumps(body, indent=1))


def _worst(name: str) -> Callable[[Row], float]:
    return lambda row: -row.over_again(name)


if __name__ == "__main__":
    main()
