"""Accuracy of `tiny_i2v`: does a clip begin with the picture, and go on as the prompt says?

python -m tools.eval_tiny_i2v --device torch
python -m tools.eval_tiny_i2v --device reference build/moving
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from entracte.declare.host_ops import random_normal
from entracte.graphs.opensora.tiny import TINY_DENOISER
from tools.eval_tiny import accuracy, contact_sheet
from tools.train_tiny import world
from tools.train_tiny.encoder_stage import STILL, Encoders
from tools.train_tiny.sample import TinyPipeline, decode, denoise
from tools.train_tiny.world import COMBINATIONS, Combination

WEIGHTS = Path(__file__).resolve().parent.parent / "graphs/weights/tiny_i2v"
_STEPS = 30


def first_frames(cells: list[Combination], seed: int = 1) -> np.ndarray:
    """First frames of clips of the cells, [N, 64, 64, 3] in levels of 1 / 255, as files have."""
    clips, _ = world.draw(cells, np.random.default_rng([seed, 50]), still=STILL)
    return (clips[:, 0] * 255).round() / 255


def shipped(folder: Path = WEIGHTS) -> tuple[TinyPipeline, Encoders]:
    """The first demo with the LoRA file in its denoiser, and the encoders."""
    pipeline, encoders = TinyPipeline.shipped(), Encoders()
    ranks = {k: v.float() for k, v in load_file(folder / "lora.safetensors").items()}
    for name in (k.removesuffix(".lora_A.weight") for k in ranks if ".lora_A." in k):
        linear = pipeline.denoiser.model.get_submodule(name.removeprefix("denoiser."))
        up, down = ranks[f"{name}.lora_B.weight"], ranks[f"{name}.lora_A.weight"]
        linear.weight.data += up @ down
    stored = load_file(folder / "vae.safetensors")
    encoders.load_state_dict({k: stored[k].float() for k in encoders.state_dict()})
    return pipeline, encoders.eval()


@torch.no_grad()
def reference_latents(pipeline: TinyPipeline, encoders: Encoders, pictures: np.ndarray) -> Tensor:
    """Latents [N, C, 1, 8, 8] of pictures [N, 64, 64, 3] in [0, 1], as the denoiser reads them."""
    pixels = torch.from_numpy(pictures.astype(np.float32)).permute(0, 3, 1, 2) * 2 - 1
    z = encoders.encode_group(encoders.encode_frames(pixels)[:, :, None])
    return (z - pipeline.temporal.shift) / pipeline.temporal.scale


def make_with_torch(
    cells: list[Combination], pictures: np.ndarray, guidance: float, folder: Path = WEIGHTS
) -> np.ndarray:
    """Clips [N, 16, 64, 64, 3] in [0, 1] from the torch modules; the seed is the clip's number."""
    pipeline, encoders = shipped(folder)
    shape = (TINY_DENOISER.in_channels, *TINY_DENOISER.latent)
    noise = torch.from_numpy(np.stack([random_normal(seed, shape) for seed in range(len(cells))]))
    given = reference_latents(pipeline, encoders, pictures)
    prompts, clips = [cell.plain_caption for cell in cells], []
    for start in range(0, len(cells), 36):
        some = slice(start, start + 36)
        z = denoise(pipeline, prompts[some], noise[some], _STEPS, guidance, given[some])
        clips.append(decode(pipeline, z))
    return np.concatenate(clips)


def make_with_plan(build: Path, cells: list[Combination], pictures: np.ndarray) -> np.ndarray:
    """The same, made by executing the packages of `build`."""
    from entracte.plan.file import read_plan
    from entracte.run.execute import execute, make_device
    from entracte.run.video import to_frames

    torch.set_num_threads(1)
    plan = read_plan(build)
    device = make_device("reference", plan)
    made = []
    for seed, (cell, picture) in enumerate(zip(cells, pictures, strict=True)):
        pixels = (picture.transpose(2, 0, 1)[None] * 2 - 1).astype(np.float32)
        given = {"prompt": cell.plain_caption, "seed": seed, "reference": pixels}
        made.append(to_frames(execute(plan, build, device, given).output))
    return np.stack(made).astype(np.float32) / 255


def psnr(clips: np.ndarray, pictures: np.ndarray) -> float:
    """Median over clips of how near their first frames are to the pictures, in dB."""
    errors = np.square(clips[:, 0] - pictures).mean((1, 2, 3))
    return round(float(np.median(-10 * np.log10(errors.clip(1e-10)))), 1)


def main() -> None:
    """Generate, detect, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("torch", "reference"), default="torch")
    parser.add_argument("build", type=Path, nargs="?", help="build folder, for --device reference")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="other weights (torch only)")
    parser.add_argument("--guidance", type=float, default=4.0, help="torch only")
    parser.add_argument("--every", type=int, default=1, help="only every n-th combination")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    if (arguments.device == "reference") != (arguments.build is not None):
        parser.error("--device reference needs a build folder, --device torch takes none")
    cells, start = list(COMBINATIONS[:: arguments.every]), time.time()
    pictures = first_frames(cells)
    if arguments.device == "torch":
        clips = make_with_torch(cells, pictures, arguments.guidance, arguments.weights)
    else:
        clips = make_with_plan(arguments.build, cells, pictures)
    # How near two different clips of a prompt are: what a first frame would be without a picture.
    other = psnr(first_frames(cells, seed=2)[:, None], pictures)
    result = {"device": arguments.device, "first_frame_db": psnr(clips, pictures)}
    result |= {"another_first_frame_db": other, "accuracy": accuracy(cells, clips)}
    print(json.dumps(result | {"seconds": round(time.time() - start, 1)}, indent=1))
    if arguments.sheet:
        chosen = np.linspace(0, len(cells) - 1, min(12, len(cells))).round().astype(int)
        contact_sheet(clips[chosen], arguments.sheet)


if __name__ == "__main__":
    main()
