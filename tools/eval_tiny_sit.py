"""Accuracy of `tiny_sit`: does a picture show its class? Judged by image analysis.

python -m tools.eval_tiny_sit --device torch
python -m tools.eval_tiny_sit --device reference build/picture
python -m tools.eval_tiny_sit --device reference build/test --beside build/picture

`--beside` draws the same pictures by another build too and tells how far both are apart, and in
which share of the steps blocks ran that may rest by a first-block test.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor, nn

from entracte.declare.host_ops import random_normal
from entracte.graphs.opensora.tiny import TINY_VAE
from entracte.graphs.opensora.vae import SPATIAL_SCALE, spatial_vae
from tools.techniques_table import psnr_summary
from tools.tiny_world_detect import detect
from tools.train_tiny import world
from tools.train_tiny.sit_stage import SIZES, fresh_model

WEIGHTS = Path(__file__).resolve().parent.parent / "graphs/weights/tiny_sit"
FILE = "diffusion_pytorch_model.safetensors"
GUIDED = 3
"""Upstream guides the first three channels of four."""


@torch.no_grad()
def denoise(model: nn.Module, classes: Tensor, z: Tensor, points: int, guidance: float) -> Tensor:
    """Latents of the classes [B] from noise z [B, C, H, W]: Euler steps between `points` times."""
    times = torch.linspace(0, 1, points)
    null = torch.full_like(classes, len(world.CLASSES))
    for now, then in zip(times[:-1], times[1:], strict=True):
        made = model(torch.cat((z, z)), now.expand(2 * len(z)), torch.cat((classes, null)))
        given, free = made.chunk(2)
        led = free + guidance * (given - free)
        z = z + torch.cat((led[:, :GUIDED], given[:, GUIDED:]), dim=1) * (then - now)
    return z


def shipped(folder: Path = WEIGHTS) -> tuple[nn.Module, nn.Module]:
    """The model and the VAE (whose encoder has no numbers of use) in fp32."""
    model, vae = fresh_model(), spatial_vae(TINY_VAE, encoder=False)
    for module, name in ((model, "transformer"), (vae, "vae")):
        module.load_state_dict({k: v.float() for k, v in load_file(folder / name / FILE).items()})
    return model.eval(), vae.eval()


@torch.no_grad()
def draw_with_torch(
    classes: np.ndarray, seeds: range, points: int, guidance: float, folder: Path = WEIGHTS
) -> np.ndarray:
    """Pictures [N, 64, 64, 3] in [0, 1] from the torch modules."""
    model, vae = shipped(folder)
    side = SIZES["input_size"]
    noise = np.stack([random_normal(seed, (SIZES["in_channels"], side, side)) for seed in seeds])
    z = denoise(model, torch.from_numpy(classes), torch.from_numpy(noise), points, guidance)
    pictures = vae.decoder(vae.post_quant_conv(z / SPATIAL_SCALE)) * 0.5 + 0.5
    return pictures.clamp(0, 1).permute(0, 2, 3, 1).numpy()


def draw_with_plan(build: Path, classes: np.ndarray, seeds: range, guidance: float) -> np.ndarray:
    """Pictures [N, 64, 64, 3] in [0, 1], made by executing the packages of `build`."""
    return run_plan(build, classes, seeds, guidance)[0]


def run_plan(
    build: Path, classes: np.ndarray, seeds: range, guidance: float
) -> tuple[np.ndarray, float | None]:
    """The pictures, and the share of steps in which chunks were called that a tensor lets rest;
    None where there are none."""
    from entracte.ir import Call
    from entracte.plan.file import read_plan
    from entracte.run.execute import execute, make_device

    torch.set_num_threads(1)
    plan = read_plan(build)
    device = make_device("reference", plan)
    asking = {
        step.chunk: segment.count
        for segment in plan.program.segments
        for step in segment.steps
        if isinstance(step, Call) and step.rests_by
    }
    made, called = [], 0
    for label, seed in zip(classes, seeds, strict=True):
        given = {"label": int(label), "seed": seed, "guidance": guidance}
        outcome = execute(plan, build, device, given)
        made.append(np.asarray(outcome.output)[0])
        called += sum(c.calls for c in outcome.run.chunks if c.chunk in asking)
    share = called / (len(made) * sum(asking.values())) if asking else None
    return (np.stack(made).transpose(0, 2, 3, 1) * 0.5 + 0.5).clip(0, 1), share


def accuracy(classes: np.ndarray, pictures: np.ndarray) -> dict[str, float]:
    """Share of pictures that show their class, and that have one of the two backgrounds."""
    found = [detect(picture[None]) for picture in pictures]
    wanted = [world.CLASSES[int(number)] for number in classes]
    colour = np.array([f.colour == w[0] for f, w in zip(found, wanted, strict=True)])
    shape = np.array([f.shape == w[1] for f, w in zip(found, wanted, strict=True)])
    plain = np.array([f.background != "none" for f in found])
    shares = {"colour": colour, "shape": shape, "class": colour & shape, "background": plain}
    table = {name: round(float(right.mean()), 4) for name, right in shares.items()}
    return table | {"pictures": len(found)}


def sheet(pictures: np.ndarray, path: Path) -> None:
    """A PNG with a column for each class."""
    count = len(world.CLASSES)
    rows = [
        np.concatenate([np.pad(p, ((1, 1), (1, 1), (0, 0)), constant_values=0.5) for p in row], 1)
        for row in (pictures[i : i + count] for i in range(0, len(pictures), count))
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    levels = (np.concatenate(rows) * 255).round().astype(np.uint8)
    Image.fromarray(levels).save(path, optimize=True)


def main() -> None:
    """Generate, detect, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("torch", "reference"), default="torch")
    parser.add_argument("build", type=Path, nargs="?", help="build folder, for --device reference")
    parser.add_argument("--beside", type=Path, help="another build, to compare the pictures with")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="other weights (torch only)")
    parser.add_argument("--points", type=int, default=31, help="points in time (torch only)")
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--each", type=int, default=12, help="pictures of each class")
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    if (arguments.device == "reference") != (arguments.build is not None):
        parser.error("--device reference needs a build folder, --device torch takes none")
    classes = np.tile(np.arange(len(world.CLASSES)), arguments.each)
    seeds, start = range(len(classes)), time.time()
    if arguments.device == "torch":
        pictures = draw_with_torch(
            classes, seeds, arguments.points, arguments.guidance, arguments.weights
        )
    else:
        pictures, share = run_plan(arguments.build, classes, seeds, arguments.guidance)
    result = {"device": arguments.device, "guidance": arguments.guidance}
    result |= {"accuracy": accuracy(classes, pictures), "seconds": round(time.time() - start, 1)}
    if arguments.beside:
        plain = draw_with_plan(arguments.beside, classes, seeds, arguments.guidance)
        mean, least, _ = psnr_summary(plain * 255, pictures * 255)
        result |= {"beside": accuracy(classes, plain), "share_of_steps": share}
        result |= {"psnr_mean_db": round(mean, 1), "psnr_least_db": round(least, 1)}
    print(json.dumps(result, indent=1))
    if arguments.sheet:
        sheet(pictures[: 4 * len(world.CLASSES)], arguments.sheet)


if __name__ == "__main__":
    main()
