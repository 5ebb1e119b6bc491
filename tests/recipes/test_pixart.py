"""PixArtAlphaPipeline, told the picture's sizes, and PixArtSigmaPipeline; masked texts, guided."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DPMSolverMultistepScheduler,
    PixArtAlphaPipeline,
    PixArtSigmaPipeline,
    PixArtTransformer2DModel,
)
from transformers import T5Config, T5EncoderModel

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

HEIGHT, WIDTH, STEPS, LENGTH = 16, 24, 3, 20


def tiny(cls: type, is_told: bool):
    torch.manual_seed(14)
    t5 = T5Config(
        vocab_size=32, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    # What diffusers asks for the sizes by is this very number.
    transformer = PixArtTransformer2DModel(
        sample_size=128 if is_told else 8, num_layers=2, attention_head_dim=12,
        num_attention_heads=2, in_channels=4, out_channels=8, cross_attention_dim=24,
        caption_channels=24, interpolation_scale=2 if is_told else 1,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    pipe = cls(
        tokenizer=words.t5(LENGTH), text_encoder=T5EncoderModel(t5).eval(), vae=vae,
        transformer=transformer, scheduler=DPMSolverMultistepScheduler(),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    ("cls", "precision"),
    [
        pytest.param(PixArtAlphaPipeline, "fp32", marks=pytest.mark.slow),
        (PixArtSigmaPipeline, "fp32"),
        pytest.param(PixArtAlphaPipeline, "fp16", marks=pytest.mark.slow),
        pytest.param(PixArtSigmaPipeline, "fp16", marks=pytest.mark.slow),
    ],
)
def test_a_folder_becomes_a_picture(tmp_path, cls, precision):
    pipe = tiny(cls, is_told=cls is PixArtAlphaPipeline)
    pipe.save_pretrained(tmp_path / "folder")
    want = pipe(
        " A red CAT", negative_prompt="b", latents=normal(3, 1, 4, HEIGHT // 2, WIDTH // 2),
        guidance_scale=4.0, num_inference_steps=STEPS, max_sequence_length=LENGTH,
        height=HEIGHT, width=WIDTH, use_resolution_binning=False, clean_caption=False,
        output_type="pt",
    ).images  # fmt: skip
    options = {"length": LENGTH, "height": HEIGHT, "width": WIDTH}
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        *(f"pipeline.options.{k}={v}" for k, v in options.items()),
        "pipeline.options.binned=false", precision=precision,
    )  # fmt: skip
    given = {"prompt": " A red CAT", "negative": "b", "seed": 3, "guidance": 4.0}
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, precision)
