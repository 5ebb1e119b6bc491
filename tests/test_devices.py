"""The Core ML device with a stand-in engine, and what devices share."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from entracte.devices.arrays import NumpyValues
from entracte.devices.coreml import CoreMLDevice
from entracte.devices.null import Blank, NullDevice
from entracte.errors import RunError
from entracte.ir import DType, FunctionPorts, Package, Port
from entracte.run.execute import make_device
from entracte.store.cache import Cache
from tests.planner.plans import make_plan

PACKAGE = Package(
    chunk="c.00",
    path="packages/c.00.mlpackage",
    digest="d" * 64,
    file_bytes=1,
    weight_bytes=1000,
    activation_bytes=10,
    precision="fp16",
    compression="none",
    inputs=(Port("x", (2, 3), DType.FP16),),
    outputs=(Port("y", (2, 3), DType.FP16),),
)


@pytest.fixture(autouse=True)
def kept_here(monkeypatch, tmp_path):
    """No test keeps compiled models where others find them."""
    monkeypatch.setenv("ENTRACTE_CACHE", str(tmp_path / "cache"))


class StandIn:
    """Answers like Core ML: fp32 arrays whatever was declared, maybe flattened."""

    def __init__(self, names=("y",)) -> None:
        self.names, self.loaded, self.given, self.compiled = names, [], [], []
        self.build = "24A335 Mac14,2"

    def system(self):
        return self.build

    def compile(self, package, place):
        self.compiled.append(package)
        (place / "weights").mkdir(parents=True)
        (place / "weights/weight.bin").write_bytes(b"weights of " + package.name.encode())

    def load(self, compiled, compute_unit, function):
        assert (compiled / "weights/weight.bin").is_file()
        self.loaded.append((compiled, compute_unit, function))
        return "model"

    def predict(self, model, inputs):
        self.given.append(inputs)
        assert all(a.flags["C_CONTIGUOUS"] for a in inputs.values())
        return {n: inputs["x"].astype(np.float32).reshape(-1) * 2 for n in self.names}


def test_coreml_device_loads_calls_and_frees():
    engine = StandIn()
    device = CoreMLDevice("cpuAndGPU", engine)
    handle = device.load(PACKAGE, Path("/build"))
    assert engine.compiled == [Path("/build/packages/c.00.mlpackage")]
    assert [loaded[1:] for loaded in engine.loaded] == [("cpuAndGPU", "main")]
    assert device.resident_bytes() == 1000
    x = np.arange(6, dtype=np.float16).reshape(3, 2).T
    outputs = device.call(handle, "main", {"x": x})
    assert outputs["y"].dtype == np.float16
    assert outputs["y"].shape == (2, 3)
    np.testing.assert_array_equal(outputs["y"], x * 2)
    device.free(handle)
    assert device.resident_bytes() == 0


def test_coreml_device_holds_one_function_of_a_package_at_a_time():
    """Whether two models of a package share weights in memory is not documented."""
    engine = StandIn()
    device = CoreMLDevice("all", engine)
    package = replace(PACKAGE, functions=("main", "merged"))
    handle = device.load(package, Path(), "merged")
    x = {"x": np.zeros((2, 3), np.float16)}
    for function in ("merged", "merged", "main", "main"):
        device.call(handle, function, x)
        assert device.resident_bytes() == 1000
    assert [function for _, _, function in engine.loaded] == ["merged", "main"]
    device.free(handle)
    assert device.resident_bytes() == 0


def entries(folder):
    return sorted(folder.glob("v1/coreml/??/*"))


def test_compiled_models_are_kept_by_digest_and_system_outside_of_the_build(tmp_path):
    build, kept = tmp_path / "build", tmp_path / "kept"
    (build / "packages/c.00.mlmodelc").mkdir(parents=True)
    before = sorted(build.rglob("*"))
    engine = StandIn()
    for _ in range(2):
        # An old compiled model beside the package is not looked at.
        device = CoreMLDevice("all", engine, cache=Cache(kept))
        device.load(PACKAGE, build)
    assert len(engine.compiled) == len(entries(kept)) == 1
    other = replace(PACKAGE, digest="e" * 64)
    device.load(other, build)
    engine.build = "24A348 Mac14,2"
    device.load(PACKAGE, build)
    assert len(engine.compiled) == len(entries(kept)) == 3
    assert len({compiled for compiled, _, _ in engine.loaded}) == 3
    assert all(compiled.is_relative_to(kept) for compiled, _, _ in engine.loaded)
    assert sorted(build.rglob("*")) == before


def test_a_damaged_compiled_model_is_made_again_and_half_a_one_never_kept(tmp_path):
    engine = StandIn()
    device = CoreMLDevice("all", engine, cache=Cache(tmp_path))
    device.load(PACKAGE, Path("/build"))
    weights = engine.loaded[0][0] / "weights/weight.bin"
    weights.unlink()
    weights.write_bytes(b"others")
    device.load(PACKAGE, Path("/build"))
    assert len(engine.compiled) == 2 and weights.read_bytes() == b"weights of c.00.mlpackage"
    with pytest.raises(RunError, match=r"c\.00\.mlpackage cannot be compiled \(ANECCompile"):
        CoreMLDevice("all", Halfway(), cache=Cache(tmp_path)).load(
            replace(PACKAGE, digest="e" * 64), Path("/build")
        )
    assert len(entries(tmp_path)) == 1 and not list(tmp_path.glob("v1/unfinished/*"))


class Halfway(StandIn):
    def compile(self, package, place):
        super().compile(package, place)
        raise RuntimeError("ANECCompile() FAILED")


def test_a_chunk_is_loaded_for_its_own_compute_unit(monkeypatch):
    plan = make_plan()
    first, *rest = plan.chunks
    plan = replace(plan, chunks=(replace(first, compute_unit="cpuOnly"), *rest))
    engine = StandIn()
    monkeypatch.setattr("platform.system", lambda: "Darwin")
    monkeypatch.setattr("entracte.devices.coreml.CoreMLTools", lambda: engine)
    device = make_device("coreml", plan)
    for package in plan.packages[:2]:
        device.load(package, Path("/build"))
    assert [unit for _, unit, _ in engine.loaded] == ["cpuOnly", "all"]
    with pytest.raises(RunError, match="compute unit 'gpu' is not one of all, cpuOnly"):
        CoreMLDevice("all", engine, units={"c.00": "gpu"})


def test_coreml_device_names_a_missing_output():
    device = CoreMLDevice("all", StandIn(names=("other",)))
    handle = device.load(PACKAGE, Path())
    with pytest.raises(RunError, match="gave no 'y', only"):
        device.call(handle, "main", {"x": np.zeros((2, 3), np.float16)})


def test_coreml_device_refuses_unknown_units_and_other_systems(monkeypatch):
    with pytest.raises(RunError, match="'tpu' is not one of all, cpuOnly"):
        CoreMLDevice("tpu", StandIn())
    monkeypatch.setattr("platform.system", lambda: "Linux")
    with pytest.raises(RunError, match="Core ML runs on macOS only, this is Linux"):
        CoreMLDevice()


def test_unknown_devices_list_the_known():
    with pytest.raises(RunError, match="--device cuda: not one of auto, reference, coreml, null"):
        make_device("cuda", make_plan())


def test_pieces_put_in_their_places_are_the_whole():
    values = NumpyValues()
    whole = np.random.default_rng(0).normal(size=(2, 6, 3)).astype(np.float16)
    again = values.zeros(whole.shape, DType.FP16)
    for k, j in [(k, j) for k in range(3) for j in range(3)]:
        piece = values.piece(whole, [(1, 2 * k), (2, j)], [2, 1])
        assert piece.shape == (2, 2, 1) and piece.flags["C_CONTIGUOUS"]
        values.place(again, [(1, 2 * k), (2, j)], piece)
    np.testing.assert_array_equal(again, whole)
    values.place(again, [(1, 4)], whole[:, :2], add=True)
    np.testing.assert_array_equal(again[:, 4:], whole[:, 4:] + whole[:, :2])
    np.testing.assert_array_equal(again[:, :4], whole[:, :4])


def test_what_lies_in_one_run_of_memory_is_not_copied():
    values = NumpyValues()
    whole = np.zeros((1, 6, 3), np.float32)
    assert np.shares_memory(values.piece(whole, [(1, 2)], [2]), whole)
    assert not np.shares_memory(values.piece(whole, [(2, 1)], [2]), whole)
    assert values.cast(whole, DType.FP32) is whole
    assert values.cast(whole, DType.FP16).dtype == np.float16


TWO = replace(
    PACKAGE,
    functions=("main", "step"),
    own_ports=(
        FunctionPorts(
            "step", (Port("x", (2, 1), DType.FP16),), (Port("next", (2, 1), DType.INT32),)
        ),
    ),
)
"""A package with a function of another stage."""


def test_coreml_device_takes_a_functions_own_ports():
    engine = StandIn(names=("y", "next"))
    device = CoreMLDevice("all", engine)
    handle = device.load(TWO, Path("/build"))
    assert set(device.call(handle, "main", {"x": np.ones((2, 3), np.float16)})) == {"y"}
    outputs = device.call(handle, "step", {"x": np.ones((2, 1), np.float16)})
    assert {n: (v.shape, v.dtype) for n, v in outputs.items()} == {"next": ((2, 1), np.int32)}
    # One function of a package is loaded at a time, and its weights count once.
    assert [function for _, _, function in engine.loaded] == ["main", "step"]
    assert device.resident_bytes() == 1000


def test_null_device_takes_a_functions_own_ports():
    device = NullDevice()
    handle = device.load(TWO, Path("/build"))
    one, three = Blank((2, 1)), Blank((2, 3))
    assert device.call(handle, "step", {"x": one})["next"].shape == (2, 1)
    assert device.call(handle, "main", {"x": three})["y"].shape == (2, 3)
    with pytest.raises(RunError, match="x wants"):
        device.call(handle, "step", {"x": three})


class Failing(StandIn):
    """Raises what coremltools and the system do."""

    def load(self, compiled, compute_unit, function):
        if function != "main":
            raise RuntimeError("Failed to build the model execution plan")
        return super().load(compiled, compute_unit, function)

    def predict(self, model, inputs):
        raise OSError("the Neural Engine is busy")


def test_a_fault_of_the_system_is_one_message_with_its_place():
    device = CoreMLDevice("all", Failing())
    with pytest.raises(
        RunError, match=r"c\.00\.mlpackage, function 'merged', cannot be loaded for "
    ):
        device.load(PACKAGE, Path("/build"), "merged")
    handle = device.load(PACKAGE, Path("/build"))
    with pytest.raises(RunError, match=r"c\.00\.mlpackage.*the call failed \(the Neural Engine"):
        device.call(handle, "main", {"x": np.zeros((2, 3), np.float16)})
    short = replace(PACKAGE, outputs=(Port("y", (5, 5), DType.FP16),))
    sound = CoreMLDevice("all", StandIn())
    with pytest.raises(RunError, match=r"'y' came back as what is no fp16 of \(5, 5\)"):
        sound.call(sound.load(short, Path("/b")), "main", {"x": np.zeros((2, 3), np.float16)})
