"""Conversions: numbers against torch, ports exactly as asked, refusals that name the place."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from entracte.frontend.extract import extract
from entracte.lower.convert import Conversion, ConversionFacts, convert_chunk
from entracte.lower.errors import LowerError
from entracte.lower.ports import DType, Port
from entracte.lower.values import MASKED
from tests.lower.core_ml import export_graph, fp32_values
from tests.lower.execute import lower, psnr, relative_error, run, torch_result
from tests.lower.models import CASES

FP32_REL = 1e-5
"""Rounding of fp32 alone: 1e-7 an operation, a hundred operations deep, with a margin."""
FP16_PSNR = 50.0
"""dB. An fp16 mantissa of 11 bits gives 60 dB an operation against the full range; chains of a
hundred operations measured 68 to 84 dB here. A dropped upcast or a wrong GELU falls below 50."""


class Function(nn.Module):
    """A module of one function that returns a tuple."""

    def __init__(self, function) -> None:  # noqa: ANN001
        super().__init__()
        self.function = function
        self.eval()

    def forward(self, *args: Tensor) -> tuple[Tensor, ...]:
        return self.function(*args)


def _ports(*ports: tuple[str, tuple[int, ...], str]) -> list[Port]:
    return [Port(name, shape, DType(dtype)) for name, shape, dtype in ports]


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_package_computes_the_module(tmp_path: Path, name: str, precision: str) -> None:
    module, args = CASES[name]()
    path = tmp_path / "m.mlpackage"
    deployment = "iOS18" if name == "dit" else "iOS17"
    lower(module, args, path, precision, deployment)
    found, expected = run(path, args)[0], torch_result(module, args)
    assert relative_error(found, expected) <= (FP32_REL if precision == "fp32" else 5e-3)
    assert psnr(found, expected) >= FP16_PSNR


def test_chunks_chain_through_files(tmp_path: Path) -> None:
    module, args = CASES["dit"]()
    program = export_graph(module, args)
    names = [n.name for n in program.graph.nodes if n.op == "call_function"]
    cut = names.index("layer_norm_1")
    weights = dict(module.named_parameters())
    nodes = {n.name: n for n in program.graph.nodes}
    reads = {s.name for name in names[cut:] for s in nodes[name].all_input_nodes}
    carried = [name for name in names[:cut] if name in reads]
    first = extract(program, names[:cut], ["x", "t"], carried, weights)
    outputs = program.graph_signature.user_outputs
    second = extract(program, names[cut:], carried, outputs, weights)
    with torch.no_grad():
        middle = first(*args)
    values = args
    for number, (piece, given) in enumerate([(first, args), (second, middle)]):
        lower(piece, given, tmp_path / f"{number}.mlpackage")
        values = run(tmp_path / f"{number}.mlpackage", values)
    assert relative_error(values[0], torch_result(module, args)) <= FP32_REL


# ------------------------------------------------------------------------------- ports


def test_names_and_dtypes_are_the_ports(tmp_path: Path) -> None:
    module = Function(lambda x, n: (x * 2, n + 1, x.sum().reshape(1)))
    args = (torch.randn(2, 3), torch.arange(6).reshape(2, 3))
    inputs = _ports(("hidden_states", (2, 3), "fp32"), ("index", (2, 3), "int32"))
    outputs = _ports(("twice", (2, 3), "fp16"), ("next", (2, 3), "int32"), ("sum", (1,), "fp32"))
    lower(module, args, tmp_path / "m.mlpackage", "fp16", ports=(inputs, outputs))
    twice, following, total = run(tmp_path / "m.mlpackage", args)
    torch.testing.assert_close(twice, args[0] * 2, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(following, (args[1] + 1).int(), check_dtype=False)
    torch.testing.assert_close(total, args[0].sum().reshape(1), rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_repeated_and_passed_through_outputs(tmp_path: Path, precision: str) -> None:
    def function(x: Tensor, n: Tensor) -> tuple[Tensor, ...]:
        y = torch.relu(x)
        return x, y, n, y, y + 1, x

    module, args = Function(function), (torch.randn(2, 3), torch.arange(4))
    facts = lower(module, args, tmp_path / "m.mlpackage", precision)
    assert dict(facts.op_counts)["identity"] >= 4
    results = run(tmp_path / "m.mlpackage", args)
    for found, expected in zip(results, function(*args), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3, check_dtype=False)


class Alike(nn.Module):
    """Outputs that the converter finds to be equal: by their operations, and by equal weights."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.other = (nn.Parameter(torch.full((512,), 1.5)) for _ in range(2))
        self.eval()

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        keys, values = x * 0.5, x * 0.5
        return torch.exp(keys), keys, values, x * self.one, keys, x * self.other, values


@pytest.mark.parametrize(
    ("precision", "compression"), [("fp32", "none"), ("fp16", "none"), ("fp16", "int8")]
)
def test_outputs_that_compute_the_same(tmp_path: Path, precision: str, compression: str) -> None:
    module, args = Alike(), (torch.randn(4, 512),)
    inputs = _ports(("x", (4, 512), precision))
    outputs = _ports(*((f"y{i}", (4, 512), precision) for i in range(7)))
    how = Conversion(precision, "iOS18", compression)
    convert_chunk(
        module, args, inputs=inputs, outputs=outputs, how=how, path=tmp_path / "m.mlpackage"
    )
    results = run(tmp_path / "m.mlpackage", args)
    for found, expected in zip(results, module(*args), strict=True):
        torch.testing.assert_close(found, expected, rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("source", ["fp32", "fp16"])
def test_one_value_in_two_dtypes(tmp_path: Path, precision: str, source: str) -> None:
    def function(x: Tensor) -> tuple[Tensor, ...]:
        y = torch.relu(x)
        return x, y, y, x

    module, args = Function(function), (torch.randn(2, 3),)
    inputs = _ports(("x", (2, 3), source))
    outputs = _ports(*((f"y{n}", (2, 3), dtype) for n, dtype in enumerate(["fp16", "fp32"] * 2)))
    lower(module, args, tmp_path / "m.mlpackage", precision, ports=(inputs, outputs))
    for found, expected in zip(run(tmp_path / "m.mlpackage", args), module(*args), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", ["fp16", "fp32", "int32"])
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_boolean_boundaries(tmp_path: Path, dtype: str, precision: str) -> None:
    module = Function(lambda x, mask: (torch.where(mask, x, -x), mask & (x > 0)))
    args = (torch.randn(2, 3), torch.tensor([[True, False, True], [False, True, True]]))
    inputs = _ports(("x", (2, 3), precision), ("mask", (2, 3), dtype))
    outputs = _ports(("y", (2, 3), precision), ("both", (2, 3), dtype))
    lower(module, args, tmp_path / "m.mlpackage", precision, ports=(inputs, outputs))
    y, both = run(tmp_path / "m.mlpackage", (args[0], args[1].float()))
    expected, expected_both = module(*args)
    torch.testing.assert_close(y, expected, rtol=1e-3, atol=1e-3)
    assert torch.equal(both.bool(), expected_both)


def test_integers_for_a_float_port(tmp_path: Path) -> None:
    module, args = Function(lambda n: (n * 2,)), (torch.arange(4),)
    ports = _ports(("n", (4,), "int32")), _ports(("y", (4,), "fp16"))
    lower(module, args, tmp_path / "m.mlpackage", "fp16", ports=ports)
    assert run(tmp_path / "m.mlpackage", args)[0].tolist() == [0, 2, 4, 6]


def test_non_contiguous_example_inputs(tmp_path: Path) -> None:
    module, x = Function(lambda x: (x.reshape(6) + 1,)), torch.randn(3, 2).T
    lower(module, (x,), tmp_path / "m.mlpackage")
    torch.testing.assert_close(run(tmp_path / "m.mlpackage", (x,))[0], x.reshape(6) + 1)


# ------------------------------------------------------------------------------- fp16


def test_masks_are_finite(tmp_path: Path) -> None:
    """Softmax over a wholly masked row is uniform, as in torch with finfo.min; -inf gives NaN."""
    lowest = torch.finfo(torch.float32).min

    def function(x: Tensor, keep: Tensor) -> tuple[Tensor]:
        return (torch.softmax(x + (1 - keep) * lowest, -1),)

    args = (torch.randn(2, 4), torch.tensor([[1.0, 1, 0, 0], [0, 0, 0, 0]]))
    facts = lower(Function(function), args, tmp_path / "m.mlpackage", "fp16")
    assert facts.clamped
    (found,) = run(tmp_path / "m.mlpackage", args)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found[0], function(*args)[0][0], rtol=1e-2, atol=1e-3)


def test_stored_masks_are_finite(tmp_path: Path) -> None:
    class Causal(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mask", torch.full((4, 4), -torch.inf).triu(1))

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x + self.mask,)

    args = (torch.zeros(4, 4),)
    facts = lower(Causal(), args, tmp_path / "m.mlpackage", "fp16")
    assert facts.clamped == ("mask",)
    assert run(tmp_path / "m.mlpackage", args)[0].min() == pytest.approx(MASKED, rel=1e-3)


def test_rms_norm_of_large_values(tmp_path: Path) -> None:
    """The square of 1000 overflows fp16; the fp32 island does not."""

    def norm(x: Tensor) -> tuple[Tensor]:
        return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),)

    args = (1000 * torch.randn(4, 64),)
    facts = lower(Function(norm), args, tmp_path / "m.mlpackage", "fp16")
    assert facts.fp32_values >= 4
    assert relative_error(run(tmp_path / "m.mlpackage", args)[0], norm(*args)[0]) <= 2e-3


def test_timestep_embedding_is_fp32(tmp_path: Path) -> None:
    def embed(t: Tensor) -> tuple[Tensor]:
        angles = t[:, None] * torch.exp(-torch.arange(32) / 4)[None]
        return (torch.cat([angles.sin(), angles.cos()], -1),)

    args = (torch.tensor([999.37]),)
    ports = _ports(("t", (1,), "fp32")), _ports(("y", (1, 64), "fp16"))
    lower(Function(embed), args, tmp_path / "m.mlpackage", "fp16", ports=ports)
    found = run(tmp_path / "m.mlpackage", args)[0]
    assert relative_error(found, embed(*args)[0]) <= 1e-3  # 0.4 without the island


def test_a_sine_does_not_pull_the_network_into_fp32(tmp_path: Path) -> None:
    module = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8)).requires_grad_(False)
    snake = Function(lambda x: (torch.sin(module(x) * 2) + x,))
    facts = lower(snake, (torch.randn(2, 8),), tmp_path / "m.mlpackage", "fp16")
    assert facts.fp32_values <= 2


def test_named_operations_stay_fp32(tmp_path: Path) -> None:
    def function(x: Tensor) -> tuple[Tensor]:
        return ((x * 500) * (x * 500) * 1e-4,)

    args = (torch.linspace(0.5, 1, 8),)
    inputs, outputs = _ports(("x", (8,), "fp16")), _ports(("y", (8,), "fp16"))
    names = [n.name for n in export_graph(Function(function), args).graph.nodes]
    keep = [name for name in names if name.startswith("mul")]
    facts = convert_chunk(
        Function(function), args, inputs=inputs, outputs=outputs,
        how=Conversion("fp16", "iOS17", "none", keep), path=tmp_path / "m.mlpackage",
    )  # fmt: skip
    assert facts.fp32_values == 3  # the two factors are merged
    assert relative_error(run(tmp_path / "m.mlpackage", args)[0], function(*args)[0]) < 1e-3


def test_norm_cut_in_two_does_not_overflow(tmp_path: Path) -> None:
    """Neither half shows the pattern; the whole stage's `fp32_values` tells both."""

    def norm(x: Tensor) -> tuple[Tensor]:
        return (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6),)

    x = 1000 * torch.randn(4, 64)
    program = export_graph(Function(norm), (x,))
    names = [n.name for n in program.graph.nodes if n.op == "call_function"]
    cut, keep = names.index("mean") + 1, fp32_values(program)
    assert "mean" in keep
    (source,), outputs = program.graph_signature.user_inputs, program.graph_signature.user_outputs
    wide, narrow = _ports(("mean", (4, 1), "fp32")), _ports((source, (4, 64), "fp16"))
    values = [x, x.pow(2).mean(-1, keepdim=True)]
    for number, (nodes, inputs, results) in enumerate(
        [
            (names[:cut], narrow, wide),
            (names[cut:], [*narrow, *wide], _ports((outputs[0], (4, 64), "fp16"))),
        ]
    ):
        given = [port.name for port in inputs]
        piece = extract(program, nodes, given, [port.name for port in results], {})
        convert_chunk(
            piece, tuple(values[: len(given)]), inputs=inputs, outputs=results,
            how=Conversion("fp16", "iOS17", "none", keep), path=tmp_path / f"{number}.mlpackage",
        )  # fmt: skip
        values[1:] = run(tmp_path / f"{number}.mlpackage", values[: len(given)])
    assert relative_error(values[1], norm(x)[0]) <= 2e-3


def test_large_constants_keep_their_operation_fp32(tmp_path: Path) -> None:
    class Large(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.scale = nn.Parameter(torch.full((4,), 1e6), requires_grad=False)

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (x * self.scale,)

    args = (1e-3 * torch.rand(4),)
    lower(Large(), args, tmp_path / "m.mlpackage", "fp16")
    found = run(tmp_path / "m.mlpackage", args)[0]  # fp16 of 1e6 would be inf
    assert relative_error(found, args[0] * 1e6) <= 2e-3


# ------------------------------------------------------------------------------- refusals


def _convert(tmp_path: Path, **changes: object) -> ConversionFacts:
    arguments = {
        "module": Function(lambda x: (x + 1,)),
        "example_inputs": (torch.zeros(2, 3),),
        "inputs": _ports(("x", (2, 3), "fp32")),
        "outputs": _ports(("y", (2, 3), "fp32")),
        "path": tmp_path / "m.mlpackage",
    }
    how = {"precision": "fp32", "deployment": "iOS17", "compression": "none"}
    how |= {name: changes.pop(name) for name in [*how] if name in changes}
    return convert_chunk(how=Conversion(**how), **{**arguments, **changes})


def _with_weight(value: float) -> nn.Module:
    module = nn.Linear(3, 3).requires_grad_(False)
    module.weight[1, 1] = value
    holder = nn.Module()
    holder.layer = module
    holder.forward = lambda x: (holder.layer(x),)
    return holder.eval()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bf16"}, "precision=bf16: not one of fp16, fp32"),
        ({"deployment": "iOS12"}, "target.deployment=iOS12: not one of .*iOS17"),
        ({"compression": "zip"}, "compression=zip: not one of none, int8"),
        ({"compression": "int4_block32"}, r"int4_block32 needs iOS18 .* `target.deployment=iOS18`"),
        ({"inputs": []}, "no input ports"),
        ({"inputs": _ports(("a b", (2, 3), "fp32"))}, "input `a b`: .* rename it"),
        ({"inputs": _ports(("x", (), "fp32"))}, "input `x`: rank 0: .* shape \\(1,\\)"),
        ({"inputs": _ports(("x", (3, 2), "fp32"))}, r"shape \(3, 2\), the example input \(2, 3\)"),
        ({"inputs": _ports(("x", (2, 3), "int32"))}, "port is int32 but the chunk expects"),
        ({"inputs": _ports(("y", (2, 3), "fp32"))}, "`y` is both an input and an output"),
        ({"outputs": _ports(("y", (2, 2), "fp32"))}, r"\(2, 2\), the chunk returns \(2, 3\)"),
        ({"outputs": _ports(("y", (2, 3), "int32"))}, "port is int32 but the chunk returns"),
        ({"outputs": _ports(("y", (1,) * 6, "fp32"))}, "rank 6 .* rank 5 at most"),
        (
            {"outputs": _ports(("y", (2, 3), "fp32"), ("z", (2, 3), "fp32"))},
            "2 output ports but the chunk returns 1",
        ),
        ({"path": Path("m.mlmodel")}, "name ends in .mlpackage"),
        ({"module": _with_weight(float("nan"))}, "weight `layer.weight` contains NaN"),
        ({"module": _with_weight(float("-inf"))}, "weight `layer.weight` contains infinity"),
        (
            {"module": Function(lambda x: (torch.linalg.svd(x)[1].sum() + x,))},
            "operations without a conversion: aten._linalg_svd.default",
        ),
        ({"module": Function(lambda x: (torch.zeros(2, 3),))}, "unused inputs: `x`: .* leave"),
        ({"module": Function(lambda x: (x,))}, "every output is an input"),
    ],
)
def test_refusals(
    tmp_path: Path, changes: dict, message: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(LowerError, match=message):
        _convert(tmp_path, **changes)
    assert not list(tmp_path.iterdir())  # nothing half-written
    assert capfd.readouterr() == ("", "")


def test_nothing_is_printed_and_nothing_left_behind(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    _convert(tmp_path, precision="fp16", compression="int8", deployment="iOS18")
    assert capfd.readouterr() == ("", "")
    assert {p.name for p in tmp_path.iterdir()} == {"m.mlpackage", "temporary"}
    assert not list(temporary.iterdir())


def test_an_earlier_package_is_replaced_or_kept(tmp_path: Path) -> None:
    first = _convert(tmp_path)
    with pytest.raises(LowerError):
        _convert(tmp_path, module=_with_weight(float("nan")))
    path = tmp_path / "m.mlpackage"
    torch.testing.assert_close(run(path, (torch.zeros(2, 3),))[0], torch.ones(2, 3))
    second = _convert(tmp_path, module=Function(lambda x: (x + 2,)))
    assert second.digest != first.digest
    torch.testing.assert_close(run(path, (torch.zeros(2, 3),))[0], 2 * torch.ones(2, 3))


def test_rubbish_of_a_killed_conversion_is_removed(tmp_path: Path) -> None:
    rubbish = tmp_path / ".m.mlpackage.4194303.partial"
    rubbish.mkdir()
    (rubbish / "weight.bin").write_bytes(b"x")
    _convert(tmp_path)
    assert not rubbish.exists()
