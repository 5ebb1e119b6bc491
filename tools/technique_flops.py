"""What merging and hoisting save per denoising step, from plans: FLOPs as tracing counted them.

    compile target=iphone15pro pipeline=on_device_sora dry_run=true out=/tmp/sora256 \\
        +pipeline.stages.denoise.functions.merged=15
    python -m tools.technique_flops /tmp/sora256 --pairs 28

A plan without packages (`dry_run=true`) is enough. docs/techniques.md has the figures.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

from entracte.ir import Plan
from entracte.plan.file import read_plan

MERGED = "merged"


@dataclass(frozen=True)
class StepFlops:
    """Operations of a stage inside the loop; a multiply-add is two."""

    body: int
    """Of one step, as compiled."""
    merged: int
    """The same with the variant `merged`; `body` where there is none."""
    once: int
    """Done once for all steps: what depends on the prompt alone."""
    schedule: int
    """Of one row of what depends on the timestep alone, done before the loop."""

    @property
    def repeated(self) -> int:
        """Of one step if nothing were hoisted."""
        return self.body + self.once + self.schedule


def step_flops(plan: Plan, stage: str = "denoise") -> StepFlops:
    """Sums over the chunks of a stage's parts."""

    def total(graph: str, function: str = "main") -> int:
        return sum(
            next((v.flops for v in c.variants if v.name == function), c.flops)
            for c in plan.chunks
            if c.graph == graph
        )

    return StepFlops(
        body=total(stage),
        merged=total(stage, MERGED),
        once=total(f"{stage}.once"),
        schedule=total(f"{stage}.schedule"),
    )


def flops_lines(plan: Plan, flops: StepFlops, pairs: int) -> list[str]:
    """Markdown rows: one plan, GFLOP."""
    video = json.loads(plan.settings)["pipeline"]["video"]
    size = f"{video['height']} x {video['width']} x {video['frames']}"

    def share(saved: int) -> str:
        return f"{saved / 1e9:.4g} ({100 * saved / flops.repeated:.2g} %)"

    return [
        f"| {size}: a step | {flops.body / 1e9:.1f} |",
        f"| a step, merged | {flops.merged / 1e9:.1f} ({flops.body / flops.merged:.3f}x) |",
        f"| GMAC per pair of blocks, plain | {flops.body / 2e9 / pairs:.1f} |",
        f"| GMAC per pair of blocks, merged | {flops.merged / 2e9 / pairs:.1f} |",
        f"| a step, nothing hoisted | {flops.repeated / 1e9:.1f} |",
        f"| saved per step: text projection and K/V | {share(flops.once)} |",
        f"| saved per step: timestep path | {share(flops.schedule)} |",
    ]


def main() -> None:
    """Print one table for each plan."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("builds", type=Path, nargs="+", help="build folders; dry runs will do")
    parser.add_argument("--pairs", type=int, default=28, help="pairs of blocks of the denoiser")
    options = parser.parse_args()
    for build in options.builds:
        plan = read_plan(build)
        print("| | GFLOP |", "|---|---:|", sep="\n")
        print(*flops_lines(plan, step_flops(plan), options.pairs), "", sep="\n")


if __name__ == "__main__":
    main()
