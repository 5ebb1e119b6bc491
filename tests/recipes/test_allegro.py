"""AllegroPipeline: folder in, video out, as diffusers makes it."""

import pytest
import torch
from diffusers import (
    AllegroPipeline,
    AllegroTransformer3DModel,
    AutoencoderKLAllegro,
    EulerAncestralDiscreteScheduler,
)
from transformers import T5Config, T5EncoderModel

from entracte.errors import ConfigError
from entracte.graphs.recipes import allegro_decoder
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run, steps_noise

STEPS, FRAMES, LATENTS = 2, 16, (1, 4, 8, 12, 20)
TILE, OVERLAPS = (8, 16, 16), (4, 8, 4)
"""In place of 24 frames of 320 pixels."""


def vae() -> AutoencoderKLAllegro:
    return AutoencoderKLAllegro(
        block_out_channels=(8, 8), down_block_types=("AllegroDownBlock3D",) * 2,
        up_block_types=("AllegroUpBlock3D",) * 2, temporal_downsample_blocks=(True, False),
        temporal_upsample_blocks=(True, False), temporal_compression_ratio=2, layers_per_block=1,
        norm_num_groups=4, sample_size=320, scaling_factor=0.4,
    ).eval()  # fmt: skip


def tiny() -> AllegroPipeline:
    torch.manual_seed(15)
    text = T5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu",
    )  # fmt: skip
    net = AllegroTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, num_layers=2, cross_attention_dim=24,
        caption_channels=16, sample_height=12, sample_width=20, sample_frames=8,
    )  # fmt: skip
    scheduler = EulerAncestralDiscreteScheduler(beta_start=1e-4, beta_end=0.02)
    pipe = AllegroPipeline(words.t5(24), T5EncoderModel(text).eval(), vae(), net, scheduler)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def test_tiles_are_the_librarys():
    made = vae()
    assert allegro_decoder.tile_of(made.config) == (made.kernel, made.stride)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_a_folder_becomes_a_video(tmp_path, monkeypatch, precision):
    pipe = tiny()
    pipe.vae.enable_tiling()
    pipe.vae.kernel = TILE
    pipe.vae.stride = tuple(s - o for s, o in zip(TILE, OVERLAPS, strict=True))
    pipe.vae.register_to_config(sample_size=TILE[1])
    monkeypatch.setattr(allegro_decoder, "FRAMES", TILE[0])
    monkeypatch.setattr(allegro_decoder, "OVERLAPS", OVERLAPS)
    pipe.save_pretrained(tmp_path / "folder")
    with steps_noise(pipe.scheduler, 3):
        want = pipe(
            "A Red cat", negative_prompt="b", latents=normal(3, *LATENTS), guidance_scale=4.0,
            num_inference_steps=STEPS, num_frames=FRAMES, height=24, width=40,
            max_sequence_length=24, output_type="pt",
        ).frames  # fmt: skip
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}",
        "+pipeline.options.length=24", precision=precision,
    )  # fmt: skip
    given = {"prompt": "A Red cat", "negative": "b", "seed": 3, "guidance": 4.0}
    made = (run(built, given, "video") / 2 + 0.5).clip(0, 1)
    # diffusers has frames first, and cuts off at 0 and 1.
    check(made.swapaxes(1, 2), want, precision)


@pytest.mark.parametrize(
    ("word", "message"),
    [("height=330", "height: 330 .*give 320 or 520"), ("width=80", "width: 80 .*give 320 or 560"),
     ("frames=30", "frames: 30 .*give 24 or 40")],
)  # fmt: skip
def test_what_whole_tiles_do_not_cover_is_refused(tmp_path, word, message):
    tiny().save_pretrained(tmp_path / "folder")
    sizes = {"height": 320, "width": 320, "frames": 24} | dict([word.split("=")])
    given = [f"pipeline.options.{name}={size}" for name, size in sizes.items()]
    with pytest.raises(ConfigError, match=message):
        compiled(tmp_path / "folder", tmp_path / "build", *given)
