"""Convert models and print what each conversion made: run as a program, in another process."""

from __future__ import annotations

import sys
from pathlib import Path

import torch

from entracte.lower.convert import Conversion, ConversionFacts, convert_chunk
from tests.lower.models import CASES
from tests.lower.ports import ports_of


def convert(name: str, precision: str, compression: str, path: str) -> ConversionFacts:
    module, args = CASES[name]()
    inputs, outputs = ports_of(module, args, precision)
    return convert_chunk(
        module, args, inputs=inputs, outputs=outputs,
        how=Conversion(precision, "iOS18", compression), path=Path(path),
    )  # fmt: skip


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, *cases = sys.argv[1:]
    for case in cases:
        print(convert(*case.split(), f"{folder}/{case}.mlpackage"))
