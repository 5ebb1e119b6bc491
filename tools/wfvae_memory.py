"""WFVAE of Open-Sora Plan alone, planned in several ways: the least memory that its decoder and its
encoder fit in, and their times.

    python -m tools.wfvae_memory [--target iphone15pro] [--frames 93] [--height 352] [--width 640]

Prints the table of docs/wfvae.md: the clip in one call, and in slices of latents, chunk-major and
slice-major. The least memory is found to a twentieth of a gigabyte. Nothing is built.
"""

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.recipe import Recipe
from entracte.graphs.recipes.wfvae import SPACE, TIME, decode_video, decode_whole, encoded
from tools.least_memory import alone, least

CONFIG = {"scale": [0.18215] * 8, "shift": [0.0] * 8}
INDEX = {"_class_name": "OpenSoraPlanPipeline", "vae": ["entracte", "WFVAEModel"]}
RATE = 18
WHOLE = 0
"""In place of a slice's size."""
ROWS = [("decode", WHOLE, ""), ("decode", 11, "auto"), ("decode", 2, "slice"),
        ("decode", 1, "chunk"), ("decode", 1, "slice"),
        ("encode", 23, "auto"), ("encode", 1, "chunk"), ("encode", 1, "slice")]  # fmt: skip


def recipe(folder: Path, **options: Any) -> Recipe:
    """Of a folder with this VAE alone, at its published size."""
    (folder / "vae").mkdir(exist_ok=True)
    (folder / "vae" / "config.json").write_text(json.dumps(CONFIG))
    (folder / "model_index.json").write_text(json.dumps(INDEX))
    return Recipe(model_folder(folder), options, None, random=True)


def pipeline(what: str, size: int, order: str, frames: int, pixels: tuple[int, int]) -> Any:
    """Its stages, reading latents, or pixels, that are given."""
    rows, columns = pixels[0] // SPACE, pixels[1] // SPACE
    latents = (1, 8, (frames - 1) // TIME + 1, rows, columns)
    with tempfile.TemporaryDirectory() as folder:
        if what == "encode":
            r = recipe(Path(folder), encode_slice=size)
            x = r.tensor("pixels", (1, 3, frames, *pixels))
            r.output("z", "tensor", encoded(r, x, r.tensor("noise", latents)))
        else:
            r = recipe(Path(folder), slice=size or 1)
            z = r.tensor("z", latents)
            if size == WHOLE:
                made = r.stage(decode_whole, "vae", z=z, settings=CONFIG,
                               frames=(1, 3, frames, *pixels))  # fmt: skip
                r.video([made], RATE)
            else:
                decode_video(r, z, RATE)
    if what in r.stages:
        r.stages[what]["map"]["order"] = order
    return alone(r)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="iphone15pro")
    for name, default in (("frames", 93), ("height", 352), ("width", 640)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    print(
        "| part | latents a call | order | limit | time | chunks |\n|---|---:|---|---:|---:|---:|"
    )
    for what, size, order in ROWS:
        made = pipeline(what, size, order, given.frames, (given.height, given.width))
        steps, plan = least(made, given.target, 50, low=8)
        chunks = len(plan.packages or plan.facts)
        row = f"`{steps / 20:.2f}GB` | {plan.forecast.makespan_s:.0f} s | {chunks}"
        print(f"| {what} | {size or 'all'} | {order} | {row} |", flush=True)


if __name__ == "__main__":
    main()
