"""Host steps and what they give, or how they are refused: tests/vectors/host_steps.jsonl.

    python -m tools.make_host_vectors [FILE]

For runners in other languages (docs/plan-format.md, "Host steps"). A line each, by its `kind`:

    run     a step that runs: shapes, types, SHA-256 of what it makes, and its notes; or `refused`
    fault   what is wrong with params and inputs of a step, or nothing
    plan    steps of a plan against its inputs, tensors and files: what is refused, or nothing
    text    an output's ids as a text

Tokenizers are those of tests/vectors/tokenizers; other files of a build folder are made of
`tables`: the numbers 0, 1, 2, ... times 0.25 in the table's type.
"""

import hashlib
import json
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from entracte.declare.host_ops import HOST_OPS, detokenize
from entracte.declare.host_ops.encoder import tokenizer_file
from entracte.errors import PlanError, RunError
from entracte.ir import Binding, DType, HostStep, Input, Port, TensorDecl
from entracte.plan.host_steps import check_host_steps
from entracte.run.host import run_host_step
from tools.one_word import place

VECTORS = Path(__file__).parents[1] / "tests" / "vectors"
FILE = VECTORS / "host_steps.jsonl"
TOKENIZERS = VECTORS / "tokenizers"
_LONG = "the green grass and the blue trees near the houses, naïve café 中文 🎞 3.5 " * 3
_TEXTS = ("a red circle moves right", "", "  Two   BIRDS\nsing!  ", _LONG, "“é” " + "ab" * 700)
_MARKED = "clip.json", "t5_saved.json", "bert_uncased.json", "pieces_xlmr.json", "llama3.json"
_ALL = (*_MARKED, "gpt2.json", "qwen2.json", "words.json", "pieces_bytes.json")
_NOISE = 100_001
_Record = dict[str, Any]


def made() -> str:
    """The file's text."""
    with tempfile.TemporaryDirectory() as folder:
        records = [*_runs(Path(folder)), *_faults(), *_plans(), *_output_texts()]
    return "".join(json.dumps(record) + "\n" for record in records)


# -------------------------------------------------------------------------------- steps that run


def _runs(folder: Path) -> Iterator[_Record]:
    for case in (*_tokenized(), *_retokenized(), *_drawn(), *_gathered()):
        yield _run(folder, case)


_Case = tuple[str, dict[str, Any], dict[str, Any], dict[str, Any]]
"""Operation, params, inputs; and `iteration`, `outputs` and `table` where they are given."""


def _tokenized() -> Iterator[_Case]:
    for name in _ALL:
        for text in _TEXTS:
            for length in (3, 12, 64):
                yield "tokenize", {"tokenizer": name, "length": length}, {"text": text}, {}
    for name in _MARKED:
        for free in (
            {"truncation_side": "left"},
            {"pad_id": 7, "pad_side": "left"},
            {"add_special_tokens": False, "length": 1},
            {"add_special_tokens": False, "truncation_side": "left", "length": 5},
            {"length": 1},
            {"prefix": "best quality, ", "suffix": " .", "clean": "caption"},
            {
                "segment": 0,
                "scores": ("aesthetic score: 6.5", "motion score: 4"),
                "clean": "prompt",
            },
        ):
            text = "|0|A <b>Red</b>&amp; circle|3|two" if "segment" in free else _LONG.upper()
            yield "tokenize", {"tokenizer": name, "length": 20} | free, {"text": text}, {}
    clip: dict[str, Any] = {"tokenizer": "clip.json", "length": 20}
    yield "tokenize", clip | {"segment": 0}, {"text": "|0|a|1"}, {}
    yield "tokenize", clip | {"segment": 0}, {"text": "|0|a 'b'\n\x07é\u2028|x|"}, {}
    yield "tokenize", clip | {"clean": "lower"}, {"text": "a" * 10_001}, {}
    yield "tokenize", clip | {"tokenizer": "nowhere.json"}, {"text": "a"}, {}
    yield "tokenize", clip | {"tokenizer": "a\0b"}, {"text": "a"}, {}
    yield "tokenize", clip, {"text": "a"}, {"outputs": ("ids", "mask", "bits")}
    yield "tokenize", clip | {"lenght": 3}, {"text": "a"}, {}
    yield "sing", {}, {}, {}


def _retokenized() -> Iterator[_Case]:
    base: dict[str, Any] = {"tokenizer": "t5_saved.json", "decoder": "clip.json", "length": 12}
    for decoder in _MARKED:
        for end in ((), (9,)):
            ids = [[5, 6, 7, 9, 20, 21, 22]]
            yield "retokenize", base | {"decoder": decoder, "end": end}, {"ids": ids}, {}
    yield "retokenize", base | {"end": (1,)}, {"ids": [[1, 2, 3]]}, {}
    yield "retokenize", base, {"ids": [[5, -1]]}, {}
    yield "retokenize", base | {"end": (5,)}, {"ids": [[5, -1]]}, {}
    yield "retokenize", base | {"decoder": "no.json"}, {"ids": [[5]]}, {}


def _drawn() -> Iterator[_Case]:
    for seed, free, iteration in (
        (0, {}, 0),
        (-1, {"salt": 2**63 - 1}, 4),
        (2**63 - 1, {"stream": "iteration"}, 2),
        (-(2**63), {"stream": "iteration", "salt": 3}, 99_999),
        (42, {"stream": "once"}, 7),
    ):
        params = {"shape": (1, _NOISE)} | free
        yield "random_normal", params, {"seed": seed}, {"iteration": iteration}
    yield "random_normal", {"shape": (2, 3, 1)}, {"seed": 9}, {}


def _gathered() -> Iterator[_Case]:
    for dtype in ("fp16", "fp32"):
        params = {"file": "table", "rows": 9, "width": 5, "dtype": dtype}
        table = {"table": {"name": "table", "numbers": 45, "dtype": dtype}}
        asked: tuple[list[int], ...] = ([0, 8, 3, 3], [], [9], [2, -1])
        for ids in asked:
            yield "gather_rows", params, {"ids": [ids]}, table
        yield "gather_rows", params | {"rows": 8}, {"ids": [[0]]}, table
        yield "gather_rows", params | {"file": "tables"}, {"ids": [[0]]}, table


def _run(folder: Path, case: _Case) -> _Record:
    op, params, inputs, more = case
    outputs, table, iteration = more.get("outputs", ()), more.get("table"), more.get("iteration", 0)
    place = TOKENIZERS
    if table is not None:
        place = folder
        numbers = np.arange(table["numbers"]) * 0.25
        (folder / table["name"]).write_bytes(numbers.astype(_numpy(table["dtype"])).tobytes())
    given = {k: np.array(v, np.int32) if k == "ids" else v for k, v in inputs.items()}
    record = {"kind": "run", "op": op, "params": _listed(params), "inputs": inputs}
    record |= {"iteration": iteration, "outputs": list(outputs)} | (
        {"table": table} if table else {}
    )
    notes: list[str] = []
    bindings = tuple(Binding(name, name) for name in outputs)
    step = HostStep(
        stage="s", op=op, params=tuple(params.items()), inputs=tuple((k, k) for k in inputs),
        outputs=bindings,
    )  # fmt: skip
    try:
        arrays = run_host_step(step, given, place, iteration, notes.append)
    except RunError as error:
        return record | {"refused": str(error).replace(str(place), "FOLDER"), "notes": notes}
    return record | {"made": {name: _told(array) for name, array in arrays.items()}, "notes": notes}


def _numpy(dtype: str) -> str:
    return {"fp16": "<f2", "fp32": "<f4", "int32": "<i4"}[dtype]


def _told(array: np.ndarray) -> _Record:
    dtype = {"float16": "fp16", "float32": "fp32", "int32": "int32"}[array.dtype.name]
    digest = hashlib.sha256(array.astype(_numpy(dtype)).tobytes()).hexdigest()
    told = {"shape": list(array.shape), "dtype": dtype, "sha256": digest}
    return told | ({"numbers": array.reshape(-1).tolist()} if array.size <= 64 else {})


def _listed(params: Mapping[str, Any]) -> list[list[Any]]:
    return [[name, value] for name, value in params.items()]


# ------------------------------------------------------------------------- what is wrong with steps


def _faults() -> Iterator[_Record]:
    fine: dict[str, tuple[dict[str, Any], list[str]]] = {
        "tokenize": ({"tokenizer": "t.json", "length": 4}, ["text"]),
        "retokenize": ({"tokenizer": "t.json", "decoder": "d.json", "length": 4}, ["ids"]),
        "random_normal": ({"shape": (1, 2)}, ["seed"]),
        "gather_rows": ({"file": "f", "rows": 2, "width": 3, "dtype": "fp16"}, ["ids"]),
    }
    seen: set[str] = set()
    for op, (params, inputs) in fine.items():
        yield _fault(op, params, inputs)
        yield _fault(op, {}, [])
        yield _fault(op, params, [*inputs, "txt", "Ids", "seeds"])
        for name in params:
            yield _fault(op, {k: v for k, v in params.items() if k != name}, inputs)
        for param in HOST_OPS[op].params:
            values = () if param.kind.words in seen else _VALUES
            seen.add(param.kind.words)
            for value in values:
                yield _fault(op, params | {param.name: value}, inputs)
            for name in (param.name[:-1], param.name + "s", param.name.upper(), param.name[::-1]):
                yield _fault(op, params | {name: 1}, inputs)
    near = ("tpd_", "adx_", "ebxyleane", "ady_tit", "_lexnty", "ufxf", "creeesd", "gen", "pax_bsyi")
    for name in (
        *near,
        "",
        "x" * 300,
        "pad_di",
        "shape_of",
        "trunc_side",
        "é'",
        "tokenizer_length",
    ):
        yield _fault("tokenize", fine["tokenize"][0] | {name: None}, ["text"])


_VALUES: tuple[Any, ...] = (
    *(None, True, False, -1, 0, 1, 2**26, 2**26 + 1, 2**31 - 1, 2**31, 2**63 - 1, -(2**63)),
    *(1.0, 0.1, 1e-7, 1e16, 1e22, 123456789.5, "", ".", "..", "a/b", "a\\b", "a'b\n", 'a"'),
    *("\x00é\u2028\ud7ff🎞\U000e0001", "left", "right", "once", "fp16", "int32", "caption", "soap"),
    *((), (1,), (1, 2), (1, 2.5, None), (2**26, 2), (2**26,), (2**26,) * 16, (1,) * 16, (1,) * 17),
    *((0, 1), (True,), ("a: 1",), ("a: 1", "b"), (": 1",), ("a:",) * 16, ("a:",) * 17),
    *(("a:" + "1" * 198,), ("a:" + "1" * 199,), ("é" * 199 + ":",), ((1,), (1, (2, "x")))),
)


def _fault(op: str, params: Mapping[str, Any], inputs: Sequence[str]) -> _Record:
    fault = HOST_OPS[op].fault(params, inputs)
    record = {"kind": "fault", "op": op, "params": _listed(params), "inputs": list(inputs)}
    return record | {"fault": fault}


# ---------------------------------------------------------------------------------- steps of plans

_INPUTS = (("prompt", "text"), ("seed", "seed"), ("strength", "number"))
_TENSORS: tuple[tuple[str, str, tuple[int, ...], int, int], ...] = (
    ("ids", "int32", (1, 4), 1, 0), ("mask", "fp32", (1, 4), 1, 0), ("wide", "int32", (1, 5), 1, 0),
    ("many", "int32", (1, 4), 2, 0), ("pieces", "int32", (1, 4), 1, 3),
    ("flat", "int32", (4,), 1, 0), ("huge", "int32", (1, 2**25), 1, 0),
    ("noise", "fp32", (2, 3), 1, 0), ("rows", "fp16", (1, 4, 8), 1, 0),
)  # fmt: skip
_FILES = ("t.json", "table")


def _plans() -> Iterator[_Record]:
    token = {"tokenizer": "t.json", "length": 4}
    again = token | {"decoder": "t.json"}
    rows = {"file": "table", "rows": 3, "width": 8, "dtype": "fp16"}
    both = (("input_ids", "ids"), ("mask", "mask"))
    text, ids = (("text", "prompt"),), (("ids", "ids"),)
    yield _plan("tokenize", token, text, both)
    yield _plan("tokenize", token, text, (("input_ids", "wide"),))
    yield _plan("tokenize", token, text, (("input_ids", "flat"),))
    yield _plan("tokenize", token, text, (("input_ids", "mask"),))
    yield _plan("tokenize", token, text, (("ids", "ids"),))
    yield _plan("tokenize", token | {"tokenizer": "u.json"}, text, both)
    yield _plan("tokenize", token | {"tokenizer": "u.json"}, text, both, built=False)
    yield _plan("tokenize", token, (("text", "seed"),), both)
    yield _plan("tokenize", token, (("text", "strength"),), both)
    yield _plan("tokenize", token, (("text", "ids"),), both)
    yield _plan("tokenize", token, text, both, inputs=())
    yield _plan("tokenize", token, (), both)
    yield _plan("tokenize", token | {"pad_id": -1}, text, both)
    yield _plan("tokenise", token, text, both)
    yield _plan("tokenize", token, text, both, twice=(("length", 4),))
    yield _plan("retokenize", again, ids, both)
    yield _plan("retokenize", again | {"decoder": "z", "tokenizer": "y"}, ids, both)
    for name in ("wide", "mask", "many", "pieces", "flat", "prompt", "none"):
        yield _plan("retokenize", again, (("ids", name),), both)
    yield _plan("random_normal", {"shape": (2, 3)}, (("seed", "seed"),), (("noise", "noise"),))
    yield _plan("random_normal", {"shape": (3, 2)}, (("seed", "seed"),), (("noise", "noise"),))
    yield _plan("random_normal", {"shape": (6,)}, (("seed", "seed"),), (("noise", "noise"),))
    yield _plan("gather_rows", rows, ids, (("rows", "rows"),))
    yield _plan("gather_rows", rows | {"dtype": "fp32"}, ids, (("rows", "rows"),))
    yield _plan("gather_rows", rows, (("ids", "wide"),), (("rows", "rows"),))
    yield _plan("gather_rows", rows, (("ids", "huge"),), (("rows", "rows"),))
    for built in (True, False):
        yield _plan("tokenize", token, text, both, built=built, tokenizer="o'k.json")
    yield _plan("tokenize", token, text, both, tokenizer="t.json")


_Pairs = Sequence[tuple[str, Any]]


def _plan(op: str, params: dict[str, Any], reads: _Pairs, gives: _Pairs, **more: Any) -> _Record:
    built, tokenizer = more.get("built", True), more.get("tokenizer", "")
    inputs, twice = more.get("inputs", _INPUTS), more.get("twice", ())
    bindings = tuple(Binding(feature, tensor) for feature, tensor in gives)
    all_params = (*params.items(), *twice)
    step = HostStep(stage="s", op=op, params=all_params, inputs=tuple(reads), outputs=bindings)
    texts = [SimpleNamespace(kind="text", name="said", tokenizer=tokenizer)] if tokenizer else []
    decls = tuple(
        TensorDecl(Port(name, shape, DType(dtype)), slots=slots, streamed=streamed)
        for name, dtype, shape, slots, streamed in _TENSORS
    )
    program = SimpleNamespace(
        tensors=decls, inputs=[Input(name, kind, None) for name, kind in inputs], outputs=texts,
        segments=[SimpleNamespace(steps=[step])],
    )  # fmt: skip
    plan: Any = SimpleNamespace(program=program, built=built, files=[(f, "") for f in _FILES])
    fault = None
    try:
        check_host_steps(plan)
    except PlanError as error:
        fault = str(error)
    return {
        "kind": "plan", "op": op, "params": [list(pair) for pair in all_params],
        "reads": [list(pair) for pair in reads], "gives": [list(pair) for pair in gives],
        "given": [list(pair) for pair in inputs], "tensors": [list(row) for row in _TENSORS],
        "files": list(_FILES), "built": built, "tokenizer": tokenizer, "fault": fault,
    }  # fmt: skip


# ------------------------------------------------------------------------------------------ texts


def _output_texts() -> Iterator[_Record]:
    for name in _ALL:
        for ids, end in (
            ([5, 6, 7, 9, 20, 21, 22], (9, 2)),
            ([0, 1, 2, 3, 4, 30, 31], ()),
            ([], ()),
        ):
            yield _text(name, ids, end)
    yield _text("clip.json", [5, 2**31], ())
    yield _text("clip.json", [5, -3], (-3,))


def _text(name: str, ids: Sequence[int], end: Sequence[int]) -> _Record:
    record = {"kind": "text", "tokenizer": name, "ids": list(ids), "end": list(end)}
    try:
        return record | {"text": detokenize(ids, tokenizer_file(TOKENIZERS, name), end)}
    except RunError as error:
        return record | {"refused": str(error)}


if __name__ == "__main__":
    place(__doc__, FILE).write_text(made(), encoding="ascii")
