"""`python -m tools.train_tiny --seed 0 --out DIR`: every stage in turn; finished ones are skipped."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from tools.train_tiny import vae_stage
from graphs.opensora.tiny import TINY_VAE
from tools.train_tiny.config import Budget


def main() -> None:
    """Parse the arguments and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--until", choices=("vae", "all"), default="all")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    torch.manual_seed(arguments.seed)
    vae = vae_stage.TrainableVAE(TINY_VAE)
    vae_stage.run(vae, Budget(), arguments.out, arguments.seed)


if __name__ == "__main__":
    main()
