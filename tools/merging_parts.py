"""Which of the merged attentions costs the demo its quality: the torch modules, without packages.

    python -m tools.merging_parts --clips 24

The same prompts, seeds and measures as `tools/bench_techniques.py`; docs/techniques.md has the
figures.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from entracte.declare.host_ops import random_normal
from entracte.graphs.opensora.stdit3 import STDiT3, STDiT3Block, modulate
from entracte.graphs.opensora.tiny import TINY_DENOISER
from tools.bench_techniques import prompt_order
from tools.eval_tiny import accuracy
from tools.techniques_table import psnr_summary
from tools.train_tiny.sample import TinyPipeline, generate
from tools.train_tiny.world import COMBINATIONS, Combination

STEPS = 30
ALL = ("cross", "spatial", "temporal")
SETTINGS = (
    (("cross",), 15),
    (("spatial",), 15),
    (("temporal",), 15),
    (ALL, 1),
    (ALL, 3),
    (ALL, 5),
    (ALL, 15),
)
"""(attentions that are merged, in how many of the first steps)"""


class PartlyMerged:
    """Stands in for the blocks' forward; merges some attentions in a model's first steps."""

    def __init__(self, model: STDiT3) -> None:
        self.parts: tuple[str, ...] = ()
        self.steps = self.done = 0
        self._forward = model.forward
        model.forward = self._step  # type: ignore[method-assign]
        for block in (*model.spatial_blocks, *model.temporal_blocks):
            block.forward = self._bound(block)  # type: ignore[method-assign, arg-type]

    def _step(self, *given: Tensor) -> Tensor:
        self.done += 1
        return self._forward(*given)

    def _bound(self, block: STDiT3Block):  # noqa: ANN202 - a closure with the block's signature
        """`STDiT3Block.forward` with a choice for each of its attentions."""

        def forward(x: Tensor, y: Tensor, t_mlp: Tensor, bias: Tensor, rope) -> Tensor:  # noqa: ANN001
            # Many prompts come in batches, each of all steps.
            parts = self.parts if (self.done - 1) % STEPS < self.steps else ()
            table = (block.scale_shift_table + t_mlp).chunk(6, dim=1)
            shift1, scale1, gate1, shift2, scale2, gate2 = table
            block.merged = ("temporal" if block.temporal else "spatial") in parts
            h = block._merge(modulate(x, shift1, scale1))
            x = x + gate1 * block._unmerge(block._attend(h, rope))
            block.merged = "cross" in parts
            x = x + block._unmerge(block.cross_attn(block._merge(x), y, bias))
            return x + gate2 * block.mlp(modulate(x, shift2, scale2))

        return forward


def clips_of(pipeline: TinyPipeline, indices: Sequence[int]) -> np.ndarray:
    """uint8 clips of the combinations, seeds as in `tools/eval_tiny.py`."""
    import torch

    shape = (TINY_DENOISER.in_channels, *TINY_DENOISER.latent)
    noise = torch.from_numpy(np.stack([random_normal(i, shape) for i in indices]))
    prompts = [COMBINATIONS[i].plain_caption for i in indices]
    made = generate(pipeline, prompts, noise, STEPS)
    return np.clip(np.rint(made * 255), 0, 255).astype(np.uint8)


def line(name: str, cells: list[Combination], plain: np.ndarray, clips: np.ndarray) -> str:
    """A row of the table: PSNR against the plain clips, accuracy of all attributes."""
    mean, _, _ = psnr_summary(plain, clips)
    right = [f"{100 * part['all']:.0f} %" for part in accuracy(cells, clips).values()]
    return f"| {name} | {mean:.1f} dB | {' / '.join(right)} |"


def main() -> None:
    """Print a line for each setting."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--clips", type=int, default=24, help="prompts, at most 216")
    indices = prompt_order()[: parser.parse_args().clips]
    cells = [COMBINATIONS[i] for i in indices]
    pipeline = TinyPipeline.shipped()
    merging = PartlyMerged(pipeline.denoiser.model)
    plain = clips_of(pipeline, indices)
    for parts, steps in SETTINGS:
        merging.parts, merging.steps, merging.done = parts, steps, 0
        clips = clips_of(pipeline, indices)
        print(line(f"{', '.join(parts)}: {steps}", cells, plain, clips), flush=True)


if __name__ == "__main__":
    main()
