"""StableDiffusionPipeline, 1.x and 2.x: folder in, picture out, as diffusers makes it."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    PNDMScheduler,
    StableDiffusionPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

LENGTH, STEPS = 12, 3
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
# As the hub's folders have them: 1.5, and 2.1 with its velocities.
SCHEDULERS = {
    "1.5": PNDMScheduler(skip_prk_steps=True, steps_offset=1, **BETAS),
    "2.1": DDIMScheduler(
        clip_sample=False, set_alpha_to_one=False, steps_offset=1,
        prediction_type="v_prediction", **BETAS,
    ),
}  # fmt: skip


def tiny(version: str) -> StableDiffusionPipeline:
    torch.manual_seed(11)
    text = CLIPTextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, bos_token_id=62, eos_token_id=63,
        pad_token_id=63,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        cross_attention_dim=16, attention_head_dim=4, use_linear_projection=version == "2.1",
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    pipe = StableDiffusionPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=words.clip(LENGTH), unet=unet,
        scheduler=SCHEDULERS[version], safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize(
    ("version", "precision"),
    [("1.5", "fp32"), pytest.param("1.5", "fp16", marks=pytest.mark.slow),
     pytest.param("2.1", "fp32", marks=pytest.mark.slow),
     pytest.param("2.1", "fp16", marks=pytest.mark.slow)],
)  # fmt: skip
def test_a_folder_becomes_a_picture(tmp_path, version, precision):
    pipe = tiny(version)
    pipe.save_pretrained(tmp_path / "folder")
    want = pipe(
        "a red cat", negative_prompt="b", latents=normal(3, 1, 4, 8, 8), guidance_scale=4.0,
        num_inference_steps=STEPS, output_type="pt",
    ).images  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}", precision=precision
    )
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0}
    # diffusers cuts pictures off at 0 and 1.
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, precision)


@pytest.mark.slow
@torch.no_grad()
def test_attention_in_blocks_of_queries(tmp_path):
    """64 queries of 64 scores and 4 heads, twice: 128 KiB at once in fp32; here 5 KiB."""
    pipe = tiny("2.1")
    pipe.save_pretrained(tmp_path / "folder")
    want = pipe(
        "a red cat", latents=normal(3, 1, 4, 8, 8), num_inference_steps=STEPS, output_type="pt"
    ).images  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        "partition.score_bytes=5KiB",
    )  # fmt: skip
    whole = compiled(
        tmp_path / "folder", tmp_path / "whole", f"sampler.steps={STEPS}", "dry_run=true"
    )
    given = {"prompt": "a red cat", "seed": 3}
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, "fp32")
    assert activations(built) < activations(whole) - 100 * 1024


def activations(built) -> int:
    return max(c.activation_bytes for c in built.plan.chunks if c.graph == "denoise")
