"""StableCascade: the prior, the decoder, and both in one folder."""

import json

import numpy as np
import pytest
import torch
from diffusers import (
    DDPMWuerstchenScheduler,
    StableCascadeCombinedPipeline,
    StableCascadeDecoderPipeline,
    StableCascadePriorPipeline,
    StableCascadeUNet,
)
from diffusers.pipelines.deprecated.wuerstchen import PaellaVQModel
from diffusers.pipelines.stable_cascade import pipeline_stable_cascade as decoding
from diffusers.pipelines.stable_cascade import pipeline_stable_cascade_prior as imagining
from diffusers.schedulers import scheduling_ddpm_wuerstchen as stepping
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from entracte.errors import ConfigError
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

LENGTH, STEPS = 12, 2
HUBS_VQGAN = ["wuerstchen", "PaellaVQModel"]
SIZES = {"height": 128, "width": 170}
EMBEDDING, LATENTS = (1, 6, 3, 4), (1, 4, 32, 42)
"""Of these sizes, by the pipelines' factors 42.67 and 10.67."""
PRECISIONS = ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]


def clip() -> CLIPTextModelWithProjection:
    return CLIPTextModelWithProjection(CLIPTextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, projection_dim=12, eos_token_id=2,
    ))  # fmt: skip


def unet(**settings) -> StableCascadeUNet:
    made = StableCascadeUNet(
        timestep_ratio_embedding_dim=8, conditioning_dim=16, block_out_channels=(16, 24),
        down_num_layers_per_block=(1, 2), up_num_layers_per_block=(2, 1), clip_seq=24,
        clip_text_pooled_in_channels=12, **settings,
    )  # fmt: skip
    return moved(made)


def moved(module: torch.nn.Module) -> torch.nn.Module:
    """With numbers where the library begins with 0, and without dropout."""
    for name, value in module.named_parameters():
        if "kv_mapper" in name:
            value.data *= 8
        if name.rpartition(".")[2] in ("gamma", "beta", "gammas"):
            torch.nn.init.normal_(value, std=0.3)
    return module.eval()


def prior() -> StableCascadeUNet:
    return unet(
        in_channels=6, out_channels=6, num_attention_heads=(2, 2), clip_text_in_channels=16,
        clip_image_in_channels=10, switch_level=(False,),
    )  # fmt: skip


def decoder() -> StableCascadeUNet:
    first = ("SDCascadeResBlock", "SDCascadeTimestepBlock")
    return unet(
        in_channels=4, out_channels=4, patch_size=2, num_attention_heads=(-1, 2),
        block_types_per_layer=(first, (*first, "SDCascadeAttnBlock")), effnet_in_channels=6,
        pixel_mapper_in_channels=3, timestep_conditioning_type=("sca",),
        down_blocks_repeat_mappers=(1, 1), up_blocks_repeat_mappers=(2, 1),
    )  # fmt: skip


def vqgan() -> torch.nn.Module:
    made = PaellaVQModel(bottleneck_blocks=2, embed_dim=16, num_vq_embeddings=8, scale_factor=0.02)
    # Latents of models that know nothing are large; few pixels may be cut off.
    made.out_block[0].weight.data *= 0.2
    made.out_block[0].bias.data += 0.5
    return moved(made)


def saved(pipe, folder):
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(folder)
    return pipe


@pytest.fixture
def noise(monkeypatch):
    """What the library draws is what the compiled loops draw: in the order of the salts given."""

    def given(start: int, salts: list[tuple[int, int | None]]) -> None:
        drawn = iter(salts)

        def randn_tensor(shape, **_):
            salt, iteration = next(drawn)
            return normal(start, *shape, salt=salt, iteration=iteration)

        for module in (decoding, imagining, stepping):
            monkeypatch.setattr(module, "randn_tensor", randn_tensor)

    return given


def words_of(steps: int, **options) -> list[str]:
    given = SIZES | options
    return [f"sampler.steps={steps}", *(f"+pipeline.options.{k}={v}" for k, v in given.items())]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_prior(tmp_path, noise, precision):
    torch.manual_seed(11)
    pipe = StableCascadePriorPipeline(
        tokenizer=words.clip(LENGTH), text_encoder=clip(), prior=prior(),
        scheduler=DDPMWuerstchenScheduler(),
    )  # fmt: skip
    saved(pipe, tmp_path / "folder")
    noise(3, [(0, None), (1, 0), (1, 1)])
    want = pipe(
        "a red cat", **SIZES, num_inference_steps=STEPS, guidance_scale=3.0, negative_prompt="b"
    ).image_embeddings
    assert want.shape == EMBEDDING
    built = compiled(tmp_path / "folder", tmp_path / "build", *words_of(STEPS), precision=precision)
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 3.0}
    check(run(built, given, "image_embeddings"), want, precision)


def decoding_pipe() -> StableCascadeDecoderPipeline:
    torch.manual_seed(11)
    return StableCascadeDecoderPipeline(
        decoder=decoder(), tokenizer=words.clip(LENGTH), text_encoder=clip(),
        scheduler=DDPMWuerstchenScheduler(), vqgan=vqgan(),
    )  # fmt: skip


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_decoder(tmp_path, noise, precision):
    pipe = decoding_pipe()
    saved(pipe, tmp_path / "folder")
    # The hub's folders name another library for it; what diffusers 0.42 saves is in `test_both`.
    index = tmp_path / "folder" / "model_index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"vqgan": HUBS_VQGAN}))
    noise(3, [(2, None), (3, 0), (3, 1)])
    embedding = normal(5, *EMBEDDING)
    np.save(tmp_path / "embedding.npy", embedding.numpy())
    want = pipe(
        embedding, "a red cat", num_inference_steps=STEPS, guidance_scale=3.0, negative_prompt="b",
        output_type="pt",
    ).images  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", *words_of(STEPS, guided=True), precision=precision
    )
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 3.0,
             "image_embeddings": str(tmp_path / "embedding.npy")}  # fmt: skip
    check(run(built, given, "image").clip(0, 1), want, precision)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_both(tmp_path, noise, precision):
    torch.manual_seed(11)
    tokenizer, encoder = words.clip(LENGTH), clip()
    pipe = StableCascadeCombinedPipeline(
        tokenizer=tokenizer, text_encoder=clip(), decoder=decoder(), vqgan=vqgan(),
        scheduler=DDPMWuerstchenScheduler(), prior_prior=prior(), prior_text_encoder=encoder,
        prior_tokenizer=tokenizer, prior_scheduler=DDPMWuerstchenScheduler(),
    )  # fmt: skip
    saved(pipe, tmp_path / "folder")
    noise(3, [(0, None), (1, 0), (1, 1), (1, 2), (2, None), (3, 0), (3, 1)])
    want = pipe(
        "a red cat", **SIZES, prior_num_inference_steps=3, num_inference_steps=STEPS,
        prior_guidance_scale=3.0, negative_prompt="b", output_type="pt",
    ).images  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", *words_of(STEPS, prior_steps=3),
        precision=precision,
    )  # fmt: skip
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 3.0}
    check(run(built, given, "image").clip(0, 1), want, precision)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        # 200 / 42.67 are 5 numbers, and 5 * 10.67 are 53 latents.
        ({"width": 200}, "width: it makes 53 latents, no multiple of 2; give 170 or 256"),
        ({"scheduler": "DDIMScheduler"}, "takes DDPMWuerstchenScheduler only"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, options, said):
    saved(decoding_pipe(), tmp_path / "folder")
    with pytest.raises(ConfigError, match=said):
        compiled(tmp_path / "folder", tmp_path / "build", *words_of(STEPS, **options))
