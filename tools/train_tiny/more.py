"""`python -m tools.train_tiny.more --out DIR`: `tiny_sit` and `tiny_i2v` from the shipped demo.

Both need encoders, which are trained first; finished stages are skipped. The shipped files are
written to DIR/tiny_sit and DIR/tiny_i2v (copy them to graphs/weights).
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from tools.train_tiny import encoder_stage, image_stage, ship_more, sit_stage
from tools.train_tiny.progress import last_losses


def main() -> None:
    """Parse the arguments and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("all", "tiny_sit", "tiny_i2v"), default="all")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    out, seed = arguments.out, arguments.seed
    out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    torch.set_num_threads(arguments.threads)
    encoding, drawing, moving = encoder_stage.Budget(), sit_stage.Budget(), image_stage.Budget()
    encoders, pipeline = encoder_stage.run(out, seed, encoding)
    card = {"trained": True, "seed": seed, "encoders": asdict(encoding)}
    if arguments.only in ("all", "tiny_sit"):
        model = sit_stage.train(encoders, drawing, out, seed)
        said = {**card, "budget": asdict(drawing), "last_loss": last_losses(out)}
        ship_more.write_sit(out / "tiny_sit", model, pipeline.spatial, said)
    if arguments.only in ("all", "tiny_i2v"):
        ranks = image_stage.train(encoders, pipeline, moving, out, seed)
        statistics = {n: getattr(pipeline.temporal, n) for n in ("shift", "scale")}
        said = {**card, "budget": asdict(moving), "last_loss": last_losses(out)}
        ship_more.write_image(out / "tiny_i2v", encoders, statistics, ranks, said)


if __name__ == "__main__":
    main()
