"""Random programs, budgets and timings for the online rule."""

import random
from dataclasses import dataclass, replace

from entracte.clock.clock import Gamma, Simulation, simulate
from entracte.clock.driver import Decision, Event
from entracte.clock.rule import Ledger, OnlineRule
from entracte.clock.table import Table, make_table
from entracte.ir import (
    Binding,
    By,
    Call,
    ChunkFacts,
    HostStep,
    Kept,
    Program,
    Step,
    TensorDecl,
    Window,
)
from entracte.program.steps import expand
from entracte.program.workload import Workload
from tests.planner.lives import with_lives
from tests.planner.programs import Part, make_program, port


@dataclass(frozen=True)
class Case:
    program: Program
    facts: dict[str, ChunkFacts]
    table: Table
    ends: dict[int, int]
    gamma: Gamma
    seed: int

    def run(self) -> "Played":
        """Under timings that `seed` draws, as far from the nominal ones as they may be."""
        rng = random.Random(self.seed)
        factors = rng.choice(((1,), (0, 1, 30), (0, 0, 0, 1000), (1, 2, 3), (0,)))

        def load(unit: int, _: int) -> int:
            return self.table.units[unit].load_ns * rng.choice(factors) + rng.choice((0, 1))

        def call(step: int, _: int) -> int:
            return self.table.exec_ns(step) * rng.choice(factors) + rng.choice((0, 1))

        return play(self.table, load_ns=load, exec_ns=call, gamma=self.gamma, ends=self.ends)

    def calls(self) -> list[str]:
        """The chunks that the run calls, in order; a map counts once."""
        return [
            x.chunk
            for s, g in enumerate(self.program.segments)
            for i in range(min(self.ends.get(s, g.count), g.count))
            for x in g.steps
            if isinstance(x, Call) and x.is_called(i)
        ]


@dataclass(frozen=True)
class Happened:
    """One event, when it came, what the rule then decided, and its ledger after that."""

    at_ns: int
    event: Event | None
    decisions: tuple[Decision, ...]
    ledger: Ledger


@dataclass(frozen=True)
class Played:
    made: Simulation
    history: tuple[Happened, ...]


def play(table: Table, **given: object) -> Played:
    """The rule on the clock, with everything that happened."""
    rule, history = OnlineRule(table), list[Happened]()

    def watch(at_ns: int, event: Event | None, decisions: tuple[Decision, ...]) -> None:
        history.append(Happened(at_ns, event, decisions, rule.ledger))

    made = simulate(rule, watch=watch, **given)
    return Played(made, tuple(history))


def make_case(shape: tuple[Part, ...], spare: float, seed: int, paged: bool = False) -> Case:
    """A program with needs of all sizes; a `spare` share of all weights is more than enough."""
    rng = random.Random(seed)
    program, _, made = make_program(shape)
    program = with_long_lives(program, rng)
    facts = {f.id: replace(f, activation_bytes=rng.choice((0, 16, 90, 300))) for f in made}
    facts = {c: replace(f, exec_s=rng.choice((0.0, 0.1, 1.0, 4.0))) for c, f in facts.items()}
    facts = {c: replace(f, cold_s=rng.choice((0.0, 0.0, 0.5, 9.0))) for c, f in facts.items()}
    least = max(
        s.need_bytes + (facts[s.chunk].weight_bytes if s.chunk else 0)
        for s in expand(program, facts, 1)
    )
    budget = least + int(spare * sum(f.weight_bytes for f in facts.values()))
    pages = {c: rng.randint(1, 5) for c in facts} if paged else None
    kept = _levels(list(facts), rng) if rng.random() < 0.5 else []
    table = make_table(Workload(program, facts, budget), pages=pages, kept=kept)
    ends = {s: rng.randint(1, g.count) for s, g in enumerate(program.segments) if g.until}
    gamma = rng.choice((Gamma(), Gamma(13, 10), Gamma(8, 5), Gamma(3)))
    return Case(program, facts, table, ends, gamma, seed)


def _levels(chunks: list[str], rng: random.Random) -> list[Kept]:
    """Up to three sets, each for loads slower than the one before."""
    speeds = sorted(rng.sample((0.0, 0.1, 0.7, 1.0, 1.4, 3.0, 20.0), rng.randint(1, 3)))
    return [Kept(s, tuple(c for c in chunks if rng.random() < 0.5)) for s in speeds]


def with_long_lives(program: Program, rng: random.Random) -> Program:
    """Some steps make tensors that later steps read: in the same iteration, or made before a loop
    and read in it or after it. (Only a loop's state outlives its iterations.) Some segments begin
    with a host step, which may need much."""
    places = [(s, k) for s, g in enumerate(program.segments) for k in range(len(g.steps))]
    segments: list[list[Step]] = [list(g.steps) for g in program.segments]
    tensors = list(program.tensors)
    for n in range(rng.randint(0, 3)):
        (s, k), (r, j) = sorted((rng.choice(places), rng.choice(places)))
        maker, reader = segments[s][k], segments[r][j]
        if not isinstance(maker, Call) or not isinstance(reader, Call):
            continue
        if (s, k) == (r, j) or (s != r and program.segments[s].is_loop):
            continue
        name, size = f"extra{n}", rng.choice((1, 40, 150, 900))
        # What is run several times makes a slice each time.
        tensors.append(TensorDecl(port(name, size * maker.repeat)))
        by = (By.WHOLE,)
        if maker.repeat > 1:
            by = (By.MAP, (Window(0, size, maker.repeat, size),))
        made = (*maker.outputs, Binding(name, name, *by))
        read = (*reader.inputs, Binding(name, name))
        segments[s][k] = replace(maker, outputs=made)
        segments[r][j] = replace(reader, inputs=read)
    for s, steps in enumerate(segments):
        if rng.random() < 0.4:
            name = f"host{s}"
            tensors.append(TensorDecl(port(name, rng.choice((1, 150, 400)))))
            reads = tuple(("of", c.name) for c in program.constants if rng.random() < 0.5)
            steps.insert(0, _host_step(name, reads))
    changed = tuple(
        replace(g, steps=tuple(steps)) for g, steps in zip(program.segments, segments, strict=True)
    )
    return with_lives(replace(program, tensors=tuple(tensors), segments=changed))


def _host_step(made: str, reads: tuple[tuple[str, str], ...]) -> HostStep:
    """One that may read a tensor, and makes one that nobody reads."""
    outputs = (Binding("out", made),)
    return HostStep(stage=made, op="none", params=(), inputs=reads, outputs=outputs)
