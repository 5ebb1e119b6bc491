"""A compression is one row, a backend is one row: everything else follows a new one."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hydra import compose, initialize_config_module
from torch import Tensor, nn
from torch.nn import functional

from entracte import advise
from entracte.decide.partition import Measured
from entracte.declare.read import read
from entracte.declare.scheme import SCHEMES, Codes, Scheme
from entracte.declare.settings import register
from entracte.emit import make
from entracte.emit.make import Order
from entracte.errors import ConfigError
from entracte.frontend.backend import Backend, Islands, Sharing
from entracte.graphs.spec import Graph, Input
from entracte.ir import DType, Loop, Port, Stage, StageKind
from entracte.lower.backend import CORE_ML
from entracte.lower.errors import LowerError
from entracte.lower.package import read_spec
from entracte.store.cache import Cache
from entracte.store.form import form_of
from entracte.trace.measure import trace_stage
from entracte.trace.traced import Traced
from entracte.trace.weights import RandomWeights
from entracte.verify import verify
from tests.lower.execute import lower
from tests.lower.test_compress import _decompressed

# ---------------------------------------------------------------- a compression

PALETTE2 = Scheme(
    name="palette2",
    codes=Codes.PALETTE,
    bits=2,
    floor_db=7.0,
    smallest=4096,
    since=("iOS17", "macOS14"),
    is_advised=True,
)


@pytest.fixture
def row(monkeypatch):
    monkeypatch.setitem(SCHEMES, "palette2", PALETTE2)


def pipeline():
    register()
    with initialize_config_module("entracte.conf", version_base="1.3"):
        config = compose("compile", ["+target=host", "compression.name=palette2"])
    return read(config).pipeline


class Two(nn.Module):
    """8192 weights that the row takes, 4095 that are one too few for it, 64 of one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.large, self.small = nn.Linear(128, 64), nn.Linear(63, 65, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.small(self.large(x)[..., :63])


def test_a_compression_that_has_no_row_is_unknown():
    with pytest.raises(ConfigError, match="'palette2' is not one of none, int8"):
        pipeline()


def test_a_new_compression_is_read(row):
    assert {s.compression for s in pipeline().stages} == {"palette2"}


def test_a_new_compression_is_counted(row):
    stage = Stage(name="two", kind=StageKind.GRAPH, op="toy", compression="palette2")
    graph = Graph(Two().eval(), (Input("x", (1, 4, 128)),), ("y",), "two")
    ports = {"x": Port("x", (1, 4, 128), DType.FP16)}
    traced = trace_stage(stage, graph, ports, None, CORE_ML)
    found = {w.name: w.size_bytes for w in traced.parts[0].weights}
    # Two bits each; and two bytes each.
    assert found == {"large.weight": 8192 // 4, "large.bias": 64 * 2, "small.weight": 4095 * 2}


def test_a_new_compression_is_converted(row, tmp_path: Path):
    module, args = Two().requires_grad_(False), (torch.randn(1, 4, 128),)
    path = tmp_path / "m.mlpackage"
    facts = lower(module, args, path, "fp16", "iOS17", "palette2")
    assert facts.compressed_tensors == 1
    values = _decompressed(path)[64, 128]
    assert len(values.unique()) == 4
    with pytest.raises(LowerError, match=r"palette2 needs iOS17 or macOS14 .* iOS16; use"):
        lower(module, args, path, "fp16", "iOS16", "palette2")


def test_a_new_compression_has_its_floor_and_is_advised(row):
    package = SimpleNamespace(precision="fp16", compression="palette2")
    assert verify._floor_db(package) == 7.0
    assert "palette2" in advise._tried()


# ---------------------------------------------------------------- a backend


class Step(nn.Module):
    """Attention, a GELU, a sine of the timestep, and a product that need not be in the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(8, 8)

    def forward(self, z: Tensor, t: Tensor, y: Tensor) -> Tensor:
        heads = z.reshape(2, 5, 2, 4).transpose(1, 2)
        heads = functional.scaled_dot_product_attention(heads, heads, heads)
        z = heads.transpose(1, 2).reshape(2, 5, 8) + torch.sin(t * 3)
        return self.out(functional.gelu(z)) + y @ y.transpose(1, 2) @ z


NOTHING = Islands(
    sines=frozenset(),
    followed=frozenset(),
    roots=frozenset(),
    averaging=frozenset(),
    squares=frozenset(),
)
OTHER = replace(
    CORE_ML,
    name="other",
    max_rank=3,
    is_convertible=lambda target: "gelu" not in str(target) and CORE_ML.is_convertible(target),
    score_copies=7,
    aten_islands=NOTHING,
    own_islands=NOTHING,
    hoist_flops_per_byte=10**9,
)
SHAPES = {"z": (2, 5, 8), "t": (1,), "y": (2, 5, 2)}


def traced_for(backend: Backend, in_loop: bool = True) -> Traced:
    inputs = tuple(Input(name, shape) for name, shape in SHAPES.items())
    ports = {name: Port(name, shape, DType.FP16) for name, shape in SHAPES.items()}
    wiring = (("z", "loop.z"), ("t", "loop.t"), ("y", "text.y"))
    stage = Stage(name="step", kind=StageKind.GRAPH, op="toy", inputs=wiring)
    state = (("z", "noise.z", "step.out"), ("t", "table.t", "step.out"))
    loop = Loop(name="loop", count=10, stages=("step",), state=state, scan=())
    graph = Graph(Step().eval(), inputs, ("out",), "x")
    return trace_stage(stage, graph, ports, loop if in_loop else None, backend)


def ops(traced: Traced) -> dict[str, object]:
    return {op.kind: op for part in traced.parts for op in part.ops}


def test_a_backend_s_rank_limit_is_where_chunks_are_cut():
    ranks = {
        backend.name: {len(p.shape) for p in traced_for(backend, in_loop=False).parts[0].values}
        for backend in (CORE_ML, OTHER)
    }
    assert ranks == {"coreml": {1, 3, 4}, "other": {1, 3}}


def test_a_backend_gets_only_what_it_converts():
    assert "gelu" in ops(traced_for(CORE_ML))
    assert "gelu" not in ops(traced_for(OTHER))
    assert "erf" in ops(traced_for(OTHER))


def test_a_backend_s_workspace_is_counted():
    scores_bytes = 2 * 2 * 5 * 5 * 2  # batch, heads, queries, keys; fp16
    found = [
        ops(traced_for(b))["scaled_dot_product_attention"].workspace_bytes for b in (CORE_ML, OTHER)
    ]
    assert found == [2 * scores_bytes, 7 * scores_bytes]


def test_a_backend_says_what_hoisting_pays():
    """The product of y with itself has no weights and 100 bytes, y has 40: only its 200 FLOPs in
    each iteration speak for having it made before the loop."""
    for rate, parts in ((1, {"once", "body"}), (10**9, {"body"})):
        backend = replace(CORE_ML, hoist_flops_per_byte=rate)
        assert {p.part for p in traced_for(backend).parts} == parts


def test_a_backend_s_islands_are_converted(tmp_path: Path):
    """From tracing through emitting to the package: the sine is computed in fp32, or in fp16."""
    found = {}
    for backend in (CORE_ML, OTHER):
        traced = traced_for(backend, in_loop=False)
        part = traced.parts[0]
        chunk = Measured(part).chunk(0, len(part.ops), 0)
        form = form_of(part, chunk)
        order = Order(traced, chunk, form, RandomWeights(0), "iOS17", backend.name, "twin")
        cache = Cache(tmp_path)
        make.convert_order(order, cache)
        entry = cache.folder(make.PACKAGES, backend.name)
        found[backend.name] = _result_type(entry / make.CHUNK, "sin")
    assert found == {"coreml": 11, "other": 10}  # MIL.proto: FLOAT32, FLOAT16


def _result_type(path: Path, kind: str) -> int:
    (function,) = read_spec(path).mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    (operation,) = [o for o in block.operations if o.type == kind]
    return operation.outputs[0].type.tensorType.dataType


CHANGED = {
    "name": "x",
    "max_rank": 4,
    "is_convertible": callable,
    "aliases": frozenset({"view"}),
    "sharing": Sharing(
        views=frozenset(), slices=frozenset(), reshapes=frozenset(), keeping=frozenset()
    ),
    "unfolded": frozenset({"silu"}),
    "score_copies": 3,
    "group_norm_copies": 3,
    "fp32_group_norm_copies": 3,
    "aten_islands": NOTHING,
    "own_islands": NOTHING,
    "hoist_flops_per_byte": 7,
}


@pytest.mark.parametrize("field", [f.name for f in fields(Backend)])
def test_what_was_made_for_one_backend_is_not_found_for_another(field):
    """Keys of the cache hold the identity."""
    assert replace(CORE_ML, **{field: CHANGED[field]}).identity != CORE_ML.identity
