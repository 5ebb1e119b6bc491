"""Wan's VAE decoder alone, planned in several ways: the least memory that it fits in, and its time.

    python -m tools.wan_decoder [--target iphone17pro] [--frames 81]

Prints the table of docs/wan.md: the clip in one call, and latent frames one by one, chunk-major and
slice-major. The least memory is found to a quarter of a gigabyte.
"""

import argparse
from typing import Any

from entracte.disk.places import weights_folder
from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.recipe import Recipe
from entracte.graphs.recipes.wan import latent_sizes
from entracte.graphs.recipes.wan_decoder import decode_video
from tools.least_memory import alone, least

FOLDER = "package:entracte.graphs/published/wan2.1_t2v_1.3b"


def pipeline(frames: int, size: int, order: str) -> dict[str, Any]:
    """The decoder's stages, reading latents that are given."""
    options = {"frames": frames, "slice": size}
    r = Recipe(model_folder(weights_folder(FOLDER)), options, None, random=True)
    shape = (1, r.config("vae")["z_dim"], *latent_sizes(r))
    decode_video(r, r.tensor("z", shape))
    r.stages["decode"]["map"]["order"] = order
    return alone(r)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="iphone17pro")
    parser.add_argument("--frames", type=int, default=81)
    given = parser.parse_args()
    rest = (given.frames - 1) // 4
    print("| latent frames a call | order | fits in | time | chunks |\n|---|---|---:|---:|---:|")
    for size, order in ((rest, "auto"), (1, "chunk"), (1, "slice")):
        quarters, plan = least(pipeline(given.frames, size, order), given.target, 250, low=4)
        chunks = len(plan.packages or plan.facts)
        row = f"{quarters / 4:.2f} GB | {plan.forecast.makespan_s:.0f} s | {chunks}"
        print(f"| {size} | {order} | {row} |", flush=True)


if __name__ == "__main__":
    main()
