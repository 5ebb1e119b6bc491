"""Accuracy of the embedded pipeline over its whole world, judged by image analysis.

python -m tools.eval_tiny --device torch
python -m tools.eval_tiny --device reference build/tiny_t2v
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from PIL import Image

from tools.tiny_world_detect import detect
from tools.train_tiny.world import COMBINATIONS, Combination

ATTRIBUTES = ("shape", "colour", "motion", "background")


def generate_with_plan(build: Path, prompt: str, seed: int) -> np.ndarray:
    """Frames uint8 [16, 64, 64, 3] of one clip, made by executing the packages of `build`."""
    import torch

    from entracte.plan.file import read_plan
    from entracte.run.execute import execute, make_device
    from entracte.run.video import to_frames

    torch.set_num_threads(1)  # clips are made side by side, one per core
    plan = read_plan(build)
    device = make_device("reference", plan)
    outcome = execute(plan, build, device, {"prompt": prompt, "seed": seed})
    return to_frames(outcome.output)


def generate_all_with_plan(
    build: Path, cells: list[Combination], seeds: list[int], workers: int
) -> np.ndarray:
    """Clips [N, 16, 64, 64, 3] in [0, 1], made in `workers` processes, with a progress bar."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from rich.progress import track

    prompts = [cell.plain_caption for cell in cells]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        made = pool.map(generate_with_plan, [build] * len(cells), prompts, seeds)
        clips = list(track(made, "clips", total=len(cells), transient=True))
    return np.stack(clips).astype(np.float32) / 255


def generate_with_torch(
    cells: list[Combination], seeds: list[int], arguments: argparse.Namespace
) -> np.ndarray:
    """Clips [N, 16, 64, 64, 3] in [0, 1] from the torch modules."""
    import torch

    from entracte.declare.host_ops import (
        random_normal,  # so that both devices start from the same noise
    )
    from entracte.graphs.opensora.tiny import TINY_DENOISER, WEIGHTS
    from tools.train_tiny.sample import TinyPipeline, generate

    pipeline = TinyPipeline.shipped(arguments.weights or WEIGHTS)
    shape = (TINY_DENOISER.in_channels, *TINY_DENOISER.latent)
    noise = torch.from_numpy(np.stack([random_normal(seed, shape) for seed in seeds]))
    prompts = [cell.plain_caption for cell in cells]
    return generate(pipeline, prompts, noise, arguments.steps, arguments.guidance)


def accuracy(cells: list[Combination], clips: np.ndarray) -> dict[str, dict[str, float]]:
    """Share of clips that show the asked-for value, per attribute, for seen and held-out cells."""
    found = [detect(clip) for clip in clips]
    table: dict[str, dict[str, float]] = {}
    for name, held in (("seen", False), ("held_out", True)):
        pairs = [(c, f) for c, f in zip(cells, found, strict=True) if c.held_out == held]
        if not pairs:
            continue
        right = [[getattr(c, a) == getattr(f, a) for a in ATTRIBUTES] for c, f in pairs]
        row = {
            a: round(float(v), 4) for a, v in zip(ATTRIBUTES, np.mean(right, axis=0), strict=True)
        }
        row |= {"all": round(float(np.all(right, axis=1).mean()), 4), "clips": len(pairs)}
        table[name] = row
    return table


def mistakes(cells: list[Combination], clips: np.ndarray) -> list[dict[str, object]]:
    """The clips that do not show what was asked for."""
    wrong = []
    for cell, clip in zip(cells, clips, strict=True):
        found = detect(clip)
        if any(getattr(cell, a) != getattr(found, a) for a in ATTRIBUTES):
            entry = {"prompt": cell.plain_caption, "held_out": cell.held_out}
            wrong.append({**entry, "found": asdict(found)})
    return wrong


def contact_sheet(clips: np.ndarray, path: Path, columns: int = 3, every: int = 3) -> None:
    """A PNG with one strip of frames per clip."""
    strips = [np.concatenate(list(clip[::every]), axis=1) for clip in clips]
    strips = [np.pad(strip, ((1, 1), (1, 1), (0, 0)), constant_values=0.5) for strip in strips]
    while len(strips) % columns:
        strips.append(np.full_like(strips[0], 0.5))
    rows = [np.concatenate(strips[i : i + columns], 1) for i in range(0, len(strips), columns)]
    sheet = (np.concatenate(rows) * 255).round().astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(sheet).save(path, optimize=True)


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("torch", "reference"), default="torch")
    parser.add_argument("build", type=Path, nargs="?", help="build folder, for --device reference")
    parser.add_argument("--weights", type=Path, help="folder of other weights (torch only)")
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--guidance", type=float, default=4.0)
    parser.add_argument("--seeds", type=int, default=1, help="clips per combination")
    parser.add_argument("--every", type=int, default=1, help="only every n-th combination")
    parser.add_argument("--workers", type=int, default=2, help="processes (reference only)")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--sheet", type=Path)
    arguments = parser.parse_args()
    if (arguments.device == "reference") != (arguments.build is not None):
        parser.error("--device reference needs a build folder, --device torch takes none")
    return arguments


def main() -> None:
    """Generate, detect, print, write."""
    arguments = parse()
    cells = [c for c in COMBINATIONS[:: arguments.every] for _ in range(arguments.seeds)]
    seeds = list(range(len(cells)))
    start = time.time()
    if arguments.device == "torch":
        clips = generate_with_torch(cells, seeds, arguments)
    else:
        clips = generate_all_with_plan(arguments.build, cells, seeds, arguments.workers)
    seconds = time.time() - start
    result = {"device": arguments.device, "steps": arguments.steps, "guidance": arguments.guidance}
    result |= {"accuracy": accuracy(cells, clips), "seconds": round(seconds, 1)}
    print(json.dumps(result, indent=1))
    if arguments.json:
        wrong = {"mistakes": mistakes(cells, clips)}
        arguments.json.write_text(json.dumps({**result, **wrong}, indent=1) + "\n")
    if arguments.sheet:
        # Every shape, colour, motion and background within 24 strips.
        chosen = np.linspace(0, len(cells) - 1, min(24, len(cells))).round().astype(int)
        contact_sheet(clips[chosen], arguments.sheet)


if __name__ == "__main__":
    main()
