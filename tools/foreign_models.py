"""Tiny models of diffusers and transformers, converted and run beside torch: one row each.

python -m tools.foreign_models [ROW ...] [--found FILE.jsonl] [--write docs/conversion-table.md]

Rows are printed as they come. With `--found` they are kept as JSON lines, and what the file has is
not measured again unless it is named; so a run that was broken off goes on. All of them take about
an hour of one core.
"""

from __future__ import annotations

import argparse
import gc
import json
import logging
import warnings
from dataclasses import asdict
from pathlib import Path

from tools.foreign.rows import TINY


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("rows", nargs="*", metavar="ROW", help="as in the table; all without")
    parser.add_argument("--found", type=Path, help="JSON lines to go on from and to add to")
    parser.add_argument("--write", type=Path, help="the page to write")
    asked = parser.parse_args()
    unknown = sorted(set(asked.rows) - set(TINY))
    if unknown:
        parser.error(f"{', '.join(unknown)}: not one of {', '.join(TINY)}")
    _measure(asked.rows, asked.found, asked.write)


def _measure(named: list[str], kept: Path | None, write: Path | None) -> None:
    import torch

    from tools.foreign.measure import Row, measured
    from tools.foreign.page import HEAD, cells, line, page

    warnings.simplefilter("ignore")
    logging.disable(logging.ERROR)
    torch.set_num_threads(1)
    gc.freeze()  # every conversion collects, which takes longer the more there is
    lines = kept.read_text().splitlines() if kept and kept.exists() else []
    found = {row.name: row for row in (Row(**json.loads(text)) for text in lines)}
    found = {name: row for name, row in found.items() if name in TINY}
    print(line(list(HEAD)), line(["---"] * len(HEAD)), sep="\n", flush=True)
    for name in named or [name for name in TINY if name not in found]:
        found[name] = measured(name)
        print(line(cells(found[name])), flush=True)
        if kept:
            with kept.open("a") as file:
                file.write(json.dumps(asdict(found[name])) + "\n")
    if write:
        write.write_text(page(found))


if __name__ == "__main__":
    main()
