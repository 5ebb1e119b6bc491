"""Tables of rows on the disk: written from weights or a seed, read row by row, in loops too."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from entracte.declare.host_ops import HOST_OPS, TENSOR, Place, gather_rows
from entracte.declare.host_ops.table_rows import GATHER_ROWS
from entracte.emit import host_tables
from entracte.emit.host_files import look, tokenizer_at
from entracte.errors import ConfigError, PlanError, RunError
from entracte.ir import Binding, DType, HostStep, Output, Pipeline, Port, Stage, StageKind
from entracte.plan.host_steps import check_host_steps, exact_bytes
from entracte.run.host import run_host_step
from entracte.trace.weights import RandomWeights
from tests.planner.plans import make_plan

KEY = "shared.weight"


def pipeline_of(weights: object, **params) -> Pipeline:
    given = {"table": "text", "key": KEY, "rows": 7, "width": 3, "dtype": "fp16"} | params
    stage = Stage(
        name="rows", kind=StageKind.HOST, op="gather_rows", inputs=(("ids", "tokenize.input_ids"),),
        params=tuple(sorted(given.items())),
    )  # fmt: skip
    output = Output("rows", "tensor", ("rows.rows",), 0)
    return Pipeline(
        name="p", title="", weights=str(weights), inputs=(), stages=(stage,), loops=(),
        outputs=(output,),
    )  # fmt: skip


def written(weights: object, build: Path, **params) -> tuple[dict, Path]:
    """The params of the plan's step, and its file."""
    build.mkdir(exist_ok=True)
    pipeline = pipeline_of(weights, **params)
    host = look(pipeline)
    (name,) = host.write(build)
    step = dict(host.into(pipeline).stages[0].params)
    assert step["file"] == name == "table_rows.bin"
    assert GATHER_ROWS.fault(step, ["ids"]) is None
    return step, build / name


def saved(folder: Path, table: torch.Tensor, name: str = "text.safetensors") -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    save_file({KEY: table, "other": torch.zeros(2)}, folder / name)


@pytest.mark.parametrize("name", ["t" * 300, "t\0", "none"])
def test_names_that_no_system_takes_are_one_message(tmp_path, name):
    with pytest.raises(ConfigError, match="cannot be read|there are no weights"):
        look(pipeline_of(tmp_path, table=name))
    with pytest.raises(ConfigError, match="^here: there is no file "):
        tokenizer_at("here", str(tmp_path), name)


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("dtype", ["fp16", "fp32"])
def test_the_rows_are_those_of_the_weight(tmp_path, monkeypatch, stored, dtype):
    """In several blocks; the file is the rows, one after the other, little-endian."""
    monkeypatch.setattr(host_tables, "_BLOCK_ELEMENTS", 6)
    table = torch.randn(7, 3, generator=torch.Generator().manual_seed(1)).to(stored)
    saved(tmp_path / "w", table)
    step, file = written(tmp_path / "w", tmp_path / "build", dtype=dtype)
    wanted = table.float().to(torch.float16 if dtype == "fp16" else torch.float32).numpy()
    assert file.read_bytes() == wanted.astype("<f2" if dtype == "fp16" else "<f4").tobytes()
    made = GATHER_ROWS.run(
        step, {"ids": np.array([[6, 0, 6, 2]], np.int32)}, Place(tmp_path / "build")
    )
    assert made["rows"].dtype == wanted.dtype
    np.testing.assert_array_equal(made["rows"], wanted[[6, 0, 6, 2]][None])


def test_steps_that_read_one_table_share_its_file(tmp_path):
    plain = pipeline_of("random:3")
    (row,) = plain.stages
    wide = tuple(sorted((dict(row.params) | {"dtype": "fp32"}).items()))
    stages = (row, replace(row, name="again"), replace(row, name="wide", params=wide))
    pipeline = replace(plain, stages=stages)
    host = look(pipeline)
    files = [dict(s.params)["file"] for s in host.into(pipeline).stages]
    assert files == ["table_rows.bin", "table_rows.bin", "table_wide.bin"]
    assert host.write(tmp_path) == ["table_rows.bin", "table_wide.bin"]


@pytest.mark.parametrize(("rows", "width"), [(7, 3), (4, 16), (5, 16), (33, 5), (2, 5)])
def test_a_seed_gives_the_numbers_that_the_weight_would_have(tmp_path, monkeypatch, rows, width):
    monkeypatch.setattr(host_tables, "_BLOCK_ELEMENTS", 32)
    wanted = RandomWeights(4)._values(KEY, (rows, width))
    params = {"rows": rows, "width": width, "dtype": "fp32"}
    _, file = written("random:4", tmp_path / "build", **params)
    found = np.fromfile(file, "<f4").reshape(rows, width)
    np.testing.assert_array_equal(found, wanted.numpy())


def test_a_folder_of_files_is_searched(tmp_path):
    saved(tmp_path / "w", torch.ones(7, 3), "text/model-00002-of-00002.safetensors")
    save_file({"x": torch.zeros(1)}, tmp_path / "w" / "text" / "model-00001-of-00002.safetensors")
    _, file = written(tmp_path / "w", tmp_path / "build")
    np.testing.assert_array_equal(np.fromfile(file, "<f2"), np.ones(21))


def test_a_table_is_read_from_what_torch_saved_too(tmp_path, monkeypatch):
    """By the reader of all weights: a pickle becomes safetensors in the cache first."""
    monkeypatch.setenv("ENTRACTE_CACHE", str(tmp_path / "cache"))
    table = torch.randn(7, 3, generator=torch.Generator().manual_seed(2))
    (tmp_path / "w").mkdir()
    torch.save({KEY: table}, tmp_path / "w" / "text.bin")
    _, file = written(tmp_path / "w", tmp_path / "build", dtype="fp32")
    np.testing.assert_array_equal(np.fromfile(file, "<f4").reshape(7, 3), table.numpy())


@pytest.mark.parametrize(
    ("table", "params", "message"),
    [
        (torch.ones(7, 3), {"key": "shared"}, r"key: no file of .* holds 'shared'; they hold 2"),
        (
            torch.ones(7, 3),
            {"table": "texts"},
            "stage rows: there are no weights .*texts.safetensors",
        ),
        (torch.ones(7, 3), {"rows": 8}, r"is \[7, 3\], not rows x width \[8, 3\]"),
        (torch.ones(3, 7), {}, r"is \[3, 7\], not rows x width"),
        (torch.ones(7, 3, dtype=torch.int8), {}, "holds I8, a table is one of"),
    ],
)
def test_what_is_wrong_with_a_table_is_seen_before_anything_is_done(
    tmp_path, table, params, message
):
    saved(tmp_path, table)
    with pytest.raises(ConfigError, match=message):
        look(pipeline_of(tmp_path, **params))


@pytest.mark.parametrize("number", [7e4, float("nan"), float("inf")])
def test_numbers_that_the_type_cannot_hold_are_refused(tmp_path, number):
    table = torch.ones(7, 3)
    table[4, 1] = number
    saved(tmp_path / "w", table)
    with pytest.raises(ConfigError, match="holds numbers that fp16 cannot"):
        written(tmp_path / "w", tmp_path / "build")
    assert not list((tmp_path / "build").iterdir())
    if number == 7e4:
        written(tmp_path / "w", tmp_path / "build", dtype="fp32")


# ---------------------------------------------------------------- at run time


def test_ids_beyond_the_table_and_other_files_are_refused(tmp_path):
    step, file = written("random:0", tmp_path / "build")
    place = Place(tmp_path / "build")
    for stray in (7, -1, 2**31 - 1):
        with pytest.raises(RunError, match=f"id {stray} is no row of table_rows.bin, which has 7"):
            GATHER_ROWS.run(step, {"ids": np.array([[0, stray]], np.int32)}, place)
    ids = {"ids": np.array([[0]], np.int32)}
    for name in ("../table_rows.bin", "none.bin"):
        with pytest.raises(RunError, match="there is no table"):
            GATHER_ROWS.run(step | {"file": name}, ids, place)
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(RunError, match="there is no table table_rows.bin of 42 bytes"):
        GATHER_ROWS.run(step, ids, place)


def test_only_the_rows_asked_for_are_read(tmp_path):
    """Of a table of 8 GB, in a file that has holes."""
    file, rows, width = tmp_path / "t.bin", 2**20, 4096
    with file.open("wb") as stream:
        stream.truncate(rows * width * 2)
        stream.seek((rows - 1) * width * 2)
        stream.write(np.full(width, 2, "<f2").tobytes())
    ids = np.array([[rows - 1, 5]], np.int32)
    made = gather_rows(ids, file, rows=rows, width=width, dtype=DType.FP16)
    assert made.shape == (1, 2, width) and (made[0, 0] == 2).all() and not made[0, 1].any()
    with pytest.raises(RunError, match=f"t.bin ends before row {rows}; compile again"):
        gather_rows(ids + 1, file, rows=rows + 1, width=width, dtype=DType.FP16)


# ---------------------------------------------------------------- in plans


def step_of(**params) -> HostStep:
    given = {"file": "table_rows.bin", "rows": 7, "width": 4, "dtype": "fp32"} | params
    return HostStep(
        stage="rows", op="gather_rows", params=tuple(given.items()),
        inputs=(("ids", "ids"),), outputs=(Binding("rows", "rows.rows"),),
    )  # fmt: skip


def with_table(ids: Port, **params):
    """A plan with one more step; only what `check_host_steps` looks at is right."""
    from entracte.ir import TensorDecl

    plan = make_plan()
    first, *rest = plan.program.segments
    rows = TensorDecl(Port("rows.rows", (1, 8, 4), DType.FP32))
    program = replace(
        plan.program,
        tensors=(*plan.program.tensors, TensorDecl(ids), rows),
        segments=(replace(first, steps=(*first.steps, step_of(**params))), *rest),
    )
    return replace(plan, program=program, files=(*plan.files, ("table_rows.bin", "0" * 64)))


def test_a_plans_table_is_checked():
    ids = Port("ids", (1, 8), DType.INT32)
    plan = with_table(ids)
    check_host_steps(plan)
    assert exact_bytes(plan) == {"table_rows.bin": 7 * 4 * 4}
    for port, params, message in (
        (replace(ids, shape=(8,)), {}, r"inputs.ids is int32 \[8\], must be int32 \[1, any\]"),
        (replace(ids, shape=(2, 8)), {}, r"ids is int32 \[2, 8\]"),
        (replace(ids, dtype=DType.FP32), {}, r"ids is fp32 \[1, 8\], must be int32"),
        (replace(ids, name="idx"), {}, "reads 'ids', no tensor; a host step reads whole tensors"),
        (ids, {"width": 2**26}, "more than 67108864 elements"),
        (ids, {"width": 5}, r"gives rows as fp32 \(1, 8, 5\), tensor rows.rows is fp32 \(1, 8, 4"),
        (ids, {"file": "x.bin"}, "needs x.bin, which is no file of the plan"),
    ):
        with pytest.raises(PlanError, match=message):
            check_host_steps(with_table(port, **params))


def test_a_table_may_be_larger_than_other_files_and_is_read_once_for_its_digest(
    tmp_path, monkeypatch
):
    from entracte.plan import file as plan_file
    from entracte.plan.file import check_files
    from entracte.store import seal

    plan = with_table(Port("ids", (1, 8), DType.INT32))
    data = np.arange(28, dtype="<f4").tobytes()
    (tmp_path / "table_rows.bin").write_bytes(data)
    (tmp_path / "constants.safetensors").write_bytes(b"1")
    for package in plan.packages:
        (tmp_path / package.path).mkdir(parents=True)
    files = tuple((p, seal.file_sha256(tmp_path / p)) for p, _ in plan.files)
    plan = replace(plan, files=files)
    monkeypatch.setattr(plan_file, "MAX_FILE_BYTES", 50)
    read, whole = [], seal.file_sha256
    monkeypatch.setattr(seal, "file_sha256", lambda p: (read.append(p.name), whole(p))[1])
    for _ in range(3):
        check_files(plan, tmp_path)
    assert read == ["table_rows.bin"]
    (tmp_path / "table_rows.bin").write_bytes(data[:-4] + b"1234")
    import os

    os.utime(tmp_path / "table_rows.bin", ns=(1, 1))
    with pytest.raises(PlanError, match="table_rows.bin changed since it was written"):
        check_files(plan, tmp_path)
    (tmp_path / "table_rows.bin").write_bytes(data + b"1234")
    with pytest.raises(PlanError, match="table_rows.bin has 116 bytes, the plan says 112"):
        check_files(plan, tmp_path)


def test_every_row_that_reads_tensors_says_which():
    for op in HOST_OPS.values():
        for reads in op.inputs:
            assert (reads.kind == TENSOR) == bool(reads.axes) == (reads.dtype is not None)


def test_the_step_runs_by_the_door(tmp_path):
    step, file = written("random:0", tmp_path / "build", width=4, dtype="fp32")
    ids = np.array([[1, 3]], np.int32)
    made = run_host_step(step_of(), {"ids": ids}, tmp_path / "build")["rows"]
    np.testing.assert_array_equal(made[0], np.fromfile(file, "<f4").reshape(7, 4)[[1, 3]])
