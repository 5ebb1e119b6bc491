"""The schema of `conf/`: what Hydra composes and checks, before anything is read from it.

Mutable on purpose (OmegaConf merges into it) and `slots=True` so that a stray key given
with `+` is an error and not a silent attribute. `declare.read` turns it into frozen values.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING


@dataclass(slots=True, kw_only=True)
class TargetSettings:
    name: str = MISSING
    title: str = MISSING
    memory: str = MISSING
    """Memory limit of the app; override it to plan for a budget."""
    base_footprint: str = MISSING
    settle_fraction: float = MISSING
    chunk_limit: str = MISSING
    deployment: str = MISSING
    compute_unit: str = MISSING
    load_bandwidth: str = MISSING
    load_overhead_s: float = MISSING
    compute_gflops: float = MISSING
    memory_bandwidth: str = MISSING
    call_overhead_s: float = MISSING
    efficiency: dict[str, float] = field(default_factory=dict)
    """class of operations (`entracte/cost.py`): the share of compute_gflops it reaches"""
    cold_bandwidth: str | None = None
    """Of a package's first load in a run."""
    contention: float = 1.0
    page_bytes: str = "0"
    """What it can load at once of a package's weights; 0: packages load whole."""
    sources: list[str] = MISSING
    estimated: list[str] = MISSING


@dataclass(slots=True, kw_only=True)
class MapSettings:
    port: Any = MISSING
    """An input, or a list of inputs that are sliced alike."""
    axis: Any = MISSING
    """One axis, or a list of two; then so are all that follow."""
    size: Any = MISSING
    stride: Any = None
    """From slice to slice; the size by default. Below it outputs overlap and are blended."""
    start: Any = None
    count: Any = None
    output_axis: Any = None
    carry: dict[str, list[str]] = field(default_factory=dict)
    """input: [value that the first slice reads, output that the next slice reads]"""
    order: str = "auto"


@dataclass(slots=True, kw_only=True)
class StageSettings:
    """Exactly one of `graph`, `constant`, `host` names what the stage is."""

    graph: str | None = None
    constant: str | None = None
    host: str | None = None
    params: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str] = field(default_factory=dict)
    map: MapSettings | None = None
    precision: str | None = None
    compression: str | None = None
    functions: dict[str, int] = field(default_factory=dict)
    """graph variant: it runs in the first so many iterations of the stage's loop, then `main`"""
    weights: str | None = None
    """Where its own weights are, spelled like `pipeline.weights`."""
    weights_of: str | None = None
    """A stage whose weights these are."""
    at: Any = None
    """Iterations of its loop in which it runs: a list, or {every: N}."""


@dataclass(slots=True, kw_only=True)
class LoopSettings:
    count: int = MISSING
    stages: list[str] = MISSING
    state: dict[str, list[str]] = MISSING
    """name: [value it starts with, value it takes after each iteration]"""
    scan: dict[str, Any] = field(default_factory=dict)
    """name: value, sliced in ones along axis 0; or {value: VALUE, axis: AXIS, size: SIZE}"""
    collect: dict[str, Any] = field(default_factory=dict)
    """name: {value: STAGE.PORT, axis: AXIS}: what all iterations make, joined"""
    until: str | None = None
    """STAGE.PORT of one element: where it is not zero after an iteration, the loop ends."""


@dataclass(slots=True, kw_only=True)
class InputSettings:
    kind: str = MISSING
    default: Any = None
    shape: list[int] | None = None
    """Of image, video, audio and tensor."""
    dtype: str | None = None
    """Of a tensor: fp32 or int32."""
    choices: list[str] = field(default_factory=list)
    least: float | None = None
    most: float | None = None
    range: list[float] | None = None
    """What black and white are in the tensor, 0 and 1 by default; of audio the least and the most,
    -1 and 1."""
    fit: str = "crop"
    rate: float = 0.0


@dataclass(slots=True, kw_only=True)
class OutputSettings:
    kind: str = MISSING
    value: Any = MISSING
    """STAGE.PORT, or a list of them that is joined in order."""
    axis: int | None = None
    """Along which; of video frames, of images their number, of audio samples, of text tokens."""
    rate: float | None = None
    """Frames or samples a second."""
    range: list[float] | None = None
    """What is black and white (of audio: the least and the most) in the tensor."""
    tokenizer: str | None = None
    end: list[int] = field(default_factory=list)


@dataclass(slots=True, kw_only=True)
class PipelineSettings:
    name: str = MISSING
    title: str = MISSING
    weights: str = ""
    """A folder, `package:NAME/FOLDER` or `random:SEED`; empty where every graph holds its own."""
    video: dict[str, Any] = field(default_factory=dict)
    """Sizes that several stages share: frames, height, width, fps."""
    inputs: dict[str, InputSettings] = field(default_factory=dict)
    stages: dict[str, StageSettings] = MISSING
    loops: dict[str, LoopSettings] = field(default_factory=dict)
    outputs: dict[str, OutputSettings] = MISSING
    precision: str = "fp16"
    compression: str | None = None


@dataclass(slots=True, kw_only=True)
class PolicySettings:
    name: str = MISSING
    lookahead: int = MISSING
    retain: bool = MISSING
    keep: str = "even"
    driver: str = "gates"
    margin: int = 0


@dataclass(slots=True, kw_only=True)
class SamplerSettings:
    name: str = MISSING
    steps: int = MISSING
    evaluations: int = MISSING
    """Steps that are taken at most; with fewer than `steps` the last covers what remains."""
    leap: dict[str, Any] = field(default_factory=dict)
    """Parameters of a rule that ends the loop early; the sampler's own step graph reads them."""


@dataclass(slots=True, kw_only=True)
class CompressionSettings:
    name: str = MISSING


@dataclass(slots=True, kw_only=True)
class PartitionSettings:
    """`chunk_bytes` bounds the weights of a chunk; `auto` lets the search choose."""

    chunk_bytes: str = "auto"


@dataclass(slots=True, kw_only=True)
class CompileSettings:
    target: TargetSettings = field(default_factory=TargetSettings)
    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
    policy: PolicySettings = field(default_factory=PolicySettings)
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    compression: CompressionSettings = field(default_factory=CompressionSettings)
    partition: PartitionSettings = field(default_factory=PartitionSettings)
    out: str | None = None
    """Build folder; by default build/<pipeline>-<target>, one name for each variant."""
    dry_run: bool = False
    advise: bool = False
    """Rank settings by predicted time instead of compiling."""
    verify: str = "on"
    """`on`: packages are compared with their torch source before a build is called done; `off`."""
    workers: int = 2
    cache: str = "auto"
    """Where finished work is kept: a folder; `auto` is $ENTRACTE_CACHE or ~/.cache/entracte."""
    cache_limit: str = "60GiB"
    """What has not been used for longest is removed above this size."""
    allow_packages: list[str] = field(default_factory=list)
    """Python packages, besides Entracte, that `package:NAME/FOLDER` may import and read."""


LOCAL = ("out", "dry_run", "advise", "workers", "cache", "cache_limit", "allow_packages")
"""Settings that say how to work and not what to make; a plan does not record them, and one that
came from elsewhere does not decide them."""


def register() -> None:
    """Tell Hydra the schema. Called before composing, by the command and by the tests."""
    ConfigStore.instance().store(name="compile_schema", node=CompileSettings)
