"""Convert models and print the packages' digests: run as a program, in several processes."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import torch

from entracte.lower.convert import Conversion, convert_chunk
from tests.lower.models import CASES
from tests.lower.ports import ports_of


def main(name: str, precision: str, compression: str, path: str) -> None:
    module, args = CASES[name]()
    inputs, outputs = ports_of(module, args, precision)
    facts = convert_chunk(
        module, args, inputs=inputs, outputs=outputs,
        how=Conversion(precision, "iOS18", compression), path=Path(path),
    )  # fmt: skip
    print(facts)
    for file in sorted(Path(path).rglob("*")):
        if file.is_file():
            print(file.relative_to(path), hashlib.sha256(file.read_bytes()).hexdigest())


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder, *cases = sys.argv[1:]
    for case in cases:
        main(*case.split(), f"{folder}/{case}.mlpackage")
