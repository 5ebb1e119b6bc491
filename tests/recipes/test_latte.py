"""LattePipeline: folder in, video out, as diffusers makes it."""

import pytest
import torch
from diffusers import AutoencoderKL, DDIMScheduler, LattePipeline, LatteTransformer3DModel
from transformers import T5Config, T5EncoderModel

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

STEPS, FRAMES = 2, 3


def tiny() -> LattePipeline:
    torch.manual_seed(12)
    text = T5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    net = LatteTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=8, num_layers=2,
        cross_attention_dim=16, sample_size=8, patch_size=2, norm_type="ada_norm_single",
        caption_channels=16, video_length=FRAMES, norm_elementwise_affine=False, norm_eps=1e-6,
        activation_fn="gelu-approximate", attention_bias=True,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    scheduler = DDIMScheduler(beta_start=1e-4, beta_end=0.02, clip_sample=False)
    pipe = LattePipeline(
        words.t5(120), T5EncoderModel(text).eval(), vae, net, scheduler
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_a_folder_becomes_a_video(tmp_path, precision):
    pipe = tiny()
    pipe.save_pretrained(tmp_path / "folder")
    want = pipe(
        "A Red cat ", negative_prompt="b", latents=normal(3, 1, 4, FRAMES, 8, 12),
        guidance_scale=4.0, num_inference_steps=STEPS, video_length=FRAMES, height=16, width=24,
        output_type="pt",
    ).frames  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        "pipeline.options.height=16", "pipeline.options.width=24", precision=precision,
    )  # fmt: skip
    given = {"prompt": "A Red cat ", "negative": "b", "seed": 3, "guidance": 4.0}
    made = (run(built, given, "video") / 2 + 0.5).clip(0, 1)
    # diffusers has frames first, and cuts off at 0 and 1.
    check(made.swapaxes(1, 2), want, precision)
