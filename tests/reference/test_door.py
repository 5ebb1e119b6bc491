"""`Model`: called like coremltools' `MLModel`, with its names, types, shapes and errors."""

from __future__ import annotations

import threading

import coremltools as ct
import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import Builder as mb
from packages import relative
from tiny import Counter

from entracte.reference import Model, PackageError

F32 = ct.precision.FLOAT32


class Sum(torch.nn.Module):
    """Two inputs, fp16 inside, one output of each kind Core ML has."""

    def forward(self, x, ids):
        return x * 2, (x.sum(-1) + ids).int(), x.sum()


@pytest.fixture(scope="module")
def several(tmp_path_factory):
    traced = torch.jit.trace(Sum(), (torch.zeros(2, 3), torch.zeros(2, dtype=torch.int32)))
    model = ct.convert(
        traced, minimum_deployment_target=ct.target.iOS16, skip_model_load=True,
        inputs=[ct.TensorType("x", (2, 3), dtype=np.float16),
                ct.TensorType("ids", (2,), dtype=np.int32)],
        outputs=[ct.TensorType("half", dtype=np.float16), ct.TensorType("whole", dtype=np.int32),
                 ct.TensorType("scalar", dtype=np.float32)],
    )  # fmt: skip
    path = tmp_path_factory.mktemp("several") / "m.mlpackage"
    model.save(str(path))
    return path


X = np.arange(6, dtype=np.float32).reshape(2, 3)
IDS = np.array([10, 20], np.int32)


def test_results_have_core_mls_types_and_shapes(several):
    with Model(several) as model:
        found = model.predict({"x": X, "ids": IDS})
        assert model.inputs["x"].shape == (2, 3) and model.inputs["x"].declared == "fp16"
        assert {n: (d.dtype, d.declared) for n, d in model.outputs.items()} == {
            "half": ("float32", "fp16"), "whole": ("int32", "int32"), "scalar": ("float32", "fp32"),
        }  # fmt: skip
        for name, described in model.outputs.items():
            assert found[name].dtype == described.dtype
    np.testing.assert_array_equal(found["half"], 2 * X)
    np.testing.assert_array_equal(found["whole"], X.sum(-1) + IDS)
    assert found["scalar"].shape == (1,) and found["scalar"] == 15


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.int32, np.int8])
def test_arrays_of_the_types_that_core_ml_takes(several, dtype):
    data = {"x": X.astype(dtype), "ids": IDS}
    kept = dict(data)
    with Model(several) as model:
        np.testing.assert_array_equal(model.predict(data)["half"], 2 * X)
    assert all(data[n] is kept[n] for n in kept), "the caller's dictionary is left alone"


def test_torch_tensors_lists_and_batches(several):
    with Model(several) as model:
        one = {"x": torch.from_numpy(X), "ids": torch.from_numpy(IDS)}
        other = {"x": (2 * X).tolist(), "ids": IDS}
        first, second = model.predict([one, other])
    np.testing.assert_array_equal(2 * first["half"], second["half"])


@pytest.mark.parametrize(
    "data, kind, words",
    [
        ({"x": X, "idz": IDS}, KeyError, ["no input idz", "ids, x"]),
        ({"x": X}, RuntimeError, ["missing inputs ['ids']", "['ids', 'x']"]),
        ({"x": X[0], "ids": IDS}, RuntimeError, ["'x' has shape (3,)", "(2, 3)"]),
        ({"x": X, "ids": IDS.astype(np.int64)}, RuntimeError, ["int64", "int32", "astype"]),
        ({"x": X > 1, "ids": IDS}, RuntimeError, ["bool", "float32"]),
        ({"x": "text", "ids": IDS}, TypeError, ["'x' is not an array of numbers"]),
    ],
)
def test_faults_are_what_coremltools_raises(several, data, kind, words):
    with Model(several) as model, pytest.raises(kind) as caught:
        model.predict(data)
    assert isinstance(caught.value, PackageError)
    text = str(caught.value)
    assert str(several) in text and "function 'main'" in text
    for word in words:
        assert word in text, text


@pytest.mark.parametrize("data", [None, [1], ({},), "x"])
def test_data_of_another_kind_is_a_type_error(several, data):
    with Model(several) as model, pytest.raises(TypeError, match="dict"):
        model.predict(data)


def test_a_closed_model_is_refused(several):
    model = Model(several)
    model.close()
    with pytest.raises(RuntimeError, match="closed"):
        model.predict({"x": X, "ids": IDS})


def test_an_unknown_function_is_a_value_error(several):
    with pytest.raises(ValueError, match="no function 'other'; it has main"):
        Model(several, "other")


def test_a_function_is_chosen_by_name(make):
    description = ct.utils.MultiFunctionDescriptor()
    for name, factor in (("double", 2.0), ("triple", 3.0)):
        path = make.mil(lambda x, f=factor: mb.mul(x=x, y=f), [((3,), "fp32")], 18)
        description.add_function(str(path), "main", name)
    description.default_function_name = "triple"
    both = make.folder / "both.mlpackage"
    ct.utils.save_multifunction(description, str(both))
    for name, factor in ((None, 3), ("double", 2), ("triple", 3)):
        with Model(both, function_name=name) as model:
            assert model.functions == ("double", "triple")
            assert model.function_name == (name or "triple")
            (found,) = model.predict({"x0": np.ones(3, np.float32)}).values()
            np.testing.assert_array_equal(found, np.full(3, factor))


def test_states_are_read_and_written(make):
    traced = torch.jit.trace(Counter(), torch.zeros(3), check_trace=False)
    wrapped = ct.TensorType(shape=(3,), dtype=np.float16)
    saved = make._save(ct.convert(
        traced, inputs=[ct.TensorType("x", (3,))], outputs=[ct.TensorType("y")],
        states=[ct.StateType(wrapped, name="total")],
        minimum_deployment_target=ct.target.iOS18, skip_model_load=True,
    ))  # fmt: skip
    one = {"x": np.ones(3, np.float32)}
    with Model(saved) as model:
        assert model.states["total"].shape == (3,)
        state = model.make_state()
        assert model.predict(one, state)["y"].tolist() == [2, 2, 2]
        assert state.read_state("total").dtype == np.float32
        state.write_state("total", np.full(3, 5.0))
        assert model.predict(one, state=state)["y"].tolist() == [12, 12, 12]
        for fault in (
            lambda: model.predict(one),
            lambda: state.read_state("none"),
            lambda: state.write_state("total", np.zeros(4)),
            lambda: model.predict([one], state),
        ):
            with pytest.raises(RuntimeError, match="state"):
                fault()


PICTURES = [
    (ct.colorlayout.RGB, "RGB", 3), (ct.colorlayout.BGR, "RGB", 3),
    (ct.colorlayout.GRAYSCALE, "L", 1), (ct.colorlayout.GRAYSCALE_FLOAT16, "F", 1),
]  # fmt: skip


@pytest.mark.parametrize("layout, mode, channels", PICTURES)
def test_pictures_go_in_and_come_out(make, layout, mode, channels):
    image = pytest.importorskip("PIL.Image")
    traced = torch.jit.trace(torch.nn.ReLU(), torch.zeros(1, channels, 4, 5))
    saved = make._save(ct.convert(
        traced, inputs=[ct.ImageType("x", (1, channels, 4, 5), color_layout=layout)],
        outputs=[ct.ImageType("y", color_layout=layout)],
        minimum_deployment_target=ct.target.iOS16, skip_model_load=True,
    ))  # fmt: skip
    rng = np.random.default_rng(0)
    shape = (4, 5, 3) if channels == 3 else (4, 5)
    pixels = rng.integers(0, 256, shape).astype(np.float32 if mode == "F" else np.uint8)
    with Model(saved) as model:
        assert model.inputs["x"].dtype == model.outputs["y"].dtype == "image"
        found = model.predict({"x": image.fromarray(pixels)})["y"]
        # coremltools makes RGBA of every colour picture.
        assert found.mode == {"RGB": "RGBA"}.get(mode, mode)
        colours = np.asarray(found)[..., :3] if channels == 3 else np.asarray(found)
        np.testing.assert_array_equal(colours, pixels)
        with pytest.raises(TypeError, match=f"mode 'CMYK', it takes '{mode}'"):
            model.predict({"x": image.new("CMYK", (5, 4))})
        with pytest.raises(TypeError, match="give a PIL image"):
            model.predict({"x": pixels})
        with pytest.raises(RuntimeError, match="shape"):
            model.predict({"x": image.new(mode, (6, 4))})


def test_a_classifiers_label_and_table(make):
    traced = torch.jit.trace(torch.nn.Softmax(-1), torch.zeros(1, 3))
    saved = make._save(ct.convert(
        traced, inputs=[ct.TensorType("x", (1, 3))],
        classifier_config=ct.ClassifierConfig(["a", "b", "c"]),
        minimum_deployment_target=ct.target.iOS16, skip_model_load=True,
    ))  # fmt: skip
    with Model(saved) as model:
        assert sorted(d.dtype for d in model.outputs.values()) == ["dict", "string"]
        found = model.predict({"x": np.array([[0.0, 2.0, 1.0]])})
    kinds = {type(v) for v in found.values()}
    assert kinds == {str, dict}
    assert set(found) == set(model.outputs)


def test_calls_from_two_threads_do_not_mix(make):
    """A second call that arrives in the middle of a first waits for its end.

    Without the lock the second runs while the first is held up after its first operation, and
    writes its own values into the frame that both use.
    """
    path = make.mil(lambda x: mb.add(x=mb.exp(x=x), y=mb.abs(x=x)), [((3,), "fp32")])
    held, found = threading.Event(), {}
    with Model(path) as model:

        def call(value: float) -> None:
            (result,) = model.predict({"x0": np.full(3, value, np.float32)}).values()
            found[value] = result

        second = threading.Thread(target=call, args=(1.0,))

        def hold(name, kind, results) -> None:
            if not held.is_set():
                held.set()
                second.start()
                second.join(0.5)

        model._loaded.on_op = hold
        call(0.0)
        second.join()
    for value in (0.0, 1.0):
        np.testing.assert_allclose(found[value], np.exp(np.float32(value)) + value, rtol=1e-6)


def test_the_same_source_in_fp32_and_fp16(make):
    torch.manual_seed(0)
    module, x = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.GELU()), torch.randn(4, 16)
    with torch.no_grad():
        wanted = module(x).numpy()
    for precision, tolerance in (("fp32", 1e-6), ("fp16", 2e-3)):
        with Model(make.traced(module, (x,), 18, precision)) as model:
            assert relative(model.predict({"x0": x})["y0"], wanted) <= tolerance
