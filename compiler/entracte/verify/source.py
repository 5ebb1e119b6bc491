"""The torch source of emitted packages, as a device: the plan, without the packages."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from entracte.codec import parse_json
from entracte.decide.partition import Measured
from entracte.declare.loras import read_loras
from entracte.declare.packages import OWN, package_of
from entracte.declare.read import Job, read
from entracte.declare.settings import LOCAL, CompileSettings, PipelineSettings
from entracte.devices.arrays import NumpyValues
from entracte.disk.places import is_random
from entracte.errors import PlanError
from entracte.ir import Chunk, DType, Output, Package, Pipeline, Plan, StageGraph
from entracte.store.cache import Cache, cache_folder
from entracte.store.form import form_of

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced
    from entracte.trace.weights import WeightSource

_KEPT_BYTES = 1 << 30
"""Below this the weights of all chunks are kept: a streaming plan loads some in each iteration."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where the torch source is, as whoever verifies says it. A plan may come from anywhere: what
    it says of places, packages and caches is not done."""

    weights: str | None = None
    """As `pipeline.weights`; the plan's own only where that is `random:SEED` or Entracte's."""
    stage_weights: tuple[tuple[str, str], ...] = ()
    """(stage, place), as `pipeline.stages.STAGE.weights`; the same holds for the plan's own."""
    loras: tuple[str, ...] = ()
    """The LoRA files that were merged, in order; a plan's own are never read."""
    packages: tuple[str, ...] = ()
    """Python packages whose graphs or weights may be imported, besides Entracte."""
    cache: str = "auto"
    """As `cache`."""


NOWHERE_ELSE = Origin()
"""Entracte's own graphs and weights."""


def job_of(plan: Plan, origin: Origin = NOWHERE_ELSE) -> Job:
    """The job that made a plan, from the settings recorded in it, which are data: nothing in them
    is looked up. Raises `PlanError` and `ConfigError`."""
    try:
        settings = parse_json(plan.settings)
        recorded = settings["pipeline"]
        stages = list(recorded["stages"].values())
        graphs = [s.get("graph") or s.get("constant") for s in stages]
        weights = str(recorded["weights"])
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise PlanError(f"plan: its settings are no configuration ({error!r})") from None
    if "${" in plan.settings:
        raise PlanError("plan: its settings hold `${`: they are data, and nothing is looked up")
    for name in graphs:
        _check_graph(name, origin)
    recorded["weights"] = _weights(weights, origin.weights, "FOLDER", origin)
    own = [name for name, stage in recorded["stages"].items() if stage.get("weights")]
    for name, _ in origin.stage_weights:
        if name not in own:
            raise PlanError(
                f"--weights {name}=FOLDER: no stage {name} was compiled from weights of its own; "
                f"those that were: {', '.join(own) or 'none'}"
            )
    for name, stage in recorded["stages"].items():
        if stage.get("weights"):
            given = dict(origin.stage_weights).get(name)
            stage["weights"] = _weights(str(stage["weights"]), given, f"{name}=FOLDER", origin)
    recorded["lora"] = _loras(recorded, origin)
    mine = {"cache": origin.cache, "allow_packages": list(origin.packages)}
    kept = {k: v for k, v in settings.items() if k not in LOCAL}
    try:
        merged = OmegaConf.merge(OmegaConf.structured(CompileSettings), kept | mine)
    except OmegaConfBaseException as error:
        message = str(error).splitlines()[0]
        raise PlanError(f"plan: its settings are no configuration ({message})") from None
    assert isinstance(merged, DictConfig)
    job = read(merged, recorded=True)
    _check_files(job.pipeline)
    return job


def check_settings(plan: Plan, job: Job) -> None:
    """What a plan shows of its pipeline and target is what its settings say. Raises `PlanError`."""
    for what, given, said in (
        ("its target", plan.target, job.target),
        ("its policy", plan.schedule.policy, job.policy),
        ("its pipeline's name", plan.pipeline, job.pipeline.name),
        ("its title", plan.title, job.pipeline.title),
        ("its outputs", _names(plan.program.outputs), _names(job.pipeline.outputs)),
        ("its inputs", plan.program.inputs, job.pipeline.inputs),
    ):
        if given != said:
            raise PlanError(f"plan: {what} and the settings it was compiled from differ")


def _names(outputs: Sequence[Output]) -> list[tuple[object, ...]]:
    """What of outputs does not depend on how chunks were chosen."""
    return [(o.name, o.kind, o.values, o.rate) for o in outputs]


def _check_graph(name: object, origin: Origin) -> None:
    """Making a graph of another package runs that package's code."""
    import entracte.graphs as graphs

    package = graphs.package_of(name).partition(".")[0] if isinstance(name, str) else OWN
    if package not in (OWN, *origin.packages):
        raise PlanError(
            f"plan: the graph {name!r} is made by the package {package!r}, whose code would run; "
            f"if you trust it with this plan: --allow-package {package}"
        )


def _check_files(pipeline: Pipeline) -> None:
    """A file that a graph reads lies in the folder of weights that whoever verifies names."""
    from entracte.trace.graph_files import outside

    found = outside(pipeline)
    if found is not None:
        stage, text = found
        raise PlanError(
            f"plan: stage {stage.name} reads the file {text!r}; a plan does not decide what is "
            "read on this machine: put it into the folder that you give with `--weights FOLDER`, "
            "under that name"
        )


def _weights(recorded: str, given: str | None, way: str, origin: Origin) -> str:
    """A place of weights: what is `given`, or what was `recorded`, if that is harmless."""
    if given is not None:
        return given
    is_harmless = not recorded or is_random(recorded)
    if is_harmless or package_of(recorded) in (OWN, *origin.packages):
        return recorded
    raise PlanError(
        f"plan: compiled from the weights {recorded!r}; a plan does not decide what is read on "
        f"this machine: say where they are, perhaps there, with `--weights {way}`"
    )


def _loras(recorded: Mapping[str, Any], origin: Origin) -> list[dict[str, object]]:
    """The LoRA files that are `given`, with the scales that were recorded; without any those of
    packages that may be imported."""
    own = read_loras(_lora_settings(recorded))
    packages = {package_of(lora.file) for lora in own}
    if not origin.loras and packages <= {OWN, *origin.packages}:
        return [{"file": lora.file, "scale": lora.scale} for lora in own]
    if len(own) != len(origin.loras):
        names = ", ".join(repr(lora.file) for lora in own) or "none"
        raise PlanError(
            f"plan: compiled with {len(own)} LoRA files ({names}); a plan does not decide what is "
            f"read on this machine: say where each is, in this order, with `--lora FILE` (given: "
            f"{len(origin.loras)})"
        )
    places = zip(own, origin.loras, strict=True)
    return [{"file": file, "scale": lora.scale} for lora, file in places]


def _lora_settings(recorded: Mapping[str, Any]) -> PipelineSettings:
    given = {k: recorded[k] for k in ("lora", "lora_scale") if k in recorded}
    return PipelineSettings(**given)


class SourceDevice(NumpyValues):
    """Executes the torch source of each chunk in fp32: the plan, without the packages."""

    name = "source"
    one_function = False

    def __init__(
        self, chunks: Mapping[str, Chunk], stages: "Mapping[str, Traced]", source: "WeightSource"
    ) -> None:
        from entracte.trace.shared import JoinedWeights

        self._chunks, self._stages, self._source = chunks, stages, JoinedWeights(source)
        self._found: dict[str, tuple[Traced, StageGraph]] = {}
        few = sum(c.weight_bytes for c in chunks.values()) < _KEPT_BYTES
        self._tensors = cache(self._read) if few else self._read

    @classmethod
    def of(cls, plan: Plan, origin: Origin = NOWHERE_ELSE) -> "SourceDevice":
        """Retrace what the plan was compiled from. Raises `PlanError` if it has changed."""
        from entracte.lower.traced import trace_with_weights

        job = job_of(plan, origin)
        check_settings(plan, job)
        traced, weights = trace_with_weights(job.pipeline, Cache(cache_folder(job.cache)))
        weights.check_loras(traced.stages.values())
        for stage in traced.stages.values():
            for function in stage.functions:
                stage.program_of(function)  # here: torch exports in one thread at a time only
        made = cls({c.id: c for c in plan.chunks}, traced.stages, weights)
        for package in plan.packages:
            made.check_declared(package)
        return made

    def check_declared(self, package: Package) -> None:
        """A package is judged by the floor of what its stage declares, not of what it says."""
        stage = self._find(package.chunk)[0].stage
        for name in ("precision", "compression"):
            given, declared = getattr(package, name), getattr(stage, name)
            if given != declared:
                raise PlanError(
                    f"plan: package {package.path} says {name} {given!r}, its stage "
                    f"{stage.name} declares {declared!r}; compile again"
                )

    def kind_of(self, chunk: str) -> str:
        """Equal for chunks that are the same program with other weights."""
        stage, part = self._find(chunk)
        how = (stage.stage.precision, stage.stage.compression)
        return f"{form_of(part, self._chunks[chunk]).twin_key} {how}"

    def _find(self, name: str) -> "tuple[Traced, StageGraph]":
        from entracte.trace.shared import joined

        if name not in self._found:
            chunk = self._chunks[name]
            try:
                stage = joined(self._stages, chunk)
            except LookupError as error:
                raise PlanError(f"plan: no stage of the pipeline makes {error} any more") from None
            part = stage.part(chunk.graph)
            _check_same(Measured(part), chunk)
            self._found[name] = stage, part
        return self._found[name]

    def _read(self, name: str) -> "Mapping[str, torch.Tensor]":
        stage, part = self._find(name)
        return self._source.tensors(stage, form_of(part, self._chunks[name]).slots)

    def load(self, package: Package, folder: Path, function: str = "main") -> "_Handle":
        return self.handle(package.chunk)

    def handle(self, chunk: str) -> "_Handle":
        """A chunk's source, loaded."""
        return _Handle(self._find(chunk)[0], self._chunks[chunk], self._tensors(chunk))

    def call(
        self, handle: "_Handle", function: str, inputs: Mapping[str, Any]
    ) -> dict[str, np.ndarray]:
        import torch

        wanted, made = handle.chunk.ports_of(function)
        given = [_source_input(inputs[p.name], p.dtype) for p in wanted]
        with torch.inference_mode():
            outputs = handle.module(function)(*given)
        named = zip(made, outputs, strict=True)
        return {port.name: value.numpy() for port, value in named}

    def zeros(self, shape: tuple[int, ...], dtype: DType) -> np.ndarray:
        return super().zeros(shape, _exact(dtype))

    def cast(self, value: np.ndarray, dtype: DType) -> np.ndarray:
        return super().cast(value, _exact(dtype))

    def free(self, handle: Any) -> None:
        """Nothing to do: the module goes with its last reference."""

    def resident_bytes(self) -> int:
        return 0

    def activation_peak_bytes(self) -> int:
        return 0


@dataclass
class _Handle:
    """A loaded chunk: its functions become modules when they are called."""

    traced: "Traced"
    chunk: Chunk
    tensors: "Mapping[str, torch.Tensor]"
    modules: "dict[str, torch.nn.Module]" = field(default_factory=dict)

    def module(self, function: str) -> "torch.nn.Module":
        from entracte.emit.make import chunk_module

        if function not in self.modules:
            made = chunk_module(self.traced, self.chunk, self.tensors, function)
            self.modules[function] = made
        return self.modules[function]


def _exact(dtype: DType) -> DType:
    """The source rounds nothing to fp16."""
    return DType.FP32 if dtype is DType.FP16 else dtype


def _source_input(value: Any, dtype: DType) -> Any:
    import torch

    wanted = np.int32 if dtype is DType.INT32 else np.float32
    return torch.from_numpy(np.array(value, dtype=wanted))


def _check_same(measured: Measured, chunk: Chunk) -> None:
    index = int(chunk.id.rsplit(".", 1)[1])
    # Names of modules are for people, a graph is shared by packages, and a unit is where they run:
    # nothing follows from them for what is computed.
    plain = replace(chunk, modules=(), shares="", compute_unit="")
    if measured.chunk(chunk.start, chunk.stop, index) != plain:
        raise PlanError(
            f"plan: chunk {chunk.id} is not what the graphs give now: they, or the versions of "
            "torch and transformers, changed since it was compiled; compile again"
        )
