"""CogVideoXPipeline, 2B's and 5B's kinds: folder in, video out, as diffusers makes it."""

import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from transformers import T5Config, T5EncoderModel

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

LENGTH, STEPS = 10, 3
ROWS, COLUMNS, FRAMES = 4, 6, 17
"""Of the latents; 17 frames are 5 latent ones, decoded as 3 and 2."""
SCHEDULE = {
    "beta_schedule": "scaled_linear", "clip_sample": False, "prediction_type": "v_prediction",
    "rescale_betas_zero_snr": True, "timestep_spacing": "trailing", "snr_shift_scale": 3.0,
}  # fmt: skip


def t5() -> T5EncoderModel:
    return T5EncoderModel(
        T5Config(
            vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
            feed_forward_proj="gated-gelu", dropout_rate=0.0,
        )
    )  # fmt: skip


def vae(**more) -> AutoencoderKLCogVideoX:
    made = AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8, 8), latent_channels=4, layers_per_block=1, norm_num_groups=2,
        scaling_factor=0.7, sample_height=32, sample_width=48, **more,
    )  # fmt: skip
    return made


def transformer(**more) -> CogVideoXTransformer3DModel:
    sizes = {"in_channels": 4, "out_channels": 4, "sample_height": ROWS, "sample_width": COLUMNS,
             "sample_frames": FRAMES} | more  # fmt: skip
    return CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, time_embed_dim=8, text_embed_dim=16,
        num_layers=2, max_text_seq_length=LENGTH, **sizes,
    )  # fmt: skip


@torch.no_grad()
def test_a_folder_becomes_a_video(tmp_path):
    torch.manual_seed(5)
    pipe = CogVideoXPipeline(
        tokenizer=words.t5(LENGTH), text_encoder=t5(), vae=vae(), transformer=transformer(),
        scheduler=CogVideoXDDIMScheduler(**SCHEDULE),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path / "folder")
    want = pipe(
        "a red cat", negative_prompt="b", latents=normal(3, 1, 5, 4, ROWS, COLUMNS),
        guidance_scale=4.0, num_inference_steps=STEPS, num_frames=FRAMES, output_type="pt",
        max_sequence_length=LENGTH,
    ).frames  # fmt: skip
    built = compiled(tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}")
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0}
    got = run(built, given, "video").swapaxes(1, 2)
    check((got / 2 + 0.5).clip(0, 1), want, "fp32")
