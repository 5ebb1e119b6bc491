"""SanaPipeline: what its language model is told first, linear attention, guided."""

import pytest
import torch
from diffusers import (
    AutoencoderDC,
    DPMSolverMultistepScheduler,
    SanaPipeline,
    SanaTransformer2DModel,
)
from transformers import Gemma2Config, Gemma2Model

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

HEIGHT, WIDTH, STEPS, LENGTH = 32, 64, 2, 8


def tiny() -> SanaPipeline:
    torch.manual_seed(15)
    gemma = Gemma2Config(
        vocab_size=16, hidden_size=16, intermediate_size=32, num_hidden_layers=2, head_dim=8,
        num_attention_heads=2, num_key_value_heads=1, query_pre_attn_scalar=8, pad_token_id=0,
        bos_token_id=2, eos_token_id=1,
    )  # fmt: skip
    transformer = SanaTransformer2DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=8, num_layers=2,
        num_cross_attention_heads=2, cross_attention_head_dim=8, cross_attention_dim=16,
        caption_channels=16, sample_size=32,
    )  # fmt: skip
    levels = {"block_types": ("ResBlock", "EfficientViTBlock"), "block_out_channels": (8, 16),
              "layers_per_block": (1, 1), "qkv_multiscales": ((), (5,))}  # fmt: skip
    vae = AutoencoderDC(
        latent_channels=4, attention_head_dim=4, scaling_factor=0.4,
        upsample_block_type="interpolate", downsample_block_type="conv",
        **{f"{side}_{k}": v for side in ("encoder", "decoder") for k, v in levels.items()},
    )  # fmt: skip
    # As the hub's folder has it.
    scheduler = DPMSolverMultistepScheduler(
        use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=3.0
    )
    pipe = SanaPipeline(
        tokenizer=words.whole("a", "red", "cat", "b", "the", "prompt", "of", "User", ":"),
        text_encoder=Gemma2Model(gemma).eval(), vae=vae, transformer=transformer,
        scheduler=scheduler,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    "precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]
)  # fmt: skip
def test_a_folder_becomes_a_picture(tmp_path, precision):
    pipe = tiny()
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
        *(f"pipeline.options.{k}={v}" for k, v in options.items()), precision=precision,
    )  # fmt: skip
    given = {"prompt": " A red CAT", "negative": "b", "seed": 3, "guidance": 4.0}
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, precision)
