"""StableVideoDiffusionPipeline: a picture begins to move."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from diffusers.pipelines.stable_video_diffusion import pipeline_stable_video_diffusion as svd
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from tests.recipes.harness import check, compiled, normal, run

HEIGHT, WIDTH, FRAMES, STEPS = 16, 24, 4, 2
NOISE_SALT = 2
"""Of the noise that is laid on the picture."""
# As the hub's folder has it.
SCHEDULER = EulerDiscreteScheduler(
    beta_schedule="scaled_linear", beta_start=0.00085, beta_end=0.012, use_karras_sigmas=True,
    prediction_type="v_prediction", timestep_type="continuous", timestep_spacing="leading",
    sigma_min=0.002, sigma_max=700.0, steps_offset=1,
)  # fmt: skip


def tiny(levels: int = 2) -> StableVideoDiffusionPipeline:
    torch.manual_seed(11)
    # The pipeline makes pictures of 224 for the encoder, whatever that has.
    clip = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2,
        image_size=224, patch_size=56, projection_dim=12, hidden_act="gelu",
    )  # fmt: skip
    # Two channels in each of the 32 groups of its norms: alone, times and motion would be lost.
    downs = ("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal")
    ups = ("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal")
    # Two channels in each of the 32 groups of its norms: alone, times and motion would be lost.
    unet = UNetSpatioTemporalConditionModel(
        sample_size=8, block_out_channels=(64, 64)[:levels], layers_per_block=1,
        cross_attention_dim=12, num_attention_heads=(2, 4)[:levels], addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=24, num_frames=FRAMES,
        down_block_types=downs[:levels], up_block_types=ups[-levels:],
    )  # fmt: skip
    vae = AutoencoderKLTemporalDecoder(
        block_out_channels=(32, 32), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 2,
    )  # fmt: skip
    pipe = StableVideoDiffusionPipeline(
        vae=vae, image_encoder=CLIPVisionModelWithProjection(clip), unet=unet, scheduler=SCHEDULER,
        feature_extractor=CLIPImageProcessor(crop_size=224, size={"shortest_edge": 224}),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(
    ("levels", "at_once", "precision"),
    [
        (1, 2, "fp32"),
        # Three frames, and the one that is left.
        pytest.param(2, 3, "fp32", marks=pytest.mark.slow),
        pytest.param(2, FRAMES, "fp16", marks=pytest.mark.slow),
        pytest.param(2, 3, "fp16", marks=pytest.mark.slow),
    ],
)
def test_a_picture_begins_to_move(tmp_path, monkeypatch, levels, at_once, precision):
    pipe = tiny(levels)
    pipe.save_pretrained(tmp_path / "folder")
    picture = np.random.default_rng(5).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    Image.fromarray(picture).save(tmp_path / "picture.png")
    monkeypatch.setattr(svd, "randn_tensor", lambda shape, **_: normal(3, *shape, salt=NOISE_SALT))
    latents = normal(3, 1, FRAMES, 4, HEIGHT // 2, WIDTH // 2)
    want = pipe(
        Image.fromarray(picture), height=HEIGHT, width=WIDTH, num_inference_steps=STEPS,
        latents=latents, motion_bucket_id=90, noise_aug_strength=0.1, fps=9,
        min_guidance_scale=1.5, max_guidance_scale=4.0, decode_chunk_size=at_once, output_type="pt",
    ).frames  # fmt: skip
    options = {"height": HEIGHT, "width": WIDTH, "fps": 9, "decode_frames": at_once}
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        *(f"pipeline.options.{name}={value}" for name, value in options.items()),
        precision=precision,
    )  # fmt: skip
    given = {"image": str(tmp_path / "picture.png"), "motion_bucket": 90, "noise_strength": 0.1,
             "min_guidance": 1.5, "max_guidance": 4.0, "seed": 3}  # fmt: skip
    got = np.moveaxis(run(built, given, "video"), 1, 2) / 2 + 0.5
    check(got.clip(0, 1), want, precision)
