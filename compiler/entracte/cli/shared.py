"""Arguments and options that several commands of `plan` have."""

from pathlib import Path
from typing import Annotated

import typer

Build = Annotated[Path, typer.Argument(help="A build folder made by `compile`.")]
Recorded = Annotated[
    Path | None, typer.Option("--run", help="A recorded run; otherwise BUILD/run.json.")
]
Given = Annotated[
    list[str] | None,
    typer.Option(
        "--input",
        help="An input of the plan: name=value; of images, videos, audios and tensors name=FILE.",
    ),
]
Prompt = Annotated[str | None, typer.Option(help="The input `prompt`, or the only text.")]
Shown = Annotated[
    str | None,
    typer.Option("--progress", help="lines, json or none; auto: a bar in a terminal, else lines."),
]
Silent = Annotated[bool, typer.Option("--quiet", help="Tell no progress.")]
Wordy = Annotated[bool, typer.Option("--verbose", help="Tell every step as it is done.")]
Seed = Annotated[int | None, typer.Option(help="The input `seed`, or the only seed.")]


def build_folder(build: Path) -> Path:
    """Where a recorded run lies: a plan may be given as its folder or as its file."""
    return build if build.is_dir() else build.parent
