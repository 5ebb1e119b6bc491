"""Wan's VAE decoder alone, planned in several ways: what it needs, and how long it takes.

    python -m tools.wan_decoder [--target iphone17pro] [--memory 64GB] [--frames 81]

Prints a table for docs/wan.md: the clip in one call, and slices of latent frames chunk-major,
slice-major and in the groups that the planner chooses. With `--memory` far above the phone's the
need is seen where the phone would refuse.
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

FOLDER = "package:entracte.graphs/published/wan2.1_t2v_1.3b"


def pipeline(frames: int, size: int, order: str) -> dict[str, object]:
    """The decoder's stages, reading latents that are given."""
    options = {"frames": frames, "slice": size}
    r = Recipe(model_folder(weights_folder(FOLDER)), options, None, "")
    shape = (1, r.config("vae")["z_dim"], *latent_sizes(r))
    decode_video(r, r.given("z", shape, kind="tensor"))
    r.inputs["z"]["shape"] = list(shape)
    r.stages["decode"]["map"]["order"] = order
    return {"name": "decoder", "title": "decoder", "weights": "random:0", "inputs": r.inputs,
            "stages": r.stages, "outputs": r.outputs}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--target", default="iphone17pro")
    parser.add_argument("--memory", default="64GB")
    parser.add_argument("--frames", type=int, default=81)
    given = parser.parse_args()
    rest = (given.frames - 1) // 4
    print("| latent frames a call | order | peak | time | read |\n|---|---|---:|---:|---:|")
    for size, order in ((rest, "auto"), (1, "chunk"), (1, "slice"), (1, "auto")):
        row = " | ".join(_planned(given, size, order))
        print(f"| {size} | {order} | {row} |", flush=True)


def _planned(given: argparse.Namespace, size: int, order: str) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pipeline"
        place.mkdir()
        OmegaConf.save(
            OmegaConf.create(pipeline(given.frames, size, order)), place / "decoder.yaml"
        )
        words = [f"+target={given.target}", "pipeline=decoder", "dry_run=true",
                 f"target.memory={given.memory}"]  # fmt: skip
        try:
            made = compile_pipeline(words, config_dir=Path(folder)).plan.forecast
        except DoesNotFit as error:
            return str(error), "", ""
    return (f"{made.peak_bytes / 1e9:.2f} GB", f"{made.makespan_s:.0f} s",
            f"{made.loaded_bytes / 1e9:.2f} GB")  # fmt: skip


if __name__ == "__main__":
    main()
