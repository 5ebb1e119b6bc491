"""The packages of a build folder are what its plan says, or nothing runs."""

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

from entracte.check.proof import check
from entracte.cli.plan import app
from entracte.cost import emitted_facts
from entracte.errors import PlanError
from entracte.ir import Bundle, DType, Gate, Moment, Package, Port
from entracte.lower.package import (
    MANIFEST,
    MODEL_FILE,
    WEIGHT_FILE,
    canonical_digest,
    normalise,
    read_spec,
)
from entracte.plan.file import CONSTANTS, check_plan, write_plan
from entracte.plan.forecast import forecast
from entracte.program.workload import Workload
from entracte.run import packages
from entracte.run.execute import open_build
from entracte.store import seal
from entracte.store.cache import size_bytes
from entracte.store.seal import file_sha256
from entracte.verify import folder as verifying
from entracte.verify.folder import verify_build
from tests.planner.programs import DOUBLE_BUFFER
from tests.planner.test_run_reference import SIZE, WEIGHT_BYTES, folder, plan_of_loop

__all__ = ["folder"]
NAME = "both.mlpackage"
PEAK_BYTES = 3 * 4 * SIZE
"""By hand: the input, the sum of one addition, the sum of the other."""


@pytest.fixture(scope="module")
def whole(folder, tmp_path_factory) -> Path:  # noqa: F811
    """A build folder with one package of two functions, put together by hand."""
    build = tmp_path_factory.mktemp("whole") / "build"
    shutil.copytree(folder / NAME, build / NAME)
    normalise(build / NAME)
    save_file({"zeros": np.zeros(SIZE, np.float32)}, build / CONSTANTS)
    write_plan(planned(build), build)
    return build


def planned(build: Path, **changed: object):
    """The plan of the folder's one package; facts and proof follow from what is said of it."""
    plan = plan_of_loop(DOUBLE_BUFFER)
    package = replace(
        plan.packages[0],
        digest=canonical_digest(build / NAME),
        file_bytes=size_bytes(build / NAME),
    )
    package = replace(package, **({"activation_bytes": PEAK_BYTES} | changed))
    chunk = replace(plan.chunks[0], inputs=package.inputs, outputs=package.outputs)
    facts = emitted_facts((chunk,), Bundle((package,)), plan.target)
    proof = check(plan.program, facts, plan.schedule, budget_bytes=plan.schedule.budget_bytes)
    workload = Workload.on(plan.target, plan.program, facts)
    files = ((CONSTANTS, file_sha256(build / CONSTANTS)),)
    return replace(
        plan,
        packages=(package,),
        chunks=(chunk,),
        facts=facts,
        forecast=forecast(workload, plan.schedule, proof),
        files=files,
    )


@pytest.fixture
def build(whole, tmp_path) -> Path:
    shutil.copytree(whole, tmp_path / "build")
    return tmp_path / "build"


def run(build: Path):
    return open_build(build, device="reference").run({})


def test_an_honest_build_runs(build):
    assert run(build).output[0] == 7.0
    packages.check_facts(planned(build), build)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"weight_bytes": 1}, f"bytes of weights {WEIGHT_BYTES}, the plan says 1;"),
        ({"weight_bytes": WEIGHT_BYTES + 1}, "bytes of weights 1024, the plan says 1025;"),
        ({"activation_bytes": 3071}, "bytes of activations 3072, the plan says 3071;"),
        ({"activation_bytes": 3073}, "bytes of activations 3072, the plan says 3073;"),
        ({"digest": "0" * 64}, "holds other bytes than the plan says"),
    ],
)
def test_a_plan_that_says_other_things_of_its_package_is_refused(build, changed, told):
    """It is sound in itself: 100 times lighter, say, and proven."""
    plan = planned(build, **changed)
    check_plan(plan)
    write_plan(plan, build)
    with pytest.raises(PlanError) as error:
        run(build)
    assert told in str(error.value) and "compile again" in str(error.value)
    with pytest.raises(PlanError, match="compile again"):
        verify_build(build)


def test_file_bytes_are_compared(build):
    for more in (-1, 1):
        plan = planned(build, file_bytes=size_bytes(build / NAME) + more)
        write_plan(plan, build)
        with pytest.raises(PlanError, match=r"bytes of files \d+, the plan says \d+; compile"):
            open_build(build, device="reference")


def port(name: str, *shape: int, dtype: DType = DType.FP32) -> Port:
    return Port(name, shape, dtype)


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        (
            {"inputs": (port("x", SIZE, 1),)},
            "function main x fp32 [256], the plan says x fp32 [256, 1]",
        ),
        ({"inputs": (port("x", SIZE, dtype=DType.INT32),)}, "the plan says x int32 [256]"),
        ({"inputs": (port("w", SIZE),)}, "the plan says w fp32 [256]"),
        (
            {"outputs": (port("y", SIZE),)},
            "done fp32 [1], y fp32 [256], the plan says y fp32 [256];",
        ),
        ({"functions": ("main",)}, "functions main, merged, the plan says main"),
        ({"functions": ("main", "merged", "more")}, "the plan says main, merged, more"),
    ],
)
def test_ports_and_functions_are_the_package_s_own(build, changed, told):
    plan = planned(build)
    package = replace(plan.packages[0], **changed)
    with pytest.raises(PlanError) as error:
        packages.check_facts(replace(plan, packages=(package,)), build)
    assert told in str(error.value)


def rewrite_model(build: Path, change) -> None:
    spec = read_spec(build / NAME)
    change(spec)
    (build / NAME / MODEL_FILE).write_bytes(spec.SerializeToString(deterministic=True))
    normalise(build / NAME)


def test_open_shapes_are_refused(build):
    def opened(spec) -> None:
        for function in spec.mlProgram.functions.values():
            dimension = function.inputs[0].type.tensorType.dimensions[0]
            dimension.unknown.variadic = False

    rewrite_model(build, opened)
    package = replace(planned(build).packages[0], file_bytes=size_bytes(build / NAME))
    plan = replace(planned(build), packages=(package,))
    with pytest.raises(PlanError, match="open shapes"):
        packages.check_facts(plan, build)


def flip(path: Path, at: int) -> None:
    found = path.stat()
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns + 1))


DAMAGE = {
    WEIGHT_FILE: lambda b: flip(b / NAME / WEIGHT_FILE, -1),
    # In a name that the program does not use: it still runs and computes the same.
    MODEL_FILE: lambda b: rewrite_quietly(b),
    MANIFEST: lambda b: flip(b / NAME / MANIFEST, 30),
}


def rewrite_quietly(build: Path) -> None:
    spec = read_spec(build / NAME)
    spec.description.metadata.author = "a"
    data = spec.SerializeToString(deterministic=True)
    (build / NAME / MODEL_FILE).write_bytes(data)


@pytest.mark.parametrize("file", DAMAGE)
def test_damaged_bytes_are_refused_by_run_and_by_verify(build, file):
    """One message: the package, the file, the remedy."""
    DAMAGE[file](build)
    plan = planned(build, digest=planned_digest(build))
    write_plan(plan, build)
    for use in (run, verify_build):
        with pytest.raises(PlanError) as error:
            use(build)
        said = str(error.value)
        assert NAME in said and file in said and "compile again" in said and "\n" not in said


def planned_digest(build: Path) -> str:
    return json.loads((build / "plan.json").read_bytes())["plan"]["packages"][0]["digest"]


def test_the_commands_print_one_message(build):
    flip(build / NAME / WEIGHT_FILE, -1)
    for command in ("run", "verify"):
        more = ["--device", "reference", "--out", str(build / "x.npy")] if command == "run" else []
        words = [command, str(build), *more]
        done = CliRunner().invoke(app, words)
        said = " ".join(done.output.split())
        assert done.exit_code == 1 and "Traceback" not in said
        assert f"{WEIGHT_FILE} holds other bytes than the plan says; compile again" in said


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda p: (p / "Data" / "more").write_text(""), "Data/more does not belong to it"),
        (lambda p: (p / WEIGHT_FILE).unlink(), "bytes of files"),
        (lambda p: (p / MANIFEST).unlink(), f"{MANIFEST} is missing"),
        (lambda p: (p / MODEL_FILE).unlink(), f"{MODEL_FILE} is missing"),
        (lambda p: relink(p / WEIGHT_FILE), f"{WEIGHT_FILE} does not belong to it"),
    ],
)
def test_other_files_are_refused(build, change, told):
    change(build / NAME)
    with pytest.raises(PlanError) as error:
        open_build(build, device="reference")
    assert told in str(error.value)
    with pytest.raises(PlanError):
        packages.check_bytes(planned_package(build), build)


def relink(path: Path) -> None:
    path.rename(path.parents[3] / "elsewhere")
    path.symlink_to(path.parents[3] / "elsewhere")


def planned_package(build: Path) -> Package:
    from entracte.plan.file import read_plan

    return read_plan(build).packages[0]


def test_a_file_is_read_once_for_its_digest_until_it_changes(build, monkeypatch):
    """Every load asks; verify reads all anew."""
    read = []
    whole = seal.file_sha256
    monkeypatch.setattr(seal, "file_sha256", lambda p: (read.append(p.name), whole(p))[1])
    for _ in range(3):
        packages.check_bytes(planned_package(build), build)
    assert sorted(read) == ["model.mlmodel", "weight.bin"]
    os.utime(build / NAME / WEIGHT_FILE, ns=(1, 1))
    packages.check_bytes(planned_package(build), build)
    assert read[2:] == ["weight.bin"]
    monkeypatch.setattr(verifying, "verify_plan", lambda *_: pytest.fail("not so far"))
    monkeypatch.setattr(verifying, "make_device", lambda *_: (_ for _ in ()).throw(KeyError))
    with pytest.raises(KeyError):
        verify_build(build)
    assert sorted(read[3:]) == ["model.mlmodel", "weight.bin"]


def test_bytes_that_change_while_it_runs_are_seen_at_the_next_load(build):
    from entracte.devices.reference import ReferenceDevice
    from entracte.run.runner import Listeners, run_plan
    from tests.planner.programs import SEQUENTIAL

    plan = plan_of_loop(SEQUENTIAL)
    package = planned_package(build)
    # Loaded anew in each iteration: a planner would keep the only chunk there is.
    (first,) = plan.schedule.loads
    first = replace(first, free_moment=Moment.SAME)
    each = replace(first, iterations="each", gate=Gate(0, 0, Moment.PREVIOUS))
    schedule = replace(plan.schedule, loads=(first, each), resident=())
    plan = replace(plan, packages=(replace(package, activation_bytes=4200),), schedule=schedule)
    seen = []

    def loading(p: Package) -> None:
        packages.check_bytes(p, build)
        seen.append(p.chunk)
        if len(seen) == 2:
            flip(build / NAME / WEIGHT_FILE, -1)

    start = {"zeros": np.zeros(SIZE, np.float32)}
    with pytest.raises(PlanError, match="holds other bytes"):
        run_plan(plan, build, ReferenceDevice(), {}, constants=start,
                 listeners=Listeners(loading=loading))  # fmt: skip
    assert len(seen) == 2


def test_the_null_device_reads_no_package(build):
    """It counts what the plan says and computes nothing: a record of it observes no bytes."""
    flip(build / NAME / WEIGHT_FILE, -1)
    assert open_build(build, device="null").run({}).run.device == "null"
