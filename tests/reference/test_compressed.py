"""Compressed weights come out bit for bit as coremltools decompresses them."""

from __future__ import annotations

import coremltools as ct
import coremltools.optimize as cto
import numpy as np
import pytest
import tiny
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from packages import run

from entracte.reference import load

C = cto.coreml
CASES = {
    "int8": (16, C.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)),
    "uint8": (16, C.OpLinearQuantizerConfig(mode="linear", weight_threshold=0)),
    "int8-ios18": (18, C.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=0)),
    "int4-block": (18, C.OpLinearQuantizerConfig(
        mode="linear_symmetric", dtype="int4", granularity="per_block", block_size=4,
        weight_threshold=0)),
    "uint4-block": (18, C.OpLinearQuantizerConfig(
        mode="linear", dtype="uint4", granularity="per_block", block_size=4, weight_threshold=0)),
    "palette1": (16, C.OpPalettizerConfig(mode="uniform", nbits=1, weight_threshold=0)),
    "palette4": (16, C.OpPalettizerConfig(mode="uniform", nbits=4, weight_threshold=0)),
    "palette6": (16, C.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=0)),
    "palette3-ios18": (18, C.OpPalettizerConfig(mode="uniform", nbits=3, weight_threshold=0)),
    "palette6-ios18": (18, C.OpPalettizerConfig(mode="uniform", nbits=6, weight_threshold=0)),
    "palette4-groups": (18, C.OpPalettizerConfig(
        mode="uniform", nbits=4, granularity="per_grouped_channel", group_size=4,
        weight_threshold=0)),
    "sparse": (16, C.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=0)),
    "sparse-ios18": (18, C.OpMagnitudePrunerConfig(target_sparsity=0.6, weight_threshold=0)),
}  # fmt: skip


def _module() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(4, 24, 3), torch.nn.Flatten(2), torch.nn.Linear(36, 40)
    )


def _compress(model, config):
    wrapped = C.OptimizationConfig(global_config=config)
    if isinstance(config, C.OpLinearQuantizerConfig):
        return C.linear_quantize_weights(model, wrapped)
    if isinstance(config, C.OpPalettizerConfig):
        return C.palettize_weights(model, wrapped)
    return C.prune_weights(model, wrapped)


def _converted(make, ios, *configs):
    example = (torch.randn(1, 4, 8, 8),)
    model = ct.models.MLModel(str(make.traced(_module(), example, ios)), skip_model_load=True)
    for config in configs:
        model = _compress(model, config)
    return model, make._save(model), example


def _expected(model) -> dict[str, np.ndarray]:
    """Every decompressed weight, by coremltools' own code."""
    found = {}
    for operation in model._mil_program.functions["main"].operations:
        if not operation.op_type.startswith("constexpr_"):
            continue
        values = operation.materialized_val_inference()
        values = values if isinstance(values, tuple) else (values,)
        found |= {o.name: v for o, v in zip(operation.outputs, values, strict=True)}
    return found


def _check(model, path) -> int:
    wanted = _expected(model)
    seen = {}

    def look(name, kind, results):
        if kind.startswith("constexpr_"):
            seen[name] = results

    with load(path) as loaded:
        loaded.on_op = look
        loaded.predict({f.name: np.zeros(f.shape, np.float32) for f in loaded.info.inputs})
    for name, results in seen.items():
        got = results[-1].numpy()
        want = wanted[name] if name in wanted else wanted[name + "_1"]
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(got.view(np.uint8), np.ascontiguousarray(want).view(np.uint8))
    return len(seen)


@pytest.mark.parametrize("name", sorted(CASES))
def test_decompressed_weights_are_bit_equal(name, make):
    ios, config = CASES[name]
    model, path, example = _converted(make, ios, config)
    assert _check(model, path) == 2
    lazy, eager = (run(path, *example, hold=hold) for hold in ("owned", "mapped"))
    np.testing.assert_array_equal(lazy[0], eager[0])


def test_only_the_stored_form_is_resident_when_lazy(make):
    _, path, _ = _converted(make, 18, CASES["int4-block"][1])
    with load(path) as lazy, load(path, hold="mapped") as eager:
        assert lazy.resident_bytes == lazy.info.weight_bytes
        assert eager.resident_bytes > lazy.resident_bytes


def test_a_transformer_block_runs_compressed(make):
    torch.manual_seed(0)
    inputs = (torch.randint(0, 50, (1, 8)).int(), torch.zeros(1, 8))
    block = tiny.T5Block()
    path = make.traced(block, inputs, 18)
    model = ct.models.MLModel(str(path), skip_model_load=True)
    small = make._save(_compress(model, CASES["int8-ios18"][1]))
    full, less = run(path, *inputs)[0], run(small, *inputs)[0]
    assert np.abs(full - less).max() < 0.1 * np.abs(full).max()


def _u(bits: int, *shape: int) -> np.ndarray:
    kind = getattr(types, f"np_uint{bits}_dtype") if bits < 8 else np.uint8
    return np.random.default_rng(bits).integers(0, 2**bits, shape).astype(kind)


def _f16(*shape: int) -> np.ndarray:
    return np.random.default_rng(1).standard_normal(shape).astype(np.float16)


def _sparse(shape, make_values):
    mask = (np.random.default_rng(2).random(shape) < 0.4).astype(types.np_uint1_dtype)
    return mask, make_values(int(mask.astype(np.int32).sum()))


def _lut_sparse():
    mask, stored = _sparse((8, 6), lambda n: _u(2, n))
    lut_mask, values = mb.constexpr_lut_to_sparse(
        indices_mask=mask, indices_nonzero_data=stored, lut=_f16(2, 1, 4, 1)
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=lut_mask)


def _vector_sparse():
    mask, stored = _sparse((8, 6), lambda n: _u(2, n))
    lut_mask, values = mb.constexpr_lut_to_sparse(
        indices_mask=mask, indices_nonzero_data=stored, lut=_f16(1, 1, 4, 2), vector_axis=0
    )
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=lut_mask)


def _scaled_sparse():
    mask, stored = _sparse((8, 6), lambda n: (_u(8, n).astype(np.int32) - 128).astype(np.int8))
    data_mask, values = mb.constexpr_sparse_blockwise_shift_scale(
        data_mask=mask, nonzero_data=stored, scale=_f16(4, 3),
        offset=np.arange(12, dtype=np.int8).reshape(4, 3),
    )  # fmt: skip
    return mb.constexpr_sparse_to_dense(nonzero_data=values, mask=data_mask)


def _int8_table():
    table = mb.constexpr_lut_to_dense(
        indices=_u(4, 8, 6), lut=(_u(8, 2, 1, 16, 1).astype(np.int32) - 128).astype(np.int8)
    )
    return mb.constexpr_blockwise_shift_scale(data=table, scale=_f16(8, 1))


BUILT = {
    "vector-axis-0": lambda: mb.constexpr_lut_to_dense(
        indices=_u(2, 4, 6), lut=_f16(2, 1, 4, 3), vector_axis=0),
    "vector-axis-1": lambda: mb.constexpr_lut_to_dense(
        indices=_u(6, 4, 6), lut=_f16(1, 1, 64, 2), vector_axis=-1),
    "tables-on-both-axes": lambda: mb.constexpr_lut_to_dense(
        indices=_u(1, 4, 6), lut=_f16(2, 3, 2, 1)),
    "float-offset": lambda: mb.constexpr_blockwise_shift_scale(
        data=_u(4, 8, 6), scale=_f16(8, 2), offset=_f16(8, 2)),
    "int8-table": _int8_table,
    "lut-sparse": _lut_sparse,
    "vector-sparse": _vector_sparse,
    "scaled-sparse": _scaled_sparse,
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(BUILT))
def test_nested_and_vector_forms_are_bit_equal(name, make):
    kept = []

    def build(x):
        kept.append(BUILT[name]())
        return mb.add(x=x, y=kept[-1])

    path = make.mil(build, [((1, 1), "fp16")], 18, "fp16")
    wanted = kept[-1].op.materialized_val_inference()
    (found,) = run(path, np.zeros((1, 1), np.float16))
    np.testing.assert_array_equal(found, np.asarray(wanted) + np.float16(0))
