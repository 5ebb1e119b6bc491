"""LTXPipeline and LTXImageToVideoPipeline: folder in, video out, as diffusers makes it."""

from unittest import mock

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLLTXVideo,
    FlowMatchEulerDiscreteScheduler,
    LTXImageToVideoPipeline,
    LTXPipeline,
    LTXVideoTransformer3DModel,
)
from diffusers.hooks import FirstBlockCacheConfig, apply_first_block_cache
from PIL import Image

from entracte.graphs.recipes.parts_ltx_decoder import last_block, lower, upper
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run
from tests.recipes.test_cogvideox import PRECISIONS, t5

LENGTH, STEPS, CHANNELS = 10, 3, 4
ROWS, COLUMNS = 2, 3
"""Of the latents, which are 32 pixels wide and 8 frames long as in the published ones."""
SHIFTED = {
    "use_dynamic_shifting": True, "base_shift": 0.95, "max_shift": 2.05, "shift_terminal": 0.1,
    "base_image_seq_len": 1024, "max_image_seq_len": 4096,
}  # fmt: skip


def vae(is_told: bool) -> AutoencoderKLLTXVideo:
    """0.9's kind, or 0.9.1's: told a time, and its decoder adds noise."""
    torch.manual_seed(6)
    made = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS, block_out_channels=(8, 8, 8, 8), layers_per_block=(1, 1, 1, 1, 1),
        decoder_block_out_channels=(8, 8, 8), decoder_layers_per_block=(1, 1, 1, 2),
        decoder_spatio_temporal_scaling=(True, True, True),
        decoder_inject_noise=(is_told, False, is_told, False), timestep_conditioning=is_told,
        upsample_residual=(is_told,) * 3, upsample_factor=(1, 1, 1),
    )  # fmt: skip
    for name, parameter in made.named_parameters():
        if "per_channel_scale" in name:  # zeros as the library makes them
            torch.nn.init.normal_(parameter)
    made.latents_mean.normal_()
    made.latents_std.uniform_(0.5, 2)
    return made


def folder(kind: type, path, is_told: bool):
    parts = vae(is_told)
    transformer = LTXVideoTransformer3DModel(
        in_channels=CHANNELS, out_channels=CHANNELS, num_attention_heads=2, attention_head_dim=16,
        cross_attention_dim=32, num_layers=2, caption_channels=16,
    )  # fmt: skip
    pipe = kind(
        scheduler=FlowMatchEulerDiscreteScheduler(**SHIFTED), vae=parts, text_encoder=t5(),
        tokenizer=words.t5(LENGTH), transformer=transformer,
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(path)
    return pipe


CALL = {"prompt": "a red cat", "negative_prompt": "b", "guidance_scale": 4.0, "height": 64,
        "width": 96, "num_inference_steps": STEPS, "output_type": "pt",
        "max_sequence_length": LENGTH}  # fmt: skip
GIVEN = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0}
SIZES = (f"sampler.steps={STEPS}", f"pipeline.options.length={LENGTH}",
         "pipeline.options.height=64", "pipeline.options.width=96")  # fmt: skip


def shown(built, given) -> np.ndarray:
    """(1, frames, 3, height, width), as diffusers gives it."""
    return (run(built, given, "video").swapaxes(1, 2) / 2 + 0.5).clip(0, 1)


@torch.no_grad()
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_text_becomes_a_video(tmp_path, precision):
    pipe = folder(LTXPipeline, tmp_path / "folder", is_told=False)
    z = normal(3, 1, 7 * ROWS * COLUMNS, CHANNELS)
    want = pipe(**CALL, latents=z, num_frames=49).frames
    size = "pipeline.options.frames=49"
    built = compiled(tmp_path / "folder", tmp_path / "build", *SIZES, size, precision=precision)
    check(shown(built, GIVEN), want, precision)


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_picture_becomes_a_video(tmp_path, precision):
    pipe = folder(LTXImageToVideoPipeline, tmp_path / "folder", is_told=True)
    image = Image.fromarray(np.random.default_rng(4).integers(0, 256, (64, 96, 3), np.uint8))
    drawn = torch.zeros(1, CHANNELS, 3, ROWS, COLUMNS)
    drawn[:, :, 1:] = (
        normal(3, 1, 2 * ROWS * COLUMNS, CHANNELS).mT.unflatten(2, (2, ROWS, COLUMNS))
    )  # fmt: skip
    encoded = normal(3, 1, CHANNELS, 1, ROWS, COLUMNS, salt=4)
    decoded = normal(3, 1, CHANNELS, 3, ROWS, COLUMNS, salt=2)
    # Two blocks of the decoder draw, and one of them is its last: it has its own numbers.
    added = {(4, 6): normal(3, 1, 48, salt=3)[0], (16, 24): normal(3, 1, 768, salt=5)[0]}

    def randn(shape, **_):
        if tuple(shape) == tuple(decoded.shape):
            return decoded
        taken, added[shape] = added[shape].split([shape.numel(), len(added[shape]) - shape.numel()])
        return taken.reshape(shape)

    base = "diffusers.pipelines.ltx.pipeline_ltx_image2video.randn_tensor"
    inner = "diffusers.models.autoencoders.vae.randn_tensor"
    with (
        mock.patch(base, lambda *_, **__: drawn), mock.patch(inner, lambda *_, **__: encoded),
        mock.patch("torch.randn", randn),
    ):  # fmt: skip
        want = pipe(
            **CALL, num_frames=17, image=image, decode_timestep=0.05, decode_noise_scale=0.025
        ).frames
    size = "pipeline.options.frames=17"
    built = compiled(tmp_path / "folder", tmp_path / "build", *SIZES, size, precision=precision)
    image.save(tmp_path / "image.png")
    given = {"image": tmp_path / "image.png", "decode_timestep": 0.05, "decode_noise_scale": 0.025}
    check(shown(built, GIVEN | given), want, precision)


@torch.no_grad()
@pytest.mark.parametrize(("widths", "causal"), [((8, 8, 8), False), ((8, 16, 16), True)])
def test_slices_of_the_last_block_are_the_whole(widths, causal):
    torch.manual_seed(7)
    made = AutoencoderKLLTXVideo(
        latent_channels=CHANNELS, decoder_block_out_channels=widths, decoder_causal=causal,
        block_out_channels=(8, 8, 8, 8), layers_per_block=(1, 1, 1, 1, 1),
        decoder_layers_per_block=(2, 1, 1, 1), decoder_spatio_temporal_scaling=(True, True, True),
        decoder_inject_noise=(False,) * 4, upsample_residual=(False,) * 3, upsample_factor=(1,) * 3,
    ).eval()  # fmt: skip
    z = torch.randn(1, CHANNELS, 17, 1, 2)
    want = made.decode(z).sample
    x = lower(made, z.flatten(2).mT, sizes=[17, 1, 2])
    last = last_block(made.config, (17, 1, 2))
    keep, parts, before = 2 * last.sees, [], None
    assert x.shape == last.shape
    starts = range(0, x.shape[2], keep)
    for at in starts:
        drop = [keep - 1 if at else 0, 0 if at == starts[-1] else keep]
        frames, before = upper(made, x[:, :, at : at + keep], before, drop=drop, keep=keep)
        parts.append(frames)
    assert len(parts) > 2
    torch.testing.assert_close(torch.cat(parts, 2), want, rtol=0, atol=1e-5)


def resting(blocks, at):
    """Both blocks run in the steps `at`; in the others their last change is added."""
    step, kept, forwards = iter(range(STEPS)), {}, [b.forward for b in blocks]

    def first(hidden_states, **given):
        kept.update(step=next(step), before=hidden_states)
        return forwards[0](hidden_states, **given) if kept["step"] in at else hidden_states

    def last(hidden_states, **given):
        if kept["step"] in at:
            kept["change"] = forwards[1](hidden_states, **given) - kept["before"]
        return kept["before"] + kept["change"]

    return mock.patch.multiple(blocks[0], forward=first), mock.patch.multiple(
        blocks[1], forward=last
    )


@torch.no_grad()
@pytest.mark.slow
def test_guidance_in_an_interval_and_resting_blocks(tmp_path):
    """The library's own pipeline, its guidance switched off after the second of three steps and its
    blocks left out of it."""
    pipe = folder(LTXPipeline, tmp_path / "folder", is_told=False)
    z = normal(3, 1, 7 * ROWS * COLUMNS, CHANNELS)

    def after(pipe, step, _, given):
        pipe._guidance_scale = 4.0 if step + 1 < 2 else 1.0 + 1e-9
        return given

    one, other = resting(pipe.transformer.transformer_blocks, (0, 2))
    with one, other:
        want = pipe(**CALL, latents=z, num_frames=49, callback_on_step_end=after).frames
    built = compiled(
        tmp_path / "folder", tmp_path / "build", *SIZES, "pipeline.options.frames=49",
        "guidance=interval", "guidance.end=2",
        "+pipeline.over={stages:{denoise:{reuse:{first:0,last:0,at:[0,2]}}}}",
    )  # fmt: skip
    check(shown(built, GIVEN), want, "fp32")


@torch.no_grad()
@pytest.mark.slow
def test_blocks_rest_by_a_first_block_test(tmp_path):
    """As `apply_first_block_cache` of the library has it, in its own pipeline."""
    pipe = folder(LTXPipeline, tmp_path / "folder", is_told=False)
    z = normal(3, 1, 7 * ROWS * COLUMNS, CHANNELS)
    apply_first_block_cache(pipe.transformer, FirstBlockCacheConfig(threshold=0.12))
    last = pipe.transformer.transformer_blocks[-1]
    ran = []
    inner = last.attn1.register_forward_hook(lambda *_: ran.append(1))
    call = {**CALL, "guidance_scale": 1.0, "num_inference_steps": 6}
    with inner:
        want = pipe(**call, latents=z, num_frames=49).frames
    assert 1 < len(ran) < 6
    built = compiled(
        tmp_path / "folder", tmp_path / "build", *SIZES, "sampler.steps=6",
        "pipeline.options.frames=49", "+pipeline.options.guided=false",
        "+pipeline.over={stages:{denoise:{reuse:{first:1,last:0,at:{change:0.12}}}}}",
    )  # fmt: skip
    given = {name: GIVEN[name] for name in ("prompt", "seed")}
    check(shown(built, given), want, "fp32")


def apart(model, **given):
    """Both halves of guidance one after the other, each with its own memory of the library's."""
    call, made = torch.nn.Module.__call__, []
    for k, name in enumerate(("without", "with")):
        own = {x: v[k : k + 1] if torch.is_tensor(v) else v for x, v in given.items()}
        with model.cache_context(name):
            made.append(call(model, **own)[0])
    return (torch.cat(made),)


@torch.no_grad()
@pytest.mark.slow
def test_a_first_block_test_with_guidance_in_an_interval(tmp_path):
    """The library's own pipeline and test, its guidance switched off after the fourth of six steps:
    each half decides for itself."""
    pipe = folder(LTXPipeline, tmp_path / "folder", is_told=False)
    z = normal(3, 1, 7 * ROWS * COLUMNS, CHANNELS)
    apply_first_block_cache(pipe.transformer, FirstBlockCacheConfig(threshold=0.12))
    ran = []
    inner = pipe.transformer.transformer_blocks[-1].attn1.register_forward_hook(
        lambda *_: ran.append(1)
    )

    def after(pipe, step, _, given):
        pipe._guidance_scale = 4.0 if step + 1 < 4 else 1.0 + 1e-9
        return given

    call = {**CALL, "num_inference_steps": 6}
    with inner, mock.patch.object(type(pipe.transformer), "__call__", apart):
        want = pipe(**call, latents=z, num_frames=49, callback_on_step_end=after).frames
    assert 3 < len(ran) < 11
    built = compiled(
        tmp_path / "folder", tmp_path / "build", *SIZES, "sampler.steps=6",
        "pipeline.options.frames=49", "guidance=interval", "guidance.end=4",
        "+pipeline.over={stages:{denoise:{reuse:{first:1,last:0,at:{change:0.12}}}}}",
    )  # fmt: skip
    check(shown(built, GIVEN), want, "fp32")
