"""WanPipeline (2.1): folder in, video out, as diffusers makes it."""

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKLWan,
    UniPCMultistepScheduler,
    WanImageToVideoPipeline,
    WanPipeline,
    WanTransformer3DModel,
)
from PIL import Image
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    CLIPVisionModel,
    UMT5Config,
    UMT5EncoderModel,
)

from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run

LENGTH, STEPS, FRAMES, ROWS, COLUMNS = 12, 2, 13, 4, 6
PIXELS = {"height": ROWS * 8, "width": COLUMNS * 8}


def text_encoder() -> UMT5EncoderModel:
    return UMT5EncoderModel(UMT5Config(
        vocab_size=32, d_model=16, d_kv=8, d_ff=32, num_layers=2, num_heads=2,
        feed_forward_proj="gated-gelu", dropout_rate=0.0,
    ))  # fmt: skip


def vae(num_res_blocks: int = 1) -> AutoencoderKLWan:
    made = AutoencoderKLWan(
        base_dim=4, z_dim=4, dim_mult=[1, 2, 2, 2], num_res_blocks=num_res_blocks,
        latents_mean=[-0.7, -0.2, 0.1, 0.9], latents_std=[2.8, 1.4, 0.7, 1.1],
    )  # fmt: skip
    for name, weight in made.named_parameters():
        # As they come, activations shrink to nothing: a fault in what is kept would not be seen.
        if weight.dim() > 3 and "gamma" not in name:
            weight.data *= 2
    return made


def transformer(**more) -> WanTransformer3DModel:
    sizes = {"in_channels": 4, "out_channels": 4} | more
    return WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, text_dim=16, freq_dim=16, ffn_dim=32,
        num_layers=2, cross_attn_norm=True, rope_max_seq_len=32, **sizes,
    )  # fmt: skip


def scheduler() -> UniPCMultistepScheduler:
    return UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    torch.manual_seed(11)
    pipe = WanPipeline(
        words.t5(LENGTH), text_encoder(), vae(), scheduler(), transformer=transformer()
    )
    pipe.set_progress_bar_config(disable=True)
    made = tmp_path_factory.mktemp("wan") / "folder"
    pipe.save_pretrained(made)
    return made, pipe


SIZES = PIXELS | {"frames": FRAMES, "length": LENGTH}
WORDS = [f"pipeline.options.{name}={size}" for name, size in SIZES.items()]


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_folder_becomes_a_video(folder, tmp_path, precision):
    place, pipe = folder
    want = pipe(
        "a red cat", negative_prompt="b", latents=normal(3, 1, 4, 4, ROWS, COLUMNS), **PIXELS,
        num_frames=FRAMES, guidance_scale=4.0, num_inference_steps=STEPS,
        max_sequence_length=LENGTH, output_type="pt",
    ).frames.transpose(1, 2)  # fmt: skip
    built = compiled(
        place, tmp_path / "build", f"sampler.steps={STEPS}", *WORDS, precision=precision
    )
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0}
    check((run(built, given, "video") / 2 + 0.5).clip(0, 1), want, precision)


def image_pipeline() -> WanImageToVideoPipeline:
    torch.manual_seed(12)
    clip = CLIPVisionConfig(
        hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=2,
        image_size=ROWS * 8, patch_size=8,
    )  # fmt: skip
    side = {"height": ROWS * 8, "width": ROWS * 8}
    pipe = WanImageToVideoPipeline(
        words.t5(512), text_encoder(), vae(), scheduler(),
        CLIPImageProcessor(size={"shortest_edge": ROWS * 8}, crop_size=side), CLIPVisionModel(clip),
        transformer=transformer(in_channels=12, image_dim=16, added_kv_proj_dim=24),
    )  # fmt: skip
    pipe.set_progress_bar_config(disable=True)
    return pipe


@torch.no_grad()
@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", pytest.param("fp16", marks=pytest.mark.slow)])
def test_a_picture_becomes_a_video(tmp_path, precision, monkeypatch):
    # Its own needs a library that is not installed, and changes nothing of this prompt.
    monkeypatch.setattr("diffusers.pipelines.wan.pipeline_wan_i2v.prompt_clean", str.strip)
    pipe = image_pipeline()
    pipe.save_pretrained(tmp_path / "folder")
    # As pictures are, in 256 levels; CLIP's processor need not resize it.
    levels = np.random.default_rng(5).integers(0, 256, (ROWS * 8, COLUMNS * 8, 3), np.uint8)
    Image.fromarray(levels).save(tmp_path / "image.png")
    want = pipe(
        Image.fromarray(levels), "a red cat", negative_prompt="b", **PIXELS, num_frames=FRAMES,
        latents=normal(3, 1, 4, 4, ROWS, COLUMNS), guidance_scale=4.0, num_inference_steps=STEPS,
        output_type="pt",
    ).frames.transpose(1, 2)  # fmt: skip
    words = [w for w in WORDS if "length" not in w]
    built = compiled(
        tmp_path / "folder", tmp_path / "build", f"sampler.steps={STEPS}", *words,
        precision=precision,
    )  # fmt: skip
    given = {"prompt": "a red cat", "negative": "b", "seed": 3, "guidance": 4.0,
             "image": tmp_path / "image.png"}  # fmt: skip
    check((run(built, given, "video") / 2 + 0.5).clip(0, 1), want, precision)
