"""OpenSoraPipeline: a folder under the published names in, a video or a picture out, as a loop
written by hand makes it of the same modules."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import T5Config, T5EncoderModel

from entracte.graphs import models
from entracte.graphs.opensora.denoiser import mask_to_bias
from tests.opensora import put
from tests.recipes import words
from tests.recipes.harness import check, compiled, normal, run
from tests.upstream import case

NET, VAE = case("os12_stdit3_a"), case("os12_vae_a")
LENGTH, WIDTH = NET.config["model_max_length"], NET.config["caption_channels"]
STEPS, SEED, GUIDANCE = 3, 5, 3.0
HEIGHT, COLUMNS, FPS = 16, 24, 12
PROMPT = "a red bed"


def save(place):
    """A tiny text encoder of the right width; upstream's random denoiser and VAE."""
    torch.manual_seed(3)
    text = T5EncoderModel(
        T5Config(vocab_size=32, d_model=WIDTH, d_kv=8, d_ff=24, num_layers=2, num_heads=2,
                 feed_forward_proj="gated-gelu")
    ).eval()  # fmt: skip
    folder = put(put(place, "denoiser", NET.config, NET), "vae", VAE.config, VAE)
    text.save_pretrained(folder / "text_encoder")
    tokenizer = words.t5(LENGTH)
    tokenizer.save_pretrained(folder / "tokenizer")
    return folder, text, tokenizer


def filled(found, name, **more):
    """Upstream's names are the module's."""
    module = models.build_model(name, {**found.config, **more})
    (module.model if hasattr(module, "model") else module).load_state_dict(found.weights)
    return module.eval()


def timesteps(frames):
    """As published: r = sqrt(area / 512^2) sqrt(latent frames), t = 1000 r e / (1 + (r - 1) e)."""
    r = (HEIGHT * COLUMNS / 512**2) ** 0.5 * max(1, frames // 17 * 5) ** 0.5
    even = [1 - i / STEPS for i in range(STEPS)]
    return [1000 * r * e / (1 + (r - 1) * e) for e in even] + [0.0]


def by_hand(text, tokenizer, frames):
    """Pixels, (1, 3, frames, height, width)."""
    given = tokenizer(f"{PROMPT} aesthetic score: 6.5.", max_length=LENGTH, truncation=True,
                      padding="max_length", return_tensors="pt")  # fmt: skip
    states = text(given.input_ids, given.attention_mask)[0]
    vae = filled(VAE, "VideoAutoencoderPipeline")
    latent = (vae.cfg.latent_frames(frames), HEIGHT // 8, COLUMNS // 8)
    clip = {"latent": latent, "pixels": (HEIGHT, COLUMNS), "fps": FPS if frames > 1 else 120.0}
    net = filled(NET, "STDiT3", **clip).model
    null = net.y_embedder.y_embedding[None]
    bias = mask_to_bias(given.attention_mask.float())
    z, times = normal(SEED, 1, 4, *latent), timesteps(frames)
    for t, after in zip(times, times[1:], strict=False):
        one, two = (net(z, torch.tensor([t]), y, bias)[:, :4] for y in (states, null))
        z = z + (two + GUIDANCE * (one - two)) * (t - after) / 1000
    z, made = z * vae.scale + vae.shift, []
    for i in range(0, latent[0], 5):
        left = min(17, frames - i // 5 * 17)
        made.append(vae.temporal_vae.decode(z[:, :, i : i + 5], left))
    rows = torch.cat(made, dim=2)[0].transpose(0, 1) / 0.18215
    pixels = vae.spatial_vae["module"].decode(rows).sample
    return (pixels / 2 + 0.5).clamp(0, 1).transpose(0, 1)[None].numpy()


CASES = [
    pytest.param(22, "video", "fp32"),
    pytest.param(1, "image", "fp32", marks=pytest.mark.slow),
    pytest.param(17, "video", "fp32", marks=pytest.mark.slow),
    pytest.param(22, "video", "fp16", marks=pytest.mark.slow),
]


@torch.no_grad()
@pytest.mark.parametrize(("frames", "output", "precision"), CASES)
def test_a_folder_becomes_a_video(tmp_path, frames, output, precision):
    folder, text, tokenizer = save(tmp_path / "folder")
    options = {"frames": frames, "height": HEIGHT, "width": COLUMNS, "fps": FPS}
    built = compiled(
        folder, tmp_path / "build", f"sampler.steps={STEPS}",
        *(f"pipeline.options.{k}={v}" for k, v in options.items()), precision=precision,
    )  # fmt: skip
    made = run(built, {"prompt": PROMPT, "seed": SEED, "guidance": GUIDANCE}, output)
    want = by_hand(text, tokenizer, frames)
    assert want.shape == (1, 3, frames, HEIGHT, COLUMNS) and 0.01 < np.mean(want) < 0.99
    check(made, want[:, :, 0] if output == "image" else want, precision)
