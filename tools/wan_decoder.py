"""Wan's VAE decoder alone, planned in several ways: the least memory that it fits in, and its time.

    python -m tools.wan_decoder [--target iphone17pro] [--frames 81]

Prints the table of docs/wan.md: the clip in one call, and latent frames one by one, chunk-major and
slice-major. The least memory is found to a quarter of a gigabyte.
"""

import argparse
import tempfile
from pathlib import Path

from omegaconf import OmegaConf

from entracte.build import compile_pipeline
from entracte.disk.places import weights_folder
from entracte.errors import DoesNotFit
from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.recipe import Recipe
from entracte.graphs.recipes.wan import latent_sizes
from entracte.graphs.recipes.wan_decoder import decode_video
from entracte.ir import Plan

FOLDER = "package:entracte.graphs/published/wan2.1_t2v_1.3b"


def pipeline(frames: int, size: int, order: str) -> dict[str, object]:
    """The decoder's stages, reading latents that are given."""
    options = {"frames": frames, "slice": size}
    r = Recipe(model_folder(weights_folder(FOLDER)), options, None, random=True)
    shape = (1, r.config("vae")["z_dim"], *latent_sizes(r))
    decode_video(r, r.given("z", shape, kind="tensor"))
    r.inputs["z"]["shape"] = list(shape)
    r.stages["decode"]["map"]["order"] = order
    return {"name": "decoder", "title": "decoder", "weights": "random:0", "inputs": r.inputs,
            "stages": r.stages, "outputs": r.outputs}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="iphone17pro")
    parser.add_argument("--frames", type=int, default=81)
    given = parser.parse_args()
    rest = (given.frames - 1) // 4
    print("| latent frames a call | order | fits in | time | chunks |\n|---|---|---:|---:|---:|")
    for size, order in ((rest, "auto"), (1, "chunk"), (1, "slice")):
        quarters, plan = _least(given, size, order)
        chunks = len(plan.packages or plan.facts)
        row = f"{quarters / 4:.2f} GB | {plan.forecast.makespan_s:.0f} s | {chunks}"
        print(f"| {size} | {order} | {row} |", flush=True)


def _least(given: argparse.Namespace, size: int, order: str) -> tuple[int, Plan]:
    """Quarters of a gigabyte, and the plan."""
    low, high, found = 4, 8, None
    while found is None or high - low > 1:
        middle = high if found is None else (low + high) // 2
        plan = _planned(given, size, order, middle)
        if plan is None:
            low, high = middle, high if found else 2 * high
        else:
            high, found = middle, plan
    return high, found


def _planned(given: argparse.Namespace, size: int, order: str, quarters: int) -> Plan | None:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pipeline"
        place.mkdir()
        made = OmegaConf.create(pipeline(given.frames, size, order))
        OmegaConf.save(made, place / "decoder.yaml")
        words = [f"+target={given.target}", "pipeline=decoder", "dry_run=true",
                 f"target.memory={quarters * 250}MB"]  # fmt: skip
        try:
            return compile_pipeline(words, config_dir=Path(folder)).plan
        except DoesNotFit:
            return None


if __name__ == "__main__":
    main()
