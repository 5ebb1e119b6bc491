"""Reports to look at (docs/gallery.md): each by the commands that its part of the page tells.

    python -m tools.gallery                    # all of them, into build/gallery/NAME.html
    python -m tools.gallery demo flux          # only these

The first time takes about a minute of a core for each system of full size; its trace is kept in the
cache.
"""

import argparse
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "build" / "gallery"
_RUN = '--prompt "a red circle moves right" --seed 0 --out'


@dataclass(frozen=True, slots=True)
class Shown:
    """A report. `commands` leave it in the folder that they are typed in, as NAME.html."""

    name: str
    commands: tuple[str, ...]


def _dry(name: str, words: str) -> Shown:
    return Shown(name, (f"compile {words} dry_run=true out={name}",
                        f"plan report {name} -o {name}.html"))  # fmt: skip


def _built(name: str, words: str) -> Shown:
    return Shown(
        name,
        (f"compile {words} out={name}", f"plan run {name} {_RUN} {name}.mp4",
         f"plan report {name} -o {name}.html"),
    )  # fmt: skip


SHOWN = (
    _built("demo", "target=iphone15pro"),
    _built("stream", "target=iphone15pro target.memory=24MiB"),
    _dry("open_sora", "target=iphone15pro pipeline=open_sora"),
    _dry("on_device_sora", "target=iphone15pro pipeline=on_device_sora"),
    _dry(
        "kept",
        "target=iphone15pro pipeline=on_device_sora target.memory=1800MiB "
        "partition.chunk_bytes=90MB",
    ),
    _dry("flux", "target=iphone17pro pipeline=flux_1_schnell"),
    _dry("wan", "target=iphone17pro pipeline=wan_t2v_1_3b"),
)


def page_of(name: str) -> Path:
    """Where a report lies once it is made."""
    return FOLDER / f"{name}.html"


def make(names: list[str]) -> None:
    """Their commands, typed in `FOLDER`. Raises `CalledProcessError` where one fails."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for shown in SHOWN:
        for command in shown.commands if shown.name in names else ():
            print(f"$ {command}", flush=True)
            clip = FOLDER / f"{shown.name}.mp4"
            if command.startswith("plan run") and clip.exists():
                clip.unlink()
            words = [sys.executable, "-m", "entracte", *shlex.split(command)]
            subprocess.run(words, cwd=FOLDER, check=True)


def main() -> None:
    """Make those that are named, or all."""
    names = [shown.name for shown in SHOWN]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help=", ".join(names))
    given = parser.parse_args().names
    if unknown := set(given) - set(names):
        parser.error(f"no such report: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    make(given or names)


if __name__ == "__main__":
    main()
