"""What compressing the text encoder alone does to the demo's conditioning: the encoder's packages
beside the torch module in fp32.

    python -m tools.bench_techniques --clips 72 --only "text*"    # makes the builds, and the clips
    python -m tools.conditioning_error

Of each build of --folder whose name begins with `text_`, and of `plain` (fp16), the package of the
text encoder runs on the reference device for all 216 prompts. Only real tokens count: the denoiser
masks the others. docs/techniques.md has the figures.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import entracte
from entracte.ir import Plan
from tools.train_tiny.sample import TinyPipeline
from tools.train_tiny.world import COMBINATIONS

STAGE = "text"


@dataclass(frozen=True)
class Errors:
    """Of the conditioning, a prompt at a time.

    Attributes:
        relative_rms: root of the mean square of the error over that of the right values.
        cosine: of all numbers of a prompt, as one vector, with the right ones.
    """

    relative_rms: np.ndarray
    cosine: np.ndarray


def errors_of(made: list[np.ndarray], right: list[np.ndarray]) -> Errors:
    """One array for each prompt, of any shape; both lists in the same order."""
    pairs = [
        (a.ravel().astype("f8"), b.ravel().astype("f8")) for a, b in zip(made, right, strict=True)
    ]
    norms = [(np.linalg.norm(a), np.linalg.norm(b)) for a, b in pairs]
    return Errors(
        np.array([np.linalg.norm(a - b) / n for (a, b), (_, n) in zip(pairs, norms, strict=True)]),
        np.array([a @ b / (m * n) for (a, b), (m, n) in zip(pairs, norms, strict=True)]),
    )


def tokens_of(pipeline: TinyPipeline) -> tuple[np.ndarray, np.ndarray]:
    """Of all prompts: (ids, mask), [216, 16] each."""
    encoded = pipeline.tokenizer.encode_batch([c.plain_caption for c in COMBINATIONS])
    ids = np.array([e.ids for e in encoded], "i4")
    return ids, np.array([e.attention_mask for e in encoded], "f4")


@torch.no_grad()
def right_values(pipeline: TinyPipeline) -> list[np.ndarray]:
    """Of each prompt its real tokens, [tokens, width], in fp32."""
    ids, mask = tokens_of(pipeline)
    made = pipeline.text(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    return _real(made.reshape(len(ids), -1, made.shape[-1]), mask)


def package_values(plan: Plan, build: Path, pipeline: TinyPipeline) -> list[np.ndarray]:
    """The same, by the packages of the build's text encoder, which is one chunk."""
    ids, mask = tokens_of(pipeline)
    (package,) = (p for p in plan.packages if p.chunk.startswith(f"{STAGE}."))
    with entracte.Model(build / package.path) as model:
        found = [
            next(iter(model.predict({"input_ids": i[None], "mask": m[None]}).values()))
            for i, m in zip(ids, mask, strict=True)
        ]
    return _real(np.stack([f.reshape(ids.shape[1], -1) for f in found]), mask)


def _real(values: np.ndarray, mask: np.ndarray) -> list[np.ndarray]:
    return [v[m > 0] for v, m in zip(values, mask, strict=True)]


def main() -> None:
    """Print the table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("/tmp/entracte-techniques"))
    folder = parser.parse_args().folder
    pipeline = TinyPipeline.shipped()
    right = right_values(pipeline)
    print("| text encoder | bytes | relative RMS, mean (worst) | cosine, mean (least) |")
    print("|---|---:|---:|---:|")
    for build in (folder / "plain", *sorted(folder.glob(f"{STAGE}_*"))):
        plan = entracte.read_plan(build)
        found = errors_of(package_values(plan, build, pipeline), right)
        size = sum(p.weight_bytes for p in plan.packages if p.chunk.startswith(f"{STAGE}."))
        name = build.name.removeprefix(f"{STAGE}_").replace("plain", "fp16")
        print(
            f"| {name} | {size / 2**20:.2f} MiB "
            f"| {found.relative_rms.mean():.2%} ({found.relative_rms.max():.2%}) "
            f"| {found.cosine.mean():.6f} ({found.cosine.min():.6f}) |"
        )


if __name__ == "__main__":
    main()
