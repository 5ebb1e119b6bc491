"""Runs for `tests/vectors/runs.jsonl`: programs, facts, schedules, and how long things take."""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from entracte.check.pieces import check_features
from entracte.check.proof import check
from entracte.ir import (
    Binding,
    By,
    Call,
    Chunk,
    ChunkFacts,
    DType,
    Input,
    Output,
    Package,
    Policy,
    Port,
    Program,
    Schedule,
    Segment,
    Window,
)
from entracte.program.slices import piece_of
from entracte.program.workload import Workload
from entracte.schedule.choose import make_schedule
from tests.planner.lives import with_lives
from tests.planner.online import with_long_lives
from tests.planner.plans import make_shared_plan
from tests.planner.programs import (
    DOUBLE_BUFFER,
    ONLINE,
    POLICIES,
    SEQUENTIAL,
    Part,
    drawn_parts,
    make_program,
    packages,
)
from tests.planner.test_run_by_hand import sampler
from tests.planner.test_run_programs import call, everything, plan_for, tensor
from tests.planner.test_schedule import by_id, least_budget

H, F, I = DType.FP16, DType.FP32, DType.INT32  # noqa: E741
M, T = By.MAP, By.ITERATION


@dataclass(frozen=True, kw_only=True)
class Timed:
    """A plan's parts, and a run of them."""

    name: str
    program: Program
    facts: tuple[ChunkFacts, ...]
    packages: tuple[Package, ...]
    schedule: Schedule
    ends: dict[int, int] = field(default_factory=dict)
    """Segment -> iterations after which its loop is over."""
    loads: tuple[int, ...] = (10,)
    """The n-th load takes so many tenths of its nominal time, entry n modulo their number."""
    steps: tuple[int, ...] = (10,)
    gamma: tuple[int, int] = (1, 1)


def drawn(n: int) -> Timed:
    """The n-th program of the safety generator, under a policy of its turn."""
    rng = random.Random(f"run {n}")
    program, chunks, facts = make_program(drawn_parts(rng))
    if rng.random() < 0.5:
        program = with_long_lives(program, rng)
        chunks = _with_ports(program, chunks)
    turns = (*POLICIES, ONLINE)
    budget = least_budget(program, facts) + rng.choice((0, 40, 200, rng.randint(0, 600)))
    schedule = _schedule(program, facts, chunks, budget, turns[n % len(turns)])
    return Timed(
        name=f"drawn {n}",
        program=program,
        facts=facts,
        packages=packages(chunks),
        schedule=schedule,
        **_timing(program, rng),
    )


def asking() -> Iterator[Timed]:
    """Loops of which some calls may rest by a tensor, and other things beside it."""
    shapes = {
        "alone": (Part(7, (90, 60, 80), also=("ask",)),),
        "two rest": (Part(1, (40,)), Part(9, (30, 50, 70, 90), also=("ask",))),
        "ends early": (Part(9, (90, 60, 80), until=True, also=("ask", "collect")),),
        "switch": (Part(7, (50, 60, 70), switch=3, also=("ask", "cast")), Part(1, (20,))),
        "within iterations": (
            Part(1, (20,)),
            Part(13, (30, 50, 70, 90, 40), also=("ask within", "collect")),
        ),
        "within, ends early": (Part(9, (60, 50, 70, 90), until=True, also=("ask within",)),),
    }
    for name, shape in shapes.items():
        program, chunks, facts = make_program(shape)
        ends = {s: 6 for s, g in enumerate(program.segments) if g.until}
        for policy, room in ((SEQUENTIAL, 0), (DOUBLE_BUFFER, 60), (ONLINE, 30), (ONLINE, 900)):
            budget = least_budget(program, facts) + room
            yield Timed(
                name=f"{name}, {policy.name} {room}",
                program=program,
                facts=facts,
                packages=packages(chunks),
                schedule=_schedule(program, facts, chunks, budget, policy),
                ends=ends,
                loads=(10, 3, 25),
            )


def _with_ports(program: Program, chunks: tuple[Chunk, ...]) -> tuple[Chunk, ...]:
    """With what `with_long_lives` bound: a port of each chunk or function that it is bound to."""
    decls, made = {t.name: t.port for t in program.tensors}, {c.id: c for c in chunks}
    for step in (x for g in program.segments for x in g.steps if isinstance(x, Call)):
        chunk = made[step.chunk]
        part = next((v for v in chunk.others if v.name == step.function), chunk)
        sides = {
            side: (*(ports := getattr(part, side)), *_new(ports, getattr(step, side), decls))
            for side in ("inputs", "outputs")
        }
        more = replace(part, **sides)
        if part is not chunk:
            own = tuple(more if v is part else v for v in chunk.variants)
            more = replace(chunk, variants=own)
        made[chunk.id] = more
    return tuple(made.values())


def _new(
    ports: Sequence[Port], bound: Sequence[Binding], decls: dict[str, Port]
) -> tuple[Port, ...]:
    there = {p.name for p in ports}
    pieces = ((b.feature, piece_of(decls[b.tensor], b.windows)) for b in bound)
    return tuple(replace(p, name=name) for name, p in pieces if name not in there)


def _schedule(
    program: Program, facts: Sequence[ChunkFacts], chunks: Sequence[Chunk], budget: int, by: Policy
) -> Schedule:
    """Proven, as every plan's is."""
    schedule = make_schedule(Workload(program, by_id(facts), budget), by)
    check(program, tuple(facts), schedule, budget_bytes=budget)
    check_features(program, tuple(chunks))
    return schedule


def _timing(program: Program, rng: random.Random) -> dict[str, object]:
    factors = ((10,), (0, 10, 300), (0, 0, 0, 10_000), (10, 20, 30), (0,), (3, 17))
    return {
        "ends": {
            s: rng.randint(1, g.count)
            for s, g in enumerate(program.segments)
            if g.until and rng.random() < 0.9
        },
        "loads": rng.choice(factors),
        "steps": rng.choice(factors),
        "gamma": rng.choice(((1, 1), (13, 10), (8, 5), (3, 1))),
    }


# ---------------------------------------------------------------- by hand


def by_hand() -> Iterator[Timed]:
    """Every construct, under gates and the online rule."""
    for policy in (SEQUENTIAL, DOUBLE_BUFFER, ONLINE):
        yield _of_plan(f"everything, {policy.name}", plan_for(everything(), policy))
        for end in (1, 3, 4):
            plan = plan_for(everything(until=True), policy)
            yield _of_plan(f"everything until {end}, {policy.name}", plan, {1: end})
        yield _of_plan(f"sampler, {policy.name}", sampler(policy))
        for end in (0, 1, 2, 3):
            yield _corners(f"corners until {end}, {policy.name}", policy, {1: end} if end else {})
        yield _of_plan(f"one graph, {policy.name}", make_shared_plan(policy))


def _of_plan(name, plan, ends=None) -> Timed:
    return Timed(
        name=name,
        program=plan.program,
        facts=plan.facts,
        packages=plan.packages,
        schedule=plan.schedule,
        ends=ends or {},
        loads=(7, 22),
        gamma=(13, 10),
    )


PORTS = {
    "fold": ([("x", (2, 2), H)], [("y", (2, 2), F)]),
    "make": ([("a", (2, 3), F), ("k", (1,), I)], [("b", (2, 3), F), ("i", (1,), I)]),
    "turn": (
        [("h", (2, 3), H), ("g", (2, 3), H), ("s", (1,), F), ("i", (1,), I), ("n", (3, 2), H),
         ("m", (2, 3), F)],
        [("f", (2, 3), F), ("e", (2, 3), F), ("s", (1,), F), ("i", (1,), I),
         ("t", (10, 8), H), ("c", (1, 3), H)],
    ),
    "read": ([("w", (10, 8), F), ("c", (1, 3), H)], [("v", (2, 2, 4), F)]),
}  # fmt: skip
HALVES = (Window(1, 2, 2, 1),)
"""Two columns of three each."""
SOFT = (Window(0, 10, 2, 5), Window(1, 8, 2, 5))
"""Tiles of (10, 8) that overlap by fifths and thirds in (15, 13): weights are rounded, and it shows
which is multiplied first."""


def corners() -> Program:
    """What the other programs have not: states of fp16 that begin with and take fp32, two with one
    first value; an `until` that is a state's next value; tiles of fp16 that a loop makes, blended,
    and that end early; a map in a loop that blends anew in each iteration; an input and a constant
    that are outputs, and what a loop's last iteration made; what a loop collects along another axis
    than its output's."""
    loop = Segment(
        name="loop", count=4, until="s1",
        state=(("h", "b", "f"), ("g", "b", "e"), ("s", "s0", "s1"), ("i", "i0", "i1")),
        steps=(
            call(
                "fold", [Binding("x", "h", M, HALVES)], [Binding("y", "mix", M, HALVES)], repeat=2
            ),
            call(
                "turn",
                [Binding("h", "h"), Binding("g", "g"), Binding("s", "s"), Binding("i", "i"),
                 Binding("m", "mix"), Binding("n", "noise", T, (Window(1, 2, 4, 3, 1),))],
                [Binding("f", "f"), Binding("e", "e"), Binding("s", "s1"), Binding("i", "i1"),
                 Binding("t", "soft", T, SOFT), Binding("c", "rows", T, (Window(0, 1, 4, 1),))],
            ),
        ),
    )  # fmt: skip
    read = Segment(
        name="read", count=1,
        steps=(
            call(
                "read",
                [Binding("w", "soft", M, SOFT), Binding("c", "rows", M, (Window(0, 1, 4, 1),))],
                [Binding("v", "vs", M, (Window(1, 2, 4, 2),))],
                repeat=4,
            ),
        ),
    )  # fmt: skip
    make = Segment(
        name="make", count=1,
        steps=(
            call("make", [Binding("a", "a"), Binding("k", "k")],
                 [Binding("b", "b"), Binding("i", "i0")]),
        ),
    )  # fmt: skip
    return Program(
        inputs=(
            Input("a", "tensor", 0.0, Port("a", (2, 3), F)),
            Input("k", "choice", 0, choices=("x", "y")),
        ),
        constants=(Port("s0", (1,), F), Port("noise", (3, 12), H), Port("cold", (2, 2), H)),
        tensors=(
            tensor("a", (2, 3), F), tensor("k", (1,), I), tensor("s0", (1,), F),
            tensor("noise", (3, 12), H), tensor("cold", (2, 2), H), tensor("b", (2, 3), F),
            tensor("i0", (1,), I), tensor("h", (2, 3), H), tensor("g", (2, 3), H),
            tensor("f", (2, 3), F), tensor("e", (2, 3), F), tensor("s", (1,), F),
            tensor("s1", (1,), F), tensor("i", (1,), I), tensor("i1", (1,), I),
            tensor("soft", (15, 13), F), tensor("mix", (2, 3), F),
            tensor("rows", (4, 3), H), tensor("vs", (2, 8, 4), F),
        ),
        segments=(make, loop, read),
        outputs=(
            Output("given", "tensor", ("a",), 0), Output("table", "tensor", ("cold",), 1),
            Output("rows", "tensor", ("rows",), 1), Output("cut", "tensor", ("rows",), 0),
            Output("all", "tensor", ("soft",), 0), Output("vs", "tensor", ("vs",), 0),
            Output("mix", "tensor", ("mix",), 1), Output("last", "tensor", ("s",), 0),
        ),
    )  # fmt: skip


def _corners(name: str, policy: Policy, ends: dict[int, int]) -> Timed:
    chunks, facts = [], []
    for chunk, sides in PORTS.items():
        inputs, outputs = (tuple(Port(*p) for p in side) for side in sides)
        chunks.append(
            Chunk(
                id=chunk, graph=chunk, start=0, stop=1, inputs=inputs, outputs=outputs,
                weight_bytes=100, activation_bytes=50, flops=2, moved_bytes=1,
            )
        )  # fmt: skip
        facts.append(
            ChunkFacts(id=chunk, weight_bytes=100, activation_bytes=50, load_s=1.0, exec_s=1.0)
        )
    program = with_lives(corners())
    budget = least_budget(program, facts) + 120
    schedule = _schedule(program, facts, chunks, budget, policy)
    made = packages(tuple(chunks))
    return Timed(
        name=name, program=program, facts=tuple(facts), packages=made, schedule=schedule,
        ends=ends, loads=(4, 31), gamma=(8, 5),
    )  # fmt: skip


def bare(run: Timed) -> Timed:
    """Without what no runner reads of it."""
    own = tuple(replace(p, digest="", path=p.chunk) for p in run.packages)
    loads = run.schedule.loads if run.schedule.driver == "gates" else ()
    return replace(run, packages=own, schedule=replace(run.schedule, loads=loads, resident=()))
