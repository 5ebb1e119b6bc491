"""`partition=shared`: equal blocks run one graph that takes the weights of each as inputs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import entracte.graphs
from entracte.compile.job import Built, compile_pipeline
from entracte.cost import predicted_facts
from entracte.declare.host_ops import random_normal
from entracte.devices.coreml import CoreMLDevice
from entracte.errors import EntracteError, PlanError
from entracte.graphs.spec import Graph, Input
from entracte.inspect.graphs import disk_bytes, shared_lines
from entracte.ir import Chunk, DType, Plan, Port
from entracte.plan.agree import check_agreement
from entracte.plan.file import check_files, check_plan, read_plan
from entracte.run.execute import run_build
from entracte.run.packages import check_all_bytes, check_facts
from entracte.store.arrays import PAGE_BYTES, header_of, in_order
from entracte.store.cache import Cache
from tests.planner.plans import make_shared_plan

WIDTH, LAYERS, EQUAL = 96, 4, 3
"""The first layer reads the input of the stage, which is of another type than what layers give."""
PIPELINE = """
name: small
title: "small"
weights: "WEIGHTS"
outputs:
  y: {kind: tensor, value: body.y}
inputs: {seed: {kind: seed, default: 0}}
stages:
  noise:
    host: random_normal
    params: {shape: [5, 96]}
    inputs: {seed: seed}
  body:
    graph: test.layers
    inputs: {x: noise.noise}
"""


class Layer(nn.Module):
    """A norm, two linear layers, a table: 37 KiB of weights in fp16."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, WIDTH)
        self.down = nn.Linear(WIDTH, WIDTH)
        self.shift = nn.Parameter(torch.randn(5, WIDTH))

    def forward(self, x: Tensor) -> Tensor:
        return x + self.down(torch.relu(self.up(self.norm(x + self.shift))))


class Layers(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.last = nn.Linear(WIDTH, 8)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        for layer in self.layers:
            x = layer(x)
        return (self.last(x),)


MODULE = Layers().eval()
FACTORY: Callable[[], Graph] = lambda: Graph(  # noqa: E731
    MODULE, (Input("x", (5, WIDTH)),), ("y",), checkpoint="body"
)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Built]]:
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("shared")
    for name in ("conf/pipeline", "weights"):
        (folder / name).mkdir(parents=True)
    text = PIPELINE.replace("WEIGHTS", str(folder / "weights"))
    (folder / "conf/pipeline/small.yaml").write_text(text)
    save_file(MODULE.state_dict(), folder / "weights/body.safetensors")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(entracte.graphs._BUILT_IN, "test.layers", f"{__name__}:FACTORY")
        words = ["target=host", "pipeline=small"]

        def run(*more: str, cache: str = "cache", out: str = "build") -> Built:
            own = [*words, f"cache={folder / cache}", *more]
            return compile_pipeline(own, out=folder / out, config_dir=folder / "conf")

        yield run


@pytest.fixture(scope="module")
def planned(compiled: Callable[..., Built]) -> Plan:
    """A dry run."""
    return compiled("partition=shared", "dry_run=true", out="dry").plan


@pytest.fixture(scope="module")
def built(compiled: Callable[..., Built]) -> Built:
    return compiled("partition=shared")


@pytest.mark.slow
def test_blocks_whose_graph_cannot_take_their_weights_keep_them(
    compiled: Callable[..., Built], monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    """The rules for linear layers are taken away: what Core ML takes as a constant stays one."""
    from entracte.lower import as_inputs

    monkeypatch.setattr(as_inputs, "_RULES", {})
    found = compiled("partition=shared", "verify=off", cache="other", out="stored")
    assert not shared_of(found.plan) and all(p.arrays is None for p in found.plan.packages)
    told = capsys.readouterr().err
    assert "body.01 and 2 more that are like it keep their weights" in told
    assert "as a constant only" in told


@pytest.fixture
def copy(built: Built, tmp_path: Path) -> Path:
    """The build, to be spoiled."""
    assert built.folder is not None
    return Path(shutil.copytree(built.folder, tmp_path / "build"))


def truth(seed: int) -> np.ndarray:
    noise = random_normal(seed, (5, WIDTH))
    with torch.inference_mode():
        (y,) = MODULE(torch.from_numpy(np.asarray(noise, np.float32)))
    return y.numpy()


def shared_of(plan: Plan) -> list[Chunk]:
    return [c for c in plan.chunks if c.shares]


@pytest.mark.slow
def test_blocks_run_one_graph_and_give_what_torch_gives(built: Built) -> None:
    assert built.folder is not None
    chunks = shared_of(built.plan)
    assert [c.shares for c in chunks] == [chunks[0].id] * EQUAL
    packages = [p for p in built.plan.packages if p.arrays is not None]
    assert len({p.path for p in packages}) == 1 and len({p.arrays.path for p in packages}) == EQUAL
    # fp16: two matrices, two biases, a norm of two, a table.
    elements = 2 * WIDTH * WIDTH + 2 * WIDTH + 2 * WIDTH + 5 * WIDTH
    assert {p.weight_bytes for p in packages} == {2 * elements}
    assert {c.db is not None and c.db > 50 for c in built.plan.compared} == {True}
    for seed in (3, 4):
        made = run_build(built.folder, {"seed": seed}, device="reference")
        np.testing.assert_allclose(made.output, truth(seed), atol=2e-2)
        # No copies are made on this device, and two chunks may be there: far below the claim.
        assert made.run.peak_bytes <= built.plan.forecast.peak_bytes


def test_loads_are_reads_the_graph_is_loaded_once_and_copies_of_inputs_are_counted(
    planned: Plan,
) -> None:
    first, second = shared_of(planned)[:2]
    target = replace(
        planned.target,
        load_overhead_s=0.5,
        load_bandwidth=1e6,
        cold_bandwidth=1e3,
        memory_bandwidth=2e6,
        compute_flops=1e30,
        call_overhead_s=0.0,
    )
    one, other = predicted_facts(first, target), predicted_facts(second, target)
    size = first.weight_bytes
    assert (one.load_s, other.load_s) == (size / 1e6, size / 1e6)
    assert (one.cold_s, other.cold_s) == (0.5, 0.0)
    own = predicted_facts(replace(second, shares=""), target)
    assert own.load_s == 0.5 + size / 1e6 and own.cold_s > 10
    assert other.activation_bytes == own.activation_bytes + size
    assert other.exec_s == pytest.approx(own.exec_s + 2 * size / 2e6)


def test_the_plan_tells_of_its_graphs(planned: Plan) -> None:
    (line,) = shared_lines(planned)
    assert line.startswith("body.01 to body.03: 3 chunks run one graph, ")


@pytest.mark.slow
def test_a_graph_counts_once_on_the_disk(built: Built) -> None:
    assert built.folder is not None
    files = (built.folder / "packages").rglob("*")
    assert disk_bytes(built.plan) == sum(f.stat().st_size for f in files if f.is_file())


def spoiled(path: Path, at: int, data: bytes) -> None:
    raw = bytearray(path.read_bytes())
    raw[at : at + len(data)] = data
    path.unlink()
    path.write_bytes(raw)


HOSTILE: dict[str, tuple[Callable[[Path], Any], str]] = {
    "shorter": (lambda p: spoiled_size(p, -2), "it has .* bytes, its arrays make"),
    "longer": (lambda p: spoiled_size(p, 2), "it has .* bytes, its arrays make"),
    "other header": (lambda p: spoiled(p, 12, b"x"), "its header is not that of its arrays"),
    "missing": (lambda p: p.unlink(), "missing"),
    "a folder": (lambda p: (p.unlink(), p.mkdir()), "no file"),
    "a way out": (lambda p: (p.unlink(), p.symlink_to("/etc/hostname")), "leads out of"),
    "other bytes": (lambda p: spoiled(p, PAGE_BYTES, b"\x01\x02"), "other bytes than the plan"),
}


def spoiled_size(path: Path, more: int) -> None:
    raw = path.read_bytes()
    path.unlink()
    path.write_bytes(raw[:more] if more < 0 else raw + b"\0" * more)


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_a_spoiled_file_of_arrays_is_refused_by_its_path(copy: Path, name: str) -> None:
    spoil, words = HOSTILE[name]
    plan = read_plan(copy)
    spoil(copy / "packages/body.02.safetensors")
    with pytest.raises(PlanError, match=words) as told:
        check_files(plan, copy)
        check_facts(plan, copy)
        check_all_bytes(plan, copy)
    assert "body.02.safetensors" in str(told.value)


def changed(plan: Plan, chunk: str, **values: Any) -> Plan:
    """With other values of one chunk's arrays."""
    packages = tuple(
        replace(p, arrays=replace(p.arrays, **values))
        if p.chunk == chunk and p.arrays is not None
        else p
        for p in plan.packages
    )
    return replace(plan, packages=packages)


def with_chunk(plan: Plan, id: str, **values: Any) -> Plan:
    chunks = (replace(c, **values) if c.id == id else c for c in plan.chunks)
    return replace(plan, chunks=tuple(chunks))


def test_chunks_whose_shared_graphs_contradict_themselves_are_refused(planned: Plan) -> None:
    check_agreement(planned)
    other = (Port("x", (1,), DType.FP16),)
    for values, words in (
        ({"shares": "body.03"}, "is no first chunk"),
        ({"shares": "nobody"}, "is no first chunk"),
        ({"flops": 1, "work": ()}, "their flops are"),
        ({"weight_bytes": 1}, "their weight_bytes are"),
        ({"inputs": other}, "their inputs are not of the same shapes"),
    ):
        with pytest.raises(PlanError, match=words):
            check_agreement(with_chunk(planned, "body.02", **values))
    with pytest.raises(PlanError, match="body.02 shares 'body.01', which is no first"):
        check_agreement(with_chunk(planned, "body.01", shares=""))


@pytest.mark.slow
def test_packages_whose_shared_graphs_contradict_themselves_are_refused(built: Built) -> None:
    plan, at = built.plan, "body.02"
    check_agreement(plan)
    arrays = next(p.arrays for p in plan.packages if p.chunk == at)
    assert arrays is not None

    def with_package(**values: Any) -> Plan:
        packages = (replace(p, **values) if p.chunk == at else p for p in plan.packages)
        return replace(plan, packages=tuple(packages))

    for wrong, words in (
        (with_chunk(plan, at, shares=""), "has arrays, and chunk body.02 shares no graph"),
        (with_package(arrays=None), "are at|has no arrays|are, but for"),
        (with_package(digest="0" * 64), "the graph's digest is"),
        (with_package(weight_bytes=2), "the package says 2"),
        (changed(plan, at, digest="x"), "no SHA-256"),
        (changed(plan, at, file_bytes=7), "a file of 7 bytes"),
        (changed(plan, at, ports=arrays.ports[::-1]), "others than those of body.01"),
        (changed(plan, at, path="packages/body.01.safetensors"), "are, but for|are at"),
    ):
        with pytest.raises(PlanError, match=words):
            check_agreement(wrong)
    with pytest.raises(PlanError, match="leads out of the build folder"):
        check_plan(changed(plan, at, path="../body.02.safetensors"))


@pytest.mark.slow
def test_the_core_ml_device_loads_the_graph_once_and_gives_it_each_chunks_weights(
    built: Built, tmp_path: Path
) -> None:
    """Its engine here is the reference device's, which computes the same graph."""
    from entracte import reference

    loads: list[Path] = []

    def load(compiled: Path, unit: str, function: str) -> Any:
        loads.append(compiled)
        return reference.load(compiled)

    engine = SimpleNamespace(
        system=lambda: "24A335 Mac14,2",
        compile=lambda package, place: shutil.copytree(package, place),
        load=load,
        predict=lambda model, given: {n: t.numpy() for n, t in model.predict(given).items()},
    )
    device = CoreMLDevice("all", engine, cache=Cache(tmp_path / "cache"))  # type: ignore[arg-type]
    assert built.folder is not None
    x = np.asarray(random_normal(1, (5, WIDTH)), np.float16)
    for package in (p for p in built.plan.packages if p.arrays is not None):
        handle = device.load(package, built.folder)
        assert device.resident_bytes() == package.weight_bytes
        (y,) = device.call(handle, "main", {package.inputs[0].name: x}).values()
        with torch.inference_mode():
            layer = MODULE.layers[int(package.chunk[-2:])]
            wanted = layer(torch.from_numpy(x.astype(np.float32)))
        np.testing.assert_allclose(y, wanted.numpy(), atol=2e-2)
        device.free(handle)
    assert len(loads) == 1 and device.resident_bytes() == 0


def test_a_graph_is_loaded_once_for_each_of_its_units(tmp_path: Path) -> None:
    loads: list[str] = []
    engine = SimpleNamespace(
        system=lambda: "24A335 Mac14,2",
        compile=shutil.copytree,
        load=lambda _, unit, __: loads.append(unit),
    )
    units, cache = {"c1.02": "cpuOnly"}, Cache(tmp_path / "cache")
    device = CoreMLDevice("all", engine, units=units, cache=cache)  # type: ignore[arg-type]
    packages = [p for p in make_shared_plan().packages if p.arrays is not None]
    assert [p.chunk for p in packages] == ["c1.00", "c1.01", "c1.02"]
    (tmp_path / packages[0].path).mkdir(parents=True)
    (tmp_path / packages[0].path / "model").write_text("a graph")
    for package in packages * 2:
        assert package.arrays is not None
        path = tmp_path / package.arrays.path
        path.write_bytes(header_of(package.arrays.ports) + bytes(70))
        device.free(device.load(package, tmp_path))
    assert loads == ["all", "cpuOnly"]


def test_a_file_of_arrays_is_one_that_safetensors_reads(tmp_path: Path) -> None:
    from safetensors.numpy import load_file

    ports = in_order((Port("w0", (3,), DType.FP16), Port("w1", (2, 2), DType.FP32)))
    assert [p.name for p in ports] == ["w1", "w0"]
    data = np.arange(4, dtype=np.float32).tobytes() + np.arange(3, dtype=np.float16).tobytes()
    header = header_of(ports)
    assert len(header) % PAGE_BYTES == 0
    (tmp_path / "a.safetensors").write_bytes(header + data)
    found = load_file(tmp_path / "a.safetensors")
    assert found["w1"].tolist() == [[0, 1], [2, 3]] and found["w0"].tolist() == [0, 1, 2]


def test_compression_and_what_has_no_equal_blocks_are_refused_with_a_remedy(
    compiled: Callable[..., Built],
) -> None:
    words = ["partition=shared", "dry_run=true"]
    with pytest.raises(EntracteError, match="compression=palette6 stores codes.*partition=auto"):
        compiled(*words, "compression=palette6")
    with pytest.raises(EntracteError, match="partition.weights=arrays: not one of stored, inputs"):
        compiled(*words, "partition.weights=arrays")


def test_advice_on_compressions_and_shared_graphs_are_one_or_the_other() -> None:
    from rich.console import Console

    from entracte.cli.advise import show_advice
    from entracte.declare.compose import compose

    config = compose(["target=host", "pipeline=tiny_t2v", "partition=shared", "advise=true"])
    with pytest.raises(EntracteError, match="advise=true compares compressions"):
        show_advice(Console(), config)
