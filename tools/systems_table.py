"""Every full-size pipeline on every target: peak and time as dry runs predict them, as Markdown.

    python -m tools.systems_table [--pipelines open_sora vdit] [--targets iphone17pro]

Prints the table of docs/systems.md row by row. A row's first dry run takes about a minute of one
core, another target's some seconds.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from entracte.compile.job import compile_pipeline
from entracte.errors import DoesNotFit
from entracte.units import format_bytes, format_seconds

TARGETS = ("iphone15pro", "iphone16pro", "iphone17pro", "ipad_m4")
ROWS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("on_device_sora", "68 frames of 256 x 256", ()),
    ("open_sora", "51 frames of 240 x 426", ()),
    ("open_sora_i2v", "51 frames of 240 x 426", ()),
    ("open_sora_plan", "29 frames of 352 x 640", ("pipeline.options.frames=29",)),
    ("open_sora_plan", "93 frames of 352 x 640", ()),
    ("open_sora_plan_i2v", "29 frames of 352 x 640", ("pipeline.options.frames=29",)),
    ("open_sora_plan_i2v", "93 frames of 352 x 640", ()),
    ("dit_xl_2", "256 x 256", ()),
    ("sit_xl_2", "256 x 256", ()),
    ("vdit", "16 frames of 256 x 256", ()),
    ("latte_minisora", "16 frames of 256 x 256", ()),
    ("latte_class", "16 frames of 256 x 256", ()),
    ("stable_cascade_lite", "1024 x 1024", ()),
    ("stable_cascade", "1024 x 1024", ()),
    ("wan_t2v_1_3b", "81 frames of 480 x 832", ()),
)
"""Pipeline, what it makes, further words."""


def cell(pipeline: str, target: str, words: Sequence[str]) -> str:
    """Peak and time of one plan; what it would need where it does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        given = [f"target={target}", f"pipeline={pipeline}", "dry_run=true", *words]
        try:
            plan = compile_pipeline(given, out=Path(folder) / "build").plan
        except DoesNotFit as error:
            print(f"{pipeline} {target}: {error}", flush=True)
            return "does not fit"
    time = format_seconds(plan.forecast.makespan_s)
    return f"{time}, {format_bytes(plan.forecast.peak_bytes)}"


def main() -> None:
    """Rows as they come."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pipelines", nargs="*", default=[])
    parser.add_argument("--targets", nargs="*", default=TARGETS)
    given = parser.parse_args()
    print("| pipeline | makes | " + " | ".join(f"`{t}`" for t in given.targets) + " |")
    print("|---|---|" + "---:|" * len(given.targets))
    for pipeline, makes, words in ROWS:
        if not given.pipelines or pipeline in given.pipelines:
            cells = " | ".join(cell(pipeline, target, words) for target in given.targets)
            print(f"| `{pipeline}` | {makes} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
