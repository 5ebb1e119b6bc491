"""Emitted packages against the torch source: per chunk on real inputs, and end to end.

The source of a chunk is the very piece of the exported graph it was converted from, in fp32.
Its inputs are recorded from a run of the packages, so every chunk is judged by itself; the
end-to-end comparison runs the whole plan twice, once on packages and once on sources.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from entracte.declare.scheme import floor_db
from entracte.devices import Device
from entracte.ir import Package, Plan
from entracte.reference.fidelity import psnr
from entracte.run.alarm import Alarm
from entracte.run.execute import execute
from entracte.run.runner import Progress
from entracte.verify.sampled import sample_inputs, tried_inputs
from entracte.verify.source import NOWHERE_ELSE, Origin, SourceDevice

Predict = Callable[[dict[str, Any]], Mapping[str, np.ndarray]]

_SAMPLED_CALLS = (1, 8, 64)
"""Calls of each chunk that are compared: early and late in a loop, without keeping all of it."""


@dataclass(frozen=True, slots=True)
class ChunkScore:
    """A package beside its torch source, on the inputs of `calls` calls: the worst of them."""

    chunk: str
    psnr_db: float
    max_error: float
    floor_db: float
    calls: int

    @property
    def passed(self) -> bool:
        """Not below the floor of its precision and compression."""
        return self.psnr_db >= self.floor_db


@dataclass(frozen=True, slots=True)
class OutputScore:
    """An output of the packages' run beside that of the torch source's."""

    name: str
    kind: str
    psnr_db: float
    max_error: float
    equal: float
    """The share of elements that are the same."""
    judged: bool
    """Floats are. Of whole numbers one may turn out otherwise by a rounding, and all that follow
    from it with it (a token): they are only told."""


@dataclass(frozen=True, slots=True)
class Verification:
    """Packages one by one, and the outputs from end to end."""

    chunks: tuple[ChunkScore, ...]
    outputs: tuple[OutputScore, ...]
    floor_db: float
    alarm: Alarm | None = None
    """What the packages' run took above what is proven."""

    @property
    def passed(self) -> bool:
        """Neither a package nor an output is below its floor, nor memory above its claim."""
        whole = all(o.psnr_db >= self.floor_db for o in self.outputs if o.judged)
        return whole and self.alarm is None and all(c.passed for c in self.chunks)


def verify_plan(
    plan: Plan,
    folder: Path,
    device: Device,
    inputs: Mapping[str, object],
    progress: Progress = lambda *_: None,
    origin: Origin = NOWHERE_ELSE,
) -> Verification:
    """Compare every package, and all outputs, with the torch source. Inputs that have no default
    and are not given are drawn. `progress` counts the steps of both runs."""
    inputs = tried_inputs(plan) | dict(inputs)
    source = SourceDevice.of(plan, origin)
    recorder = _Recorder()
    count = plan.program.step_count
    emitted = execute(
        plan, folder, device, inputs, observe=recorder.note,
        progress=lambda stage, done, _: progress(stage, done, 2 * count),
    )  # fmt: skip
    wanted = execute(
        plan, folder, source, inputs,
        progress=lambda stage, done, _: progress(stage, count + done, 2 * count),
    )  # fmt: skip
    scores = tuple(_score(p, folder, source, recorder.samples[p.chunk]) for p in plan.packages)
    kinds = {o.name: o.kind for o in plan.program.outputs}
    return Verification(
        chunks=scores,
        outputs=tuple(
            _output_score(name, kinds.get(name, ""), wanted.outputs[name], found)
            for name, found in emitted.outputs.items()
        ),
        # An output need only reach the floor of its least precise stage.
        floor_db=min(_floor_db(p) for p in plan.packages),
        alarm=emitted.alarm,
    )


def _output_score(name: str, kind: str, wanted: np.ndarray, found: np.ndarray) -> OutputScore:
    judged = found.dtype.kind == "f"
    if wanted.shape != found.shape:
        # A loop ended at another iteration.
        return OutputScore(name, kind, -math.inf, math.inf, 0.0, judged)
    error = np.abs(np.asarray(found, np.float64) - np.asarray(wanted, np.float64))
    equal = float(np.mean(error == 0)) if error.size else 1.0
    worst = float(error.max(initial=0.0))
    return OutputScore(name, kind, psnr(wanted, found), worst, equal, judged)


def verify_distinct(
    plan: Plan,
    folder: Path,
    progress: Progress = lambda *_: None,
    origin: Origin = NOWHERE_ELSE,
) -> tuple[ChunkScore, ...]:
    """One package of each kind against its source, alone, on sampled inputs.

    For pipelines that are too large to run twice from end to end: chunks that are the same
    program with other weights count as one kind.
    """
    source = SourceDevice.of(plan, origin)
    kinds: dict[str, Package] = {}
    for package in plan.packages:
        kinds.setdefault(source.kind_of(package.chunk), package)
    samples = sample_inputs(plan, folder)
    chunks = {c.id: c for c in plan.chunks}
    scores = []
    for i, package in enumerate(kinds.values()):
        progress(package.chunk, i, len(kinds))
        chunk = chunks[package.chunk]
        given = [(f, samples(chunk.interface(f))) for f in package.functions]
        scores.append(_score(package, folder, source, given))
    return tuple(scores)


def with_scores(plan: Plan, scores: Sequence[ChunkScore]) -> Plan:
    """The plan with the PSNR of the packages that have one (capped: JSON has no infinity)."""
    score = {c.chunk: min(c.psnr_db, 999.0) for c in scores}
    known = {p.chunk: p.psnr_db for p in plan.packages}
    packages = [replace(p, psnr_db=score.get(p.chunk, known[p.chunk])) for p in plan.packages]
    return replace(plan, packages=tuple(packages))


def _floor_db(package: Package) -> float:
    """The PSNR that a package must reach, by how its weights are stored."""
    return floor_db(package.precision, package.compression)


Sample = tuple[str, dict[str, Any]]
"""The function that was called, and its inputs."""


@dataclass
class _Recorder:
    """Keeps the inputs of a few calls of each chunk, of each of its functions."""

    samples: dict[str, list[Sample]] = field(default_factory=dict)
    seen: dict[tuple[str, str], int] = field(default_factory=dict)

    def note(self, chunk: str, function: str, inputs: dict[str, Any]) -> None:
        count = self.seen[chunk, function] = self.seen.get((chunk, function), 0) + 1
        if count in _SAMPLED_CALLS:
            self.samples.setdefault(chunk, []).append((function, dict(inputs)))


def _score(
    package: Package,
    folder: Path,
    source: SourceDevice,
    samples: Sequence[Sample],
) -> ChunkScore:
    """The worst PSNR and the largest error of any output of the sampled calls."""
    worst, largest = math.inf, 0.0
    for wanted, found in _outputs(package, folder, source, samples):
        worst = min(worst, psnr(wanted, found))
        largest = max(largest, float(np.abs(np.asarray(found, np.float64) - wanted).max()))
    return ChunkScore(package.chunk, worst, largest, _floor_db(package), len(samples))


def _outputs(
    package: Package, folder: Path, source: SourceDevice, samples: Sequence[Sample]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """(from the source, from the package) of each output of each call; the package is called
    through the public door, as anyone may call it."""
    handle = source.load(package, folder)
    for function in dict.fromkeys(name for name, _ in samples):
        given = [inputs for name, inputs in samples if name == function]
        with _opened(package, folder, function) as predict:
            for inputs in given:
                yield from _matched(source.call(handle, function, inputs), predict(inputs))


@contextmanager
def _opened(package: Package, folder: Path, function: str) -> Iterator[Predict]:
    """A package as a function of its inputs by name."""
    from entracte.devices.reference import ReferenceDevice
    from entracte.reference import Model

    if package.arrays is None:
        with Model(folder / package.path, function_name=function) as model:
            yield model.predict
        return
    device = ReferenceDevice()
    handle = device.load(package, folder)
    yield lambda inputs: device.call(handle, function, inputs)
    device.free(handle)


def _matched(
    wanted: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    for name, value in wanted.items():
        # Core ML has no rank-0 outputs: they come as (1,).
        yield value, found[name].reshape(value.shape)
