"""Policies, hooks, states, functions, shapes, images, ownership: what is around the operations."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import types
from packages import TARGETS, run
from tiny import Counter

from entracte.reference import PackageError, describe, first_out_of_range, load


class Overflow(torch.nn.Module):
    """RMS norm of values whose squares leave fp16."""

    def forward(self, x):
        y = x * 300.0
        return y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + 1e-6)


@pytest.mark.parametrize("policy, seen", [("hybrid", True), ("round", True), ("fp32", False)])
def test_an_fp16_overflow_is_seen_and_named(make, policy, seen):
    path = make.traced(Overflow(), (torch.randn(2, 8) + 2,))
    inputs = {"x0": np.full((2, 8), 2.0, np.float32)}
    with load(path, policy=policy) as model:
        found = first_out_of_range(model, inputs)
        # Computed in fp32 the squares are finite, but still more than fp16 holds.
        assert found is not None and found.type in ("pow", "square", "mul")
        assert (found.nonfinite > 0) is seen and (found.above > 0) is not seen
        assert found.operation in str(found) and found.nonfinite + found.above == found.elements


def test_hybrid_rounds_elementwise_operations_as_round_does(make):
    class Chain(torch.nn.Module):
        def forward(self, x):
            return torch.tanh(torch.exp(x * 1.1) / 3.0 - x) * torch.sigmoid(x)

    x = torch.randn(64, 33)
    path = make.traced(Chain(), (x,))
    np.testing.assert_array_equal(run(path, x, policy="hybrid")[0], run(path, x, policy="round")[0])


def test_the_fp32_policy_does_not_round(make):
    x = torch.randn(16, 16)
    path = make.traced(torch.nn.GELU(), (x,))
    (found,) = run(path, x, policy="fp32")
    assert found.dtype == np.float32
    assert not np.array_equal(found, found.astype(np.float16).astype(np.float32))


def test_the_hook_sees_every_operation_in_order(make):
    path = make.mil(lambda x: mb.exp(x=mb.sqrt(x=mb.abs(x=x))), [((3,), "fp32")])
    seen = []
    with load(path) as model:
        model.on_op = lambda name, kind, results: seen.append((kind, tuple(results[0].shape)))
        model.predict({"x0": np.ones(3)})
    assert seen == [("abs", (3,)), ("sqrt", (3,)), ("exp", (3,))]


def test_results_share_no_memory_with_inputs_or_weights(make):
    constant = np.arange(4, dtype=np.float32)

    def build(x):
        return mb.identity(x=x), mb.identity(x=mb.const(val=constant)), mb.squeeze(x=x, axes=[0])

    x = np.zeros((1, 4), np.float32)
    with load(make.mil(build, [((1, 4), "fp32")])) as model:
        for value in model.predict({"x0": x}).values():
            value += 1
        again = list(model.predict({"x0": x}).values())
    assert not x.any()
    np.testing.assert_array_equal(again[1].numpy().ravel(), constant)


def test_states_outlive_a_call(make):
    traced = torch.jit.trace(Counter(), torch.zeros(3), check_trace=False)
    model = ct.convert(
        traced, inputs=[ct.TensorType("x0", (3,))], outputs=[ct.TensorType("y")],
        states=[ct.StateType(ct.TensorType(shape=(3,), dtype=np.float16), name="total")],
        minimum_deployment_target=ct.target.iOS18, skip_model_load=True,
    )  # fmt: skip
    path = make._save(model)
    assert [f.name for f in describe(path).states] == ["total"]
    with load(path) as loaded:
        one, other = loaded.make_state(), loaded.make_state()
        for count in (1, 2, 3):
            found = loaded.predict({"x0": np.ones(3)}, one)["y"]
            np.testing.assert_array_equal(found.numpy(), np.full(3, 2.0 * count))
        assert loaded.predict({"x0": np.ones(3)}, other)["y"][0] == 2
        assert one["total"].tolist() == [3, 3, 3]
        with pytest.raises(PackageError, match="needs state 'total'"):
            loaded.predict({"x0": np.ones(3)})


def test_functions_are_loaded_one_by_one(make):
    double = make.mil(lambda x: mb.mul(x=x, y=2.0), [((3,), "fp32")], 18)
    triple = make.mil(lambda x: mb.mul(x=x, y=3.0), [((3,), "fp32")], 18)
    description = ct.utils.MultiFunctionDescriptor()
    description.add_function(str(double), "main", "double")
    description.add_function(str(triple), "main", "triple")
    description.default_function_name = "triple"
    both = make.folder / "both.mlpackage"
    ct.utils.save_multifunction(description, str(both))
    assert describe(both).functions == ("double", "triple")
    x = np.ones(3, np.float32)
    assert run(both, x)[0][0] == 3
    assert run(both, x, function="double")[0][0] == 2


def test_functions_share_their_weights(make):
    weight = np.random.default_rng(0).standard_normal((40, 30)).astype(np.float32)
    paths = [
        make.mil(
            lambda x, f=f: mb.mul(x=mb.linear(x=x, weight=weight), y=f), [((1, 30), "fp32")], 18
        )
        for f in (1.0, 3.0)
    ]
    description = ct.utils.MultiFunctionDescriptor()
    for name, path in zip(("one", "three"), paths, strict=True):
        description.add_function(str(path), "main", name)
    description.default_function_name = "one"
    both = make.folder / "both.mlpackage"
    ct.utils.save_multifunction(description, str(both))
    inputs = {"x0": np.ones((1, 30), np.float32)}
    with load(both, function="one") as one:
        three = one.sibling("three")
        found = [next(iter(m.predict(inputs).values())) for m in (one, three)]
        assert one.resident_bytes == three.resident_bytes == one.info.weight_bytes
        three.close()
        assert torch.equal(next(iter(one.predict(inputs).values())), found[0])
    assert torch.allclose(3 * found[0], found[1])


def test_flexible_shapes_are_checked(make):
    traced = torch.jit.trace(torch.nn.Softmax(-1), torch.zeros(2, 4))
    for shape in (
        ct.EnumeratedShapes([(2, 4), (3, 5)]),
        ct.Shape((ct.RangeDim(2, 3), ct.RangeDim(4, 5))),
    ):
        model = ct.convert(
            traced, inputs=[ct.TensorType("x0", shape)], compute_precision=ct.precision.FLOAT32,
            minimum_deployment_target=ct.target.iOS17, skip_model_load=True,
        )  # fmt: skip
        path = make._save(model)
        assert describe(path).activation_peak_bytes is None
        assert run(path, np.zeros((3, 5)))[0].shape == (3, 5)
        with pytest.raises(PackageError, match="allowed"):
            run(path, np.zeros((7, 4)))


def test_an_image_input_takes_a_picture(make):
    image = pytest.importorskip("PIL.Image")
    traced = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1, 3, 4, 5))
    model = ct.convert(
        traced,
        inputs=[ct.ImageType("x0", (1, 3, 4, 5), scale=0.5, color_layout=ct.colorlayout.BGR)],
        minimum_deployment_target=ct.target.iOS16, compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (4, 5, 3)).astype(np.uint8)
    path = make._save(model)
    with load(path) as loaded:
        (found,) = loaded.predict({"x0": image.fromarray(pixels)}).values()
    np.testing.assert_allclose(found.numpy()[0], pixels[..., ::-1].transpose(2, 0, 1) * 0.5)


def test_a_classifier_gives_label_and_table(make):
    traced = torch.jit.trace(torch.nn.Softmax(-1), torch.zeros(1, 3))
    model = ct.convert(
        traced, inputs=[ct.TensorType("x0", (1, 3))],
        classifier_config=ct.ClassifierConfig(["a", "b", "c"]),
        minimum_deployment_target=ct.target.iOS16, skip_model_load=True,
    )  # fmt: skip
    with load(make._save(model)) as loaded:
        label, table = loaded.predict({"x0": np.array([[0.0, 2.0, 1.0]])}).values()
    assert label == "b" and set(table) == {"a", "b", "c"}
    assert abs(sum(table.values()) - 1) < 1e-3


@pytest.mark.parametrize("name, mean, deviation", [("random_normal", 2.0, 3.0),
                                                   ("random_uniform", 1.5, 0.2887)])  # fmt: skip
def test_random_numbers_have_their_distribution(make, name, mean, deviation):
    extra = {"mean": 2.0, "stddev": 3.0} if name == "random_normal" else {"low": 1.0, "high": 2.0}

    def build(x):
        noise = getattr(mb, name)(shape=[200, 500], seed=5, **extra)
        return mb.add(x=noise, y=x)

    with load(make.mil(build, [((1,), "fp32")])) as model:
        first, second = (model.predict({"x0": np.zeros(1)}) for _ in range(2))
    (found,), (again,) = first.values(), second.values()
    assert abs(found.mean() - mean) < 0.02 and abs(found.std() - deviation) < 0.02
    assert torch.equal(found, again)


def test_lists_grow_and_are_read(make):
    def build(x):
        ls = mb.make_list(init_length=1, dynamic_length=True, elem_shape=(3,), dtype="fp32")
        ls = mb.list_write(ls=ls, index=0, value=x)
        ls = mb.list_write(ls=ls, index=2, value=mb.mul(x=x, y=2.0))
        return mb.list_gather(ls=ls, indices=np.array([2, 1, 0], np.int32))

    x = np.arange(3, dtype=np.float32)
    (found,) = run(make.mil(build, [((3,), "fp32")]), x)
    np.testing.assert_array_equal(found, [2 * x, 0 * x, x])


def test_owned_weights_are_copies_and_borrowed_ones_are_not(make):
    torch.manual_seed(0)
    path = make.traced(torch.nn.Linear(64, 256), (torch.randn(1, 64),))
    info = describe(path)
    assert info.weight_bytes == 2 * (64 * 256 + 256)
    inputs = {"x0": np.ones((1, 64), np.float32)}
    with load(path) as owned, load(path, hold="mapped") as borrowed:
        before = [next(iter(m.predict(inputs).values())) for m in (owned, borrowed)]
        assert torch.equal(*before)
        assert owned.resident_bytes == borrowed.resident_bytes == info.weight_bytes
        blob = next(path.rglob("weight.bin"))
        with blob.open("r+b") as file:
            file.seek(256)
            file.write(b"\0" * 4096)
        after = [next(iter(m.predict(inputs).values())) for m in (owned, borrowed)]
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[1], before[1])


def test_strict_refuses_what_core_ml_refuses(make):
    pad = [2, 0, 0, 0, 0, 0]
    path = make.mil(lambda x: mb.pad(x=x, pad=pad, mode="replicate"), [((1, 3, 4, 5), "fp32")])
    load(path).close()
    with pytest.raises(PackageError, match="last two axes"):
        load(path, strict=True)


def test_epsilons_are_used_as_they_are_stored(make):
    @mb.program(input_specs=[mb.TensorSpec((2, 4), dtype=types.fp16)], opset_version=TARGETS[17])
    def program(x0):
        return mb.rsqrt(x=x0, epsilon=np.float16(1e-12))

    (found,) = run(make._convert(program, 17, "fp16"), np.zeros((2, 4), np.float16))
    assert np.isinf(found).all()


@pytest.mark.parametrize("default, refused", [(2, True), (4, False)])
def test_strict_checks_a_stack_at_the_default_shape(make, default, refused):
    class Stack(torch.nn.Module):
        def forward(self, x, y):
            return torch.stack((x, y))

    open_axis = ct.RangeDim(1, 8, default=default)
    shapes = (3, 4), (3, open_axis)
    path = make._save(ct.convert(
        torch.jit.trace(Stack(), (torch.zeros(3, 4), torch.zeros(3, 4))),
        inputs=[ct.TensorType(f"x{i}", shape) for i, shape in enumerate(shapes)],
        minimum_deployment_target=TARGETS[17], skip_model_load=True,
    ))  # fmt: skip
    load(path).close()
    if refused:
        with pytest.raises(PackageError, match="default shapes"):
            load(path, strict=True)
    else:
        load(path, strict=True).close()


def test_strict_takes_fp16_weights_under_the_policy_that_never_rounds(make):
    def build(x):
        weight = mb.constexpr_affine_dequantize(
            quantized_data=np.eye(4, dtype=np.int8), zero_point=np.int8(0), axis=0,
            scale=np.float16(1),
        )  # fmt: skip
        return mb.matmul(x=x, y=weight)

    x = np.arange(8, dtype=np.float16).reshape(2, 4)
    with load(make.mil(build, [((2, 4), "fp16")]), strict=True, policy="fp32") as model:
        np.testing.assert_array_equal(next(iter(model.predict({"x0": x}).values())), x)
