"""`python -m tools.train_tiny --seed 0 --out DIR`: every stage in turn; finished ones are skipped.

Writes the shipped files to DIR/shipped (copy them to graphs/weights/tiny_t2v). `--only` runs one
late stage: the denoiser and the decoders' finish do not depend on each other.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

import torch

from entracte.graphs.opensora.tiny import TINY_VAE, tiny_decoders
from tools.train_tiny import denoiser_stage, ship, vae_stage
from tools.train_tiny.config import Budget
from tools.train_tiny.progress import last_losses, load_module


def write_shipped(vae: vae_stage.TrainableVAE, out: Path, seed: int) -> None:
    """Averaged text encoder and denoiser of the last checkpoint, and the best decoders."""
    if (out / "vae_finish.safetensors").exists():
        load_module(vae, out / "vae_finish.safetensors")
    state = torch.load(out / "denoiser.pt", weights_only=True)
    model = denoiser_stage.TextToLatent()
    model.load_state_dict(state["average"])
    temporal, spatial = tiny_decoders()
    temporal.temporal_vae.load_state_dict(
        {k: v for k, v in vae.temporal.state_dict().items() if not k.startswith(("enc", "quant"))}
    )
    temporal.shift.copy_(state["shift"].reshape_as(temporal.shift))
    temporal.scale.copy_(state["scale"].reshape_as(temporal.scale))
    spatial.spatial_vae["module"].load_state_dict(
        {k: v for k, v in vae.spatial.state_dict().items() if not k.startswith(("enc", "quant"))}
    )
    card = {"trained": True, "seed": seed, "denoiser_step": state["step"]}
    card |= {"budget": asdict(Budget()), "last_loss": last_losses(out)}
    ship.write(out / "shipped", model.text, model.denoiser, (temporal, spatial), card)


def main() -> None:
    """Parse the arguments and run the stages."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", choices=("all", "denoiser", "decoders", "ship"), default="all")
    arguments = parser.parse_args()
    out, seed = arguments.out, arguments.seed
    out.mkdir(parents=True, exist_ok=True)
    torch.set_flush_denormal(True)
    torch.manual_seed(seed)
    vae = vae_stage.TrainableVAE(TINY_VAE)
    vae_stage.run(vae, Budget(), out, seed, ("spatial", "temporal"))
    if arguments.only in ("all", "denoiser"):
        denoiser_stage.train(vae, Budget(), out, seed)
    if arguments.only in ("all", "decoders"):
        vae_stage.run(vae, Budget(), out, seed, ("finish",))
    if arguments.only in ("all", "ship"):
        write_shipped(vae, out, seed)


if __name__ == "__main__":
    main()
