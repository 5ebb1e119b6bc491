"""Open-Sora Plan 1.3: upstream's transformers with random weights (tests/vectors) through the
loading door, and the numbers that they give."""

import json

import pytest
import torch
from diffusers import AllegroTransformer3DModel
from diffusers.models.embeddings import get_3d_rotary_pos_embed_allegro

from entracte.graphs import GraphFault
from entracte.graphs.models import build_model
from entracte.graphs.opensora_plan.skiparse import Pattern, turns_of
from entracte.graphs.recipes import called
from entracte.graphs.recipes.open_sora_plan import BEFORE, BEHIND, NEGATIVE, denoise
from entracte.graphs.schedules import probe
from tests.upstream import VECTORS, case, loaded


def given_and_denoised(transformer, z, latents, folded, time, states, mask):
    """Both stages of the inpainting transformer."""
    return denoise(transformer, z, time, states, mask, transformer.see(latents, folded))


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


def test_texts_are_upstreams():
    found = json.loads((VECTORS / "osp13_text.json").read_text())
    assert found["negative_prompt"] == NEGATIVE
    for text in found["prompts"]:
        assert BEFORE + text["in"] + BEHIND == text["out"]


@pytest.mark.parametrize(("stride", "tokens"), [(1, 7), (2, 8), (3, 20), (4, 16), (4, 33)])
@pytest.mark.parametrize("is_group", [False, True])
def test_patterns_cut_tokens_as_they_say(stride, tokens, is_group):
    pattern = Pattern(stride, stride if is_group else 1)
    x = torch.arange(1.0, tokens + 1)[None, :, None].expand(2, -1, 6)
    cut = pattern.cut(x, 2)
    assert cut.shape[:2] == (2 * stride, 2)
    length = -(-tokens // stride**2) * stride
    # Token i is in sequence i mod stride, or in that of its run of `stride` tokens.
    sequences = [[] for _ in range(stride)]
    for i in range(length * stride):
        own = i // stride % stride if is_group else i % stride
        sequences[own].append(i + 1.0 if i < tokens else 0.0)
    assert cut[:stride, 0, :, 0].tolist() == sequences
    assert torch.equal(cut[:stride], cut[stride:])
    assert torch.equal(pattern.joined(cut, tokens), x)
    mask = pattern.mask(tokens, 2)
    padded = torch.tensor(sequences) == 0
    assert (mask is None) == (not padded.any())
    if mask is not None:
        assert torch.equal(mask[:, 0, 0] < -1000, padded.repeat(2, 1))


@torch.no_grad()
@pytest.mark.parametrize(
    "keys",
    [
        {},
        {"norm_elementwise_affine": True, "attention_bias": False},
        {"activation_fn": "geglu", "patch_size": 1, "norm_eps": 1e-3},
    ],
)
def test_dense_it_is_allegros(keys):
    """Of the library; it reads the same keys, and has a norm more that nothing reads."""
    torch.manual_seed(3)
    sizes = {
        "num_attention_heads": 2, "attention_head_dim": 12, "cross_attention_dim": 24,
        "in_channels": 4, "out_channels": 3, "caption_channels": 10, "num_layers": 3,
        **keys,
    }  # fmt: skip
    theirs = AllegroTransformer3DModel(**sizes).eval()
    ours = build_model("OpenSoraT2V_v1_3", sizes | {"sparse1d": False}).eval()
    state = {k: v for k, v in theirs.state_dict().items() if ".norm3." not in k}
    ours.load_state_dict(state)
    patch = keys.get("patch_size", 2)
    z, states = torch.randn(2, 4, 3, 4, 6), torch.randn(2, 5, 10)
    mask, time = torch.tensor([[1.0] * 5, [1, 1, 0, 0, 0]]), torch.tensor([300.0, 300.0])
    size = (4 // patch, 6 // patch)
    turns = get_3d_rotary_pos_embed_allegro(12, ((0, 0), size), size, 3)
    grid = torch.cartesian_prod(*(torch.arange(n) for n in (3, *size))).T[:, None]
    want = theirs(z, states[:, None], time, encoder_attention_mask=mask, return_dict=False,
                  image_rotary_emb=(turns[:3], grid.expand(-1, 2, -1)))[0]  # fmt: skip
    torch.testing.assert_close(ours(z, time, states, mask), want)


def test_positions_of_axes_are_divided():
    size, dim = (2, 3, 4), 12
    cos, sin = turns_of(size, dim, (1.0, 2.0, 4.0))
    # Token (1, 2, 3): angles 1, 2 / 2 and 3 / 4, and a hundredth of each (10000 ** -1/2).
    angles = torch.tensor([a for p in (1, 1, 0.75) for a in (p, p / 100) * 2])
    torch.testing.assert_close(cos[-1, 0], angles.cos())
    signs = torch.tensor([-1.0, -1, 1, 1] * 3)
    torch.testing.assert_close(sin[-1, 0], signs * angles.sin())


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"attention_head_dim": 16}, "attention_head_dim: 16: .* multiple of 6"),
        ({"cross_attention_dim": 10}, "cross_attention_dim: 10: .* give 24"),
        ({"patch_size_t": 2}, "patch_size_t: 2: .* give 1"),
        ({"sparse_n": 0}, "sparse_n: 0: give 1 or more"),
        ({"sparse_m": 4}, "sparse_m"),
    ],
)
def test_what_upstream_cannot_compute_is_refused(keys, message):
    sizes = {"num_attention_heads": 2, "attention_head_dim": 12, "cross_attention_dim": 24}
    with pytest.raises(GraphFault, match=message):
        build_model("OpenSoraInpaint_v1_3", sizes | {"num_layers": 1} | keys)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("gain", [1.0, 2.0])
def test_half_precision_holds_all_layers(gain):
    """All 32 layers, a sixth as wide as published; `gain` of weights as they are drawn."""
    torch.manual_seed(0)
    sizes = {"num_attention_heads": 4, "cross_attention_dim": 384, "caption_channels": 256}
    net = build_model("OpenSoraT2V_v1_3", sizes).eval()
    for name, weight in net.named_parameters():
        if weight.dim() > 1 and "table" not in name:
            weight.mul_(gain)
    given = [torch.randn(1, 8, 4, 12, 10), torch.tensor([700.0]), torch.randn(1, 32, 256) / 3,
             (torch.arange(32) < 20)[None].float()]  # fmt: skip
    want = net(*given)
    # Tables of positions are made in fp32: what is computed with them becomes that too.
    with torch.autocast("cpu", torch.float16):
        got = net.half()(*(x.half() for x in given))
    decibels = 10 * torch.log10(want.square().mean() / (got - want).square().mean())
    assert float(decibels) > 45
