"""AnimateDiffPipeline: folder in, frames out, as diffusers makes them."""

import json

import numpy as np
import pytest
import torch
from diffusers import (
    AnimateDiffPipeline,
    AutoencoderKL,
    DDIMScheduler,
    MotionAdapter,
    UNet2DConditionModel,
)
from transformers import CLIPTextConfig, CLIPTextModel

from entracte.errors import ConfigError
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

LENGTH, STEPS, FRAMES = 12, 2, 3
# As the documentation of the adapter says.
SCHEDULER = DDIMScheduler(
    beta_schedule="linear", beta_start=0.00085, beta_end=0.012, clip_sample=False,
    timestep_spacing="linspace", steps_offset=1,
)  # fmt: skip


def tiny() -> AnimateDiffPipeline:
    torch.manual_seed(11)
    text = CLIPTextConfig(
        vocab_size=64, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, max_position_embeddings=LENGTH, eos_token_id=2,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 16), norm_num_groups=4,
        cross_attention_dim=16, attention_head_dim=2,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    )  # fmt: skip
    adapter = MotionAdapter(
        block_out_channels=(8, 16), motion_layers_per_block=1, motion_norm_num_groups=4,
        motion_num_attention_heads=2, motion_max_seq_length=4,
    )  # fmt: skip
    vae = AutoencoderKL(
        block_out_channels=(8, 8), layers_per_block=1, norm_num_groups=4, latent_channels=4,
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    pipe = AnimateDiffPipeline(
        vae=vae, text_encoder=CLIPTextModel(text), tokenizer=words.clip(LENGTH), unet=unet,
        motion_adapter=adapter, scheduler=SCHEDULER,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
@pytest.mark.parametrize("guidance", [4.0, pytest.param(None, marks=pytest.mark.slow)])
def test_a_folder_becomes_frames(tmp_path, precision, guidance):
    pipe = tiny()
    pipe.save_pretrained(tmp_path / "folder")
    sizes = {"height": 16, "width": 24}
    want = pipe(
        "a red cat", negative_prompt="b", latents=normal(3, 1, 4, FRAMES, 8, 12),
        guidance_scale=guidance or 1.0, num_inference_steps=STEPS, num_frames=FRAMES,
        output_type="pt", **sizes,
    ).frames  # fmt: skip
    options = sizes | {"frames": FRAMES, "guided": guidance is not None}
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        *(f"pipeline.options.{name}={value}" for name, value in options.items()),
        precision=precision,
    )  # fmt: skip
    given = {"prompt": "a red cat", "seed": 3}
    given |= {"negative": "b", "guidance": guidance} if guidance else {}
    got = np.moveaxis(run(built, given, "video"), 1, 2) / 2 + 0.5
    check(got.clip(0, 1), want, precision)


def test_a_unet_without_motion_is_refused(tmp_path):
    tiny().save_pretrained(tmp_path / "folder")
    index = json.loads((tmp_path / "folder/model_index.json").read_text())
    index["unet"] = ["diffusers", "UNet2DConditionModel"]
    (tmp_path / "folder/model_index.json").write_text(json.dumps(index))
    with pytest.raises(ConfigError, match="no motion modules yet"):
        compiled(tmp_path / "folder", tmp_path / "build")


def test_more_frames_than_the_motion_knows_are_refused(tmp_path):
    tiny().save_pretrained(tmp_path / "folder")
    with pytest.raises(ConfigError, match="frames: 5 is more than 4"):
        compiled(tmp_path / "folder", tmp_path / "build", "pipeline.options.frames=5")
