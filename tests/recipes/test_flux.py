"""FluxPipeline: schnell without and dev with guidance told, its steps shifted by the size."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    FluxPipeline,
    FluxTransformer2DModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

HEIGHT, WIDTH, STEPS, LENGTH = 16, 24, 3, 10


def tiny(is_told: bool) -> FluxPipeline:
    torch.manual_seed(12)
    clip = CLIPTextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=12, bos_token_id=62, eos_token_id=63,
        pad_token_id=63,
    )  # fmt: skip
    t5 = T5Config(
        vocab_size=32, d_model=24, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    transformer = FluxTransformer2DModel(
        in_channels=16, num_layers=2, num_single_layers=2, attention_head_dim=16,
        num_attention_heads=2, joint_attention_dim=24, pooled_projection_dim=16,
        guidance_embeds=is_told, axes_dims_rope=(4, 4, 8),
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        scaling_factor=0.4, shift_factor=0.1, use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    # As schnell's and dev's folders have it.
    scheduler = FlowMatchEulerDiscreteScheduler(
        shift=3.0 if is_told else 1.0, use_dynamic_shifting=is_told
    )
    pipe = FluxPipeline(
        scheduler=scheduler, vae=vae, transformer=transformer,
        text_encoder=CLIPTextModel(clip), tokenizer=words.clip(12),
        text_encoder_2=T5EncoderModel(t5).eval(), tokenizer_2=words.t5(LENGTH),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.parametrize(
    ("is_told", "precision"),
    [(False, "fp32"), *(pytest.param(True, p, marks=pytest.mark.slow) for p in ("fp32", "fp16"))],
)
def test_a_folder_becomes_a_picture(tmp_path, is_told, precision):
    pipe = tiny(is_told)
    pipe.save_pretrained(tmp_path / "folder")
    noise = normal(3, 1, 4, HEIGHT // 2, WIDTH // 2)
    want = pipe(
        "a red cat", latents=pipe._pack_latents(noise, 1, 4, HEIGHT // 2, WIDTH // 2),
        guidance_scale=5.0, num_inference_steps=STEPS, max_sequence_length=LENGTH,
        height=HEIGHT, width=WIDTH, output_type="pt",
    ).images  # fmt: skip
    options = {"length": LENGTH, "height": HEIGHT, "width": WIDTH}
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        *(f"pipeline.options.{k}={v}" for k, v in options.items()), precision=precision,
    )  # fmt: skip
    given = {"prompt": "a red cat", "seed": 3} | ({"guidance": 5.0} if is_told else {})
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, precision)
