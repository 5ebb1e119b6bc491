"""Stamped packages equal converted ones, byte for byte; what cannot be stamped is noticed."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from entracte.decide.partition import Measured
from entracte.emit import make
from entracte.emit.make import CHUNK, Order
from entracte.graphs.spec import Graph, Input
from entracte.ir import DType, Port, Stage, StageKind
from entracte.lower import package
from entracte.lower.backend import CORE_ML
from entracte.lower.template import marker
from entracte.store.cache import Cache
from entracte.store.form import form_of
from entracte.trace.measure import trace_stage
from entracte.trace.weights import RandomWeights

WIDTH = 64


class Block(nn.Module):
    """Attention, a norm with a weight, a table of frequencies that all blocks share."""

    def __init__(self, frequencies: nn.Parameter) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.qkv = nn.Linear(WIDTH, 3 * WIDTH)
        self.out = nn.Linear(WIDTH, WIDTH, bias=False)
        self.gate = nn.Parameter(torch.ones(1, WIDTH))
        self.frequencies = frequencies
        self.register_buffer("places", torch.arange(8.0)[:, None], persistent=False)

    def forward(self, x):
        q, k, v = self.qkv(self.norm(x)).chunk(3, dim=-1)
        q = q * (self.places * self.frequencies).cos()
        return x + self.gate * self.out(nn.functional.scaled_dot_product_attention(q, k, v))


class Stack(nn.Module):
    def __init__(self, depth: int, folded: bool = False) -> None:
        super().__init__()
        frequencies = nn.Parameter(torch.ones(WIDTH))
        self.blocks = nn.ModuleList(Block(frequencies) for _ in range(depth))
        self.folded = folded

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
            if self.folded:
                x = x * (1 + block.gate)
        return x


def orders(depth=4, folded=False, precision="fp16", compression="none", source=None):
    stage = Stage(
        name="stack",
        kind=StageKind.GRAPH,
        op="toy",
        inputs=(("x", "a.x"),),
        precision=precision,
        compression=compression,
    )
    graph = Graph(Stack(depth, folded).eval(), (Input("x", (1, 8, WIDTH)),), ("y",), "stack")
    ports = {"x": Port("x", (1, 8, WIDTH), DType.FP16)}
    traced = trace_stage(stage, graph, ports, None, CORE_ML)
    source = source or RandomWeights(0)
    measured = Measured(traced.parts[0])
    return [_order(traced, chunk, source) for chunk in _block_chunks(measured, depth)]


def _block_chunks(measured, depth):
    ops = measured.graph.ops
    ends = [i + 1 for i, op in enumerate(ops) if op.kind == "add"]
    ends = ends[:: len(ends) // depth] if len(ends) > depth else ends
    if len(ends) == depth and ends[-1] != len(ops):
        per = len(ops) // depth
        ends = [per * (i + 1) for i in range(depth)]
    starts = [0, *ends[:-1]]
    return [measured.chunk(a, b, i) for i, (a, b) in enumerate(zip(starts, ends, strict=True))]


def _order(traced, chunk, source):
    form = form_of(traced.parts[0], chunk)
    return Order(traced, chunk, form, source, "iOS18", f"aa{chunk.id}", f"bb{form.twin_key}")


def templated(order: Order, cache: Cache) -> bool:
    for seed in make.SEEDS:
        make.convert_marked(order, cache, seed)
    return make.make_template(order, cache)


def made(order: Order, cache: Cache, how: str) -> Path:
    if how == "converted":
        make.convert_order(order, cache)
    else:
        entry = cache.folder(make.TEMPLATES, order.twin_key)
        assert entry is not None
        make.stamp_order(order, cache, entry)
    found = cache.folder(make.PACKAGES, order.key)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("precision", "compression"),
    [
        ("fp16", "none"),
        ("fp32", "none"),
        ("fp16", "int8"),
        ("fp16", "int4_block32"),
        ("fp16", "palette4"),
        pytest.param("fp16", "palette6", marks=pytest.mark.slow),
        pytest.param("fp16", "palette8", marks=pytest.mark.slow),
    ],
)
def test_a_stamped_package_is_the_converted_one(tmp_path, precision, compression):
    chunks = orders(precision=precision, compression=compression)
    (key,) = {o.twin_key for o in chunks[1:-1]}
    stamped, converted = Cache(tmp_path / "s"), Cache(tmp_path / "c")
    assert templated(chunks[1], stamped)
    # The one that the template was made of, and another.
    for order in [o for o in chunks if o.twin_key == key][:2]:
        a, b = made(order, stamped, "stamped"), made(order, converted, "converted")
        for name in (package.MODEL_FILE, package.WEIGHT_FILE, "Manifest.json"):
            assert (a / CHUNK / name).read_bytes() == (b / CHUNK / name).read_bytes(), name
        assert make.facts_of(a) == make.facts_of(b)


def test_blocks_share_a_form_and_their_names_are_their_own(tmp_path):
    chunks = orders()
    assert Counter(o.twin_key for o in chunks).most_common(1)[0][1] >= 3
    assert len({o.form.slots for o in chunks}) == len(chunks)
    cache = Cache(tmp_path)
    templated(chunks[1], cache)
    spec = package.read_spec(made(chunks[2], cache, "stamped") / CHUNK)
    (function,) = spec.mlProgram.functions.values()
    (block,) = function.block_specializations.values()
    names = {v.name for op in block.operations for v in op.outputs}
    assert any("blocks_2_qkv_weight" in name for name in names)
    assert not any("blocks_1_" in name for name in names)


def test_a_weight_that_is_computed_with_makes_a_form_of_its_own():
    """`1 + gate` is folded by the converter: its bytes are no weight's bytes."""
    chunks = orders(folded=True)
    assert len({o.twin_key for o in chunks}) == len(chunks)


def test_another_precision_or_shape_is_another_form():
    a, b = orders()[1], orders(precision="fp32")[1]
    assert a.form.digest != b.form.digest


class Huge(RandomWeights):
    """One weight that fp16 cannot hold."""

    def tensors(self, traced, names=None):
        found = dict(super().tensors(traced, names))
        for name in found:
            if name == "blocks.2.out.weight":
                found[name] = found[name].clone()
                found[name][0, 0] = 1e6
        return found


def test_a_weight_beyond_fp16_is_converted_as_ever(tmp_path):
    chunks = orders(source=Huge(0))
    stamped, converted = Cache(tmp_path / "s"), Cache(tmp_path / "c")
    templated(chunks[1], stamped)
    a, b = made(chunks[2], stamped, "stamped"), made(chunks[2], converted, "converted")
    assert make.facts_of(a) == make.facts_of(b)


def test_a_difference_that_is_no_weight_gives_no_template(tmp_path, monkeypatch):
    """If anything but the weights depends on the weights, nothing is stamped."""
    real = make.convert_neutral
    calls = []

    def converts_differently(order, tensors, path):
        real(order, tensors, path)
        calls.append(path)
        if len(calls) == 2:
            with (path / package.WEIGHT_FILE).open("r+b") as file:
                file.seek(8)
                file.write(b"\x01")

    monkeypatch.setattr(make, "convert_neutral", converts_differently)
    cache = Cache(tmp_path)
    order = orders()[1]
    assert not templated(order, cache)
    assert make.read_layout(cache.folder(make.TEMPLATES, order.twin_key)) is None


def test_markers_are_told_apart():
    found = [marker(slot, (64, 64), seed) for slot in range(3) for seed in (0, 1)]
    halves = {m.astype(np.float16).tobytes() for m in found}
    assert len(halves) == len(found)


def test_rows_and_columns_of_a_marker_are_told_apart():
    """Its numbers come again, which no exchange, cut or repetition of axes may hide."""
    large = marker(3, (2048, 1024), 0)
    assert len({row.tobytes() for row in large}) == 2048
    assert len({column.tobytes() for column in large.T}) == 1024
    np.testing.assert_array_equal(marker(3, (5, 1024), 0), large[:5])
    assert -1 <= large.min() < -0.99 and 0.99 < large.max() < 1


def test_values_that_fp16_would_lose_are_kept_as_the_converter_keeps_them(tmp_path):
    class Small(RandomWeights):
        def tensors(self, traced, names=None):
            found = dict(super().tensors(traced, names))
            return {k: v * 1e-8 if k.endswith("norm.bias") else v for k, v in found.items()}

    chunks = orders(source=Small(0))
    stamped, converted = Cache(tmp_path / "s"), Cache(tmp_path / "c")
    templated(chunks[1], stamped)
    a, b = made(chunks[2], stamped, "stamped"), made(chunks[2], converted, "converted")
    assert make.facts_of(a) == make.facts_of(b)
