"""Open-Sora Plan 1.3: upstream's transformers with random weights (tests/vectors) through the
loading door, and the numbers that they give."""

import json

import pytest
import torch

from entracte.graphs import GraphFault
from entracte.graphs.models import build_model
from entracte.graphs.opensora_plan.skiparse import turns_of
from entracte.graphs.recipes import called
from entracte.graphs.recipes.open_sora_plan import denoise, see
from entracte.graphs.schedules import probe
from tests.upstream import case, loaded


def given_and_denoised(transformer, z, latents, folded, time, states, mask):
    """Both stages of the inpainting transformer."""
    return denoise(transformer, z, time, states, mask, see(transformer, latents, folded))


def made_of(found, function, given, tmp_path):
    """A function of the transformer in a case's published file, for inputs of these shapes."""
    config = found.config.get("model", found.config)
    graph = called.graph(
        function, {name: tuple(x.shape) for name, x in given.items()}, ["y"],
        module=f"entracte.{found.about['class'].split()[0]}", config=json.dumps(config),
        checkpoint="transformer",
    )  # fmt: skip
    return loaded(graph, found.save(tmp_path / "folder", "transformer"), tmp_path / "cache")


def inputs(found, run):
    """As the stages take them: upstream's transformer gets one tensor of all channels."""
    given = found.inputs(run)
    assert bool((given["attention_mask"] == 1).all())
    x, many = given["hidden_states"], found.config["in_channels"]
    parts = {"z": x[:, :many], "latents": x[:, many : 2 * many], "folded": x[:, 2 * many :]}
    text = {
        "time": given["timestep"],
        "states": given["encoder_hidden_states"][:, 0],
        "mask": given["encoder_attention_mask"][:, 0],
    }
    return {name: part for name, part in parts.items() if part.shape[1]} | text


RUNS = [(name, run, function)
        for name, function in (("osp13_t2v_a", denoise), ("osp13_inpaint_a", given_and_denoised))
        for run in case(name).about["runs"]]  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize(("name", "run", "function"), RUNS)
def test_transformers_give_what_upstreams_give(name, run, function, tmp_path):
    found = case(name)
    given = inputs(found, run)
    net = made_of(found, function, given, tmp_path)
    kept = {}
    for i, block in enumerate(net.module.transformer_blocks):
        block.register_forward_hook(lambda _, __, y, i=i: kept.__setitem__(f"block_{i}", y))
    kept["sample"] = net(*given.values())
    for output, want in found.outputs(run).items():
        found.check(kept[output], want)


def scheduler(config, steps):
    """Its steps, as recipes have them."""
    return probe.steps_of("EulerAncestralDiscreteScheduler", json.dumps(config), steps)


def sampled(steps, noise, start, velocity):
    """(what the model reads, guided velocity, latents after it) of each step, in double."""
    z = start.double() * steps.start
    for i, fresh in enumerate(noise.double()):
        read = z * float(steps.scale[i])
        made = velocity(read.float(), torch.tensor([steps.time[i]]))
        z = probe.applied(steps, i, [z, made.double(), fresh])[0]
        yield read, made, z


@pytest.mark.parametrize("run", ["traj100", "traj10"])
def test_the_scheduler_gives_what_upstreams_gives(run):
    found = case("osp13_euler_ancestral")
    about = next(r for r in found.about["runs"] if r["run"] == run)
    steps = scheduler(found.config, about["num_inference_steps"])
    given, want = found.inputs(run), found.outputs(run)
    schedule = found.outputs(f"s{about['num_inference_steps']}")
    assert torch.equal(torch.tensor(steps.time), schedule["timesteps"])
    found_start = torch.tensor([steps.start])
    torch.testing.assert_close(found_start, schedule["init_noise_sigma"])

    def toy(read, time):
        """`toy_model` of the case."""
        rows = torch.einsum("bcthw,cd->bdthw", read, found.weights["toy.W"])
        made = rows * (1 - time / 2000) + 0.5 * given["c"][:, :, None, None, None]
        return (made[:1] + about["cfg"] * (made[1:] - made[:1])).float()

    for i, (read, made, z) in enumerate(sampled(steps, given["noise"], given["z"], toy)):
        found.check(read, want["model_input"][i][:1], 1e-4)
        found.check(made, want["guided"][i], 1e-4)
        found.check(z, want["x"][i], 1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("name", "function"),
    [("osp13_sampling_t2v_a", denoise), ("osp13_sampling_i2v_a", given_and_denoised)],
)
def test_sampling_gives_what_upstreams_gives(name, function, tmp_path):
    found = case(name)
    given, want, config = found.inputs("run"), found.outputs("run"), found.config
    steps = scheduler(config["scheduler"], config["num_inference_steps"])
    seen = {}
    if "mask" in given:
        seen = {"latents": given["masked_latents"], "folded": given["mask"]}
    texts = [{"states": given[name], "mask": given[f"{name}_mask"]}
             for name in ("negative", "positive")]  # fmt: skip
    net = made_of(found, function, {"z": given["z"], **seen, "time": torch.zeros(1), **texts[0]},
                  tmp_path)  # fmt: skip
    both = []

    def velocity(read, time):
        without, with_text = (net(read, *seen.values(), time, *text.values()) for text in texts)
        both.append(torch.cat([without, with_text]))
        return without + config["guidance_scale"] * (with_text - without)

    for i, (read, _, z) in enumerate(sampled(steps, given["noise"], given["z"], velocity)):
        whole = torch.cat([read, *(x.double() for x in seen.values())], 1)
        found.check(whole, want["model_input"][i][None])
        found.check(both[i], want["v"][i])
        found.check(z, want["x"][i][None])
    assert torch.equal(torch.tensor(steps.time[: len(both)]), want["timesteps"])
