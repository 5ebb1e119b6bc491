"""LoRA files of several spellings, merged when weights are read: against sums composed by hand, and
against what diffusers fuses."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors.torch import load_file, save_file

from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.errors import ConfigError, PlanError
from entracte.graphs import GraphFault
from entracte.graphs.lora import pairs
from entracte.ir import Lora
from entracte.lower.backend import CORE_ML
from entracte.plan.file import read_plan
from entracte.store.cache import Cache, DigestMemo
from entracte.trace.weights import PipelineWeights
from entracte.trace.wire import trace_pipeline
from entracte.verify.folder import verify_build
from entracte.verify.source import Origin, job_of
from tests.recipes.harness import check, compiled, normal, run
from tests.recipes.test_stable_diffusion import tiny

BLOCK = "down_blocks.0.attentions.0.transformer_blocks.0"
LAYER = "encoder.layers.1"
# Matrices, convolutions of 3 x 3 and of 1 x 1, each with its rank and alpha.
UNET = {
    f"{BLOCK}.attn1.to_q": (2, 4.0),
    f"{BLOCK}.attn2.to_v": (2, 1.0),
    f"{BLOCK}.attn2.to_out.0": (3, 3.0),
    f"{BLOCK}.ff.net.0.proj": (1, 0.5),
    "down_blocks.0.attentions.0.proj_in": (2, 2.0),
    "down_blocks.1.resnets.0.conv1": (3, 1.5),
    "up_blocks.1.attentions.1.proj_out": (2, 2.0),
    "mid_block.resnets.0.time_emb_proj": (2, 4.0),
}
TEXT = {f"{LAYER}.self_attn.q_proj": (2, 1.0), f"{LAYER}.self_attn.out_proj": (2, 3.0),
        f"{LAYER}.mlp.fc1": (2, 2.0)}  # fmt: skip
MODULES = {"unet": UNET, "text_encoder": TEXT}
SCALE = 0.7
OWNER = "StableDiffusionPipeline"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    made: Path = tmp_path_factory.mktemp("lora") / "folder"
    tiny("1.5").save_pretrained(made)
    return made


@pytest.fixture(scope="module")
def traced(folder, tmp_path_factory):
    """The job, its traced stages, and a cache."""
    words = ["+target=host", "pipeline=folder", f"pipeline.weights={folder}",
             "pipeline.precision=fp32", "sampler.steps=1"]  # fmt: skip
    job = read(compose(words))
    cache = Cache(tmp_path_factory.mktemp("cache"))
    weights = PipelineWeights(job.pipeline, cache)
    return job, trace_pipeline(job.pipeline, CORE_ML, cache=cache, look=weights.look).stages, cache


def stored(folder: Path, component: str) -> dict[str, torch.Tensor]:
    (file,) = (folder / component).glob("*.safetensors")
    return load_file(file)


def ranks(folder: Path) -> dict[tuple[str, str], tuple[torch.Tensor, torch.Tensor]]:
    """Random halves of every module, as peft has them: (rank, inputs...) and (outputs, rank...)."""
    generator, made = torch.Generator().manual_seed(7), {}
    for component, modules in MODULES.items():
        held = stored(folder, component)
        for module, (rank, _) in modules.items():
            shape = held[f"{module}.weight"].shape
            down = torch.randn(rank, *shape[1:], generator=generator)
            up = torch.randn(shape[0], rank, *[1 for _ in shape[2:]], generator=generator)
            made[component, module] = 0.3 * down, 0.3 * up
    return made


def by_hand(folder: Path, scale: float, *, alphas: bool) -> dict[tuple[str, str], torch.Tensor]:
    """W + scale * alpha / rank * up @ down, with the sum over ranks written out."""
    made = {}
    for (component, module), (down, up) in ranks(folder).items():
        rank, alpha = MODULES[component][module]
        weight = stored(folder, component)[f"{module}.weight"].clone()
        for r in range(rank):
            outer = up[:, r].reshape(-1, *[1 for _ in down.shape[1:]]) * down[r]
            weight += scale * (alpha / rank if alphas else 1) * outer
        made[component, module] = weight
    return made


def peft(halves: Mapping[tuple[str, str], tuple[torch.Tensor, ...]]) -> dict[str, torch.Tensor]:
    """As diffusers saves it today."""
    made = {}
    for (component, module), (down, up) in halves.items():
        made[f"{component}.{module}.lora_A.weight"] = down
        made[f"{component}.{module}.lora_B.weight"] = up
    return made


def older(halves: Mapping[tuple[str, str], tuple[torch.Tensor, ...]]) -> dict[str, torch.Tensor]:
    """As diffusers saved it before peft: processors of attention, `lora.down` elsewhere."""
    names = {"q_proj": "to_q_lora", "out_proj": "to_out_lora", "to_q": "processor.to_q_lora",
             "to_v": "processor.to_v_lora"}  # fmt: skip
    made = {}
    for (component, module), (down, up) in halves.items():
        parent, _, last = module.rpartition(".")
        is_text = component == "text_encoder"
        base = f"{module}.lora_linear_layer" if is_text else f"{module}.lora"
        base = f"{parent}.{names[last]}" if last in names else base
        base = f"{component}.text_model.{base}" if is_text else f"{component}.{base}"
        base = base.replace("attn2.to_out.0.lora", "attn2.processor.to_out_lora")
        made[f"{base}.down.weight"], made[f"{base}.up.weight"] = down, up
    return made


def kohya(
    halves: Mapping[tuple[str, str], tuple[torch.Tensor, ...]], text: str = "lora_te"
) -> dict[str, torch.Tensor]:
    """As kohya's trainer does, with alphas."""
    made = {}
    for (component, module), (down, up) in halves.items():
        is_text = component == "text_encoder"
        base = f"{text}_text_model_{module}" if is_text else f"lora_unet_{module}"
        base = base.replace(".", "_")
        made[f"{base}.lora_down.weight"], made[f"{base}.lora_up.weight"] = down, up
        made[f"{base}.alpha"] = torch.tensor(MODULES[component][module][1])
    return made


SPELLINGS = {"peft": peft, "older": older, "kohya": kohya,
             "kohya te1": lambda halves: kohya(halves, "lora_te1")}  # fmt: skip


def written(path: Path, tensors: Mapping[str, torch.Tensor], **metadata: str) -> Path:
    save_file({k: v.clone().contiguous() for k, v in tensors.items()}, path, metadata or None)
    return path


def weights_of(traced, *loras: Lora) -> tuple[PipelineWeights, dict[tuple[str, str], torch.Tensor]]:
    """All weights as packages get them, by component and key."""
    job, stages, cache = traced
    source = PipelineWeights(replace(job.pipeline, loras=loras, lora_class=OWNER), cache)
    source.check_all(stages)
    found = {}
    for stage in stages.values():
        tensors = source.tensors(stage)
        names = {n: k for n, k in stage.key_of.items() if n in tensors}
        found |= {(str(stage.record.checkpoint), key): tensors[n] for n, key in names.items()}
    return source, found


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_the_sum_by_hand(folder, traced, tmp_path, spelling):
    file = written(tmp_path / "lora.safetensors", SPELLINGS[spelling](ranks(folder)))
    before, (_, got) = file.read_bytes(), weights_of(traced, Lora(str(file), SCALE))
    want = by_hand(folder, SCALE, alphas="kohya" in spelling)
    _, plain = weights_of(traced)
    for (component, key), tensor in got.items():
        module = key.removesuffix(".weight")
        expected = want.pop((component, module), None) if key.endswith(".weight") else None
        if expected is None:
            assert torch.equal(tensor, plain[component, key])
        else:
            assert not torch.allclose(plain[component, key], expected, atol=1e-3)
            torch.testing.assert_close(tensor, expected, rtol=0, atol=1e-6)
    assert not want and file.read_bytes() == before


@pytest.mark.parametrize("spelling", ["peft", "kohya"])
def test_the_same_as_the_library_fuses(folder, traced, tmp_path, spelling):
    pytest.importorskip("peft")
    tensors = SPELLINGS[spelling](ranks(folder))
    # Of several alphas diffusers 0.42.1 gives the most frequent one to all modules of attention.
    one = {k: torch.tensor(1.5) if k.endswith(".alpha") else v for k, v in tensors.items()}
    file = written(tmp_path / "lora.safetensors", one)
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.load_lora_weights(str(tmp_path), weight_name=file.name)
    pipe.fuse_lora(lora_scale=SCALE)
    pipe.unload_lora_weights()
    _, got = weights_of(traced, Lora(str(file), SCALE))
    for component in MODULES:
        for key, want in getattr(pipe, component).state_dict().items():
            if (component, key) in got:
                torch.testing.assert_close(got[component, key], want, rtol=0, atol=1e-6)


def test_a_header_of_peft_has_alphas(folder, traced, tmp_path):
    """As `save_lora_weights` writes it, with one alpha for a module."""
    special = f"{BLOCK}.attn1.to_q"
    header = {"unet.lora_alpha": 3.0, "unet.r": 2, "unet.alpha_pattern": {f"^{special}": 1.0},
              "unet.use_rslora": False}  # fmt: skip
    halves = ranks(folder)
    file = written(
        tmp_path / "lora.safetensors", peft(halves), lora_adapter_metadata=json.dumps(header)
    )
    _, got = weights_of(traced, Lora(str(file), 1.0))
    for (component, module), (down, up) in halves.items():
        if component == "unet":
            alpha = 1.0 if module == special else 3.0
            added = torch.einsum("or...,r...->o...", up.flatten(1), down.flatten(1))
            want = stored(folder, component)[f"{module}.weight"].flatten(1)
            want = want + alpha / down.shape[0] * added
            result = got[component, f"{module}.weight"].flatten(1)
            torch.testing.assert_close(result, want, rtol=0, atol=1e-6)


def test_files_add_up_and_pickles_are_read(folder, traced, tmp_path):
    first = written(tmp_path / "a.safetensors", peft(ranks(folder)))
    second = tmp_path / "b.bin"
    torch.save(kohya(ranks(folder)), second)
    _, got = weights_of(traced, Lora(str(first), 0.5), Lora(str(second), -0.25))
    plain = by_hand(folder, 0.0, alphas=False)
    one, other = by_hand(folder, 0.5, alphas=False), by_hand(folder, -0.25, alphas=True)
    for (component, module), weight in plain.items():
        want = one[component, module] + other[component, module] - weight
        got_one = got[component, f"{module}.weight"]
        torch.testing.assert_close(got_one, want, rtol=0, atol=1e-6)


def test_the_identity_of_changed_weights_holds_file_and_scale(folder, traced, tmp_path):
    first = written(tmp_path / "a.safetensors", peft(ranks(folder)))
    halves = {at: (down, 2 * up) for at, (down, up) in ranks(folder).items()}
    second = written(tmp_path / "b.safetensors", peft(halves))
    _, stages, cache = traced
    (unet,) = (s for s in stages.values() if s.record.checkpoint == "unet")
    name_of = {key: name for name, key in unet.key_of.items()}
    changed, same = name_of[f"{BLOCK}.attn1.to_q.weight"], name_of[f"{BLOCK}.attn1.to_k.weight"]

    def identities(name: str, *loras: Lora) -> tuple[str, ...]:
        return tuple(weights_of(traced, *loras)[0].identity(unet, [name], DigestMemo(cache)))

    files = [Lora(str(first), 1.0), Lora(str(first), 0.5), Lora(str(second), 1.0)]
    assert len({identities(changed, *loras) for loras in [(), *((f,) for f in files)]}) == 4
    assert len({identities(same, *loras) for loras in [(), *((f,) for f in files)]}) == 1
    again = written(tmp_path / "c.safetensors", peft(ranks(folder)))
    assert identities(changed, Lora(str(again), 1.0)) == identities(changed, files[0])


def test_names_of_sdxl_as_kohya_has_them():
    """Blocks of the latent-diffusion code are those of diffusers, counted otherwise."""
    names = {
        "input_blocks_4_1_transformer_blocks_0_attn1_to_q":
            "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q",
        "input_blocks_8_1_proj_in": "down_blocks.2.attentions.1.proj_in",
        "middle_block_1_transformer_blocks_3_ff_net_0_proj":
            "mid_block.attentions.0.transformer_blocks.3.ff.net.0.proj",
        "output_blocks_5_1_transformer_blocks_1_attn2_to_out_0":
            "up_blocks.1.attentions.2.transformer_blocks.1.attn2.to_out.0",
        "input_blocks_1_0_in_layers_2": "down_blocks.0.resnets.0.conv1",
    }  # fmt: skip
    tensors = {}
    for name in names:
        tensors[f"lora_unet_{name}.lora_down.weight"] = torch.ones(2, 3)
        tensors[f"lora_unet_{name}.lora_up.weight"] = torch.ones(4, 2)
    base = "lora_te2_text_model_encoder_layers_7_mlp_fc2"
    tensors[f"{base}.lora_down.weight"] = torch.ones(2, 3)
    tensors[f"{base}.lora_up.weight"] = torch.ones(4, 2)
    tensors[f"{base}.alpha"] = torch.tensor(8.0)
    found = pairs(tensors, "StableDiffusionXLPipeline", {"unet": {"layers_per_block": 2}}, {})
    text = ("text_encoder_2", "text_model.encoder.layers.7.mlp.fc2")
    assert found.keys() == {*(("unet", module) for module in names.values()), text}
    assert torch.equal(found[text][1], torch.full((4, 2), 4.0))


def test_names_of_flux_as_kohya_has_them():
    """Its one matrix for queries, keys and values is three in diffusers."""
    base = "lora_unet_double_blocks_0_img_attn_qkv"
    up = torch.randn(12, 2)
    tensors = {f"{base}.lora_down.weight": torch.randn(2, 4), f"{base}.lora_up.weight": up,
               f"{base}.alpha": torch.tensor(1.0)}  # fmt: skip
    found = pairs(tensors, "FluxPipeline", {}, {})
    block = "transformer_blocks.0.attn"
    assert found.keys() == {("transformer", f"{block}.to_{c}") for c in "qkv"}
    for c, part in zip("qkv", up.chunk(3), strict=True):
        down, high = found["transformer", f"{block}.to_{c}"]
        want = 0.5 * part @ tensors[f"{base}.lora_down.weight"]
        torch.testing.assert_close(high @ down, want)


@pytest.mark.parametrize(
    ("names", "owner", "module"),
    [
        ("diffusion_model.blocks.3.ffn.0 lora_down lora_up", "WanPipeline",
         "blocks.3.ffn.net.0.proj"),
        ("diffusion_model.blocks.0.cross_attn.k lora_A lora_B", "WanPipeline",
         "blocks.0.attn2.to_k"),
        ("transformer.blocks.0.attn1.to_q lora_A lora_B", "WanPipeline", "blocks.0.attn1.to_q"),
        ("transformer.transformer_blocks.0.attn.to_q lora_A lora_B", "FluxPipeline",
         "transformer_blocks.0.attn.to_q"),
        ("transformer.transformer_blocks.0.attn1.to_q lora_A lora_B", "PixArtSigmaPipeline",
         "transformer_blocks.0.attn1.to_q"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("alpha", [None, 1.0, 6.0])
def test_names_of_other_transformers(names, owner, module, alpha):
    """With alphas and without, whether a conversion of the library reads them or not."""
    base, down, up = names.split()
    halves = {down: torch.randn(2, 4), up: torch.randn(6, 2)}
    tensors = {f"{base}.{name}.weight": value for name, value in halves.items()}
    tensors |= {} if alpha is None else {f"{base}.alpha": torch.tensor(alpha)}
    low, high = pairs(tensors, owner, {}, {})["transformer", module]
    want = halves[up] @ halves[down] * (1 if alpha is None else alpha / 2)
    torch.testing.assert_close(high.float() @ low.float(), want)


def test_names_of_wan_as_kohya_s_musubi_has_them():
    """A whole block; diffusers' conversion of these wants alphas."""
    names = {"self_attn_q": "attn1.to_q", "cross_attn_o": "attn2.to_out.0", "ffn_2": "ffn.net.2"}
    every = [f"{a}_attn_{c}" for a in ("self", "cross") for c in "qkvo"] + ["ffn_0", "ffn_2"]
    tensors = {}
    for name in every:
        base = f"lora_unet_blocks_0_{name}"
        tensors[f"{base}.lora_down.weight"] = torch.randn(2, 4)
        tensors[f"{base}.lora_up.weight"] = torch.randn(6, 2)
        tensors[f"{base}.alpha"] = torch.tensor(0.5)
    found = pairs(tensors, "WanPipeline", {}, {})
    assert len(found) == len(every)
    for name, module in names.items():
        low, high = found["transformer", f"blocks.0.{module}"]
        base = f"lora_unet_blocks_0_{name}"
        want = 0.25 * tensors[f"{base}.lora_up.weight"] @ tensors[f"{base}.lora_down.weight"]
        torch.testing.assert_close(high @ low, want)


def changed(tensors: dict[str, torch.Tensor], **more: Any) -> dict[str, torch.Tensor]:
    return tensors | {k.replace("__", "."): v for k, v in more.items()}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: {k.replace("attn1", "attn7").replace("conv1", "conv9"): v for k, v in t.items()},
         r"11 modules 2 fit no weight.*attn7\.to_q.*conv9|11 modules 2 fit.*conv9.*attn7"),
        (lambda t: {k: v[:-1] if k.endswith("to_q.lora_B.weight") else v for k, v in t.items()},
         r"of other shapes: unet.*to_q of \(7, 8\) instead of \(8, 8\)"),
        (lambda t: changed(t, unet__x__lora_magnitude_vector=torch.ones(2)), "DoRA.*fuse_lora"),
        (lambda t: changed(t, lora_unet_x__hada_w1_a=torch.ones(2, 2)), "LoHa.*fuse_lora"),
        (lambda t: changed(t, unet__x__lora_B__bias=torch.ones(2)), "biases.*fuse_lora"),
        (lambda t: dict(list(t.items())[1:]), "one half only"),
        (lambda t: {k: v * torch.nan for k, v in t.items()}, "nan|finite|NaN"),
    ],
)  # fmt: skip
def test_what_fits_nothing_is_said_at_once(folder, traced, tmp_path, change, said):
    file = written(tmp_path / "lora.safetensors", change(peft(ranks(folder))))
    with pytest.raises(ConfigError, match=said) as caught:
        weights_of(traced, Lora(str(file), 1.0))
    assert str(file) in str(caught.value)


def test_files_that_are_none(traced, tmp_path):
    with pytest.raises(ConfigError, match=r"none\.safetensors.*cannot be read"):
        weights_of(traced, Lora(str(tmp_path / "none.safetensors"), 1.0))
    with pytest.raises(ConfigError, match="a folder; give the file"):
        weights_of(traced, Lora(str(tmp_path), 1.0))
    with pytest.raises(GraphFault, match="diffusers' FluxPipeline cannot convert"):
        pairs({"lora_unet_double_blocks_0_x.lora_down.weight": torch.ones(2, 2)}, "FluxPipeline",
              {}, {})  # fmt: skip


@pytest.mark.parametrize(
    ("words", "want"),
    [
        (["pipeline.lora=a.safetensors"], (("a.safetensors", 1.0),)),
        (["pipeline.lora=a.bin", "pipeline.lora_scale=0.8"], (("a.bin", 0.8),)),
        (["pipeline.lora=[a,{file: b, scale: 0.5}]", "pipeline.lora_scale=2"],
         (("a", 2.0), ("b", 0.5))),
        (["pipeline.lora={file: b, scale: -1}"], (("b", -1.0),)),
    ],
)  # fmt: skip
def test_words_of_the_command_line(folder, words, want):
    job = read(compose(["+target=host", "pipeline=folder", f"pipeline.weights={folder}", *words]))
    assert tuple((lora.file, lora.scale) for lora in job.pipeline.loras) == want
    assert job.pipeline.lora_class == OWNER


@pytest.mark.parametrize("lora", ["3", "{file: a, rate: 2}", "{scale: 2}", "{file: a, scale: b}"])
def test_other_words_are_refused(folder, lora):
    words = ["+target=host", "pipeline=folder", f"pipeline.weights={folder}"]
    with pytest.raises(ConfigError, match=r"pipeline\.lora"):
        read(compose([*words, f"pipeline.lora={lora}"]))


@torch.no_grad()
@pytest.mark.slow
def test_a_picture_with_a_lora(folder, tmp_path):
    """End to end; and a plan does not decide which LoRA is read when it is verified."""
    file = written(tmp_path / "lora.safetensors", kohya(ranks(folder)))
    pipe = StableDiffusionPipeline.from_pretrained(folder)
    pipe.set_progress_bar_config(disable=True)
    latents = normal(3, 1, 4, 8, 8)
    settings = {"negative_prompt": "b", "latents": latents, "guidance_scale": 4.0,
                "num_inference_steps": 2, "output_type": "pt"}  # fmt: skip
    plain = pipe("a red cat", **settings).images
    for (component, module), weight in by_hand(folder, SCALE, alphas=True).items():
        getattr(pipe, component).get_submodule(module).weight.copy_(weight)
    want = pipe("a red cat", **settings).images
    assert (want - plain).abs().max() > 0.01
    words = ["sampler.steps=2", f"pipeline.lora={file}", f"pipeline.lora_scale={SCALE}"]
    built = compiled(folder, tmp_path / "build", *words)
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0}
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, "fp32")

    plan = read_plan(tmp_path / "build")
    with pytest.raises(PlanError, match=r"1 LoRA files .*--lora FILE"):
        job_of(plan, Origin(weights=str(folder)))
    (lora,) = job_of(plan, Origin(weights=str(folder), loras=("mine",))).pipeline.loras
    assert (lora.file, lora.scale) == ("mine", SCALE)
    origin = Origin(weights=str(folder), loras=(str(file),))
    assert verify_build(tmp_path / "build", origin=origin, save=False, distinct=True).passed
