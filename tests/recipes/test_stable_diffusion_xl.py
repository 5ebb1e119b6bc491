"""StableDiffusionXLPipeline: with guidance, and in one step without, as SDXL-Turbo."""

import pytest
import torch
from diffusers import (
    AutoencoderKL,
    EulerAncestralDiscreteScheduler,
    EulerDiscreteScheduler,
    LCMScheduler,
    StableDiffusionXLPipeline,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run, steps_noise

LENGTH = 12
BETAS = {"beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}
# As the hub's folders of SDXL and SDXL-Turbo have them.
BASE = EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1, **BETAS)
TURBO = EulerAncestralDiscreteScheduler(timestep_spacing="trailing", steps_offset=1, **BETAS)


def clip(kind, width: int, act: str):
    # The hub's configurations have this old id of the end, by which the largest id is taken.
    config = CLIPTextConfig(
        vocab_size=64, hidden_size=width, intermediate_size=32, num_hidden_layers=3,
        num_attention_heads=2, max_position_embeddings=LENGTH, projection_dim=12, hidden_act=act,
        eos_token_id=2,
    )  # fmt: skip
    return kind(config)


def tiny(scheduler, time_dim: int | None = None) -> StableDiffusionXLPipeline:
    torch.manual_seed(11)
    second = words.clip(LENGTH)
    second.pad_token = "a"  # SDXL's second tokenizer fills up with "!", its first with the end
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        cross_attention_dim=16 + 20, attention_head_dim=(2, 4), use_linear_projection=True,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"), transformer_layers_per_block=(1, 2),
        addition_embed_type="text_time", addition_time_embed_dim=4,
        projection_class_embeddings_input_dim=6 * 4 + 12,
        time_cond_proj_dim=time_dim,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        scaling_factor=0.13025,
    )  # fmt: skip
    pipe = StableDiffusionXLPipeline(
        vae=vae, text_encoder=clip(CLIPTextModel, 16, "quick_gelu"), tokenizer=words.clip(LENGTH),
        text_encoder_2=clip(CLIPTextModelWithProjection, 20, "gelu"),
        tokenizer_2=second, unet=unet, scheduler=scheduler, add_watermarker=False,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


PRECISIONS = ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_folder_becomes_a_picture(tmp_path, precision):
    pipe = tiny(BASE)
    pipe.save_pretrained(tmp_path / "folder")
    size = {"height": 16, "width": 24}
    words_ = [f"pipeline.options.{name}={value}" for name, value in size.items()]
    built = compiled(
        tmp_path / "folder", tmp_path / "build", "sampler.steps=2", *words_, precision=precision
    )
    # A negative text that is empty is none, and what the folder has of such is 0.
    for negative in ["b"] if precision == "fp16" else ["b", ""]:
        want = pipe(
            "a red cat", negative_prompt=negative or None, latents=normal(3, 1, 4, 8, 12),
            guidance_scale=4.0, num_inference_steps=2, output_type="pt", **size,
        ).images  # fmt: skip
        given = {"prompt": "a red cat", "negative": negative, "seed": 3, "guidance": 4.0}
        check((run(built, given, "image") / 2 + 0.5).clip(0, 1), want, precision)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_one_step_without_guidance(tmp_path, precision):
    pipe = tiny(TURBO)
    pipe.save_pretrained(tmp_path / "folder")
    with steps_noise(pipe.scheduler, 3):
        want = pipe(
            "a red cat", latents=normal(3, 1, 4, 8, 8), guidance_scale=0.0, num_inference_steps=1,
            output_type="pt",
        ).images  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", "sampler.steps=1", "pipeline.options.guided=false",
        precision=precision,
    )  # fmt: skip
    got = run(built, {"prompt": "a red cat", "seed": 3}, "image")
    check((got / 2 + 0.5).clip(0, 1), want, precision)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_model_that_is_told_the_guidance(tmp_path, precision):
    pipe = tiny(LCMScheduler(**BETAS), time_dim=6)
    pipe.save_pretrained(tmp_path / "folder")
    with steps_noise(pipe.scheduler, 3):
        want = pipe(
            "a red cat", latents=normal(3, 1, 4, 8, 8), guidance_scale=3.0, num_inference_steps=2,
            output_type="pt",
        ).images  # fmt: skip
    words_ = ("sampler.steps=2",)
    built = compiled(tmp_path / "folder", tmp_path / "build", *words_, precision=precision)
    got = run(built, {"prompt": "a red cat", "seed": 3, "guidance": 3.0}, "image")
    check((got / 2 + 0.5).clip(0, 1), want, precision)
