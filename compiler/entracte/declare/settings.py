"""The schema of `conf/`: what Hydra composes and checks, before anything is read from it.

Mutable on purpose (OmegaConf merges into it) and `slots=True` so that a stray key given
with `+` is an error and not a silent attribute. `declare.read` turns it into frozen values.
"""

from dataclasses import dataclass, field
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

KEEPS = ("even", "strided", "searched", "published")
POLICY_DRIVERS = ("gates", "online", "best")
"""What `policy.keep` and `policy.driver` may be."""
SEARCH_METHODS = ("tpe", "nsga2")
"""What `search.method` may be: tree-structured Parzen estimators, and a genetic algorithm."""


@dataclass(slots=True, kw_only=True)
class TargetSettings:
    """A device: what it holds and how fast it is. Files: `conf/target/`."""

    name: str = MISSING
    """What folders of builds are called by; e.g. `mine`"""
    title: str = MISSING
    """What people read; e.g. `My phone`"""
    from_run: Any = None
    """(path, or list of paths) Recorded runs, or build folders with theirs: the rates that they
    show take the place of these (docs/cost-model.md); `target.from=RUN` is the same; e.g.
    `build/demo/run.json`"""
    memory: str | None = None
    """(bytes) Memory limit of the app, by default that of `limit`; give it to plan for a budget;
    e.g. `3.3GB`"""
    limits: dict[str, str] = field(default_factory=dict)
    """Limits that a device has, by name; e.g. `{app: 3.3GB, entitled: 6GB}`"""
    limit: str | None = None
    """Which of `limits` holds; e.g. `entitled`"""
    base_footprint: str = MISSING
    """(bytes) What the app takes without any model; e.g. `20MiB`"""
    settle_fraction: float = MISSING
    """Share of the rest that stays free, since memory comes back late; e.g. `0.03`"""
    chunk_limit: str = MISSING
    """(bytes) The largest package that it loads; e.g. `950MB`"""
    deployment: str = MISSING
    """Deployment target that packages are made for; e.g. `iOS18`"""
    compute_unit: str = MISSING
    """What computes: `cpuAndGPU`, `cpuAndNeuralEngine`, `cpuOnly`, `all`, or `reference`; e.g.
    `cpuAndGPU`"""
    load_bandwidth: str = MISSING
    """(bytes) Bytes of a package that it loads in a second; e.g. `650MB`"""
    storages: dict[str, float] = field(default_factory=dict)
    """Sizes of its storage, by name: the share of the bandwidths of loads that they reach; e.g.
    `{128GB: 0.67}`"""
    storage: str | None = None
    """Which of `storages` it has; by default what `load_bandwidth` was found with; e.g. `128GB`"""
    load_overhead_s: float = MISSING
    """Seconds that any load takes; e.g. `0.005`"""
    compute_gflops: float = MISSING
    """Billions of floating-point operations in a second, at their peak; e.g. `2150`"""
    memory_bandwidth: str = MISSING
    """(bytes) Bytes of memory that it reads or writes in a second; e.g. `51.2GB`"""
    call_overhead_s: float = MISSING
    """Seconds that any call takes; e.g. `0.0002`"""
    efficiency: dict[str, float] = field(default_factory=dict)
    """Class of operations (docs/cost-model.md): the share of `compute_gflops` that it reaches; e.g.
    `{matmul: 0.47, conv: 0.21}`"""
    cold_bandwidth: str | None = None
    """(bytes) The same as `load_bandwidth`, of a package's first load in a run; e.g. `118MB`"""
    contention: float = 1.0
    """How many times slower loads and calls are while they overlap; e.g. `1.59`"""
    page_bytes: str = "0"
    """(bytes) What it can load at once of a package's weights; 0: packages load whole; e.g.
    `16MiB`"""
    reload_on_switch: bool = False
    """Whether a call of another function drops a loaded package and loads it again, as Core ML
    does; e.g. `true`"""
    sources: list[str] = MISSING
    """Where figures are from, `KEY: SOURCE`; e.g. `["memory: measured"]`"""
    estimated: list[str] = MISSING
    """Figures that are no more than estimates; e.g. `[settle_fraction]`"""


@dataclass(slots=True, kw_only=True)
class MapSettings:
    """Run a stage over slices of its inputs; its outputs are put together again."""

    port: Any = MISSING
    """(name, or list of names) An input, or inputs that are sliced alike; e.g. `z`"""
    axis: Any = MISSING
    """(whole number, or two) One axis, or two; then so are all that follow; e.g. `2`"""
    size: Any = MISSING
    """(whole number, or two; or `auto`) Of a slice; `auto`: the fastest of `sizes`; e.g. `5`"""
    sizes: Any = None
    """(list of such numbers) Sizes with which the result is the same, for `size: auto`; of equally
    fast ones the first is taken; e.g. `[4, 2, 1]`"""
    stride: Any = None
    """(whole number, or two) From slice to slice; the size by default. Below it outputs overlap and
    are blended; e.g. `4`"""
    start: Any = None
    """(whole number, or two) Where the first slice begins, 0 by default; e.g. `1`"""
    count: Any = None
    """(whole number, or two) How many slices, by default as many as there are; e.g. `4`"""
    output_axis: Any = None
    """(whole number, or two) Along which outputs are joined, by default `axis`; e.g. `2`"""
    carry: dict[str, list[str]] = field(default_factory=dict)
    """Input: [value that the first slice reads, output that the next slice reads]; e.g.
    `{low: [start.low, low_next]}`"""
    rests: Any = None
    """({slices: LIST, at: AT}) Slices, the first or the last, that run in some iterations of the
    stage's loop, as `at` of a stage; what they made last stands in the others. It is
    `PORT_rests`, and `PORT` is of the other slices; e.g. `{slices: [1], at: {from: 0, to: 20}}`"""
    order: str = "auto"
    """Whether each chunk runs over all slices, or all chunks for a slice, before the next; e.g.
    `slice`"""


@dataclass(slots=True, kw_only=True)
class ReuseSettings:
    """Blocks of a stage that rest in some iterations of its loop: the change that they made last is
    added again (docs/techniques.md has what that does to the demo)."""

    first: int = 1
    """Blocks at the begin that run in every iteration, in the order in which they run; e.g. `2`"""
    last: int = 1
    """The same, at the end; e.g. `2`"""
    at: Any = None
    """(list of whole numbers, {every: N, from: A, to: B}, or {change: SHARE}) Iterations in which
    those between run, 0 among them; by default all. `change` tests in each iteration: they rest
    where the first blocks' change differs by less than this share from what it was when they ran
    last; `expected` beside it is in which share of the iterations they will run, so that `plan
    show` tells that time too; e.g. `{every: 2}`"""


@dataclass(slots=True, kw_only=True)
class StageSettings:
    """A box of the pipeline. Exactly one of `graph`, `constant`, `host` names what it is."""

    graph: str | None = None
    """A torch module, by the name that its package registers it with; e.g. `mine.denoiser`"""
    constant: str | None = None
    """Tables that are computed when compiling, by such a name; e.g. `mine.schedule`"""
    host: str | None = None
    """A step of the runner's own; e.g. `tokenize`"""
    params: dict[str, Any] = field(default_factory=dict)
    """Arguments of the graph's factory, or of the host's step; e.g. `{preset: tiny}`"""
    inputs: dict[str, str] = field(default_factory=dict)
    """Port: the value that it reads, an input of the pipeline or STAGE.PORT; e.g.
    `{text: prompt}`"""
    map: MapSettings | None = None
    """See below; e.g. `{port: z, axis: 2, size: 5}`"""
    precision: str | None = None
    """By default the pipeline's; e.g. `fp32`"""
    compression: str | None = None
    """Of its weights, by default the pipeline's; e.g. `int8`"""
    compute_unit: str | None = None
    """What its packages run on, by default the pipeline's; `suited`: each on the Neural Engine
    where what is published of it allows that, else on the target's; e.g. `cpuAndNeuralEngine`"""
    functions: dict[str, int] = field(default_factory=dict)
    """Graph variant: it runs in the first so many iterations of the stage's loop, then `main`; e.g.
    `{merged: 15}`"""
    weights: str | None = None
    """Where its own weights are, spelled like `pipeline.weights`; e.g. `/models/decoder`"""
    weights_of: str | None = None
    """A stage whose weights these are; e.g. `first`"""
    at: Any = None
    """(list of whole numbers, or {every: N, from: A, to: B}) Iterations of its loop in which it
    runs, by default all; e.g. `{every: 2}`"""
    reuse: ReuseSettings = field(default_factory=ReuseSettings)
    """Blocks that rest in some iterations, see below; e.g. `reuse={first:1,last:1,at:{every:2}}`"""


@dataclass(slots=True, kw_only=True)
class LoopSettings:
    """Stages that run `count` times; what they hand on is the loop's state."""

    count: int = MISSING
    """Of iterations; e.g. `30`"""
    stages: list[str] = MISSING
    """That run in each, in order; e.g. `[denoise, step]`"""
    state: dict[str, list[str]] = MISSING
    """Name: [value it starts with, value it takes after each iteration]; e.g.
    `{z: [noise.noise, step.z_next]}`"""
    scan: dict[str, Any] = field(default_factory=dict)
    """Name: value, sliced in ones along axis 0; or {value: VALUE, axis: AXIS, size: SIZE}; e.g.
    `{dt: schedule.dt}`"""
    collect: dict[str, Any] = field(default_factory=dict)
    """Name: {value: STAGE.PORT, axis: AXIS}, what all iterations make, joined; e.g.
    `{tokens: {value: decode.token, axis: 1}}`"""
    until: str | None = None
    """STAGE.PORT of one element: where it is not zero after an iteration, the loop ends; e.g.
    `step.done`"""


@dataclass(slots=True, kw_only=True)
class InputSettings:
    """What a user gives to a run."""

    kind: str = MISSING
    """What it is; e.g. `text`"""
    default: Any = None
    """(of the kind) What it is where nothing is given; of image, video, audio and tensor a number
    that fills it. Without one it must be given; e.g. `a red circle`"""
    shape: list[int] | None = None
    """Of image (1, 3, height, width), video (1, 3, frames, height, width), audio (1, samples) and
    tensor; e.g. `[1, 3, 64, 64]`"""
    dtype: str | None = None
    """Of a tensor; by default fp32; e.g. `int32`"""
    choices: list[str] = field(default_factory=list)
    """Of a choice: what it may be; it is a number from 0 in the pipeline; e.g. `[slow, fast]`"""
    least: float | None = None
    """Of a number, a seed, or a choice without names; e.g. `0`"""
    most: float | None = None
    """The same, the largest; e.g. `10`"""
    range: list[float] | None = None
    """What black and white are in the tensor, 0 and 1 by default; of audio the least and the most,
    -1 and 1; e.g. `[-1, 1]`"""
    fit: str = "crop"
    """How a picture of another shape becomes this one; e.g. `pad`"""
    rate: float = 0.0
    """Samples of audio or frames of video a second; a video's 0: as they come; e.g. `16000`"""


@dataclass(slots=True, kw_only=True)
class OutputSettings:
    """What a run gives."""

    kind: str = MISSING
    """What it is, and so which files can be written of it; e.g. `video`"""
    value: Any = MISSING
    """(STAGE.PORT, or list) What it is of; values of a list are joined in order; e.g.
    `decode.pixels`"""
    axis: int | None = None
    """Along which they are joined; by default of video frames, of images their number, of audio
    samples, of text tokens, of tensors 0; e.g. `2`"""
    rate: float | None = None
    """Frames of video or samples of audio a second; e.g. `24`"""
    range: list[float] | None = None
    """What black and white (of audio: the least and the most) are in the tensor, by default 0 and 1
    (-1 and 1); e.g. `[-1, 1]`"""
    tokenizer: str | None = None
    """Of text: what turns tokens into it, as of the host's step `tokenize`; e.g.
    `tokenizer.json`"""
    end: list[int] = field(default_factory=list)
    """Of text: tokens that end it; e.g. `[2]`"""


@dataclass(slots=True, kw_only=True)
class PipelineSettings:
    """What is computed. Files: `conf/pipeline/`, and yours, `--config-dir DIR`."""

    name: str = MISSING
    """What folders of builds are called by; e.g. `mine`"""
    title: str = MISSING
    """What people read; e.g. `Mine`"""
    weights: str = ""
    """Where checkpoints are: a folder, `package:NAME/FOLDER`, or `random:SEED` for numbers of a
    seed in place of what they would hold; empty where every graph holds its own; e.g.
    `/models/mine`"""
    lora: Any = None
    """(file, {file: FILE, scale: SCALE}, or a list of these) LoRA files, merged into the weights
    when these are read; e.g. `style.safetensors`"""
    lora_scale: float = 1.0
    """Scale of LoRA files that say none; e.g. `0.8`"""
    lora_class: str = ""
    """Pipeline class of diffusers whose LoRA files these are; with `folder`, that of the folder;
    e.g. `FluxPipeline`"""
    folder: str | None = None
    """A folder of diffusers or transformers, spelled like `weights`: the recipe of its class gives
    stages, loops, inputs and outputs; e.g.
    `/models/sd15`"""
    options: dict[str, Any] = field(default_factory=dict)
    """Of such a recipe: sizes and choices, null for its own; e.g. `{height: 512, width: 512}`"""
    models: dict[str, Any] = field(default_factory=dict)
    """Of such a folder: component, and keys of its configuration with other values: a model of
    another size; e.g. `{transformer: {num_layers: 4}}`"""
    over: dict[str, Any] = field(default_factory=dict)
    """What is put over such a recipe's `stages`, `inputs`, `loops` and `outputs`, key by key; e.g.
    `{stages: {text: {compression: int8}}}`"""
    steps: int | None = 30
    """Of its sampler, where `sampler.steps` says no others; null for a recipe's own; e.g. `50`"""
    video: dict[str, Any] = field(default_factory=dict)
    """Sizes that several stages share, read by `${pipeline.video.KEY}`; one that nothing reads is
    refused; e.g. `{frames: 16, height: 64, width: 64, fps: 8}`"""
    inputs: dict[str, InputSettings] = field(default_factory=dict)
    """Name: see below; e.g. `{seed: {kind: seed, default: 0}}`"""
    stages: dict[str, StageSettings] = MISSING
    """Name: see below; e.g. `{net: {graph: mine.net, inputs: {x: x}}}`"""
    loops: dict[str, LoopSettings] = field(default_factory=dict)
    """Name: see below; e.g. `{sample: {count: 4, stages: [step], state: {z: [noise.noise,
    step.z]}}}`"""
    outputs: dict[str, OutputSettings] = MISSING
    """Name: see below; e.g. `{y: {kind: tensor, value: net.y}}`"""
    precision: str = "fp16"
    """Of packages; e.g. `fp32`"""
    compression: str | None = None
    """Of weights; by default what `compression=NAME` says; e.g. `int8`"""
    compute_unit: str | None = None
    """What packages run on, by default `target.compute_unit`; of stages that say none; e.g.
    `suited`"""


@dataclass(slots=True, kw_only=True)
class PolicySettings:
    """How loads are scheduled. Files: `conf/policy/`."""

    name: str = MISSING
    """What it is called; e.g. `optimal`"""
    lookahead: int = MISSING
    """Loads that may run ahead of the computation; e.g. `1`"""
    retain: bool = MISSING
    """Whether chunks may stay loaded over a loop; e.g. `true`"""
    keep: str = "even"
    """Which of them stay (docs/planner.md); e.g. `searched`"""
    driver: str = "gates"
    """What decides while the plan runs: fixed gates, the online rule, or what is faster; e.g.
    `best`"""
    margin: int = 0
    """Of `published`: blocks' weights left free beside what one block needs; e.g. `2`"""


@dataclass(slots=True, kw_only=True)
class SamplerSettings:
    """Steps of a denoising loop; stages read them. Files: `conf/sampler/`."""

    name: str = MISSING
    """What it is called; e.g. `rflow`"""
    steps: int | None = MISSING
    """That divide the whole time; null for the pipeline's own; e.g. `30`"""
    evaluations: int | None = MISSING
    """Steps that are taken at most; with fewer than `steps` the last covers what remains; e.g.
    `16`"""
    leap: dict[str, Any] = field(default_factory=dict)
    """Parameters of a rule that ends the loop early; the sampler's own step graph reads them; e.g.
    `{tolerance: 0.001}`"""


@dataclass(slots=True, kw_only=True)
class GuidanceSettings:
    """How the two halves of classifier-free guidance are computed. Files: `conf/guidance/`."""

    name: str = "own"
    """Which file; e.g. `apart`"""
    begin: int = 0
    """Of `interval`: the first step that is guided, from 0; e.g. `3`"""
    end: int | None = None
    """Of `interval`: the step before which guidance ends; null: to the end; e.g. `15`"""
    over: dict[str, Any] = field(default_factory=dict)
    """Keys over a pipeline that no recipe makes; e.g. `{stages: {denoise: {precision: fp32}}}`"""
    chosen: str = ""
    """Written by `auto`: what it chose, and why; e.g. `apart`"""


@dataclass(slots=True, kw_only=True)
class CompressionSettings:
    """How weights are stored. Files: `conf/compression/`."""

    name: str = MISSING
    """Which scheme; e.g. `int8`"""


@dataclass(slots=True, kw_only=True)
class PartitionSettings:
    """How stages are cut into chunks. Files: `conf/partition/`."""

    chunk_bytes: str = "auto"
    """(bytes, or `auto`) Bounds the weights of a chunk; `auto` searches; e.g. `700KiB`"""
    score_bytes: str = "256MiB"
    """(bytes, or `auto`) Bounds attention's scores that are in memory at once: where there are
    more, queries are taken in blocks, with the same result; 0: all at once; `auto`: what is
    predicted to be fastest; e.g. `64MiB`"""
    weights: str = "stored"
    """(`stored` or `inputs`) Where weights of equal blocks are: constants of a package for each, or
    arrays that one graph takes as inputs (docs/shared-graphs.md); e.g. `inputs`"""


@dataclass(slots=True, kw_only=True)
class SweepSettings:
    """How the jobs of a sweep run."""

    jobs: Any = 1
    """(whole number, or `auto`) Jobs that run at once, each in a process of its own; `auto`: as
    many as cores and free memory allow; e.g. `auto`"""
    verify: bool = False
    """Run what each job built from end to end beside its torch source, as `plan verify` does, and
    compare jobs by this dB too; e.g. `true`"""
    ray: str | None = None
    """A Ray cluster whose machines run the jobs: its address, `auto`, or `local` for one that is
    started here; e.g. `ray://head:10001`"""


@dataclass(slots=True, kw_only=True)
class SearchSettings:
    """Look for plans that no other one beats, among the combinations of values with commas."""

    trials: int = 0
    """Combinations to try; `search=N` is the same; 0: no search; e.g. `30`"""
    objectives: list[str] = field(default_factory=lambda: ["time", "memory"])
    """(list of `time`, `memory`, `weights`, `db`) What to be good at: predicted time, peak memory,
    bytes of weights, dB against the torch source (of builds); e.g. `[time, db]`"""
    method: str = "tpe"
    """Optuna's sampler that proposes combinations; e.g. `nsga2`"""
    seed: int = 0
    """Of what it draws; e.g. `3`"""


@dataclass(slots=True, kw_only=True)
class CompileSettings:
    """All that `compile` is told."""

    target: TargetSettings = field(default_factory=TargetSettings)
    """See below; chosen by `target=NAME`; e.g. `target=host`"""
    pipeline: PipelineSettings = field(default_factory=PipelineSettings)
    """See below; chosen by `pipeline=NAME`; e.g. `pipeline=on_device_sora`"""
    policy: PolicySettings = field(default_factory=PolicySettings)
    """See below; chosen by `policy=NAME`; e.g. `policy=online`"""
    sampler: SamplerSettings = field(default_factory=SamplerSettings)
    """See below; chosen by `sampler=NAME`; e.g. `sampler=lpl_static`"""
    guidance: GuidanceSettings = field(default_factory=GuidanceSettings)
    """See below; chosen by `guidance=NAME`; e.g. `guidance=apart`"""
    compression: CompressionSettings = field(default_factory=CompressionSettings)
    """See below; chosen by `compression=NAME`; e.g. `compression=int8`"""
    partition: PartitionSettings = field(default_factory=PartitionSettings)
    """See below; chosen by `partition=NAME`; e.g. `partition=auto`"""
    chosen: dict[str, Any] = field(default_factory=dict)
    """Written by `compile` into the plan, never typed: settings that were `auto`, each value that
    was tried and its predicted seconds; e.g. `{partition.score_bytes: {64MiB: 41.5}}`"""
    out: str | None = None
    """Build folder; by default build/<pipeline>-<target>, one name for each variant; e.g.
    `build/mine`"""
    dry_run: bool = False
    """Plan, and convert nothing; with `out` the plan is written; e.g. `true`"""
    advise: Any = False
    """(true, false or `techniques`) Rank settings by predicted time instead of compiling:
    precision, compression and policy, or what leaps, intervals of guidance and resting blocks save;
    e.g. `true`"""
    verify: str = "on"
    """Whether packages are compared with their torch source before a build is called done; e.g.
    `off`"""
    workers: int = 2
    """Processes that convert; e.g. `4`"""
    sweep: SweepSettings = field(default_factory=SweepSettings)
    """See below; of `compile -m`; e.g. `sweep={jobs:auto}`"""
    search: SearchSettings = field(default_factory=SearchSettings)
    """See below; e.g. `search=30`"""
    cache: str = "auto"
    """Where finished work is kept: a folder; `auto` is $ENTRACTE_CACHE or ~/.cache/entracte; e.g.
    `/scratch/cache`"""
    cache_limit: str = "60GiB"
    """(bytes) What has not been used for longest is removed above this size; e.g. `20GiB`"""
    allow_packages: list[str] = field(default_factory=list)
    """Python packages, besides Entracte, that `package:NAME/FOLDER` may import and read; e.g.
    `[mine]`"""


WRITTEN = ("chosen",)
"""Keys, of any group, that `compile` writes for those who read the plan."""
LOCAL = (
    "out",
    "dry_run",
    "advise",
    "workers",
    "sweep",
    "search",
    "cache",
    "cache_limit",
    "allow_packages",
)
"""Settings that say how to work and not what to make; a plan does not record them, and one that
came from elsewhere does not decide them."""


def register() -> None:
    """Tell Hydra the schema. Called before composing, by the command and by the tests."""
    ConfigStore.instance().store(name="compile_schema", node=CompileSettings)
