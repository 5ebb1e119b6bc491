"""Write tests/vectors/runs.jsonl: whole runs of programs, as docs/plan-format.md says they go; and
rests_by.jsonl, the same of programs whose calls may rest by a tensor.

    python -m tools.make_run_vectors

The first line says what stands in the others, one run each: a program with facts, packages and a
schedule, how long its loads and steps take, and everything that happens then: what the driver
decides (`clock/`), and what each step does with tensors (`run/`, on `tests/planner/toy.py`).
"""

import json
import sys
from collections.abc import Collection, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from itertools import count, islice
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from entracte.clock.clock import Gamma, simulate  # noqa: E402
from entracte.clock.driver import Decision, Driver, Event, Evict, LoadDone, Start, StepDone  # noqa: E402
from entracte.clock.drivers import make_driver  # noqa: E402
from entracte.codec import decode  # noqa: E402
from entracte.ir import (  # noqa: E402
    Binding,
    By,
    Call,
    ChunkFacts,
    HostStep,
    Package,
    Program,
    Schedule,
    Segment,
    Step,
)
from entracte.program.steps import firsts_taken  # noqa: E402
from entracte.program.workload import Workload  # noqa: E402
from entracte.run import runner  # noqa: E402
from entracte.run.blend import begins  # noqa: E402
from entracte.run.delivery import Delivery  # noqa: E402
from entracte.run.tensors import Tensors  # noqa: E402
from tests.planner.runs import Timed, asking, bare, by_hand, drawn  # noqa: E402
from tests.planner.toy import RESTS, TOY, ToyDevice, constants, crc_of, given, host_steps  # noqa: E402

FILE = ROOT / "tests" / "vectors" / "runs.jsonl"
RESTS_FILE = FILE.with_name("rests_by.jsonl")
DRAWN = 305
MOST_BYTES = 24_000
"""Of a line of a drawn program; longer ones are left out."""

FORMAT = {
    "run": (
        "program, facts, packages, schedule: as in plan.json, without fields that have their "
        "default, and loads only where the driver is `gates`, packages with ports and functions"
        " only. They load whole. `ends`: [segment, iterations after which its loop is over]. "
        "The n-th load (step), from 0, takes its nominal time x loads[n mod their number] // "
        "10, without contention; a unit's first load is cold. `gamma`: [above, below] "
        "(docs/online-rule.md). `outputs`: [name, shape, type, CRC] of all that the writer "
        "took, joined. `peak`: most bytes of units and of what steps need at once"
    ),
    "log": (
        "a line for each event, in order: `begin`, `load NS` or `step NS`, with `!` behind it "
        "where the loop is over; ` ; ` and what the step did, thing by thing; ` =` and what was"
        " decided: `+chunk` to load, `-chunk` to drop, `>N` to start step N; ` | ` and bytes of"
        " units there and on the way, of all declared tensors there, and of those that the toy "
        "device made and that are not given back"
    ),
    "things": {
        "enter STATE FIRST CRC": "a state took its first value",
        "free NAME": "dropped, by a step, a segment, or as a first value that a state took",
        "call CHUNK FUNCTION SLICE HELD FEATURE:TENSORplace=CRC ...": (
            "a slice of a call; HELD are bytes of tensors while it runs. place: nothing of a "
            "whole tensor, `#k` of piece k, `@b,b` of the box that begins there along the axes "
            "of the windows"
        ),
        "host STAGE OP NAME,NAME": "a host step, and what it reads",
        "write TENSORplace": "what was made is in its place",
        "out OUTPUT SHAPE CRC": "a piece went to the output's writer",
        "until NAME 0|1": "read after an iteration; 1: it is not zero",
        "move STATE NEXT CRC": "a state took its next value",
        "end SEGMENT ITERATIONS": "a segment is over",
    },
    "toy": TOY,
}


# ---------------------------------------------------------------- what steps do


class _Watched(Tensors):
    """Tensors that note what is done with them."""

    def __init__(
        self, program: Program, device: ToyDevice, delivery: Delivery, log: list[str]
    ) -> None:
        super().__init__(program, device, delivery)
        self.log = log

    def declared_bytes(self) -> int:
        return sum(self._decls[n].size_bytes for n in self._values if n in self._decls)

    def enter(self, segment: Segment) -> None:
        super().enter(segment)
        for name, first, _ in segment.state:
            self.log.append(f"enter {name} {first} {_crc(self._values[name])}")
        taken = firsts_taken(self._program, segment)
        firsts = dict.fromkeys(first for _, first, _ in segment.state)
        self.log.extend(f"free {first}" for first in firsts if first in taken)

    def inputs(self, step: Call, index: int, iteration: int) -> dict[str, Any]:
        made = super().inputs(step, index, iteration)
        reads = [
            f"{b.feature}:{b.tensor}{_place(b, index, iteration)}={_crc(made[b.feature])}"
            for b in step.inputs
        ]
        function = step.function_at(iteration)
        held = self.held_bytes(step)
        self.log.append(" ".join(["call", step.chunk, function, str(index), str(held), *reads]))
        return made

    def host_inputs(self, step: HostStep) -> dict[str, Any]:
        names = ",".join(value for _, value in step.inputs)
        self.log.append(f"host {step.stage} {step.op} {names}")
        return super().host_inputs(step)

    def put_arrays(self, step: HostStep, arrays: Mapping[str, Any]) -> None:
        super().put_arrays(step, arrays)
        self.log.extend(f"write {b.tensor}" for b in step.outputs)

    def put(self, step: Call, index: int, iteration: int, made: Mapping[str, Any]) -> None:
        for b in step.outputs:
            one = Call(stage="", chunk="", inputs=(), outputs=(b,))
            before = len(self.log)
            super().put(one, index, iteration, made)
            # A streamed piece is written first and goes out then.
            self.log.insert(before, f"write {b.tensor}{_place(b, index, iteration)}")

    def end(self, step: Step, segment: Segment) -> None:
        there = [x for x in step.frees if x in self._values]
        super().end(step, segment)
        self.log.extend(f"free {x}" for x in there)

    def is_over(self, segment: Segment) -> bool:
        over = super().is_over(segment)
        if segment.until is not None:
            self.log.append(f"until {segment.until} {int(over)}")
        return over

    def move_state(self, segment: Segment) -> None:
        super().move_state(segment)
        for name, _, following in segment.state:
            self.log.append(f"move {name} {following} {_crc(self._values[name])}")

    def leave(self, segment: Segment, done: int) -> None:
        there = [x for x in segment.frees if x in self._values]
        super().leave(segment, done)
        self.log.extend(f"free {x}" for x in there)
        self.log.append(f"end {segment.name} {done}")


def _place(b: Binding, index: int, iteration: int) -> str:
    if b.by is By.WHOLE:
        return ""
    k = iteration if b.by is By.ITERATION else index
    if not b.windows:
        return f"#{k}"
    return "@" + ",".join(str(at) for _, at in begins(b.windows, k))


def _crc(value: Any) -> str:
    return f"{crc_of(value):08x}"


class _Sink:
    """Takes pieces of one output."""

    def __init__(self, axis: int, log: list[str]) -> None:
        self.axis, self.log, self.pieces = axis, log, list[np.ndarray]()

    def take(self, output: str, piece: Any) -> None:
        self.log.append(f"out {output} {_shape(piece)} {_crc(piece)}")
        self.pieces.append(np.array(piece))

    def told(self, output: str) -> list[object]:
        whole = np.concatenate(self.pieces, self.axis)
        types = {"float16": "fp16", "float32": "fp32", "int32": "int32"}
        return [output, list(whole.shape), types[str(whole.dtype)], _crc(whole)]


def _shape(array: Any) -> str:
    return "x".join(map(str, array.shape))


class _Stepped:
    """In place of the machine: every step may run when it comes."""

    def __init__(self, packages: Mapping[str, Package]) -> None:
        self.packages = packages
        self.overs: list[bool] = []
        self.resting: set[int] = set()
        self.after = lambda: None

    def wait_for(self, step: int) -> None: ...

    def switch(self, chunk: str, step: int) -> None: ...

    def handle(self, chunk: str) -> Package:
        return self.packages[chunk]

    def step_done(
        self,
        seconds: float,  # noqa: ARG002 (the machine's)
        *,
        over: bool,
        resting: tuple[int, ...] = (),
    ) -> None:
        self.overs.append(over)
        self.resting.update(resting)
        self.after()


class _Notes:
    """In place of the journal."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None


class _Whole:
    """In place of a run's conditions: all of the program is computed, nothing is stored."""

    def __init__(self, program: Program) -> None:
        self.whole = SimpleNamespace(program=program)
        self.rest = SimpleNamespace(number=lambda number: number)

    def made(self, number: int, fetch: object) -> None:
        """Nothing is stored."""

    def said(self, number: int, text: str) -> None:
        """Nor are notes."""


# ---------------------------------------------------------------- a run


def log_of(run: Timed) -> tuple[list[str], list[list[object]], int]:
    """What happens, the outputs, and the most bytes at once."""
    done = _steps(run)
    events, peak = _events(run, done.resting)
    lines, tensors = [], done.given
    steps = iter(done.steps)
    for event, decided, units in events:
        text = _named(event)
        if isinstance(event, StepDone):
            things, over, tensors = next(steps)
            assert over == event.over
            text += "".join(f" ; {x}" for x in things)
        text += " =" * bool(decided) + "".join(f" {d}" for d in decided)
        lines.append(f"{text} | {units} {tensors}")
    assert next(steps, None) is None
    return lines, done.outputs, peak


def _named(event: Event | None) -> str:
    if event is None:
        return "begin"
    if isinstance(event, LoadDone):
        return f"load {event.ns}"
    return f"step {event.ns}" + "!" * event.over


def _events(
    run: Timed, resting: Collection[int]
) -> tuple[list[tuple[Event | None, list[str], int]], int]:
    """Each event, what was decided, and bytes of units after it; and the peak. `resting`: steps
    whose calls rested by a tensor."""
    facts = {f.id: f for f in run.facts}
    workload = Workload(run.program, facts, run.schedule.budget_bytes)
    driver: Driver = make_driver(workload, run.schedule)
    table, found, units = driver.table, list[tuple[Event | None, list[str], int]](), 0
    seen: set[int] = set()

    def watch(_: int, event: Event | None, decided: tuple[Decision, ...]) -> None:
        nonlocal units
        named = []
        for d in decided:
            if isinstance(d, Start):
                named.append(f">{d.step}")
                continue
            unit, sign = table.units[d.unit], "-" if isinstance(d, Evict) else "+"
            units += int(f"{sign}{unit.size_bytes}")
            named.append(f"{sign}{unit.chunk}")
        found.append((event, named, units))

    def load_ns(unit: int, n: int) -> int:
        u = table.units[unit]
        ns = u.load_ns + (0 if unit in seen else u.cold_ns)
        seen.add(unit)
        return ns * run.loads[n % len(run.loads)] // 10

    made = simulate(
        driver,
        load_ns=load_ns,
        exec_ns=lambda step, n: table.exec_ns(step) * run.steps[n % len(run.steps)] // 10,
        gamma=Gamma(*run.gamma),
        ends=run.ends,
        rests=resting.__contains__,
        watch=watch,
    )
    return found, made.peak_bytes


class _Done:
    """Of a run the steps: what each did, whether its loop was over, and the bytes after it."""

    def __init__(self) -> None:
        self.given = ""
        self.steps: list[tuple[list[str], bool, str]] = []
        self.outputs: list[list[object]] = []
        self.resting: set[int] = set()


def _steps(run: Timed) -> _Done:
    program, log, done = run.program, list[str](), _Done()
    device = ToyDevice(program, run.ends)
    sinks = {o.name: _Sink(o.axis, log) for o in program.outputs}
    delivery = Delivery(program.outputs, sinks)
    tensors = _Watched(program, device, delivery, log)
    machine = _Stepped({p.chunk: p for p in run.packages})

    def bytes_now() -> str:
        return f"{tensors.declared_bytes()} {device.made_bytes()}"

    def after() -> None:
        done.steps.append((log[:], machine.overs[-1], bytes_now()))
        log.clear()

    machine.after = after
    tensors.give(program, given(program), constants(program))
    done.given = bytes_now()
    with patch.object(runner, "run_host_step", host_steps(program, device)):
        runner._Interpreter(  # noqa: SLF001 (the interpreter without its threads)
            program, Path(), device, machine, tensors, _Notes(), runner.Listeners(), _Whole(program)
        ).run()
    done.resting = machine.resting
    done.outputs = [sink.told(name) for name, sink in sinks.items()]
    return done


# ---------------------------------------------------------------- writing


def lean(value: Any) -> Any:
    """As `codec.encode`, without fields that have their default, and types that are clear."""
    if is_dataclass(value):
        made = {} if not isinstance(value, Call | HostStep) else {"type": type(value).__name__}
        for f in fields(value):
            own = getattr(value, f.name)
            if own != f.default:
                made[f.name] = lean(own)
        return made
    if isinstance(value, Enum):
        return value.value
    return [lean(v) for v in value] if isinstance(value, tuple) else value


def line_of(run: Timed) -> str:
    """A run as a line of the file."""
    run = bare(run)
    log, outputs, peak = log_of(run)
    made = {
        "name": run.name,
        "program": lean(run.program),
        "facts": lean(run.facts),
        "packages": [_package(p) for p in run.packages],
        "schedule": lean(run.schedule),
        "ends": [list(x) for x in run.ends.items()],
        "loads": run.loads,
        "steps": run.steps,
        "gamma": run.gamma,
        "log": log,
        "outputs": outputs,
        "peak": peak,
    }
    return json.dumps(made, separators=(",", ":"))


_PORTS = ("inputs", "outputs", "functions", "own_ports")


def _package(package: Package) -> Any:
    """What is its own: its ports and functions."""
    made = lean(package)
    return {name: made[name] for name in ("chunk", *_PORTS) if name in made}


def read(line: str) -> Timed:
    """The run of a line, without what happened."""
    made = json.loads(line)
    facts = decode(tuple[ChunkFacts, ...], made["facts"])
    return Timed(
        name=made["name"],
        program=decode(Program, made["program"]),
        facts=facts,
        packages=tuple(map(_whole, made["packages"], facts)),
        schedule=decode(Schedule, made["schedule"]),
        ends=dict(made["ends"]),
        loads=tuple(made["loads"]),
        steps=tuple(made["steps"]),
        gamma=tuple(made["gamma"]),
    )


def _whole(own: Any, facts: ChunkFacts) -> Package:
    figures = {"weight_bytes": facts.weight_bytes, "activation_bytes": facts.activation_bytes}
    rest = {"path": own["chunk"], "digest": "", "file_bytes": facts.weight_bytes}
    words = {"precision": "fp16", "compression": "none"}
    made: Package = decode(Package, own | figures | rest | words)
    return made


def lines() -> Iterator[str]:
    """All of the file."""
    yield json.dumps({"format": FORMAT}, separators=(",", ":"))
    yield from map(line_of, by_hand())
    short = (line for n in count() if len(line := line_of(drawn(n))) <= MOST_BYTES)
    yield from islice(short, DRAWN)


def rests_lines() -> Iterator[str]:
    """All of the other file. A runner that makes loads for calls that rest, too, has other
    decisions, and the same calls, values and outputs."""
    head = FORMAT | {"toy": TOY | {"rests": RESTS}}
    yield json.dumps({"format": head}, separators=(",", ":"))
    yield from map(line_of, asking())


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for line in lines()))
    RESTS_FILE.write_text("".join(f"{line}\n" for line in rests_lines()))
