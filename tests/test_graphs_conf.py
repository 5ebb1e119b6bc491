"""Every pipeline with every sampler: the graphs can be built, and their ports meet."""

from math import prod

import pytest
from hydra import compose, initialize_config_module

from entracte import graphs
from entracte.declare.read import read
from entracte.errors import ConfigError
from entracte.graphs.opensora.sampler import resolution_shift
from entracte.ir import Pipeline, StageKind

SIZES = {
    "tiny_t2v": [(16, 64, 64)],
    "on_device_sora": [(68, 256, 256), (68, 192, 192)],
    "open_sora": [(51, 240, 426), (51, 360, 640)],
}
CASES = [(name, size) for name, sizes in SIZES.items() for size in sizes]


@pytest.fixture(scope="module", autouse=True)
def _hydra():
    with initialize_config_module("entracte.conf", version_base="1.3"):
        yield


def pipeline(name: str, *overrides: str) -> Pipeline:
    given = ["+target=iphone15pro", f"pipeline={name}", *overrides]
    return read(compose("compile", overrides=given)).pipeline


def of_size(name: str, size: tuple[int, int, int], *overrides: str) -> Pipeline:
    keys = ("frames", "height", "width")
    clip = [f"pipeline.video.{key}={n}" for key, n in zip(keys, size, strict=True)]
    return pipeline(name, *clip, *overrides)


def built(p: Pipeline) -> dict[str, graphs.Graph | graphs.Constants]:
    # What takes its shape from another stage is known when these are.
    stages = [
        s for s in p.stages if s.kind is not StageKind.HOST and "shape_of" not in dict(s.params)
    ]
    return {s.name: graphs.build(s.op, dict(s.params)) for s in stages}


@pytest.mark.parametrize("sampler", ["rflow", "lpl_static", "lpl_adaptive"])
@pytest.mark.parametrize(("name", "size"), CASES)
def test_ports_meet(name, size, sampler):
    p = of_size(name, size, f"sampler={sampler}")
    made = built(p)
    (loop,) = p.loops
    for stage in p.stages:
        graph = made.get(stage.name)
        if isinstance(graph, graphs.Graph):
            assert {i.name for i in graph.inputs} == {port for port, _ in stage.inputs}
    for table in (s.value for s in loop.scan):
        owner, _, array = table.partition(".")
        assert made[owner].arrays[array].shape == (loop.count,)
    inputs = {i.name: i.shape for i in made["step"].inputs}
    assert inputs["z"] == next(i.shape for i in made["denoise"].inputs if i.name == "z")
    plain = sampler != "lpl_adaptive"
    assert [n for n, _, _ in loop.state] == (["z"] if plain else ["z", "direction", "record"])
    assert loop.until == (None if plain else "step.done")
    assert loop.count == (16 if sampler == "lpl_static" else 30)


@pytest.mark.parametrize(("name", "size"), CASES)
def test_maps_cover_the_clip(name, size):
    """Groups of latent frames make all frames, batches of frames too."""
    p = of_size(name, size)
    made = built(p)
    z = next(i.shape for i in made["denoise"].inputs if i.name == "z")
    group = made["decode_time"].inputs[0].shape
    stage = {s.name: s for s in p.stages}
    assert stage["decode_time"].map.slices[0].size == group[2] and z[2] % group[2] == 0
    assert (z[2] // group[2]) * made["decode_time"].module.frames == size[0]
    batch = made["decode_space"].inputs[0].shape
    assert stage["decode_space"].map.slices[0].size == batch[2] and size[0] % batch[2] == 0
    assert batch[3:] == group[3:] == z[3:]
    assert prod(z[3:]) == (size[1] // 8) * (size[2] // 8)


def test_the_shift_and_the_rate_are_those_of_the_clip():
    """On-device Sora's app shifts for 51 frames and writes 30 a second; here the clip decides."""
    p = of_size("on_device_sora", (68, 256, 256))
    assert round(resolution_shift(68, 256, 256), 3) == 2.236
    timesteps = built(p)["schedule"].arrays["timestep"]
    # 1000 s e / (1 + (s - 1) e) at e = 1/30, which both codes of On-device Sora round to 0.033.
    assert round(float(timesteps[-1]), 1) == 70.9
    assert p.outputs[0].rate == 24.0
    assert float(built(p)["denoise"].module.model.fps) == 24.0


def test_guidance_and_the_prompt_are_the_published_ones():
    p = pipeline("on_device_sora")
    assert {i.name: i.default for i in p.inputs}["guidance"] == 7.0
    params = dict(p.stage("tokenize").params)
    assert (params["scores"], params["clean"]) == (("aesthetic score: 6.5",), "caption")
    assert (params["segment"], params["length"]) == (0, 300)


def test_what_users_say_is_put_over_the_recipe():
    """Sizes of the clip and of a model, a stage's compression and functions, another sampler."""
    p = pipeline(
        "open_sora", "pipeline.video.frames=22", "+pipeline.models.denoiser.depth=2",
        "+pipeline.stages.denoise.functions.merged=15", "pipeline.stages.text.compression=int8",
        "+pipeline.over.stages.decode_space.map.size=1", "sampler=lpl_static",
        "pipeline.options.discrete_timesteps=true",
    )  # fmt: skip
    made = built(p)
    assert len(made["denoise"].module.model.spatial_blocks) == 2
    assert p.stage("denoise").functions == (("merged", 15),)
    assert p.stage("text").compression == "int8"
    # 17 frames are 5 latents and 5 are 2; of each batch there is one frame.
    assert made["decode_time_rest"].inputs[0].shape[2] == 2
    assert made["decode_space"].inputs[0].shape[2] == 1
    assert p.loops[0].count == 16 and dict(p.stage("schedule").params)["discrete"] is True
    stems = {name: made[name].checkpoint for name in ("text", "denoise", "decode_time")}
    assert stems == {"text": "text_encoder", "denoise": "denoiser", "decode_time": "vae"}


def test_an_image_is_told_as_upstream_tells_it():
    p = pipeline("open_sora", "pipeline.video.frames=1")
    made = built(p)
    assert float(made["denoise"].module.model.fps) == 120.0
    assert [(o.name, o.kind) for o in p.outputs] == [("image", "image")]
    # One latent frame makes four, of which the last is the image; here 5 latents would make 17.
    assert made["decode_time"].module.frames == 1 and p.stage("decode_time").map is None


def test_a_recipe_that_takes_all_steps_refuses_to_leap():
    with pytest.raises(ConfigError, match="sampler.evaluations: 16 of 30 steps: a WanPipeline"):
        pipeline("wan_t2v_1_3b", "sampler=lpl_static")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "texts are 8 wide .* reads 4096"),
        (("+pipeline.models.denoiser.caption_channels=8",
          "+pipeline.models.denoiser.in_channels=3"), "has 3 channels .*, the VAE 4"),
    ],
)  # fmt: skip
def test_models_that_do_not_fit_each_other_are_refused(words, message):
    with pytest.raises(ConfigError, match=message):
        pipeline("open_sora", "+pipeline.models.text_encoder.d_model=8", *words)
