"""WFVAE's decoder in five ways: memory above the start, processor time, distance to the whole clip.

    python -m tools.bench_wfvae [--base 32] [--frames 29] [--height 176] [--width 320] [--rounds 3]

    whole         torch, all latents at once
    chunks-4      torch, as Open-Sora Plan's tiling has it: 4 latents and the one after them
    save_memory   the same, its weights from the disk, layer by layer (accelerate: what sequential
                  offload is where there is no second memory)
    slices-1      torch, our slices of one latent: no latent twice
    compiled      the same, compiled, on the reference device, in the least memory that is planned

Every run is a process of its own, on random numbers, fp32, one thread. docs/wfvae.md has figures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import dispatch_model
from accelerate.utils import offload_state_dict
from omegaconf import OmegaConf
from safetensors.torch import load_file, save_file
from torch import Tensor

from entracte.compile.job import compile_pipeline
from entracte.graphs import on_meta
from entracte.graphs.models import build_model
from entracte.graphs.opensora_plan.wfvae_layers import Frames
from entracte.graphs.recipes.hub import model_folder
from entracte.graphs.recipes.recipe import Recipe
from entracte.graphs.recipes.wfvae import SPACE, TIME, decode_video
from entracte.memory import AnonymousPeak
from tools.least_memory import alone, least
from tools.wfvae_chunks import decode_in_chunks

RATE, STEP_MB = 18, 25
LATENTS = "latents.safetensors"


def _config(base: int) -> dict[str, Any]:
    return {"base_channels": base, "decoder_energy_flow_hidden_size": base,
            "encoder_energy_flow_hidden_size": base // 2, "scale": 1.0, "shift": 0.0}  # fmt: skip


def make(folder: Path, given: argparse.Namespace) -> None:
    """The model's folder, latents, and our build."""
    torch.manual_seed(0)
    config = _config(given.base)
    (folder / "vae").mkdir()
    (folder / "vae" / "config.json").write_text(json.dumps(config))
    index = {"_class_name": "OpenSoraPlanPipeline", "vae": ["entracte", "WFVAEModel"]}
    (folder / "model_index.json").write_text(json.dumps(index))
    model = build_model("WFVAEModel", config)
    save_file(model.state_dict(), folder / "vae" / "diffusion_pytorch_model.safetensors")
    offload_state_dict(str(folder / "offloaded"), model.decoder.state_dict(prefix="decoder."))
    shape = (1, 8, (given.frames - 1) // TIME + 1, given.height // SPACE, given.width // SPACE)
    save_file({"z": torch.randn(shape)}, folder / LATENTS)
    r = Recipe(model_folder(folder), {"slice": 1}, None)
    decode_video(r, r.tensor("z", shape), RATE)
    pipeline = alone(r) | {"weights": str(folder), "precision": "fp32"}
    steps, _ = least(pipeline, "host", STEP_MB)
    (folder / "conf" / "pipeline").mkdir(parents=True)
    OmegaConf.save(OmegaConf.create(pipeline), folder / "conf" / "pipeline" / "alone.yaml")
    built = compile_pipeline(
        ["target=host", "pipeline=alone", "verify=off", "workers=1",
         f"target.memory={steps * STEP_MB}MB"],
        out=folder / "build", config_dir=folder / "conf",
    )  # fmt: skip
    print(f"compiled in target.memory={steps * STEP_MB}MB: {len(built.plan.packages)} packages")


# ---------------------------------------------------------------- contestants


def _slices(model: Any, z: Tensor) -> Tensor:
    decoder, total = model.decoder, z.shape[2]
    frames, made = Frames(is_last=total == 1), list[Tensor]()
    made.append(decoder.pixels(decoder(z[:, :, :2], frames), frames))
    for k in range(2, total):
        frames = Frames(frames.after, is_last=k + 1 == total)
        made.append(decoder.pixels(decoder(z[:, :, k : k + 1], frames), frames))
    return torch.cat(made, 2)


_TORCH: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "whole": lambda model, z: model.decode(z),
    "chunks-4": lambda model, z: decode_in_chunks(model, z, 4),
    "save_memory": lambda model, z: decode_in_chunks(model, z, 4),
    "slices-1": _slices,
}
NAMES = (*_TORCH, "compiled")


def run(name: str, folder: Path) -> dict[str, Any]:
    """One contestant in this process: peak, processor seconds; its pixels go into a file."""
    torch.set_num_threads(1)
    torch.set_grad_enabled(False)
    file = folder / f"{name}.npy"
    z = load_file(folder / LATENTS)["z"]
    if name == "compiled":
        return _run_compiled(folder, z, file)
    weights = folder / "vae" / "diffusion_pytorch_model.safetensors"
    # What libraries import and set up when they are first used is no part of the figures.
    warm = _offloaded(folder) if name == "save_memory" else _resident(folder, weights)
    _TORCH[name](warm, z[:, :, :3, :2, :2])
    del warm
    with AnonymousPeak() as memory:
        model = _offloaded(folder) if name == "save_memory" else _resident(folder, weights)
        begun = time.process_time()
        made = _TORCH[name](model, z).clamp(-1, 1)
        cpu = time.process_time() - begun
    np.save(file, made.numpy())
    return {"peak_bytes": memory.peak_bytes, "cpu_s": cpu}


def _empty(folder: Path) -> Any:
    """The model without the encoder, and without numbers."""
    config = json.loads((folder / "vae" / "config.json").read_text())
    model = on_meta(lambda: build_model("WFVAEModel", config))
    del model.encoder
    return model


def _resident(folder: Path, weights: Path) -> Any:
    """All weights in memory, as torch loads them."""
    model = _empty(folder)
    found = {k: v.clone() for k, v in load_file(weights).items() if k.startswith("decoder.")}
    model.load_state_dict(found, assign=True)
    return model


def _offloaded(folder: Path) -> Any:
    """Every layer's weights on the disk until it runs, and again after it."""
    place = str(folder / "offloaded")
    return dispatch_model(_empty(folder), {"": "disk"}, main_device="cpu", offload_dir=place)


def _run_compiled(folder: Path, z: Tensor, file: Path) -> dict[str, Any]:
    import entracte

    entracte.run_build(folder / "build", {"z": z.numpy()}, out={"video": file})
    begun = time.process_time()
    with AnonymousPeak() as memory:
        entracte.run_build(folder / "build", {"z": z.numpy()}, out={"video": file})
    return {"peak_bytes": memory.peak_bytes, "cpu_s": time.process_time() - begun}


# ---------------------------------------------------------------- the table


def _in_a_process(name: str, folder: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "tools.bench_wfvae", "--one", name, "--folder", str(folder)]
    done = subprocess.run(
        command, check=True, stdout=subprocess.PIPE, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def table(folder: Path, rounds: int) -> None:
    """Prints medians; the contestants take turns."""
    runs = [{name: _in_a_process(name, folder) for name in NAMES} for _ in range(rounds)]
    want = np.load(folder / "whole.npy")
    print("| decoder | peak memory | processor time | largest difference |")
    print("| --- | ---: | ---: | ---: |")
    for name in NAMES:
        peak, cpu = (statistics.median(r[name][key] for r in runs)
                      for key in ("peak_bytes", "cpu_s"))  # fmt: skip
        error = np.abs(np.load(folder / f"{name}.npy") - want).max()
        print(f"| {name} | {peak / 2**20:.0f} MiB | {cpu:.1f} s | {error:.1e} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name, default in (("base", 32), ("frames", 29), ("height", 176), ("width", 320),
                          ("rounds", 3)):  # fmt: skip
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(run(given.one, given.folder)))
        return
    with tempfile.TemporaryDirectory() as place:
        make(Path(place), given)
        table(Path(place), given.rounds)


if __name__ == "__main__":
    main()
