"""Tracing on small torch modules: what is measured, hoisted and cut adds up to the module."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from entracte.decide.partition import Measured, cut_stage
from entracte.declare.scheme import weight_bytes
from entracte.emit.make import chunk_module
from entracte.errors import ConfigError
from entracte.graphs.spec import Graph, Input
from entracte.ir import DType, Loop, Port, Scan, Stage, StageKind, Target
from entracte.lower.backend import CORE_ML
from entracte.store.cache import Cache
from entracte.trace import measure, places, stored
from entracte.trace.hoist import Depends, LoopOp
from entracte.trace.hoist import split as split_at_rate
from entracte.trace.measure import checkpoint_key, trace_stage


class Step(nn.Module):
    """A toy denoiser step: a prompt path, a timestep path, and a path that needs the state."""

    def __init__(self) -> None:
        super().__init__()
        self.text = nn.Linear(64, 64)
        self.time = nn.Linear(64, 128)
        self.layers = nn.ModuleList(nn.Linear(64, 64) for _ in range(6))
        self.register_buffer("table", torch.linspace(0, 1, 64), persistent=False)

    def forward(self, z, t, y):
        y = torch.nn.functional.gelu(self.text(y))
        scale, shift = self.time(t[:, None] * self.table).chunk(2, dim=-1)
        for layer in self.layers:
            z = torch.nn.functional.silu(layer(z) * (1 + scale) + shift) + y
        return z


def graph() -> Graph:
    torch.manual_seed(0)
    inputs = (Input("z", (8, 64)), Input("t", (1,)), Input("y", (8, 64)))
    return Graph(Step().eval(), inputs, ("out",), checkpoint="x.safetensors")


PORTS = {
    "z": Port("z", (8, 64), DType.FP32),
    "t": Port("t", (1,), DType.FP32),
    "y": Port("y", (8, 64), DType.FP16),
}
STAGE = Stage(
    name="step",
    kind=StageKind.GRAPH,
    op="toy",
    inputs=(("z", "loop.z"), ("t", "loop.t"), ("y", "text.y")),
)
LOOP = Loop(
    name="loop",
    count=10,
    stages=("step",),
    state=(("z", "noise.z", "step.out"),),
    scan=(Scan("t", "table.t"),),
)
TARGET = Target(
    name="toy",
    title="",
    memory_bytes=10**9,
    base_footprint_bytes=0,
    settle_fraction=0,
    chunk_limit_bytes=10**9,
    deployment="iOS18",
    compute_unit="all",
    load_bandwidth=1e8,
    load_overhead_s=1e-3,
    compute_flops=1e9,
    memory_bandwidth=1e9,
    call_overhead_s=1e-4,
)


@pytest.fixture(scope="module")
def built():
    return graph()


@pytest.fixture(scope="module")
def traced(built):
    return trace_stage(STAGE, built, PORTS, LOOP, CORE_ML)


def weights(traced):
    return dict(traced.program.state_dict) | dict(traced.program.constants)


def test_what_does_not_change_leaves_the_loop(traced):
    parts = {p.part: p for p in traced.parts}
    assert set(parts) == {"once", "schedule", "body"}
    assert {w.name for w in parts["once"].weights} == {"text.weight", "text.bias"}
    assert {w.name for w in parts["schedule"].weights} >= {"time.weight", "time.bias"}
    assert not {w.name for w in parts["body"].weights} & {"text.weight", "time.weight"}
    assert [p.name for p in parts["once"].inputs] == ["y"]
    assert [p.name for p in parts["schedule"].inputs] == ["t"]


def test_outside_a_loop_there_is_one_part():
    traced = trace_stage(STAGE, graph(), PORTS, None, CORE_ML)
    assert [p.name for p in traced.parts] == ["step"]


def test_flops_and_bytes_are_counted_at_the_precision(traced):
    body = traced.part("step")
    assert sum(w.size_bytes for w in body.weights) == 6 * (64 * 64 + 64) * 2
    linear = [op for op in body.ops if op.kind in {"linear", "addmm"}]
    assert {op.flops for op in linear} == {2 * 8 * 64 * 64}
    assert len(linear) == 6


class Shuffled(nn.Module):
    def forward(self, x):
        y = torch.nn.functional.silu(x).transpose(1, 2)
        return torch.relu(y.reshape(4, 48))


class Rms(nn.Module):
    def forward(self, x):
        return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(8, 8, 1), nn.GroupNorm(2, 8)

    def forward(self, x):
        return x + self.norm(self.conv(x))


class Resampled(nn.Module):
    def forward(self, x):
        return torch.relu(torch.nn.functional.interpolate(x, size=(7, 9), mode="bilinear"))


class Constant(nn.Module):
    """Depends on its weight only, but no converter computes a SiLU beforehand."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4, 6, 8))

    def forward(self, x):
        return x + torch.nn.functional.silu(self.weight)


# Sums on paper; each is also what the package needs that coremltools makes (in the group norm in
# fp32 that is 8 bytes more, two means).
PEAKS = [
    # x, y, y's copy as 4 x 48 beside the y it may be, the result: 4 * 6 * 8 elements each
    (Shuffled, (4, 6, 8), "fp16", "fp16", 4 * 192 * 2),
    (Shuffled, (4, 6, 8), "fp32", "fp32", 4 * 192 * 4),
    # x in fp32 as it comes, and in fp16 as it is read; y, then y, its copy and the result
    (Shuffled, (4, 6, 8), "fp16", "fp32", 192 * 4 + 3 * 192 * 2),
    # x; x in fp32, its square and the mean of two rows, all in fp32
    (Rms, (2, 64), "fp16", "fp16", 128 * 2 + 128 * 4 + 128 * 4 + 2 * 4),
    # x, its square and the mean
    (Rms, (2, 64), "fp32", "fp32", 128 * 4 + 128 * 4 + 2 * 4),
    # x is fp32 already; in the end x, the product, and the product rounded
    (Rms, (2, 64), "fp16", "fp32", 128 * 4 + 128 * 4 + 128 * 2),
    # x, and at the end of the norm its quotient, the quotient's copy and the result
    (Normed, (1, 8, 6, 6), "fp16", "fp16", 4 * 288 * 2),
    # x, and the quotient before and after scaling: in fp32 it lies in order
    (Normed, (1, 8, 6, 6), "fp32", "fp32", 3 * 288 * 4),
    # x (1, 4, 4, 4); what a product with a matrix gives, twice, and the result (1, 4, 7, 9)
    (Resampled, (1, 4, 4, 4), "fp16", "fp16", 64 * 2 + 3 * 252 * 2),
    # x, what the SiLU gives, the sum
    (Constant, (4, 6, 8), "fp16", "fp16", 3 * 192 * 2),
]


@pytest.mark.parametrize(("make", "shape", "precision", "port", "peak"), PEAKS)
def test_activations_at_their_peak(make, shape, precision, port, peak):
    stage = Stage(name="s", kind=StageKind.GRAPH, op="toy", precision=precision)
    built = Graph(make().eval(), (Input("x", shape),), ("out",), "x")
    ports = {"x": Port("x", shape, DType(port))}
    (part,) = trace_stage(stage, built, ports, None, CORE_ML).parts
    assert Measured(part).chunk(0, len(part.ops), 0).activation_bytes == peak


@pytest.mark.parametrize("pieces", [1, 2, 3, 6])
def test_chunks_chained_equal_the_module(traced, built, pieces):
    """Every cut, in any number of chunks: the values of the pieces are the module's own."""
    torch.manual_seed(1)
    given = {"z": torch.randn(8, 64), "t": torch.tensor([0.3]), "y": torch.randn(8, 64)}
    wanted = built.module(given["z"], given["t"], given["y"])
    values = dict(given)
    for part in traced.parts:
        measured = Measured(part)
        total = measured.position_weights[-1]
        for chunk in cut_stage(measured, total // pieces + 64, TARGET, 1):
            module = chunk_module(traced, chunk, weights(traced))
            outputs = module(*(values[p.name] for p in chunk.inputs))
            values |= {p.name: v for p, v in zip(chunk.outputs, outputs, strict=True)}
    # The same operations in the same order on the same numbers.
    torch.testing.assert_close(values["out"], wanted, rtol=0, atol=1e-6)


def test_more_pieces_make_more_and_smaller_chunks(traced):
    measured = Measured(traced.part("step"))
    total = measured.position_weights[-1]
    counts = []
    for pieces in (1, 2, 3, 6):
        limit = int(1.1 * total / pieces) + 1
        chunks = cut_stage(measured, limit, TARGET, 1)
        assert all(c.weight_bytes <= limit for c in chunks)
        assert [c.start for c in chunks[1:]] == [c.stop for c in chunks[:-1]]
        assert sum(c.weight_bytes for c in chunks) == total
        counts.append(len(chunks))
    assert counts == [1, 2, 3, 6]


def test_equal_weights_are_preferred(traced):
    measured = Measured(traced.part("step"))
    total = measured.position_weights[-1]
    sizes = [c.weight_bytes for c in cut_stage(measured, int(total / 3 * 1.1), TARGET, 1)]
    assert max(sizes) == min(sizes)


def test_tracing_twice_gives_the_same_value(traced):
    again = trace_stage(STAGE, graph(), PORTS, LOOP, CORE_ML)
    assert again.parts == traced.parts


def test_a_wrong_shape_or_name_is_a_message():
    with pytest.raises(ConfigError, match=r"inputs.y: graph toy wants shape \(8, 64\)"):
        trace_stage(STAGE, graph(), PORTS | {"y": Port("y", (8, 32), DType.FP16)}, LOOP, CORE_ML)
    with pytest.raises(ConfigError, match="graph toy wants t, y, z; given t, z"):
        trace_stage(STAGE, graph(), {k: PORTS[k] for k in "zt"}, LOOP, CORE_ML)


def test_key_map_takes_the_longest_prefix():
    rules = (("model.encoder.embed.", "shared."), ("model.", ""))
    assert checkpoint_key("model.encoder.embed.weight", rules) == "shared.weight"
    assert checkpoint_key("model.encoder.block.0", rules) == "encoder.block.0"


# ---------------------------------------------------------------- the cut, on numbers alone


def split(nodes, inputs, rows):
    return split_at_rate(nodes, inputs, rows, 1000)


INPUTS = {"s": (Depends.STATE, 10), "y": (Depends.NOTHING, 100), "t": (Depends.SCAN, 4)}


def test_a_small_result_of_large_weights_is_hoisted():
    nodes = [LoopOp("k", ("y",), 50, 10_000, 0), LoopOp("use", ("s", "k"), 10, 0, 0)]
    assert split(nodes, INPUTS, 30) == {"k": "once", "use": "body"}


def test_a_large_result_of_nothing_stays_inside():
    nodes = [LoopOp("big", ("y",), 10_000, 0, 100), LoopOp("use", ("s", "big"), 10, 0, 0)]
    assert split(nodes, INPUTS, 30)["big"] == "body"


def test_the_narrow_place_is_found():
    """A wide value made of a narrow one is remade in the body; the narrow one is kept."""
    nodes = [
        LoopOp("narrow", ("t",), 20, 50_000, 0),
        LoopOp("wide", ("narrow",), 5_000, 10, 0),
        LoopOp("use", ("s", "wide"), 10, 0, 0),
    ]
    assert split(nodes, INPUTS, 30) == {"narrow": "schedule", "wide": "body", "use": "body"}


def test_what_depends_on_the_state_never_leaves():
    nodes = [LoopOp("a", ("s",), 1, 10**9, 10**12), LoopOp("b", ("a", "y"), 1, 10**9, 0)]
    assert set(split(nodes, INPUTS, 30).values()) == {"body"}


def test_random_normal_is_the_documented_one():
    """SplitMix64 and Box-Muller in plain Python, as another runner would write it."""
    import math

    from entracte.declare.host_ops import random_normal

    def words(seed):
        x = seed
        while True:
            x = (x + 0x9E3779B97F4A7C15) % 2**64
            z = x
            z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
            z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) % 2**64
            yield z ^ (z >> 31)

    source = words(7)
    expected = []
    for _ in range(4):
        u, v = (((next(source) >> 11) + 1) / 2**53 for _ in range(2))
        radius = math.sqrt(-2 * math.log(u))
        expected += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
    np.testing.assert_allclose(random_normal(7, (7,)), expected[:7], rtol=1e-6)
    many = random_normal(1, (100_000,))
    assert abs(many.mean()) < 0.02
    assert abs(many.std() - 1) < 0.02


# ---------------------------------------------------------------- other bytes of the same weights


@pytest.fixture
def shelf(built, monkeypatch, tmp_path):
    """Traces of the toy step through a cache: a new shelf each time, and what was traced for it."""
    traced: list[str] = []

    def trace(stage: Stage, *given):
        traced.append(stage.compression)
        return trace_stage(stage, *given)

    monkeypatch.setattr(stored.Shelf, "_graph", lambda *_: built)
    monkeypatch.setattr(stored, "_code", lambda *_: [])
    monkeypatch.setattr(stored, "graphs_are_code", lambda _: True)
    monkeypatch.setattr(measure, "trace_stage", trace)

    def look(**changed):
        made = stored.Shelf(CORE_ML, Cache(tmp_path))
        return made.traced(replace(STAGE, **changed), PORTS, LOOP).record

    return look, traced


def test_another_compression_counts_weights_again_and_traces_nothing(shelf, built):
    look, traced = shelf
    look()
    for name in ("int8", "palette4", "none"):
        stage = replace(STAGE, compression=name)
        assert look(compression=name) == trace_stage(stage, built, PORTS, LOOP, CORE_ML).record
    assert traced == ["none"]
    # 64 x 64 in one byte each and a bias of 64 in fp16, six times
    body = next(p for p in look(compression="int8").parts if p.part == "body")
    assert sum(w.size_bytes for w in body.weights) == 6 * (64 * 64 + 2 * 64)


def test_a_compression_that_moves_operations_is_traced(shelf, monkeypatch):
    """The loop holds 10 rows of 128 numbers in fp16 (2560 bytes) to spare the weights of `time`
    (16 KiB) in every iteration; were these nearly nothing, it would hold the 10 timesteps."""
    look, traced = shelf

    def size(shape, precision, compression):
        return weight_bytes(shape, precision, "none") // (1 if compression == "none" else 4096)

    for module in (measure, places):
        monkeypatch.setattr(module, "weight_bytes", size)
    found = {name: look(compression=name) for name in ("none", "int8")}
    inside = {
        name: {w.name for p in record.parts for w in p.weights if p.part == "body"}
        for name, record in found.items()
    }
    assert "time.weight" in inside["int8"] - inside["none"]
    assert traced == ["none", "int8"]
    for name, record in found.items():  # both are kept
        assert look(compression=name) == record
    assert traced == ["none", "int8"]


def test_what_tracing_reads_is_traced_again(shelf):
    look, traced = shelf
    look()
    for changed in ({"precision": "fp32"}, {"params": (("x", 1),)}, {"score_bytes": 1 << 20}):
        look(**changed)
    assert len(traced) == 4
    look(weights="elsewhere", compute_unit="cpuOnly")
    assert len(traced) == 4
