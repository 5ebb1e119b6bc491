"""Ordinary mistakes of whoever brings a pipeline: one message each, that names the mistake, its
place, what is allowed and what to do. All come through the door, before anything is converted."""

import sys
from pathlib import Path

import numpy as np
import pytest

import entracte
from entracte.graphs.checks import arrays_of
from tests.mistakes import slips

FOLDER = Path(__file__).parent
PIPELINE = """
name: slip
title: A pipeline with one mistake
weights: "random:0"
inputs:
  seed: {kind: seed, default: 0}
stages:
  noise: {host: random_normal, params: {shape: [1, 8]}, inputs: {seed: seed}}
  net: {graph: GRAPH, inputs: {x: noise.noise}}
outputs:
  y: {kind: tensor, value: net.y}
"""


@pytest.fixture(scope="module", autouse=True)
def package(tmp_path_factory):
    """The package `slips`, installed: beside it lies what an installer writes."""
    site = tmp_path_factory.mktemp("site")
    info = site / "slips-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: slips\nVersion: 1.0\n")
    names = [n for n, value in vars(slips).items() if callable(value) and n[0].islower()]
    points = [f"slip.{n} = slips:{n}" for n in names]
    points += ["slip.gone = slips:xyz", "slip.rases = slips:rases", "slip.away = not_there.build:x",
               "slip.beside = needy:make", "slip.number = slips:NUMBER", "slip.whole = slips",
               "slip.broken = broken:make"]  # fmt: skip
    (info / "entry_points.txt").write_text("[entracte.graphs]\n" + "\n".join(points) + "\n")
    (site / "needy.py").write_text("import not_there_either\n")
    (site / "broken.py").write_text("def make(:\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(site))
        patch.syspath_prepend(str(FOLDER))
        yield site
    for name in ("slips", "needy", "broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def attempt(tmp_path):
    """Compiles a pipeline, as far as a dry run goes; gives the message."""

    def compiled(text: str, *words: str) -> str:
        (tmp_path / "pipeline").mkdir(exist_ok=True)
        (tmp_path / "pipeline" / "slip.yaml").write_text(text)
        with pytest.raises(entracte.ConfigError) as caught:
            plan_of(tmp_path, *words)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return compiled


def plan_of(conf, *words):
    words = ["+target=host", "pipeline=slip", "dry_run=true", *words]
    return entracte.compile_pipeline(words, config_dir=conf).plan


def line(text: str) -> str:
    """`FILE:LINE` of a line of the package."""
    lines = (FOLDER / "slips.py").read_text().splitlines()
    (number,) = (i for i, one in enumerate(lines, 1) if one.strip() == text)
    return f"{FOLDER / 'slips.py'}:{number}: `{text}`"


STAGE = "pipeline.stages.net: graph 'slip.{name}': "
GIVE = "return a `entracte.graphs.Graph(module, inputs, outputs)`, or `Constants`"
FIRST = ("give its first parameters, by their names and in their order, or write a module around "
         "it that takes what you give")  # fmt: skip
LATER = "correct the entry point, and install the package again"
MISTAKES = {
    "none": f"its factory slips:none returned None: it may lack a `return`; {GIVE}",
    "module_only": f"its factory slips:module_only returned a Net; {GIVE}",
    "gone": f"its entry point is 'slips:xyz', and slips has no 'xyz'; {LATER}",
    "rases": "its entry point is 'slips:rases', and slips has no 'rases' (did you mean raises?); "
             + LATER,
    "away": "its entry point is 'not_there.build:x', and there is no module not_there; install "
            "the package that has it, or correct the entry point",
    "beside": "needy, which has its factory, imports not_there_either, and there is no such "
              "module; install it",
    "number": "its entry point 'slips:NUMBER' is a int, no function",
    "whole": "its entry point is 'slips'; write MODULE:FACTORY",
    "kind_bool": "Input 'x': the kind 'bool' is not one of float, int; give truth values as float, "
                 "0 and 1",
    "kind_double": "Input 'x': the kind 'float64' is not one of float, int (did you mean float?)",
    "shape_float": "Input 'x': 8.0 in the shape (1, 8.0) is no whole number above 0; shapes are "
                   "static: give every size as a number",
    "shape_negative": "Input 'x': -1 in the shape (-1, 8) is no whole number above 0; shapes are "
                      "static: give every size as a number",
    "shape_none": "Input 'x': None in the shape (None, 8) is no whole number above 0; shapes are "
                  "static: give every size as a number",
    "shape_rank_0": "Input 'x': the shape () has no axis; packages take tensors of rank 1 and "
                    "more: give (1,)",
    "shape_number": "Input 'x': the shape 8 is no tuple of whole numbers; give a static shape like "
                    "(1, 8)",
    "name_dotted": "Input 'x.0': the name 'x.0' is not made of letters, digits and _, with no "
                   "digit first",
    "inputs_twice": "inputs: 'x' is there twice; give each a name of its own",
    "inputs_none": "inputs: none; name at least one (what needs none is `Constants`)",
    "inputs_names": "inputs: 'x' is no Input; write Input('x', (1, 8))",
    "outputs_twice": "outputs: 'y' is there twice; give each a name of its own",
    "outputs_text": "outputs: 'y' is one text; write ('y',)",
    "outputs_none": "outputs: none; name at least one",
    "output_like_input": "outputs: 'x' is an input's name too; give it one of its own, like "
                         "'x_next'",
    "module_text": "module: a str is no torch.nn.Module; put what it computes into the `forward` "
                   "of one",
    "module_class": "module: is the class Net; call it: Net(...)",
    "owns_text": "owns: 'linear.' is one text; write ('linear.',)",
    "training": "Net: module `(root)` is in training mode; a compiled graph is for inference: "
                "call `.eval()` on the module first",
    "other_names": f"inputs: Net.forward takes x, the inputs are z; {FIRST}",
    "other_order": f"inputs: Less.forward takes a, b, scale, the inputs are b, a; {FIRST}",
    "too_many": f"inputs: Net.forward takes x, the inputs are x, z; {FIRST}",
    "too_few": "inputs: Less.forward takes a, b, scale, and b has no default and no input; name an "
               "Input for each, or give it a value in `forward`",
    "variant_other": "variants['less']: Less.forward takes a, b, scale, the inputs are x; " + FIRST,
    "other_keys": "Net: `forward` returns a dict of logits, hidden, and the graph's outputs name "
                  "y; name those keys that you want",
    "nested": "Net: output 'a' is a tuple, no tensor; return tensors: one, a flat tuple of them, "
              "or a dict of them by name",
    "fewer": "Net: `forward` returns 1 value, the graph's outputs name 2: a, b; name every one, in "
             "order",
    "more": "Net: `forward` returns 2 values, the graph's outputs name 1: y; name every one, in "
            "order",
    "numbers": "Net: output 'b' is a float, no tensor; return tensors: one, a flat tuple of them, "
               "or a dict of them by name",
    "nothing": "Net: output 'y' is None, no tensor; return tensors: one, a flat tuple of them, or "
               "a dict of them by name",
    "rank_0": "Net: output 'y' is a number of rank 0; packages give tensors of rank 1 and more: "
              "`.reshape(1)`",
    "rank_6": "y, (1, 1, 1, 1, 2, 4), must leave a package, which takes tensors of rank 1 to 5; "
              "reshape it in `forward`",
    "empty": "Net: output 'y' of shape (1, 0) holds nothing; leave it out",
    "truths": "Net: output 'y' is bool, which no package gives; give truth values as numbers: "
              "`.to(torch.float32)`",
    "pairs": "Net: output 'y' is complex64, which no package gives; give real and imaginary parts: "
             "`torch.view_as_real(y)`",
    "same": "outputs 'a' and 'b' are the same value; leave one out",
    "as_it_came": "output 'y' is the input 'x' as it came; leave it out, and read that input's "
                  "source instead",
    "held": "output 'z' does not depend on any input: it is a weight or a table; give it as "
            "`Constants`",
}  # fmt: skip


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_one_message(attempt, name):
    said = attempt(PIPELINE.replace("GRAPH", f"slip.{name}"))
    assert said == STAGE.format(name=name) + MISTAKES[name]


RAISED = {
    "raises": ("KeyError: 'no such model'", 'raise KeyError("no such model")'),
    "raises_value": ("ValueError: two lines", r'raise ValueError("two\nlines")'),
    "raises_type": ("TypeError: object of type 'int' has no len()", "return len(3)"),
    "exits": ("SystemExit: 3", "raise SystemExit(3)"),
}


@pytest.mark.parametrize("name", RAISED)
def test_what_a_factory_raises_is_told_with_its_line(attempt, name):
    message, source = RAISED[name]
    assert attempt(PIPELINE.replace("GRAPH", f"slip.{name}")) == (
        f"pipeline.stages.net: graph 'slip.{name}' cannot be made with params none: {message} "
        f"({line(source)})"
    )


def test_a_module_that_python_cannot_read_is_told_with_its_line(attempt, package):
    assert attempt(PIPELINE.replace("GRAPH", "slip.broken")) == (
        "pipeline.stages.net: graph 'slip.broken' cannot be made with params none: SyntaxError: "
        f"invalid syntax (broken.py, line 1) ({package / 'broken.py'}:1)"
    )


def test_what_forward_raises_is_told_with_its_line_and_nothing_else(attempt, capfd):
    source = "fails = returns(lambda y: y @ torch.zeros(3, 3))"
    said = attempt(PIPELINE.replace("GRAPH", "slip.fails"))
    assert said.startswith(
        "pipeline.stages.net: graph 'slip.fails': Net: `forward` fails with inputs of (1, 8): "
        f"{line(source)}: RuntimeError: "
    )
    source = "decides = returns(lambda y: y if y.sum() > 0 else -y)"
    said = attempt(PIPELINE.replace("GRAPH", "slip.decides"))
    assert f"Net: torch.export refuses {line(source)}: " in said
    assert "the graph may depend on shapes only, never on tensor values" in said
    assert capfd.readouterr() == ("", "")


def test_two_packages_with_one_name_are_refused(attempt, tmp_path, monkeypatch):
    info = tmp_path / "twins-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: twins\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[entracte.graphs]\nslip.takes = twins:takes\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    said = attempt(PIPELINE.replace("GRAPH", "slip.takes"))
    assert said == STAGE.format(name="takes") + (
        "packages that are installed name different factories so: slips:takes, twins:takes; remove "
        "one of the packages"
    )


TAKES = PIPELINE.replace("GRAPH", "slip.takes, params: {}")
PORTS = PIPELINE.replace("GRAPH", "slip.integers")
CONSTANT = PIPELINE.replace("net: {graph: GRAPH, inputs: {x: noise.noise}}",
                            "net: {constant: slip.GRAPH}").replace("net.y", "net.t")  # fmt: skip
NEAR_NOISE = "pipeline.stages.noise.params: "
IN_FILE = "configuration: in pipeline/slip.yaml: "
NO_KEY = "there is no such key"
SLIPS = {
    "a graph's params": (
        TAKES.replace("{}", "{szie: 3, depth: 1}"),
        "pipeline.stages.net.params: 'szie' is unknown (did you mean size?), 'size' is missing; "
        "graph 'slip.takes' needs size and may have depth",
    ),
    "a graph's name": (
        PIPELINE.replace("GRAPH", "slip.trainin"),
        "pipeline.stages.net.graph: no graph is named 'slip.trainin'; known: ",
    ),
    "fractions for an int": (
        PORTS,
        "pipeline.stages.net.inputs.x: graph slip.integers wants int32, its source noise.noise "
        "gives fp32; declare the input as `float`, or give ids or a count",
    ),
    "an int for fractions": (
        PIPELINE.replace("GRAPH", "slip.fractions").replace(
            "seed: {kind: seed, default: 0}",
            "seed: {kind: seed, default: 0}\n  pick: {kind: choice, choices: [a, b], default: a}",
        ).replace("x: noise.noise", "x: pick"),
        "pipeline.stages.net.inputs.x: graph slip.fractions wants fp16 or fp32, its source pick "
        "gives int32; declare the input as `int`, and convert it in `forward`",
    ),
    "another shape": (
        PIPELINE.replace("GRAPH", "slip.takes, params: {size: 1}").replace("[1, 8]", "[1, 9]"),
        "pipeline.stages.net.inputs.x: graph slip.takes wants shape (1, 8), its source noise.noise "
        "gives (1, 9)",
    ),
    "a port that the graph has not": (
        PORTS.replace("{x: noise", "{z: noise"),
        "pipeline.stages.net.inputs: graph slip.integers wants x; given z",
    ),
    "a port that its source has not": (
        PORTS.replace("noise.noise", "noise.nois"),
        "pipeline.stages.net.inputs.x: 'noise.nois' is not made by an earlier stage (did you mean "
        "noise.noise?); known here: noise.noise",
    ),
    "a source that is not there": (
        PORTS.replace("noise.noise", "nose.noise"),
        "pipeline.stages.net.inputs.x: nothing makes 'nose.noise' (did you mean noise?); inputs: "
        "seed; stages and loops (write NAME.PORT): net, noise",
    ),
    "a graph for constants": (
        CONSTANT.replace("GRAPH", "by_name"),
        "pipeline.stages.net: slip.by_name is a graph, not constants; write `graph: slip.by_name`",
    ),
    "constants for a graph": (
        PIPELINE.replace("GRAPH", "opensora.rflow_schedule, params: {steps: 1, frames: 1, "
                         "height: 8, width: 8}"),
        "pipeline.stages.net: opensora.rflow_schedule gives constants; write `constant: "
        "opensora.rflow_schedule`",
    ),
    "a host step's param": (
        PORTS.replace("shape: [", "shpae: ["),
        f"{NEAR_NOISE}'shpae' is unknown (did you mean shape?), 'shape' is missing; random_normal ",
    ),
    "a host step": (
        PORTS.replace("random_normal", "random_norm"),
        "pipeline.stages.noise.host: 'random_norm' is not one of ",
    ),
    "a key of a pipeline": (
        PORTS.replace("title:", "titel:"),
        f"{IN_FILE}pipeline.titel: {NO_KEY} (did you mean title?); there are name, title, weights",
    ),
    "a key of a stage": (
        PORTS.replace("inputs: {x", "input: {x"),
        f"{IN_FILE}pipeline.stages.net.input: {NO_KEY} (did you mean inputs?); there are graph, ",
    ),
    "a key of an input": (
        PORTS.replace("kind: seed", "kind: seed, defalt: 1"),
        f"{IN_FILE}pipeline.inputs.seed.defalt: {NO_KEY} (did you mean default?); there are kind, ",
    ),
    "a key of an output": (
        PORTS.replace("kind: tensor", "kind: tensor, axes: 1"),
        f"{IN_FILE}pipeline.outputs.y.axes: {NO_KEY} (did you mean axis?); there are kind, ",
    ),
    "a key of a map": (
        PORTS.replace("x: noise.noise}", "x: noise.noise}, map: {port: x, axis: 0, strde: 1}"),
        f"{IN_FILE}pipeline.stages.net.map.strde: {NO_KEY} (did you mean stride?); there are port",
    ),
    "a kind of input": (
        PORTS.replace("kind: seed", "kind: sead"),
        "pipeline.inputs.seed.kind: 'sead' is not one of text, seed, ",
    ),
    "a size that nothing reads": (
        PORTS + "video: {height: 8}\n",
        "pipeline.video.height: nothing in the pipeline reads it; read are none: leave it out, or "
        "refer to it, `${pipeline.video.height}`",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", SLIPS)
def test_a_slip_in_the_yaml_is_one_message(attempt, what):
    text, message = SLIPS[what]
    said = attempt(text)
    # Lists of all that there is grow: of those the beginning is compared.
    assert said.startswith(message) if message[-1] in " :" or "there are" in message else (
        said == message
    )  # fmt: skip


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("pipeline.titel=x", f"configuration: pipeline.titel: {NO_KEY} (did you mean title?)"),
        ("+pipeline.stages.net.precison=fp32",
         f"configuration: pipeline.stages.net.precison: {NO_KEY} (did you mean precision?)"),
        ("+polcy=optimal", f"configuration: polcy: {NO_KEY} (did you mean policy?)"),
        ("pipeline.stages.net.precision=fp61",
         "pipeline.stages.net.precision: 'fp61' is not one of fp16, fp32 (did you mean fp16?)"),
    ],
)  # fmt: skip
def test_a_slip_among_the_words_is_one_message(attempt, word, message):
    assert attempt(PORTS, word).startswith(message)


TABLES = {
    "tables_torch": "a Tensor is no numpy array; give `numpy.asarray(...)`",
    "tables_complex": "complex128 is neither fp32 nor int32; convert it",
    "tables_bool": "bool is neither fp32 nor int32; convert it",
    "tables_rank_0": "the shape () has no axis; packages take tensors of rank 1 and more: give "
                     "(1,)",
    "tables_large": "holds numbers that int32 does not; give smaller ones",
    "tables_huge": "holds numbers that fp32 does not; give smaller ones",
}  # fmt: skip


@pytest.mark.parametrize("name", TABLES)
def test_a_table_that_no_build_can_hold_is_refused(attempt, name):
    said = attempt(CONSTANT.replace("GRAPH", name))
    assert said == STAGE.format(name=name) + "Constants 't': " + TABLES[name]


def test_tables_of_every_type_that_fits_are_taken():
    """Small numbers without a sign, halves and infinities are no large ones."""
    tables = {
        "plain": np.array([3], np.uint32), "wide": np.array([-(2**31), 2**31 - 1]),
        "half": np.array([1e4, np.inf], np.float16), "mask": np.full(2, -np.inf),
    }  # fmt: skip
    assert arrays_of(tables) == tables


def test_no_table_at_all_is_refused(attempt):
    said = attempt(CONSTANT.replace("GRAPH", "tables_none"))
    assert said.endswith("Constants: {} is no table of arrays; write {'name': array}")


def test_a_mistake_in_the_last_stage_is_told_before_the_first_is_traced(tmp_path, monkeypatch):
    text = PIPELINE.replace("GRAPH", "slip.takes, params: {size: 1}").replace(
        "outputs:", "  last: {graph: slip.none, inputs: {x: net.y}}\noutputs:"
    )
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "slip.yaml").write_text(text)
    monkeypatch.setattr("torch.export.export", lambda *_, **__: pytest.fail("traced"))
    with pytest.raises(entracte.ConfigError, match=r"stages\.last: graph 'slip.none'"):
        plan_of(tmp_path, f"cache={tmp_path / 'cache'}")


# ---------------------------------------------------------------- what is none


def test_a_group_stands_for_no_value(attempt):
    """A file may hold what a word on the command line may not."""
    text = PIPELINE.replace("GRAPH", "slip.net")
    said = attempt(text.replace("{x: noise.noise}", "{x: {value: noise.noise}}"))
    assert said == "pipeline.stages.net.inputs.x: {'value': 'noise.noise'}: give one text"


@pytest.mark.parametrize(
    ("name", "outputs"),
    [
        ("by_name", {"hidden": (1, 8), "logits": (1, 8)}),
        ("doubles", {"y": (1, 8)}),
        ("like_an_operation", {"relu": (1, 8)}),
        ("sizes_of_numpy", {"y": (1, 8)}),
    ],
)
def test_what_only_looks_like_one(tmp_path, name, outputs):
    text = PIPELINE.replace("GRAPH", f"slip.{name}").replace(
        "  y: {kind: tensor, value: net.y}\n", ""
    )
    text += "".join(f"  {n}: {{kind: tensor, value: net.{n}}}\n" for n in outputs)
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "slip.yaml").write_text(text)
    plan = plan_of(tmp_path)
    ports = {t.port.name: t.port.shape for t in plan.program.tensors}
    assert {n: ports[f"net.{n}"] for n in outputs} == outputs
