"""MochiPipeline: folder in, video out, as diffusers makes it."""

import pytest
import torch
from diffusers import (
    AutoencoderKLMochi,
    FlowMatchEulerDiscreteScheduler,
    MochiPipeline,
    MochiTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

STEPS, FRAMES = 3, 13


def tiny() -> MochiPipeline:
    torch.manual_seed(14)
    text = T5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    net = MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=8, num_layers=2, pooled_projection_dim=16,
        in_channels=12, text_embed_dim=16, time_embed_dim=16,
    )  # fmt: skip
    net.pos_frequencies.data.normal_()  # which is 0 before it is trained
    vae = AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4,
        layers_per_block=(1,) * 5, scaling_factor=1.3,
    )  # fmt: skip
    pipe = MochiPipeline(
        FlowMatchEulerDiscreteScheduler(invert_sigmas=True), vae, T5EncoderModel(text).eval(),
        words.t5(256), net, force_zeros_for_empty_prompt=True,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize(
    ("precision", "negative"),
    [
        pytest.param("fp32", "", marks=pytest.mark.slow),
        pytest.param("fp16", "b", marks=pytest.mark.slow),
    ],
)
def test_a_folder_becomes_a_video(tmp_path, precision, negative):
    pipe = tiny()
    pipe.save_pretrained(tmp_path / "folder")
    want = pipe(
        "a red cat", negative_prompt=negative, latents=normal(3, 1, 12, 3, 2, 4),
        guidance_scale=4.0, num_inference_steps=STEPS, num_frames=FRAMES, height=16, width=32,
        output_type="pt",
    ).frames  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        "pipeline.options.height=16", "pipeline.options.width=32",
        f"pipeline.options.frames={FRAMES}", precision=precision,
    )  # fmt: skip
    given = {"prompt": "a red cat", "negative": negative, "seed": 3, "guidance": 4.0}
    made = (run(built, given, "video") / 2 + 0.5).clip(0, 1)
    # diffusers has frames first, and cuts off at 0 and 1.
    check(made.swapaxes(1, 2), want, precision)
