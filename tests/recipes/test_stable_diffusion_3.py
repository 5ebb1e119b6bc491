"""StableDiffusion3Pipeline: as 3, without T5 and as 3.5 with it; guided."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    FlowMatchEulerDiscreteScheduler,
    SD3Transformer2DModel,
    StableDiffusion3Pipeline,
)
from transformers import CLIPTextConfig, CLIPTextModelWithProjection, T5Config, T5EncoderModel

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

HEIGHT, WIDTH, STEPS, LENGTH = 16, 24, 2, 10


def clip(seed: int, width: int) -> CLIPTextModelWithProjection:
    torch.manual_seed(seed)
    config = CLIPTextConfig(
        vocab_size=64, hidden_size=width, intermediate_size=32, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=12, bos_token_id=62, eos_token_id=63,
        pad_token_id=63, projection_dim=width - 4,
    )  # fmt: skip
    return CLIPTextModelWithProjection(config).eval()


def tiny(has_t5: bool) -> StableDiffusion3Pipeline:
    torch.manual_seed(13)
    t5 = T5Config(
        vocab_size=32, d_model=40, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    transformer = SD3Transformer2DModel(
        sample_size=16, patch_size=2, in_channels=4, out_channels=4, num_layers=2,
        attention_head_dim=8, num_attention_heads=2, joint_attention_dim=40,
        caption_projection_dim=16, pooled_projection_dim=28, pos_embed_max_size=8,
        dual_attention_layers=(0,) if has_t5 else (), qk_norm="rms_norm" if has_t5 else None,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        scaling_factor=1.5, shift_factor=0.06, use_quant_conv=False, use_post_quant_conv=False,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    pipe = StableDiffusion3Pipeline(
        transformer=transformer, vae=vae, scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0),
        text_encoder=clip(1, 16), tokenizer=words.clip(12),
        text_encoder_2=clip(2, 20), tokenizer_2=words.clip(12),
        text_encoder_3=T5EncoderModel(t5).eval() if has_t5 else None,
        tokenizer_3=words.t5(LENGTH) if has_t5 else None,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    ("has_t5", "precision"),
    [
        (True, "fp32"),
        pytest.param(False, "fp32", marks=pytest.mark.slow),
        pytest.param(True, "fp16", marks=pytest.mark.slow),
    ],
)
def test_a_folder_becomes_a_picture(tmp_path, has_t5, precision):
    pipe = tiny(has_t5)
    pipe.save_pretrained(tmp_path / "folder")
    want = pipe(
        "a red cat", negative_prompt="b", latents=normal(3, 1, 4, HEIGHT // 2, WIDTH // 2),
        guidance_scale=5.0, num_inference_steps=STEPS, max_sequence_length=LENGTH,
        height=HEIGHT, width=WIDTH, output_type="pt",
    ).images  # fmt: skip
    options = {"length": LENGTH, "height": HEIGHT, "width": WIDTH}
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        *(f"pipeline.options.{k}={v}" for k, v in options.items()), precision=precision,
    )  # fmt: skip
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 5.0}
    check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, precision)
