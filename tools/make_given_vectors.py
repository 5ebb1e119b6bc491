"""Write tests/vectors/given.jsonl: what a user gives to a plan's inputs, and what becomes of it.

    python -m tools.make_given_vectors

The first line says what stands in the others. Right values are `entracte/run/inputs.py`'s.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from entracte.errors import RunError  # noqa: E402
from entracte.ir import DType, Input, Port  # noqa: E402
from entracte.run.inputs import given_inputs, told_inputs  # noqa: E402
from tests.planner.plans import make_plan  # noqa: E402
from tests.planner.toy import crc_of  # noqa: E402
from tools.make_run_vectors import lean  # noqa: E402

FILE = ROOT / "tests" / "vectors" / "given.jsonl"

FORMAT = {
    "inputs": "the plan's, as in plan.json, without fields that have their default",
    "given": "by name, as typed (a text) or as a number; those left out take their default",
    "values": "by name: [text, TEXT], [seed, N] or [type, shape, CRC of its bytes]",
    "told": "[name, value] as a record names them",
    "fault": "the message, where it is refused",
}

MANY = tuple(f"thing {n:02d}" for n in range(40))
NUMBER = Input("n", "number", 1.5)
BOUND = replace(NUMBER, least=-1.0, most=7.5)
SEED = Input("seed", "seed", 7)
FEW = Input("c", "choice", "b", choices=("a", "b", "7", "0"))
PICTURE = Input("p", "image", 0.25, Port("p", (1, 3, 2, 4), DType.FP32))
CASES: tuple[tuple[tuple[Input, ...], Mapping[str, Any]], ...] = (
    ((), {}),
    ((), {"x": "1"}),
    ((NUMBER, SEED), {"z": 1, "y": 2}),
    ((Input("prompt", "text", None),), {}),
    ((Input("prompt", "text", None),), {"prompt": "a ship, \u00e9\U0001f680"}),
    ((Input("prompt", "text", "a 'b'"), SEED), {}),
    ((Input("prompt", "text", ""),), {}),
    *(((NUMBER,), {"n": text}) for text in (
        "1", " 2.5\n", "1e3", "-.5", "5.", "+7", "1_000.5", "1__0", "_1", "1_", "0x10", "inf",
        "nan", "-Infinity", "", " ", ".", "1e", "1e400", "3.4028235e38", "3.5e38", "-1e39",
        "1e-400", "\u0663.5", "abc'def", 'a"b', "1 2", "--1", "+-1", "1e5_0", "1.e2", "0b1",
        "\x07", "x" * 70, "0" * 80 + "1", "3.4028234e38", "1e39x",
    )),
    *(((NUMBER,), {"n": n}) for n in (3, 0.1, -0.0, 1e22, 2.5e-7)),
    *(((BOUND,), {"n": text}) for text in ("7.5", "-1", "8", "-1.00001", "1e30")),
    ((replace(BOUND, least=None),), {"n": "100000000"}),
    ((replace(NUMBER, most=1234567.0, least=2e-7),), {"n": "0"}),
    *(((SEED,), {"seed": text}) for text in (
        "0", " 12 ", "-5", "+5", "1_000", "007", "1.0", "1e3", "", "abc", "9223372036854775807",
        "9223372036854775808", "-9223372036854775807", "-9223372036854775808", "1" * 90,
        "\u0664\u0662", "0x1", "1_", "-",
    )),
    ((SEED,), {"seed": 5}),
    ((SEED,), {"seed": 5.0}),
    ((replace(SEED, least=3.0, most=9.0),), {"seed": "2"}),
    *(((FEW,), {"c": text}) for text in (
        "a", "b", "7", "0", "1", "3", "4", "d", "", " a", "-1", "01",
    )),
    ((FEW,), {}),
    ((FEW,), {"c": 1}),
    ((replace(FEW, default=2),), {}),
    *(((Input("c", "choice", 0, choices=MANY),), {"c": text}) for text in (
        "thing 39", "39", "40", "thing 177", "gnith", "", "THING 017", "x" * 30,
    )),
    ((replace(FEW, choices=("red", "redder", "reddest", *MANY[:12])),), {"c": "reder"}),
    *(((Input("c", "choice", 3),), {"c": text}) for text in (
        "5", "-5", "2147483647", "2147483648", "-2147483648", "x", "1.5",
    )),
    ((Input("c", "choice", 3, least=1.0, most=4.0),), {"c": "0"}),
    ((PICTURE, SEED), {"seed": "1"}),
    ((Input("p", "tensor", 3, Port("p", (2, 2), DType.INT32)),), {}),
    ((Input("p", "tensor", 0.7, Port("p", (3,), DType.INT32)),), {}),
    ((Input("p", "audio", None, Port("p", (1, 8), DType.FP32)),), {}),
    ((PICTURE, NUMBER), {"n": "x", "p": "a.png"}),
)  # fmt: skip


def line_of(inputs: tuple[Input, ...], given: Mapping[str, Any]) -> str:
    """A case and what becomes of it."""
    base = make_plan()
    plan = replace(base, program=replace(base.program, inputs=inputs))
    made: dict[str, Any] = {"inputs": lean(inputs), "given": dict(given)}
    try:
        values = given_inputs(plan, given)
    except RunError as error:
        made["fault"] = str(error)
    else:
        made["values"] = {i.name: _value(i, values[i.name]) for i in inputs}
        made["told"] = [list(pair) for pair in told_inputs(plan, given).items()]
    return json.dumps(made, separators=(",", ":"))


def _value(i: Input, value: Any) -> list[object]:
    if i.kind == "text":
        return ["text", str(value)]
    if i.kind == "seed":
        return ["seed", value]
    if i.kind in ("number", "choice"):
        value = np.array([value], np.float32 if i.kind == "number" else np.int32)
    types = {"float32": "fp32", "int32": "int32"}
    return [types[str(value.dtype)], list(value.shape), f"{crc_of(value):08x}"]


def lines() -> Iterator[str]:
    """All of the file."""
    yield json.dumps({"format": FORMAT}, separators=(",", ":"))
    yield from (line_of(*case) for case in CASES)


if __name__ == "__main__":
    FILE.write_text("".join(f"{line}\n" for line in lines()))
