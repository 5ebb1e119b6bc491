"""AnimateDiffPipeline: Stable Diffusion with motion modules makes frames of a video."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts import decode_image
from entracte.graphs.recipes.parts_halves import in_halves, texts_of
from entracte.graphs.recipes.recipe import Recipe, image_scale, stage

_MOVING = "UNetMotionModel"


@stage
def text(clip: nn.Module, prompt: Tensor, negative: Tensor | None = None) -> Tensor:
    """Features of the text; with a negative one of both, [without, with]."""
    made: Tensor = clip(prompt if negative is None else torch.cat([negative, prompt]))[0]
    return made


@stage
def denoise(unet: nn.Module, z: Tensor, time: Tensor, states: Tensor) -> Tensor:
    """What one half of guidance gives, or both; every frame reads its text."""
    count, frames = len(states), z.shape[2]
    texts = states[:, None].expand(-1, frames, -1, -1).flatten(0, 1)
    made: Tensor = unet(z.expand(count, -1, -1, -1, -1), time, texts, return_dict=False)[0]
    return made


@stage
def decode_frame(vae: nn.Module, z: Tensor, scaling: float) -> Tensor:
    """Latents of a frame, (1, channels, 1, ...) -> (1, 3, 1, height, width), from -1 to 1."""
    return decode_image(vae, z[:, :, 0], scaling)[:, :, None]


def animatediff(r: Recipe) -> None:
    """CLIP, a UNet with motion modules and with or without guidance (`guided`), a VAE that decodes
    frame by frame."""
    if r.folder.component("unet").kind != _MOVING:
        raise ValueError(
            f"pipeline.folder: {r.folder.path}: its unet has no motion modules yet; "
            "AnimateDiffPipeline.from_pretrained(FOLDER).save_pretrained(OTHER) joins both; then "
            "give OTHER"
        )
    unet, vae, clip = r.config("unet"), r.config("vae"), r.config("text_encoder")
    scale, length = image_scale(vae), clip["max_position_embeddings"]
    height = r.size("height", unet["sample_size"] * scale, scale)
    width = r.size("width", unet["sample_size"] * scale, scale)
    frames, most = r.size("frames", 16), unet["motion_max_seq_length"]
    if frames > most:
        raise ValueError(
            f"pipeline.options.frames: {frames} is more than {most}, its motion's most"
        )
    ids = {one.name: r.tokenize("tokenizer", one, length).ids
           for one in texts_of(r, "a red cat")}  # fmt: skip
    states = r.stage(text, "text_encoder", **ids, states=(len(ids), length, clip["hidden_size"]))
    told = {"guidance": r.number("guidance", 7.5)} if len(ids) > 1 else {}
    rows, columns = height // scale, width // scale
    z = r.noise((1, unet["in_channels"], frames, rows, columns))
    with r.sampling(z, steps=50) as loop:
        loop.step(in_halves(r, denoise, loop.input, told, sliced={"states": states},
                            component="unet", time=loop.time))  # fmt: skip
    video = r.stage(decode_frame, "vae", z=loop.z.of(1, unet["in_channels"], 1, rows, columns),
                    settings={"scaling": vae["scaling_factor"]}, video=(1, 3, 1, height, width),
                    options={"map": {"port": "z", "axis": 2, "size": 1}})  # fmt: skip
    r.video(video, r.size("fps", 8))
