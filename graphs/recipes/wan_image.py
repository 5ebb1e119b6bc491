"""WanImageToVideoPipeline, Wan 2.1: the first frame is given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from entracte.graphs.recipes.parts_umt5 import text_features
from entracte.graphs.recipes.recipe import Recipe, stage
from entracte.graphs.recipes.wan import latent_sizes, velocity
from entracte.graphs.recipes.wan_decoder import decode_video
from entracte.graphs.recipes.wan_encoder import encode_image


@stage
def see(clip: Any, image: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """A picture from -1 to 1 -> features of all but the last layer, (1, patches + 1, width)."""
    side = clip.config.image_size
    high, wide = image.shape[-2:]
    size = (side, wide * side // high) if high <= wide else (high * side // wide, side)
    x = image / 2 + 0.5
    if size != (high, wide):
        x = nn.functional.interpolate(x, size, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = (size[0] - side) // 2, (size[1] - side) // 2
    x = x[..., top : top + side, left : left + side]
    shape = (1, -1, 1, 1)
    x = (x - torch.tensor(mean).view(shape)) / torch.tensor(std).view(shape)
    made: Tensor = clip(pixel_values=x).last_hidden_state
    return made


def wan_image(r: Recipe) -> None:
    """As `wan`; the transformer also reads the picture, encoded, and CLIP's features of it."""
    sizes, space = latent_sizes(r), r.config("vae").get("scale_factor_spatial", 8)
    transformer = r.config("transformer")
    states, more = text_features(r), dict[str, Any]()
    if transformer.get("pos_embed_seq_len") is not None:
        raise ValueError(f"{r.folder.path}: its transformer wants a last picture too")
    if transformer.get("added_kv_proj_dim") and states.shape[1] != 512:
        raise ValueError(f"pipeline.options.length: {states.shape[1]}: this transformer needs 512")
    image = r.image("image", sizes[1] * space, sizes[2] * space)
    if transformer.get("image_dim") is not None:
        clip, rule = r.config("image_encoder"), r.config("image_processor")
        # The features that are read are those before the last layer, which is not built.
        options = {"config": {**clip, "num_hidden_layers": clip["num_hidden_layers"] - 1}}
        patches = (clip["image_size"] // clip["patch_size"]) ** 2 + 1
        settings = {"mean": rule["image_mean"], "std": rule["image_std"]}
        more["image"] = r.stage(
            see, "image_encoder", image=image, settings=settings, options=options,
            features=(1, patches, clip["hidden_size"]),
        )  # fmt: skip
    more["condition"] = encode_image(r, image, sizes)
    z = r.noise((1, r.config("vae")["z_dim"], *sizes))
    with r.sampling(z, steps=50) as loop:
        loop.step(velocity(r, z=loop.input, time=loop.time, states=states, **more))
    decode_video(r, loop.z)
