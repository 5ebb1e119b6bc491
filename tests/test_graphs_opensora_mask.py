"""Mask strategies of Open-Sora 1.2: upstream's own parsing, copying and sampling
(tests/vectors/os12_mask_strategy)."""

import numpy as np
import pytest
import torch

from entracte.graphs import Graph, Input, models
from entracte.graphs.opensora.mask import (
    Masked,
    Run,
    apply_mask_strategy,
    frame_tables,
    parse_mask_strategy,
)
from entracte.graphs.opensora.sampler import GuidedEuler, rflow_timesteps
from entracte.graphs.recipes.open_sora_image import begin, mix
from entracte.ir import DType, Port, Stage, StageKind
from entracte.lower.backend import CORE_ML
from entracte.trace.measure import trace_stage
from tests.upstream import case, loaded

CASE = case("os12_mask_strategy")
RUNS = {run["run"]: run for run in CASE.about["runs"]}
COPIED = [name for name, run in RUNS.items() if "mask_strategy" in run]
SAMPLED = [name for name in RUNS if name not in COPIED]
NEAR = 1e-5


@pytest.mark.parametrize("name", COPIED)
def test_references_are_copied_in(name):
    run, given, want = RUNS[name], CASE.inputs(name), CASE.outputs(name)
    groups = parse_mask_strategy(run["mask_strategy"])
    parsed = [[g.loop, g.reference, g.reference_start, g.target_start, g.length, g.edit_ratio]
              for g in groups]  # fmt: skip
    assert parsed == run["parsed"]
    references = [given["ref0"], given["ref1"]]
    made = apply_mask_strategy(
        groups, given["z"].shape[2], [ref.shape[1] for ref in references], run["align"],
        run["loop_i"],
    )  # fmt: skip
    assert np.array_equal(np.float32(made.ratios), want["mask"][0].numpy())
    parts = [
        (given["z"][0] if r.reference is None else references[r.reference])[:, r.start :][
            :, : r.length
        ]
        for r in made.runs()
    ]
    assert torch.equal(torch.cat(parts, 1)[None], want["z"])


@pytest.mark.parametrize("name", SAMPLED)
def test_given_frames_are_sampled(name):
    run, given, want = RUNS[name], CASE.inputs(name), CASE.outputs(name)
    timesteps, dt = rflow_timesteps(run["steps"], run["frames"], run["height"], run["width"])
    tables = {
        name: torch.tensor(table)
        for name, table in frame_tables(timesteps, dt, given["mask"][0].tolist()).items()
    }
    assert torch.equal(tables["x_mask"][:, None], want["x_mask"].float())
    z = given["z"]
    for i, t in enumerate(timesteps):
        share, length = (tables[n][i] for n in ("share", "dt"))
        seen = tables["x_mask"][i][:, None, None]
        z = z + (given["noise"][i] - z) * share
        turn = torch.sin(3 * z) * float(t) / 1000
        with_text, without = ((a * z + turn) * (1 + seen) for a in (0.5, -0.25))
        z = z + (without + run["cfg"] * (with_text - without)) * length
    CASE.check(z, want["z"], NEAR)


def test_a_frame_of_ratio_1_is_active_from_the_first_step_on():
    # A time that float32 rounds above 1000: upstream would leave its step out.
    made = frame_tables(np.array([1000.0002, 500.0]), np.array([0.5, 0.5]), [1.0, 0.5, 0.0])
    assert made["x_mask"].tolist() == [[1, 0, 0], [1, 1, 0]]
    assert made["share"][..., 0, 0].tolist() == [[0, 0, 0], [0, 0.5, 0]]
    assert made["dt"][..., 0, 0].tolist() == [[0.5, 0, 0], [0.5, 0.5, 0]]


def test_frames_side_by_side_are_one_run():
    made = Masked((None, (0, 3), (0, 4), (1, 5), None, None), (1.0,) * 6)
    assert made.runs() == [Run(None, 0, 1), Run(0, 3, 2), Run(1, 5, 1), Run(None, 4, 2)]


@pytest.mark.parametrize(
    "text, words",
    [
        ("0,0,0,0,1,0,7", "has 7 numbers; a group is loop,reference"),
        ("0;x", "'x': the first five are whole numbers"),
        ("0,0,0.5", "the first five are whole numbers"),
        ("0,2", "no reference 2 .* 2 are given"),
        ("0,0,5", "reference_start 5 is outside; there are 5 latent frames: give -5 to 4"),
        ("0,0,0,15", "target_start 15 is outside"),
        ("0,0,-9", "reference_start -9 is outside"),
    ],
)
def test_a_strategy_that_cannot_be_is_one_message(text, words):
    with pytest.raises(ValueError, match=words):
        apply_mask_strategy(parse_mask_strategy(text), 15, [5, 10])


SAMPLING = case("os12_sampling_a")
MASKED = [name for name, run in SAMPLING.about["literals"].items() if run["mask_strategy"]]


def denoiser_graph():
    """For the case's clip, with frames that are given."""
    about = SAMPLING.config
    z = SAMPLING.inputs(MASKED[0])["z"]
    clip = {"latent": z.shape[2:], "pixels": (about["height"], about["width"]), "fps": about["fps"]}
    config, length = {**about["stdit3"], **clip}, about["stdit3"]["model_max_length"]
    with torch.device("meta"):
        module = models.build_model("STDiT3", config).eval()
    text = (1, length, about["stdit3"]["caption_channels"])
    shapes = {"z": tuple(z.shape), "timestep": (1,), "text": text, "mask": (1, length),
              "x_mask": (1, z.shape[2])}  # fmt: skip
    return Graph(module, tuple(Input(n, s) for n, s in shapes.items()), ("velocity",),
                 checkpoint="denoiser", key_map=module.key_map)  # fmt: skip


@pytest.fixture(scope="module")
def denoiser(tmp_path_factory):
    """Upstream's file through the loading door."""
    folder = SAMPLING.save(tmp_path_factory.mktemp("os12"), "denoiser")
    return loaded(denoiser_graph(), folder, tmp_path_factory.mktemp("cache"))


def test_a_denoiser_with_given_frames_is_cut_almost_anywhere():
    # A truth value that the last layer reads would forbid every cut: no package hands one on.
    graph = denoiser_graph()
    ports = {i.name: Port(i.name, i.shape, DType.FP32) for i in graph.inputs}
    wiring = tuple((name, name) for name in ports)
    stage = Stage(name="net", kind=StageKind.GRAPH, op="x", inputs=wiring)
    (part,) = trace_stage(stage, graph, ports, None, CORE_ML).parts
    assert len(part.cuts) > 0.8 * len(part.ops)


@torch.no_grad()
@pytest.mark.parametrize("name", MASKED)
def test_the_denoiser_samples_around_given_frames(name, denoiser):
    about, run = SAMPLING.config, SAMPLING.about["literals"][name]
    given, want = SAMPLING.inputs(name), SAMPLING.outputs(name)
    groups = parse_mask_strategy(run["mask_strategy"])
    masked = apply_mask_strategy(
        groups, given["z"].shape[2], [given["ref"].shape[1]], run["align"]
    )  # fmt: skip
    runs = [[0 if r.reference is None else 1, r.start, r.length] for r in masked.runs()]
    z = begin(given["z"], given["ref"][None], runs=runs)
    assert torch.equal(z, want["z_start"])
    timesteps, dt = rflow_timesteps(
        about["steps"], about["frames"], about["height"], about["width"]
    )
    tables = frame_tables(timesteps, dt, masked.ratios)
    tables = {n: torch.tensor(table)[:, None] for n, table in tables.items()}
    assert torch.equal(tables["x_mask"][:, 0], want["x_mask"].float())
    text, mask, step = given["y"][0], given["mask"].float(), GuidedEuler(z.shape[1])
    for i, t in enumerate(timesteps):
        z = mix(z, given["noise"][i], tables["share"][i])
        SAMPLING.check(z[0], want["model_z"][i])
        time = torch.tensor([t], dtype=torch.float32)
        velocity = denoiser(z, time, text, mask, tables["x_mask"][i])
        SAMPLING.check(velocity[:, :4], want["velocity"][i])
        z = step(z, velocity, tables["dt"][i], torch.tensor([about["cfg_scale"]]))
    SAMPLING.check(z, want["z"])
