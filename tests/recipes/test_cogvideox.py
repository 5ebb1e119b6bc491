"""CogVideoXPipeline, CogVideoXImageToVideoPipeline: folder in, video out, as diffusers makes it."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLCogVideoX,
    CogVideoXDDIMScheduler,
    CogVideoXDPMScheduler,
    CogVideoXImageToVideoPipeline,
    CogVideoXPipeline,
    CogVideoXTransformer3DModel,
)
from PIL import Image
from transformers import T5Config, T5EncoderModel

from entracte.errors import ConfigError
from entracte.graphs.recipes.parts_cogvideox_places import rotary
from tests.recipes import words
from tests.recipes.harness import STEP_SALT, check, compiled, normal, run

PRECISIONS = ["fp32", pytest.param("fp16", marks=pytest.mark.slow)]
LENGTH, STEPS = 10, 3
ROWS, COLUMNS, FRAMES = 4, 6, 25
"""Of the latents; 25 frames are 7 latent ones, decoded as 3, 2 and 2."""
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
    return AutoencoderKLCogVideoX(
        block_out_channels=(8, 8, 8), down_block_types=("CogVideoXDownBlock3D",) * 3,
        up_block_types=("CogVideoXUpBlock3D",) * 3, latent_channels=4, layers_per_block=1,
        norm_num_groups=2, scaling_factor=0.7, sample_height=16, sample_width=24, **more,
    )  # fmt: skip


def transformer(**more) -> CogVideoXTransformer3DModel:
    sizes = {"in_channels": 4, "out_channels": 4, "sample_height": ROWS, "sample_width": COLUMNS,
             "sample_frames": FRAMES} | more  # fmt: skip
    return CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, time_embed_dim=8, text_embed_dim=16,
        num_layers=2, max_text_seq_length=LENGTH, **sizes,
    )  # fmt: skip


def saved(kind: type, path, **more):
    torch.manual_seed(5)
    pipe = kind(
        tokenizer=words.t5(LENGTH), text_encoder=t5(),
        **{"vae": vae(), "transformer": transformer()} | more,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(path)
    return pipe


def call(**more):
    return {
        "prompt": "a red cat", "negative_prompt": "b", "guidance_scale": 4.0, "num_frames": FRAMES,
        "num_inference_steps": STEPS, "output_type": "pt", "max_sequence_length": LENGTH, **more,
    }  # fmt: skip


def shown(folder, out, precision, *words, **given) -> np.ndarray:
    """(1, frames, 3, height, width), as diffusers gives it."""
    built = compiled(folder, out, f"sampler.steps={STEPS}", *words, precision=precision)
    given |= {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0}
    return (run(built, given, "video").swapaxes(1, 2) / 2 + 0.5).clip(0, 1)


@contextmanager
def drawing(where: str, draw) -> Iterator[None]:
    """Inside, a module of diffusers draws these numbers."""
    with mock.patch(f"diffusers.{where}.randn_tensor", lambda *_, **__: draw()):
        yield


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_text_becomes_a_video(tmp_path, precision):
    """2B's kind."""
    scheduler = CogVideoXDDIMScheduler(**SCHEDULE)
    pipe = saved(CogVideoXPipeline, tmp_path / "folder", scheduler=scheduler)
    want = pipe(**call(latents=normal(3, 1, 7, 4, ROWS, COLUMNS))).frames
    check(shown(tmp_path / "folder", tmp_path / "build", precision), want, precision)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_picture_becomes_a_video(tmp_path, precision):
    """1.5's kind, with 5B's scheduler: latent frames in pairs, turned embeddings, new noise and
    other guidance in each step."""
    scheduler = CogVideoXDPMScheduler(**SCHEDULE)
    model = transformer(
        in_channels=8, patch_size_t=2, ofs_embed_dim=8, use_rotary_positional_embeddings=True,
        sample_height=2 * ROWS, patch_bias=False,
    )  # fmt: skip
    pipe = saved(
        CogVideoXImageToVideoPipeline, tmp_path / "folder", scheduler=scheduler, transformer=model,
        vae=vae(invert_scale_latents=True),
    )  # fmt: skip
    pixels = np.random.default_rng(4).integers(0, 256, (4 * ROWS, 4 * COLUMNS, 3), np.uint8)
    image = Image.fromarray(pixels)
    image.save(tmp_path / "image.png")
    encoded, shape = normal(3, 1, 4, 1, ROWS, COLUMNS, salt=4), (1, 8, 4, ROWS, COLUMNS)
    step, before = iter(range(STEPS)), scheduler.step

    def stepped(*args, **more):
        # It may draw twice in a step: then the first numbers come to nothing.
        drawn = normal(3, *shape, salt=STEP_SALT, iteration=next(step))
        with drawing("schedulers.scheduling_dpm_cogvideox", lambda: drawn):
            return before(*args, **more)

    with drawing("models.autoencoders.vae", lambda: encoded):
        pipe.scheduler.step = stepped
        want = pipe(
            **call(latents=normal(3, *shape), image=image),
            height=4 * ROWS,
            width=4 * COLUMNS,
            use_dynamic_cfg=True,
        ).frames
    size, given = f"pipeline.options.height={4 * ROWS}", {"image": tmp_path / "image.png"}
    dynamic = "pipeline.options.dynamic_guidance=true"
    check(
        shown(tmp_path / "folder", tmp_path / "build", precision, size, dynamic, **given),
        want,
        precision,
    )


@pytest.mark.parametrize("pairs", [None, 2])
@pytest.mark.parametrize("rows", [4, 6])
def test_places_are_the_librarys(pairs, rows):
    """Of 5B, whose places follow the size, and of 1.5, whose do not."""
    model = transformer(
        use_rotary_positional_embeddings=True, patch_size_t=pairs, sample_height=6, sample_width=10
    )
    pipe = mock.Mock(transformer=model, vae_scale_factor_spatial=8)
    prepared = CogVideoXPipeline._prepare_rotary_positional_embeddings
    want = prepared(pipe, rows * 8, COLUMNS * 8, 4, torch.device("cpu"))
    got = rotary(model.config, (1, 4, 4, rows, COLUMNS))
    assert got is not None and want[0].std() > 0
    torch.testing.assert_close(got, want, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("more", "given", "told"),
    [
        ({}, ["frames=24"], "frames: 24 is not a multiple of 4, plus 1; give 21 or 25"),
        ({}, ["height=20"], "height: 20 is not a multiple of 8; give 16 or 24"),
        (
            {"use_rotary_positional_embeddings": True, "use_learned_positional_embeddings": True},
            ["width=48"], "width: 48: this model learned places of 16 x 24 pixels alone; give 24",
        ),
    ],
)  # fmt: skip
def test_a_size_that_cannot_be_is_refused(tmp_path, more, given, told):
    scheduler = CogVideoXDDIMScheduler(**SCHEDULE)
    model = transformer(**more)
    saved(CogVideoXPipeline, tmp_path / "folder", scheduler=scheduler, transformer=model)
    options = [f"pipeline.options.{word}" for word in given]
    with pytest.raises(ConfigError, match=re.escape(told)):
        compiled(tmp_path / "folder", tmp_path / "build", *options)
