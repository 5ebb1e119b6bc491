"""What resting blocks and an interval of guidance cost the demo: torch loops by hand, no packages.

    nice -n 19 python -m tools.reuse_parts --clips 72 --json /tmp/reuse.json

The prompts, seeds and measures of `tools/bench_techniques.py`; every row is added to --json as it
is made, and rows that are there are not made again. docs/techniques.md has the figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from entracte.declare.host_ops import random_normal
from entracte.graphs.opensora.denoiser import mask_to_bias
from entracte.graphs.opensora.sampler import rflow_timesteps
from entracte.graphs.opensora.stdit3 import STDiT3
from entracte.graphs.opensora.tiny import FRAMES, HEIGHT, TIMESTEP_SHIFT, TINY_DENOISER, WIDTH
from tools.bench_techniques import prompt_order
from tools.eval_tiny import accuracy
from tools.techniques_table import psnr_summary
from tools.train_tiny.sample import TinyPipeline, decode
from tools.train_tiny.world import COMBINATIONS, Combination

STEPS, LEAP, GUIDANCE = 30, 16, 4.0
_BLOCKS = 6
_BATCH = 24


@dataclass(frozen=True)
class Skips:
    """What is not computed.

    Attributes:
        steps: that divide the whole time; 0: 30.
        evaluations: of these; the last one covers what remains.
        interval: steps [begin, end) that are guided.
        first, last: blocks that run in every step.
        at: steps in which those between run; empty: all.
        threshold: instead of `at`: they rest where the change of the first blocks differs by less
            than this share from what it was when they last ran (first-block test); 0: never asked.
        apart: each half of guidance decides for itself; else both are looked at together. With an
            interval it is so in any case, and the half that comes again begins anew.
    """

    steps: int = 0
    evaluations: int = STEPS
    interval: tuple[int, int] = (0, STEPS)
    first: int = 1
    last: int = 1
    at: tuple[int, ...] = ()
    threshold: float = 0.0
    apart: bool = False
    merged: int = 0
    """First steps whose attentions run on averaged pairs of frames (token merging)."""

    @property
    def is_interval(self) -> bool:
        """Whether a half of guidance is missing in some steps."""
        return self.interval[0] > 0 or self.interval[1] < self.evaluations


@dataclass
class Half:
    """One half of guidance: what its middle changed last, and the first blocks' change then."""

    change: Tensor | None = None
    seen: Tensor | None = None
    blocks: int = 0
    """Blocks that ran, over all evaluations and rows."""

    def forget(self) -> None:
        """Its middle runs next: nothing stands that could be compared with."""
        self.change = self.seen = None

    def update(self, runs: Tensor, change: Tensor, seen: Tensor) -> None:
        """What rows whose middle ran changed, and what their first blocks had changed."""
        if self.change is None or self.seen is None:
            self.change, self.seen = change, seen
        else:
            self.change, self.seen = self.change.clone(), self.seen.clone()
            self.change[runs], self.seen[runs] = change, seen


def blocks_of(model: STDiT3) -> list[nn.Module]:
    """In the order in which they run."""
    pairs = zip(model.spatial_blocks, model.temporal_blocks, strict=True)
    return [block for pair in pairs for block in pair]


@dataclass(frozen=True)
class Now:
    """Of one step: which it is, its timestep, and the bias of the text's mask."""

    step: int
    timestep: float
    bias: Tensor


def velocity(model: STDiT3, half: Half, skips: Skips, now: Now, z: Tensor, text: Tensor) -> Tensor:
    """One evaluation of one half, or of both as one batch, [B, C, T, H, W]."""
    at = torch.full((len(z),), now.timestep)
    t = model.t_embedder(at) + model.fps_embedder(model.fps)
    t_mlp = model.t_block(t).reshape(-1, 6, model.cfg.hidden)
    given = model.y_embedder(text), t_mlp, now.bias, model.rope
    x = model._add_positions(model.x_embedder(z))
    blocks = blocks_of(model)
    stop = len(blocks) - skips.last
    begin = x
    for block in blocks[: skips.first]:
        x = block(x, *given)
    before, runs = x, _runs(skips, half, now.step, x - begin)
    if runs.any():
        x, own = before[runs], _rows(given, runs)
        for block in blocks[skips.first : stop]:
            x = block(x, *own)
        half.update(runs, x - before[runs], (before - begin)[runs])
    half.blocks += torch.where(runs, len(blocks), skips.first + skips.last).sum().item()
    assert half.change is not None
    x = before + half.change
    for block in blocks[stop:]:
        x = block(x, *given)
    return model._unpatchify(model.final_layer(x, t))[:, : z.shape[1]]


def _rows(given: tuple, runs: Tensor) -> tuple:
    """Of what each clip has its own of."""
    return tuple(x[runs] if isinstance(x, Tensor) and len(x) == len(runs) else x for x in given)


def _runs(skips: Skips, half: Half, step: int, change: Tensor) -> Tensor:
    """Of each row whether its middle runs. With a test of both halves as one rows are those of
    clips with the prompt, then without."""
    if half.change is None:
        return torch.ones(len(change), dtype=torch.bool)
    if not skips.threshold:
        return torch.full((len(change),), not skips.at or step in skips.at)
    assert half.seen is not None
    moved, was = (x.abs().flatten(1).mean(1) for x in (change - half.seen, half.seen))
    if skips.apart or skips.is_interval:
        return moved / was >= skips.threshold
    moved, was = (x.view(2, -1).mean(0) for x in (moved, was))
    return (moved / was >= skips.threshold).repeat(2)


def times(skips: Skips) -> tuple[np.ndarray, np.ndarray]:
    """Timesteps and lengths; with fewer than all the last covers what remains."""
    steps = skips.steps or STEPS
    return rflow_timesteps(steps, FRAMES, HEIGHT, WIDTH, TIMESTEP_SHIFT, skips.evaluations)


@torch.no_grad()
def denoise(
    pipeline: TinyPipeline, prompts: list[str], z: Tensor, skips: Skips
) -> tuple[Tensor, int]:
    """Latents, and how many blocks ran for both halves of all clips in all steps."""
    encoded = pipeline.tokenizer.encode_batch(prompts)
    ids = torch.tensor([e.ids for e in encoded], dtype=torch.int32)
    mask = torch.tensor([e.attention_mask for e in encoded], dtype=torch.float32)
    model = pipeline.denoiser.model
    text, bias = pipeline.text(ids, mask), mask_to_bias(mask)
    null = model.y_embedder.y_embedding.expand_as(text)
    with_text, without, both = Half(), Half(), Half()
    together = not (skips.apart or skips.is_interval)
    ran = -1
    for i, (at, length) in enumerate(zip(*times(skips), strict=True)):
        for block in blocks_of(model):
            block.merged = i < skips.merged
        now = Now(i, float(at), bias)
        if skips.threshold and together:
            twice = Now(i, float(at), bias.repeat(2, *[1] * (bias.dim() - 1)))
            pair = torch.cat((z, z)), torch.cat((text, null))
            v, other = velocity(model, both, skips, twice, *pair).chunk(2)
            z = z + (other + GUIDANCE * (v - other)) * float(length)
            continue
        v = velocity(model, with_text, skips, now, z, text)
        guided = skips.interval[0] <= i < skips.interval[1]
        if guided or (i == 0 and skips.interval[1] > 0):
            # A plan makes in step 0 all that may stand later.
            if skips.threshold and i > ran + 1:
                without.forget()
            ran = i
            other = velocity(model, without, skips, now, z, null)
            v = other + GUIDANCE * (v - other) if guided else v
        z = z + v * float(length)
    return z, with_text.blocks + without.blocks + both.blocks


def clips_of(
    pipeline: TinyPipeline, indices: Sequence[int], skips: Skips
) -> tuple[np.ndarray, float]:
    """uint8 clips of the combinations, seeds as in `tools/eval_tiny.py`, and the share of blocks
    that ran. With a test each clip decides for itself."""
    shape = (TINY_DENOISER.in_channels, *TINY_DENOISER.latent)
    made, ran = [], 0
    for start in range(0, len(indices), _BATCH):
        some = indices[start : start + _BATCH]
        noise = torch.from_numpy(np.stack([random_normal(i, shape) for i in some]))
        z, blocks = denoise(pipeline, [COMBINATIONS[i].plain_caption for i in some], noise, skips)
        made.append(decode(pipeline, z))
        ran += blocks
    share = ran / (len(indices) * 2 * STEPS * _BLOCKS)
    return np.clip(np.rint(np.concatenate(made) * 255), 0, 255).astype(np.uint8), share


# ---------------------------------------------------------------- rows


def every(n: int, count: int = STEPS, early: int = 1) -> tuple[int, ...]:
    """The first `early` steps, then every n-th."""
    return tuple(sorted({*range(early), *range(0, count, n)}))


_LPL = {"evaluations": LEAP}
_ALL = {"first": 0, "last": 0}
_TEST = {"last": 0, "threshold": 0.1}
_BEST = {**_LPL, **_ALL, "interval": (0, 8)}
ROWS: dict[str, Skips] = {
    "plain": Skips(),
    "LPL static": Skips(**_LPL),
    "interval 0-8": Skips(interval=(0, 8)),
    "interval 0-15": Skips(interval=(0, 15)),
    "interval 4-15": Skips(interval=(4, 15)),
    "interval 15-30": Skips(interval=(15, 30)),
    "interval 0-4": Skips(interval=(0, 4)),
    "reuse 2": Skips(at=every(2)),
    "reuse 3": Skips(at=every(3)),
    "reuse 2, all": Skips(**_ALL, at=every(2)),
    "reuse 3, all": Skips(**_ALL, at=every(3)),
    "reuse 2, half": Skips(first=2, last=2, at=every(2)),
    "reuse 3, half": Skips(first=2, last=2, at=every(3)),
    "interval 0-15, reuse 2": Skips(interval=(0, 15), at=every(2)),
    "interval 0-8, reuse 2": Skips(interval=(0, 8), at=every(2)),
    "LPL static, interval 0-8": Skips(**_LPL, interval=(0, 8)),
    "LPL static, interval 0-4": Skips(**_LPL, interval=(0, 4)),
    "LPL static, reuse 2": Skips(**_LPL, at=every(2, LEAP)),
    "LPL static, interval 0-8, reuse 2": Skips(**_LPL, interval=(0, 8), at=every(2, LEAP)),
    "LPL static, interval 0-4, reuse 2": Skips(**_LPL, interval=(0, 4), at=every(2, LEAP)),
    "LPL static, interval 0-6, reuse 2": Skips(**_LPL, interval=(0, 6), at=every(2, LEAP)),
    "LPL static, interval 0-8, reuse 3": Skips(**_LPL, interval=(0, 8), at=every(3, LEAP)),
    "LPL static, interval 0-6, reuse 3": Skips(**_LPL, interval=(0, 6), at=every(3, LEAP)),
    "LPL static, interval 0-8, reuse 2, all": Skips(**_BEST, at=every(2, LEAP)),
    "LPL static, interval 0-8, reuse 2, all, last": Skips(
        **_BEST, at=(*range(0, 14, 2), 15)),
    "LPL static, interval 0-8, reuse 3, all": Skips(**_BEST, at=every(3, LEAP)),
    "LPL static, interval 0-8, 7 of 16, all": Skips(**_BEST, at=(0, 1, 3, 5, 8, 11, 15)),
    "LPL static, interval 0-6, 6 of 16, all": Skips(
        **_LPL, **_ALL, interval=(0, 6), at=(0, 1, 3, 6, 10, 15)),
    "LPL static, interval 0-6, 7 of 16, all": Skips(
        **_LPL, **_ALL, interval=(0, 6), at=(0, 2, 4, 6, 9, 12, 15)),
    "20 steps, LPL 11": Skips(steps=20, evaluations=11),
    "20 steps, LPL 11, interval 0-6, reuse 2, all": Skips(
        **_ALL, steps=20, evaluations=11, interval=(0, 6), at=every(2, 11)),
    "20 steps, LPL 11, interval 0-6, reuse 2": Skips(
        steps=20, evaluations=11, interval=(0, 6), at=every(2, 11)),
    "test 0.05": Skips(last=0, threshold=0.05),
    "test 0.1": Skips(last=0, threshold=0.1),
    "test 0.15": Skips(last=0, threshold=0.15),
    "test 0.2": Skips(last=0, threshold=0.2),
    "test 0.3": Skips(last=0, threshold=0.3),
    "LPL static, test 0.1": Skips(**_LPL, last=0, threshold=0.1),
    "LPL static, test 0.2": Skips(**_LPL, last=0, threshold=0.2),
    "test 0.1, apart": Skips(last=0, threshold=0.1, apart=True),
    "interval 0-15, test 0.1": Skips(**_TEST, interval=(0, 15)),
    "interval 0-8, test 0.1": Skips(**_TEST, interval=(0, 8)),
    "interval 4-15, test 0.1": Skips(**_TEST, interval=(4, 15)),
    "interval 0-8, test 0.05": Skips(last=0, threshold=0.05, interval=(0, 8)),
    "LPL static, interval 0-8, test 0.1": Skips(**_LPL, **_TEST, interval=(0, 8)),
    "LPL static, interval 0-8, test 0.05": Skips(
        **_LPL, last=0, threshold=0.05, interval=(0, 8)),
    "TDTM 3": Skips(merged=3),
    "TDTM 3, test 0.1": Skips(last=0, threshold=0.1, merged=3),
}  # fmt: skip


def row(cells: list[Combination], plain: np.ndarray, clips: np.ndarray, share: float) -> dict:
    """What a line of the table needs."""
    mean, least, _ = psnr_summary(plain, clips)
    return {"share": share, "psnr": mean, "least": least, "accuracy": accuracy(cells, clips)}


def line(name: str, found: dict) -> str:
    """A line of the table: blocks that ran, accuracy of all attributes, PSNR."""
    right = [f"{100 * part['all']:.1f} %" for part in found["accuracy"].values()]
    psnr = "-" if name == "plain" else f"{found['psnr']:.1f} ({found['least']:.1f}) dB"
    return f"| {name} | {found['share']:.2f} | {' | '.join(right)} | {psnr} |"


SHEET = ("plain", "interval 0-8", "interval 15-30", "reuse 2", "reuse 3, all",
         "LPL static, interval 0-8, reuse 2, all")  # fmt: skip


def write_sheet(pipeline: TinyPipeline, path: Path) -> None:
    """Rows are those of `SHEET`, columns the first prompt of each shape."""
    from tools.eval_tiny import contact_sheet

    order = prompt_order()
    shapes = sorted({COMBINATIONS[i].shape for i in order})
    chosen = [next(i for i in order if COMBINATIONS[i].shape == shape) for shape in shapes]
    clips = [clips_of(pipeline, chosen, ROWS[name])[0] for name in SHEET]
    frames = np.concatenate(clips).astype(np.float32) / 255
    contact_sheet(frames, path, columns=len(chosen), every=4)
    print(f"{path}: {[COMBINATIONS[i].plain_caption for i in chosen]}")


def _plain(pipeline: TinyPipeline, indices: Sequence[int], file: Path) -> np.ndarray:
    """The clips that all are compared with; kept, for they take longest."""
    if not file.is_file():
        np.save(file, clips_of(pipeline, indices, ROWS["plain"])[0])
    kept: np.ndarray = np.load(file)
    return kept


def main() -> None:
    """Print a line for each row that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=24, help="prompts, at most 216")
    parser.add_argument("--only", nargs="+", default=[], help="rows by name")
    parser.add_argument("--json", type=Path, default=Path("/tmp/entracte-reuse.json"))
    parser.add_argument("--sheet", type=Path, help="write a picture, and nothing else")
    given = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(given.json.read_text()) if given.json.is_file() else {}
    rows = known.setdefault(str(given.clips), {})
    indices = prompt_order()[: given.clips]
    cells = [COMBINATIONS[i] for i in indices]
    pipeline = TinyPipeline.shipped()
    if given.sheet:
        write_sheet(pipeline, given.sheet)
        return
    plain = None
    for name, skips in ROWS.items():
        if (given.only and name not in given.only) or name in rows:
            continue
        if plain is None:
            plain = _plain(pipeline, indices, given.json.with_suffix(f".{given.clips}.npy"))
        clips, share = (plain, 1.0) if name == "plain" else clips_of(pipeline, indices, skips)
        rows[name] = row(cells, plain, clips, share)
        given.json.write_text(json.dumps(known, indent=1) + "\n")
        print(line(name, rows[name]), flush=True)


if __name__ == "__main__":
    main()
