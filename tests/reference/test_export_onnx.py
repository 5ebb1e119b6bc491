"""`plan export`: packages as ONNX models agree with the device in ONNX Runtime."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import test_models
import torch
from coremltools.converters.mil.mil import Builder as mb
from test_features import Overflow

from entracte.reference import PackageError, export_onnx, load, onnx_check
from entracte.reference.reader import read_program

ort = pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")

# Two faithful executions of an fp16 program round a sum the other way where its fp32 values differ
# in the last bit; these programs are shallow: found 7e-5 at most. fp32: order of summation.
ALLOWED = {"fp16": 5e-4, "fp32": 2e-6}


def export(path, **options):
    out = path.parent / "model.onnx"
    return out, export_onnx.export_onnx(path, out, **options)


def infer(out, inputs):
    session = ort.InferenceSession(out, providers=["CPUExecutionProvider"])
    return session.run(None, inputs)


@pytest.mark.parametrize("precision", [pytest.param("fp32", marks=pytest.mark.slow), "fp16"])
@pytest.mark.parametrize("family", sorted(test_models.CASES))
def test_every_model_family_agrees_in_onnx_runtime(make, family, precision):
    torch.manual_seed(0)
    module, inputs = test_models.CASES[family]()
    out, made = export(make.traced(module, inputs, 18, precision))
    assert made.agreement.passed and made.agreement.relative_error <= ALLOWED[precision]
    model = onnx.load(out)
    assert [i.name for i in model.graph.input] == [f"x{i}" for i in range(len(inputs))]
    assert [o.name for o in model.graph.output] == ["y0"]


def test_an_fp16_overflow_stays_visible(make):
    path = make.traced(Overflow(), (torch.randn(2, 8) + 2,))
    x = np.full((2, 8), 2.0, np.float32)  # times 300 and squared: 360000, above 65504
    out, _ = export(path)
    with load(path, policy="round") as model:
        wanted = model.predict({"x0": x})["y0"]
    # The mean of squares is infinite, its inverse root 0. Without the rounding it would be 1.
    np.testing.assert_array_equal(wanted, np.zeros((2, 8)))
    np.testing.assert_array_equal(infer(out, {"x0": x})[0], wanted)
    out, _ = export(path, policy="fp32")
    np.testing.assert_allclose(infer(out, {"x0": x})[0], 1.0, rtol=1e-5)


def test_the_same_package_gives_the_same_bytes(make):
    path = make.traced(torch.nn.Conv2d(3, 4, 3), (torch.randn(1, 3, 8, 8),))
    first = export(path)[0].read_bytes()
    assert export(path)[0].read_bytes() == first
    assert b".py" not in first, "a source file of this machine is named"


def test_inner_names_do_not_meet_the_packages(make):
    # torch.export calls the first sum `add`, which is the package's name of the second.
    def build(x):
        return mb.add(x=mb.add(x=x, y=np.float32(1), name="first"), y=np.float32(2), name="add")

    path = make.mil(build, [((2, 3), "fp32")])
    out, _ = export(path)
    assert infer(out, {"x0": np.zeros((2, 3), np.float32)})[0][0, 0] == 3


def test_outputs_that_are_inputs_constants_or_one_another(make):
    def build(x):
        y = mb.abs(x=x)
        return mb.identity(x=x), mb.identity(x=mb.const(val=np.arange(3.0, dtype=np.float32))), y

    path = make.mil(build, [((2, 3), "fp32")])
    out, made = export(path)
    assert made.agreement.passed and made.agreement.relative_error == 0
    found = infer(out, {"x0": np.full((2, 3), -1.0, np.float32)})
    assert [v.ravel()[0] for v in found] == [-1, 0, 1]


def test_large_weights_go_into_a_file_beside(make, monkeypatch):
    monkeypatch.setattr(export_onnx, "EXTERNAL_BYTES", 1000)
    path = make.traced(torch.nn.Linear(64, 64), (torch.randn(1, 64),))
    out, made = export(path)
    assert made.files == (out, out.with_name("model.onnx.data"))
    assert out.stat().st_size < 4000 < made.files[1].stat().st_size
    assert made.agreement.passed


def test_attention_masks_in_their_defining_form(make):
    def build(x, mask):
        return mb.scaled_dot_product_attention(
            query=x, key=x, value=x, attn_mask=mb.greater(x=mask, y=np.float32(0))
        )

    path = make.mil(build, [((1, 2, 5, 4), "fp32"), ((5, 5), "fp32")], ios=18)
    _, made = export(path)
    assert made.agreement.passed


def test_compressed_weights_are_exported_dense(make):
    import coremltools as ct
    from coremltools.optimize import coreml as cto

    path = make.traced(torch.nn.Linear(64, 64), (torch.randn(1, 64),))
    model = ct.models.MLModel(str(path), skip_model_load=True)
    config = cto.OptimizationConfig(cto.OpLinearQuantizerConfig(weight_threshold=0))
    _, made = export(make._save(cto.linear_quantize_weights(model, config)))
    assert made.agreement.passed


def test_what_onnx_cannot_follow_is_named(make):
    def build(x):
        places = mb.non_zero(x=x)
        chosen = mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x), y=np.float32(0)),
            _true_fn=lambda: mb.add(x=x, y=np.float32(1)),
            _false_fn=lambda: mb.sub(x=x, y=np.float32(1)),
        )
        return places, chosen

    path = make.mil(build, [((2, 3), "fp32")])
    with pytest.raises(PackageError, match=r"cond '\w+'.*non_zero '\w+'"):
        export(path)
    assert not list(path.parent.glob("*.onnx*"))


def test_a_wrong_model_is_not_left_behind(make, monkeypatch):
    path = make.traced(torch.nn.Linear(8, 8), (torch.randn(1, 8),), precision="fp32")
    out = path.parent / "model.onnx"
    out.write_bytes(b"what was there")
    right = onnx_check.Agreement("y0", 0.1, 0.1, 1e-5, 0, 0)
    monkeypatch.setattr(export_onnx, "compare", lambda *a: right)
    with pytest.raises(PackageError, match="disagrees.*0.1 in 'y0'.*allowed 1e-05.*no file was"):
        export(path)
    assert out.read_bytes() == b"what was there"
    assert sorted(p.name for p in path.parent.iterdir()) == ["model.onnx", path.name]


def test_strays_and_errors_are_found(make):
    path = make.mil(lambda x: mb.exp(x=x), [((2, 2), "fp32")])
    out, _ = export(path)
    with load(path) as model:
        good = onnx_check.compare(model, {"x0": np.full((2, 2), 100.0)}, out, 1e-5)
        assert good.passed and good.nonfinite == 4 and good.strays == 0
        wrong = make.mil(lambda x: mb.exp(x=mb.add(x=x, y=np.float32(0.01))), [((2, 2), "fp32")])
        other, _ = export(wrong)
        assert not onnx_check.compare(model, {"x0": np.ones((2, 2))}, other, 1e-5).passed
        stray = onnx_check.compare(model, {"x0": np.full((2, 2), 88.72)}, other, 1e-1)
        assert stray.strays == 4 and not stray.passed


@pytest.mark.parametrize(
    "options, name, message",
    [
        ({"policy": "hybrid"}, "m.onnx", "round or fp32; hybrid"),
        ({"policy": "half"}, "m.onnx", "round or fp32"),
        ({}, "m.bin", "must end in .onnx"),
        ({}, "none/m.onnx", "no such folder"),
        ({"function": "other"}, "m.onnx", "no function 'other'"),
    ],
)
def test_wrong_arguments_are_refused(make, options, name, message):
    path = make.mil(lambda x: mb.exp(x=x), [((2,), "fp32")])
    with pytest.raises(PackageError, match=message):
        export_onnx.export_onnx(path, path.parent / name, **options)


def test_missing_packages_are_named(make, monkeypatch):
    path = make.mil(lambda x: mb.exp(x=x), [((2,), "fp32")])
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    out, made = export(path)
    assert out.exists() and made.agreement is None and made.runtime == ""
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(PackageError, match="needs the Python package onnxscript"):
        export(path)


def test_integer_inputs_stay_within_the_tables_they_index(make):
    torch.manual_seed(0)
    module, inputs = test_models.CASES["t5"]()
    path = make.traced(module, inputs, 18)
    function = read_program(path).functions["main"]
    assert onnx_check.smallest_table(function, "x0") == 50
    ids = onnx_check.random_inputs("p", function, 0)["x0"]
    assert ids.min() >= 0 and 2 < ids.max() < 50
