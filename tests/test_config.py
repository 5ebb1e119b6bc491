"""Configurations: every combination composes and reads; faults give the message a user needs."""

from importlib.resources import files

import pytest
from hydra import compose, initialize_config_module

from entracte.declare.read import read
from entracte.declare.scheme import compressions
from entracte.errors import ConfigError


@pytest.fixture(scope="module", autouse=True)
def _hydra():
    with initialize_config_module("entracte.conf", version_base="1.3"):
        yield


def options(group: str) -> list[str]:
    folder = files("entracte.conf") / group
    return sorted(f.name[:-5] for f in folder.iterdir() if f.name.endswith(".yaml"))


def job(*overrides: str, target: str = "iphone15pro"):
    return read(compose("compile", overrides=[f"+target={target}", *overrides]))


PIPELINES = [p for p in options("pipeline") if p != "folder"]
EACH = [
    # A pipeline knows no target: each is read once, and so is each target.
    *((t, "tiny_t2v") for t in options("target")),
    *(("iphone15pro", p) for p in PIPELINES if p != "tiny_t2v"),
]


@pytest.mark.parametrize(("target", "pipeline"), EACH)
def test_every_target_and_every_pipeline_reads(target, pipeline):
    made = job(f"pipeline={pipeline}", target=target)
    assert made.target.name == target
    assert made.pipeline.name == pipeline
    assert made.target.budget_bytes > 0


@pytest.mark.parametrize("group", ["policy", "compression", "sampler", "partition"])
def test_every_option_of_a_group_reads(group):
    for option in options(group):
        assert job(f"{group}={option}")


def test_every_compression_can_be_typed():
    """The compiler's table and the configuration's files name the same."""
    assert set(options("compression")) == set(compressions())


def test_named_targets_are_all_there():
    named = {"iphone15pro", "iphone16pro", "iphone16e", "iphone17pro", "iphone18pro", "ipad_m4"}
    named |= {"ipad_m5", "macbook_m3", "macbook_m5", "vision_pro", "host"}
    assert set(options("target")) == named


@pytest.mark.parametrize("target", options("target"))
def test_every_figure_of_a_target_is_sourced_or_marked_estimated(target):
    made = job(target=target).target
    figures = {
        "memory",
        "base_footprint",
        "settle_fraction",
        "chunk_limit",
        "load_bandwidth",
        "load_overhead_s",
        "compute_gflops",
        "memory_bandwidth",
        "call_overhead_s",
    }
    sourced = {s.split(":")[0] for s in made.sources}
    assert figures <= sourced | set(made.estimated)
    assert not sourced & set(made.estimated)


def test_a_limit_is_chosen_by_name():
    """On-device Sora's 3.3 GB; 6 GB with the entitlement (rtabmap pull 1446)."""
    app, entitled = (job(*o).target for o in ((), ("target.limit=entitled",)))
    assert (app.memory_bytes, entitled.memory_bytes) == (3_300_000_000, 6_000_000_000)
    assert [s for s in app.sources if s.startswith("memory:")][0].startswith("memory: On-device")
    assert [s for s in entitled.sources if s.startswith("memory:")][0].startswith(
        "memory: introlab"
    )
    assert not any("limits." in s for s in (*app.sources, *app.estimated, *entitled.sources))
    given = job("target.limit=entitled", "target.memory=24MiB").target
    assert given.memory_bytes == 24 * 2**20
    assert not any(s.startswith("memory:") for s in given.sources)
    # A limit that nobody published says so, and does not where the published one holds.
    assert "memory" in job("target.limit=app", target="iphone16pro").target.estimated
    assert "memory" not in job(target="iphone16pro").target.estimated
    # Two thirds of 16 GiB, as Metal tells (llama-cpp-python issue 687: 10922.67 MB).
    mac = job(target="macbook_m5").target.memory_bytes
    assert abs(mac / 2**20 - 10922.67) < 10


def test_storage_scales_the_bandwidths_of_loads():
    plain, small = job().target, job("target.storage=smallest").target
    assert small.load_bandwidth == pytest.approx(650e6 * 0.67)
    assert small.cold_bandwidth == pytest.approx(118e6 * 0.67)
    assert plain.load_bandwidth == 650e6 and "load_bandwidth" not in plain.estimated
    assert "load_bandwidth" in small.estimated


def test_overrides_reach_the_job():
    made = job(
        "target.memory=24MiB",
        "policy=sequential",
        "sampler.steps=5",
        "compression=int8",
        "pipeline.stages.text.precision=fp32",
        "pipeline.stages.text.compute_unit=cpuOnly",
        "out=x",
        "dry_run=true",
    )
    assert made.target.memory_bytes == 24 * 2**20
    assert made.policy.name == "sequential"
    assert made.pipeline.loops[0].count == 5
    assert made.pipeline.stage("text").precision == "fp32"
    assert made.pipeline.stage("denoise").compression == "int8"
    assert [made.pipeline.stage(s).compute_unit for s in ("text", "denoise")] == ["cpuOnly", ""]
    both = job("pipeline.compute_unit=suited", "pipeline.stages.text.compute_unit=cpuOnly").pipeline
    units = [both.stage(s).compute_unit for s in ("text", "denoise", "noise")]
    assert units == ["cpuOnly", "suited", ""]
    assert (made.out, made.dry_run) == ("x", True)


def test_pages_are_the_targets():
    assert job().target.page_bytes == 0
    assert job(target="host").target.page_bytes == 16 * 2**20
    assert job("target.page_bytes=64KiB").target.page_bytes == 65_536
    assert job("target.page_bytes=0", target="host").target.page_bytes == 0


def test_targets_that_run_core_ml_load_again_for_another_function():
    assert [n for n in options("target") if not job(target=n).target.reload_on_switch] == ["host"]
    assert not job("target.reload_on_switch=false").target.reload_on_switch


def test_a_budget_below_the_footprint_is_refused():
    with pytest.raises(ConfigError, match="target.memory: 1MiB leaves nothing"):
        job("target.memory=1MiB")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["target.memory=lots"], r"target.memory: 'lots' is not a size"),
        (["+traget=mac"], "traget"),
        (["+target.foo=1"], "foo"),
        (["pipeline.stages.text.precision=fp8"], "'fp8' is not one of fp16, fp32"),
        (["pipeline.stages.text.compression=int2"], "'int2' is not one of none, int8"),
        (
            ["pipeline.stages.text.compute_unit=cpuAndNeuralEngin"],
            "text.compute_unit: .* is not one of cpuAndGPU, cpuAndNeuralEngine, cpuOnly, all, "
            "suited .did you mean cpuAndNeuralEngine",
        ),
        (["pipeline.stages.noise.compute_unit=all"], "noise.compute_unit: a host has no packages"),
        (
            ["target.limit=apps"],
            "target.limit: 'apps' is not one of app, entitled .did you mean app",
        ),
        (["target.storage=tiny"], "target.storage: 'tiny' is not one of smallest"),
        (["target.limit=null"], "target.memory: not given; give .* or target.limit=app"),
        (
            ["target.storage=smallest", "target.storages.smallest=2"],
            "target.storages.smallest: 2.0 is not above 0 and at most 1",
        ),
        (["target.compute_unit=gpu"], "target.compute_unit: 'gpu' is not one of cpuAndGPU"),
        (["pipeline.stages.noise.host=dice"], "'dice' is not one of tokenize, retokenize"),
        (["+pipeline.stages.text.host=tokenize"], "Key|exactly one of graph, constant, host"),
        (["pipeline.stages.text.inputs.mask=tokenise.mask"], "nothing makes 'tokenise.mask'"),
        (
            ["pipeline.outputs.video.value=nowhere.video"],
            "pipeline.outputs.video.value: nothing makes",
        ),
        (["pipeline.stages.decode_time.inputs.z=step.z_next"], "made inside the loop sample"),
        (["pipeline.stages.text.inputs.mask=decode_space.pixels"], "need each other's values"),
        (["sampler.steps=0"], "pipeline.loops.sample.count: 0 iterations"),
        (["pipeline.stages.decode_time.map.size=0"], "map.size: 0 is not positive"),
        (["pipeline.stages.decode_time.map.port=q"], "map.port: 'q' is none of"),
        (["pipeline.loops.sample.until=denoise"], "until: 'denoise' is not made in the loop"),
        (["pipeline.loops.sample.stages=[denoise,step,step]"], "name at least one, and none twice"),
        (["pipeline.loops.sample.stages=[]"], r"sample.stages: \[\]: name at least one"),
        (["pipeline.stages.text.inputs.mask=tokenize"], "tokenize makes .* tokenize.PORT"),
        (["pipeline.stages.text.inputs.mask=seed.mask"], "seed is an input; write seed alone"),
        (["+pipeline.stages.denoise.functions={a: [3]}"], "functions.a: .*: give a whole number"),
        (["pipeline.stages.decode_time.map.port={a: b}"], "map.port: {'a': 'b'} is none of"),
        (["pipeline.outputs.video.value={a: b}"], "video.value: {'a': 'b'}: give STAGE.PORT"),
        (["pipeline.loops.sample.until=text.features"], "write STAGE.PORT of denoise, step"),
        (
            ["+pipeline.stages.text.functions={a: 3}"],
            "text is in no loop.*denoise, step",
        ),
        (["+pipeline.stages.noise.functions={a: 3}"], "only a graph has variants, noise is a host"),
        (["+pipeline.stages.denoise.functions={main: 3}"], "'main' is no variant"),
        (["+pipeline.stages.denoise.functions={a: -1}"], "functions.a: -1 iterations; give 0"),
        (["+pipeline.stages.denoise.functions={a: 3,b: 3}"], "both end after 3 iterations"),
        (["policy.keep=fifo"], "policy.keep: 'fifo' is not one of even, strided"),
        (["policy.driver=fifo"], "policy.driver: 'fifo' is not one of gates, online, best"),
        (["policy.margin=-1"], "policy.margin: -1 is negative"),
        (["target.page_bytes=much"], "target.page_bytes: 'much' is not a size"),
        (["target.page_bytes=2KiB"], "target.page_bytes: 2KiB is below 4096 bytes"),
        (["partition.chunk_bytes=big"], "partition.chunk_bytes: 'big' is not a size"),
    ],
)
def test_faults_name_the_place(overrides, message):
    with pytest.raises(ConfigError, match=message):
        job(*overrides)


def test_early_ends_and_functions_reach_the_job():
    made = job(
        "pipeline.loops.sample.until=step.done",
        "+pipeline.stages.denoise.functions={late: 20, never: 0, early: 5}",
        "policy=ci_dl",
    )
    assert made.pipeline.loops[0].until == "step.done"
    assert made.pipeline.stage("denoise").functions == (("early", 5), ("late", 20))
    assert (made.policy.keep, made.policy.margin) == ("published", 2)
    assert job().pipeline.loops[0].until is None


def test_stages_may_be_written_in_any_order():
    from entracte.declare.order import ordered

    pipeline = job().pipeline
    shuffled = tuple(reversed(pipeline.stages))
    again = ordered(shuffled, pipeline.loops)
    place = {s.name: i for i, s in enumerate(again)}
    for stage in again:
        for _, value in stage.inputs:
            owner = value.partition(".")[0]
            if owner in place and pipeline.loop_of(stage.name) is None:
                assert place[owner] < place[stage.name]
