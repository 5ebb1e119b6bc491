"""The front end: one graph whatever the parameters are, and pieces that chain to the whole."""

from __future__ import annotations

import operator
import os
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node
from torch.fx.node import map_arg

from entracte.frontend.cleanup import clean_graph
from entracte.frontend.errors import GraphError
from entracte.frontend.export import _written
from entracte.frontend.extract import constants_of, extract, is_aten
from tests.lower.core_ml import export_graph, fp32_values
from tests.lower.models import CASES, on_meta

ROOT = Path(__file__).parents[2]


@cache
def _real(name: str) -> ExportedProgram:
    return export_graph(*CASES[name]())


@cache
def _shapes(name: str) -> ExportedProgram:
    return export_graph(on_meta(name), CASES[name]()[1])


def _weights(module: nn.Module) -> dict[str, Tensor]:
    return dict(module.named_parameters(remove_duplicate=False))


def _user_inputs(program: ExportedProgram) -> list[str]:
    return list(program.graph_signature.user_inputs)


def _operations(program: ExportedProgram) -> list[str]:
    return [n.name for n in program.graph.nodes if n.op == "call_function"]


def _chunks(program: ExportedProgram, count: int) -> list[tuple[list[str], list[str], list[str]]]:
    """`count` intervals of about equal length with their live values in and out."""
    nodes = {n.name: n for n in program.graph.nodes}
    names = _operations(program)
    edges = [_not_inside_a_tuple(nodes, names, len(names) * i // count) for i in range(count + 1)]
    weights = {s.arg.name for s in program.graph_signature.input_specs} - set(_user_inputs(program))
    outputs = list(program.graph_signature.user_outputs)
    made, chunks = set(_user_inputs(program)), []
    for start, stop in zip(edges, edges[1:], strict=False):
        inside, after = names[start:stop], set(names[stop:])
        reads = {s.name for name in inside for s in nodes[name].all_input_nodes}
        inputs = sorted(reads & made)
        alive = [
            name
            for name in inside
            if name in outputs or any(user.name in after for user in nodes[name].users)
        ]
        made |= set(inside)
        assert not reads - made - weights
        chunks.append((inside, inputs, alive))
    return chunks


def _not_inside_a_tuple(nodes: dict[str, Node], names: list[str], edge: int) -> int:
    while edge < len(names) and nodes[names[edge]].target is operator.getitem:
        edge += 1
    return edge


def _run(program: ExportedProgram, chunks, weights, args) -> dict[str, Tensor]:
    values = dict(zip(_user_inputs(program), args, strict=True))
    for nodes, inputs, outputs in chunks:
        piece = extract(program, nodes, inputs, outputs, weights)
        # as if read from a file: contiguous, whatever strides the producer had
        results = piece(*(values[name].contiguous() for name in inputs))
        values.update(zip(outputs, results, strict=True))
    return values


@pytest.mark.parametrize("name", CASES)
def test_graph_is_the_module(name: str) -> None:
    module, args = CASES[name]()
    program = _real(name)
    expected = module(*args)[0]
    torch.testing.assert_close(program.module()(*args)[0], expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", CASES)
def test_graph_is_the_same_without_real_parameters(name: str) -> None:
    real, shapes = _real(name), _shapes(name)
    assert str(shapes.graph) == str(real.graph)
    assert shapes.graph_signature == real.graph_signature


def test_fake_parameters_and_arguments_give_the_same_graph() -> None:
    from torch._subclasses.fake_tensor import FakeTensorMode

    module, args = CASES["dit"]()
    real = _real("dit")
    mode = FakeTensorMode(allow_non_fake_inputs=True)
    for child in module.modules():
        for key, parameter in list(child._parameters.items()):
            if parameter is not None:
                child._parameters[key] = nn.Parameter(mode.from_tensor(parameter.data), False)
    fake = export_graph(module, tuple(mode.from_tensor(arg) for arg in args))
    assert str(fake.graph) == str(real.graph)


def test_meta_parameters_are_put_back() -> None:
    module = on_meta("dit")
    before = dict(module.named_parameters())
    export_graph(module, CASES["dit"]()[1])
    after = dict(module.named_parameters())
    assert before.keys() == after.keys()
    assert all(after[name] is before[name] for name in before)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_chained_pieces_are_the_module(name: str, count: int) -> None:
    module, args = CASES[name]()
    program = _shapes(name)
    values = _run(program, _chunks(program, count), _weights(module), args)
    (output,) = program.graph_signature.user_outputs
    torch.testing.assert_close(values[output], module(*args)[0], rtol=1e-6, atol=1e-6)


def _numbered(program: ExportedProgram) -> list[tuple[object, ...]]:
    """The graph with nodes by their places, whatever they are called."""
    number = {node: i for i, node in enumerate(program.graph.nodes)}
    return [
        (n.op, str(n.target), map_arg((n.args, n.kwargs), number.get), n.meta.get("val") is None)
        for n in program.graph.nodes
        if n.op != "placeholder"
    ]


@pytest.mark.parametrize("name", CASES)
def test_a_piece_exports_as_torch_writes_it(name: str) -> None:
    """Though it is not written in functional operations again: it has no others."""
    module, args = CASES[name]()
    program = _real(name)
    outputs = program.graph_signature.user_outputs
    given = (_operations(program), _user_inputs(program), outputs, _weights(module))
    piece = extract(program, *given)
    assert is_aten(piece)
    quick = export_graph(piece, args)
    piece.meta.clear()
    whole = export_graph(piece, args)
    assert _numbered(quick) == _numbered(whole)
    assert quick.dialect == whole.dialect
    assert len(quick.graph_signature.input_specs) == len(whole.graph_signature.input_specs)


def test_a_piece_of_what_is_not_written_out_is_written_out() -> None:
    """A graph of operations that change their inputs in place is none of the converter's."""

    class InPlace(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (torch.zeros(3).add_(x),)

    program = torch.export.export(InPlace().eval(), (torch.ones(3),), strict=False)
    piece = extract(program, _operations(program), ["x"], program.graph_signature.user_outputs, {})
    assert not is_aten(piece)
    kinds = {str(n.target) for n in export_graph(piece, (torch.ones(3),)).graph.nodes}
    assert "aten.add.Tensor" in kinds and not any("add_" in k for k in kinds)


def test_single_operations_stay_single() -> None:
    kinds = {str(n.target) for n in _real("dit").graph.nodes}
    assert {
        "aten.scaled_dot_product_attention.default",
        "aten.layer_norm.default",
        "aten.gelu.default",
    } <= kinds
    assert "aten.group_norm.default" in {str(n.target) for n in _real("causal").graph.nodes}


@pytest.mark.parametrize("name", CASES)
def test_graph_is_clean(name: str) -> None:
    program = _real(name)
    kinds = {str(n.target) for n in program.graph.nodes if n.op == "call_function"}
    unwanted = {"alias", "clone", "detach", "dropout", "view", "_unsafe_view", "einsum"}
    assert not [k for k in kinds if k.startswith("aten.") and k.split(".")[1] in unwanted]
    assert not [
        n for n in program.graph.nodes if n.op not in ("placeholder", "output") and not n.users
    ]


def test_empty_operand_of_cat_is_dropped() -> None:
    program = _real("causal")
    cats = [n for n in program.graph.nodes if str(n.target) == "aten.cat.default"]
    assert len(cats) == 1  # the kernel-1 convolution pads by nothing
    assert all(v.meta["val"].numel() for v in cats[0].args[0])


class Normalized(nn.Module):
    """`normalize` expands the norm; a plain number beside what is expanded gives no shape."""

    def forward(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        return nn.functional.normalize(x, dim=1), y.expand(2, 5) * 2.0


def test_what_widens_by_itself_reads_what_was_not_widened() -> None:
    torch.manual_seed(0)
    x, y = torch.randn(2, 6, 3), torch.randn(1, 5)
    program = export_graph(Normalized().eval(), (x, y))
    wide = [n for n in program.graph.nodes if "expand" in str(n.target)]
    assert [tuple(n.meta["val"].shape) for n in wide] == [(2, 5)]
    made, doubled = program.module()(x, y)
    torch.testing.assert_close(made, x / x.square().sum(1, keepdim=True).sqrt())
    assert torch.equal(doubled, torch.cat([y, y]) * 2)


def test_output_that_was_an_alias_keeps_its_signature() -> None:
    class Identity(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            y = x + 1
            return y.clone(), x.clone()

    program = export_graph(Identity().eval(), (torch.zeros(2),))
    assert program.graph_signature.user_outputs == ("add", "x")
    torch.testing.assert_close(program.module()(torch.zeros(2))[0], torch.ones(2))


def test_einsum_with_ellipsis_is_decomposed() -> None:
    class Outer(nn.Module):
        def forward(self, x: Tensor, f: Tensor) -> Tensor:
            return torch.einsum("..., f -> ... f", x, f)

    args = (torch.randn(2, 3), torch.randn(4))
    program = export_graph(Outer().eval(), args)
    assert "einsum" not in str(program.graph)
    torch.testing.assert_close(program.module()(*args), args[0][..., None] * args[1])


@pytest.mark.slow  # tests/lower/test_package.py compares the bytes that follow from the names
def test_names_do_not_depend_on_the_process() -> None:
    code = (
        "import torch; torch.set_num_threads(1)\n"
        "from tests.lower.core_ml import export_graph; from tests.lower.models import CASES\n"
        "print(export_graph(*CASES['t5']()).graph)"
    )
    texts = set()
    for seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(ROOT)}
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, check=True
        )
        texts.add(done.stdout)
    assert len(texts) == 1


def test_constants_come_from_the_program() -> None:
    program = _shapes("dit")
    assert "angles" in constants_of(program)
    assert "out.weight" not in constants_of(program)


def test_weights_are_cast_to_the_graph() -> None:
    module, args = CASES["dit"]()
    program = _real("dit")
    half = {name: tensor.half() for name, tensor in _weights(module).items()}
    piece = extract(
        program, _operations(program), _user_inputs(program),
        program.graph_signature.user_outputs, half,
    )  # fmt: skip
    assert piece.out.weight.dtype == torch.float32
    torch.testing.assert_close(piece(*args)[0], module(*args)[0], rtol=1e-2, atol=1e-2)


def test_pieces_can_be_cut_again() -> None:
    module, args = CASES["dit"]()
    program = _real("dit")
    names, inputs = _operations(program), _user_inputs(program)
    outputs = program.graph_signature.user_outputs
    piece = extract(program, names, inputs, outputs, _weights(module))
    again = extract(piece, names, inputs, outputs, {})
    torch.testing.assert_close(again(*args)[0], module(*args)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nodes": ["lineer"]}, "node `lineer` is not a node .* nearest names: linear"),
        ({"outputs": ["nothing_like_it"]}, "output `nothing_like_it` is not a node"),
        ({"inputs": ["x"]}, "reads `t`, .* add `t` to `inputs`"),
        ({"nodes": ["x"]}, "is a placeholder, not an operation"),
        ({"weights": {}}, "no data for weight `time.weight`"),
        ({"weights": {"time.weight": torch.zeros(3)}}, r"has shape \(3,\), .* with \(32, 32\)"),
    ],
)
def test_refusals(change: dict, message: str) -> None:
    module = on_meta("dit")
    program = export_graph(module, CASES["dit"]()[1])
    arguments = {
        "nodes": _operations(program),
        "inputs": _user_inputs(program),
        "outputs": program.graph_signature.user_outputs,
        "weights": _weights(CASES["dit"]()[0]),
    }
    with pytest.raises(ValueError, match=message):
        extract(program, **{**arguments, **change})


def test_training_mode_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Linear: module `\(root\)` is in training mode"):
        export_graph(nn.Linear(2, 2), (torch.zeros(1, 2),))


def test_data_dependence_is_refused() -> None:
    class Peek(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[: int(x.max().item())]

    with pytest.raises(ValueError, match="Peek: torch.export refuses ") as caught:
        export_graph(Peek().eval(), (torch.ones(3),))
    lines = Path(__file__).read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if text.strip().startswith("return x[: int("))
    assert f"{__file__}:{line}: `return x[: int(x.max().item())]`" in str(caught.value)


def test_clean_graph_reports_nothing_when_outputs_stay() -> None:
    program = _real("dit")
    assert clean_graph(program.graph_module.graph) == {}


def test_boolean_inputs_of_a_piece_may_be_numbers() -> None:
    class Choose(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return torch.where((x > 0) & (x < 1), x, -x)

    x = torch.randn(8)
    program = export_graph(Choose().eval(), (x,))
    (condition,) = (n for n in program.graph.nodes if "and" in n.name)
    after = [n.name for n in program.graph.nodes if n.op == "call_function" and n > condition]
    piece = extract(program, after, [condition.name, "x"], program.graph_signature.user_outputs, {})
    mask = (x > 0) & (x < 1)
    for given in (mask, mask.float(), mask.int()):
        assert torch.equal(piece(given, x)[0], Choose()(x))


def test_values_that_fp16_cannot_carry() -> None:
    program = _real("dit")
    found = fp32_values(program)
    nodes = {n.name: n for n in program.graph.nodes}
    kinds = {
        str(nodes[name].target).split(".")[1] for name in found if name in nodes and name != "t"
    }
    assert "t" in found and "x" not in found
    assert {"sin", "cos", "rsqrt", "mean", "pow"} <= kinds
    assert not {"linear", "layer_norm", "scaled_dot_product_attention"} & kinds


@pytest.mark.parametrize("name", ["vae", "causal"])
def test_networks_without_such_values(name: str) -> None:
    assert fp32_values(_real(name)) == frozenset()


def test_a_view_that_strides_forbid_is_a_reshape() -> None:
    """As where attention gives other strides in a later pass of torch than when the model ran."""

    class Turned(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (x.transpose(1, 2).reshape(2, 12) * 2,)

    x = torch.randn(2, 3, 4)
    program = torch.export.export(Turned().eval(), (x,), strict=False)
    (made,) = (n for n in program.graph.nodes if "reshape" in str(n.target))
    made.target = torch.ops.aten.view.default
    with pytest.raises(Exception, match="Cannot view a tensor"):
        program.run_decompositions({})
    found = _written(program, {}).module()(x)[0]
    assert torch.equal(found, torch.stack([row.T.flatten() for row in x]) * 2)


def test_values_taken_into_python_are_told_as_such() -> None:
    class Counting(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (x * float(x.bincount().numpy().sum()),)

    class Lengths(nn.Module):
        def forward(self, x: Tensor) -> tuple[Tensor, ...]:
            return (x * len(set(x.tolist())),)

    for module in (Counting(), Lengths()):
        with pytest.raises(GraphError, match="depend on shapes only, never on tensor values"):
            export_graph(module.eval(), (torch.tensor([1, 2]),))


def test_a_selection_that_is_not_put_back_by_element_stays_refused() -> None:
    class Sorted(nn.Module):
        def forward(self, x: Tensor, mask: Tensor) -> tuple[Tensor, ...]:
            y = x * 1
            y[mask > 0] = y[mask > 0].flip(0)
            return (y,)

    with pytest.raises(GraphError, match="the size of what `.*` gives depends on values"):
        export_graph(Sorted().eval(), (torch.randn(3, 2), torch.tensor([1, 0, 1])))
