"""A graph that names no checkpoint computes with its module's own numbers, whatever they are.

Right values come from the torch module, run as it is.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import entracte.graphs
from entracte.compile.job import Built, compile_pipeline
from entracte.declare.host_ops import random_normal
from entracte.errors import ConfigError, PlanError
from entracte.graphs.spec import Graph, Input
from entracte.run.execute import run_build
from entracte.trace.numbers import digest_of_graph, tensor_digest
from entracte.verify.folder import verify_build
from entracte.verify.source import Origin

PIPELINE = """
name: own
title: own
weights: "random:0"
precision: fp32
outputs:
  y: {kind: tensor, value: body.y}
inputs: {seed: {kind: seed, default: 0}}
stages:
  noise: {host: random_normal, params: {shape: [2, 8]}, inputs: {seed: seed}}
  body: {graph: test.own, inputs: {x: noise.noise}}
"""
FACTORY: Callable[[], Graph] = lambda: Graph(nn.Identity(), (), ())  # noqa: E731


class Everything(nn.Module):
    """Parameters that are tied, views or not contiguous, buffers of all kinds, a literal."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8, bias=False)
        self.second.weight = self.first.weight
        whole = torch.randn(16, 8)
        self.top, self.turned = nn.Parameter(whole[:8]), nn.Parameter(whole[8:].t())
        self.coarse = nn.Parameter(torch.randn(8).bfloat16())
        self.norm = nn.BatchNorm1d(8)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)
        self.register_buffer("order", torch.randperm(8))
        self.register_buffer("kept", torch.rand(8) > 0.3)
        self.register_buffer("turn", torch.polar(torch.ones(4), torch.randn(4)))
        self.register_buffer("wide", torch.randn(8).double())
        self.register_buffer("shift", torch.randn(8), persistent=False)
        self.unused = nn.Parameter(torch.full((3,), torch.nan))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        x = self.second(torch.tanh(self.first(x)))
        x = self.norm(x @ self.top + torch.tanh(x) @ self.turned)
        x = torch.view_as_real(torch.view_as_complex(x.reshape(2, 4, 2)) * self.turn).reshape(2, 8)
        x = (x * self.wide).float()
        x = x[:, self.order] * self.coarse.float() + self.shift
        return (torch.where(self.kept, x, x * torch.tensor([0.25])),)


class Small:
    def __init__(self, folder: Path) -> None:
        self.folder, self.made = folder, 0
        (folder / "conf" / "pipeline").mkdir(parents=True)
        (folder / "conf" / "pipeline" / "own.yaml").write_text(PIPELINE)
        self.graph: Callable[[], Graph]

    def factory(self) -> Graph:
        self.made += 1
        return self.graph()

    def compiled(self, graph: Callable[[], Graph], *words: str) -> Built:
        self.graph = graph
        return compile_pipeline(
            ["+target=host", "pipeline=own", f"cache={self.folder / 'cache'}", *words],
            out=self.folder / "build",
            config_dir=self.folder / "conf",
        )

    def output(self) -> np.ndarray:
        return np.asarray(run_build(self.folder / "build", {"seed": 3}).output)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Small:
    made = Small(tmp_path)
    monkeypatch.setitem(entracte.graphs._BUILT_IN, "test.own", f"{__name__}:FACTORY")
    monkeypatch.setattr(f"{__name__}.FACTORY", made.factory)
    return made


def graph_of(module: nn.Module) -> Graph:
    return Graph(module.eval(), (Input("x", (2, 8)),), ("y",))


def right(module: nn.Module) -> np.ndarray:
    x = random_normal(3, (2, 8))
    with torch.no_grad():
        return module.eval()(torch.from_numpy(x))[0].numpy()


def test_the_module_s_numbers_are_the_package_s(small: Small) -> None:
    small.compiled(lambda: graph_of(Everything()))
    np.testing.assert_allclose(small.output(), right(Everything()), rtol=1e-5, atol=1e-5)
    # Other numbers, same code: nothing of the old package is used.
    small.compiled(lambda: graph_of(Everything(1)))
    assert np.abs(right(Everything(1)) - right(Everything())).max() > 0.1
    np.testing.assert_allclose(small.output(), right(Everything(1)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["top", "norm.running_mean", "order", "kept", "turn", "shift"])
def test_one_other_number_of_any_kind_is_another_graph(small: Small, name: str) -> None:
    """Compiled dry, so that traces are in the cache; then made whole."""

    def changed() -> Graph:
        module = Everything()
        with torch.no_grad():
            tensor = module.get_parameter(name) if name == "top" else module.get_buffer(name)
            tensor.copy_(tensor.flip(0))
        return graph_of(module)

    small.compiled(lambda: graph_of(Everything()), "dry_run=true")
    small.compiled(changed, "verify=off")
    np.testing.assert_allclose(small.output(), right(changed().module), rtol=1e-5, atol=1e-5)


def test_numbers_are_given_again_where_the_trace_is_from_the_cache(small: Small) -> None:
    small.compiled(lambda: graph_of(Everything()), "dry_run=true")
    small.compiled(lambda: graph_of(Everything()), "verify=off")
    np.testing.assert_allclose(small.output(), right(Everything()), rtol=1e-5, atol=1e-5)


class Set(nn.Module):
    """Settings of all kinds that a factory may read from a file; no tensor tells them apart."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.inner = nn.Linear(8, 8)
        nn.init.eye_(self.inner.weight)
        nn.init.zeros_(self.inner.bias)
        self.plain, self.listed, self.array = factor, [{"by": factor}], np.float32([factor])
        self.called = lambda x: x * factor
        self.one = SimpleNamespace(deep=SimpleNamespace(by=factor))
        self.one.deep.back = self  # leads back

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.called(self.inner(x)) * self.plain * self.one.deep.by,)


READ = {"factor": 1.0}
"""As a package may read it from a file when it is imported."""


def helped(x: Tensor) -> Tensor:
    return x * READ["factor"]


class Reader(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (helped(x),)


def test_what_a_package_read_when_it_was_imported_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = digest_of_graph(graph_of(Reader()))
    assert digest_of_graph(graph_of(Reader())) == before
    monkeypatch.setitem(READ, "factor", 2.0)
    assert digest_of_graph(graph_of(Reader())) != before


def digest_with(name: str, factor: float) -> str:
    module = Set(2.0)
    setattr(module, name, getattr(Set(factor), name))
    return digest_of_graph(graph_of(module))


@pytest.mark.parametrize("name", ["plain", "listed", "array", "called", "one"])
def test_another_setting_of_any_kind_is_another_graph(name: str) -> None:
    assert digest_with(name, 2.0) == digest_with(name, 2.0)
    assert digest_with(name, 3.0) != digest_with(name, 2.0)


def test_a_setting_that_a_factory_reads_from_a_file_is_not_served_from_the_cache(
    small: Small,
) -> None:
    def read() -> Graph:
        return graph_of(Set(float((small.folder / "factor").read_text())))

    for factor in ("2", "3"):
        (small.folder / "factor").write_text(factor)
        small.compiled(read, "verify=off")
        np.testing.assert_allclose(small.output(), right(read().module), rtol=1e-5, atol=1e-5)


def test_what_libraries_note_for_themselves_in_settings_does_not_count() -> None:
    """Hashes, lists out of sets: others in every process, so a trace would never be found again."""

    def digest(note: str, **settings: int) -> str:
        module = Set(2.0)
        kind = type("Config", (SimpleNamespace,), {"__module__": "transformers.models"})
        module.config = kind(_original_object_hash=note, **settings)
        return digest_of_graph(graph_of(module))

    assert digest("a", layers=2) == digest("b", layers=2) != digest("a", layers=3)


class Blocks(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.blocks = nn.Sequential(*(nn.Sequential(nn.Linear(8, 8), nn.Tanh()) for _ in range(6)))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.blocks(x),)


def test_equal_blocks_with_numbers_of_their_own_are_stamped(small: Small) -> None:
    small.compiled(lambda: graph_of(Blocks()), "partition.chunk_bytes=300B", "verify=off")
    assert list((small.folder / "cache").rglob("templates/??/*/layout.json"))
    np.testing.assert_allclose(small.output(), right(Blocks()), rtol=1e-5, atol=1e-5)


# ---------------------------------------------------------------- refused


def refused(small: Small, graph: Callable[[], Graph], *words: str) -> str:
    with pytest.raises(ConfigError) as caught:
        small.compiled(graph, "dry_run=true", *words)
    return str(caught.value)


def with_tables_on_meta() -> nn.Module:
    with torch.device("meta"):
        return Everything()


def test_a_used_tensor_without_data_is_refused_by_its_name(small: Small) -> None:
    message = refused(small, lambda: graph_of(with_tables_on_meta()))
    assert "stage body" in message and "first.bias" in message and "no data" in message
    assert "names no checkpoint" in message
    named = Graph(with_tables_on_meta().eval(), (Input("x", (2, 8)),), ("y",), "model")
    message = refused(small, lambda: named)
    assert "computes with shift: no data" in message and "on_meta" in message


def test_positions_are_not_drawn(small: Small) -> None:
    def on_meta_but_for(name: str) -> Graph:
        module = with_tables_on_meta()
        module.shift = torch.zeros(8)
        if name != "order":
            module.order = torch.arange(8)
        if name != "kept":
            module.kept = torch.ones(8, dtype=torch.bool)
        return Graph(module.eval(), (Input("x", (2, 8)),), ("y",), "model")

    for name in ("order", "kept"):
        message = refused(small, lambda name=name: on_meta_but_for(name))  # type: ignore[misc]
        assert f"stage body: {name}: whole numbers" in message
    small.compiled(lambda: on_meta_but_for("nothing"), "dry_run=true")


@pytest.mark.parametrize("name", ["first.bias", "top", "coarse"])
@pytest.mark.parametrize(("value", "word"), [(torch.nan, "NaN"), (torch.inf, "infinite")])
def test_numbers_that_are_none_are_refused(
    small: Small, name: str, value: float, word: str
) -> None:
    module = Everything()
    with torch.no_grad():
        module.get_parameter(name).view(-1)[3] = value
    message = refused(small, lambda: graph_of(module))
    assert word in message and f"'{name}'" in message


def test_a_table_may_hold_minus_infinity_and_no_nan(small: Small) -> None:
    """A mask that is in no state dict, with a checkpoint or without one."""

    class Masked(Blocks):
        def __init__(self, value: float) -> None:
            super().__init__()
            mask = torch.zeros(8).index_fill(0, torch.tensor([2]), value)
            self.register_buffer("mask", mask, persistent=False)

        def forward(self, x: Tensor) -> tuple[Tensor]:
            return (torch.softmax(self.blocks(x) + self.mask, 1),)

    def masked(value: float, checkpoint: str | None = None) -> Graph:
        return replace(graph_of(Masked(value)), checkpoint=checkpoint)

    for stem in (None, "model"):
        message = refused(small, lambda stem=stem: masked(torch.nan, stem))  # type: ignore[misc]
        assert "stage body" in message and "'mask' holds NaN" in message
    small.compiled(lambda: masked(-torch.inf), "verify=off")
    np.testing.assert_allclose(small.output(), right(Masked(-torch.inf)), rtol=1e-5, atol=1e-5)
    assert not small.output()[:, 2].any()


def test_a_place_of_weights_that_nobody_reads_is_refused(small: Small) -> None:
    words = ("+pipeline.stages.body.weights=random:1",)
    message = refused(small, lambda: graph_of(Everything()), *words)
    assert "pipeline.stages.body.weights" in message and "holds its numbers itself" in message


def test_weights_need_not_be_said_where_nobody_reads_them(small: Small) -> None:
    small.compiled(lambda: graph_of(Everything()), "dry_run=true", "pipeline.weights=''")
    named = Graph(Everything().eval(), (Input("x", (2, 8)),), ("y",), "model")
    assert "pipeline.weights" in refused(small, lambda: named, "pipeline.weights=''")


# ---------------------------------------------------------------- checkpoints, looked at first

TWO = """
name: two
title: two
weights: "WEIGHTS"
precision: fp32
outputs:
  y: {kind: tensor, value: second.y}
inputs: {seed: {kind: seed, default: 0}}
stages:
  noise: {host: random_normal, params: {shape: [2, 8]}, inputs: {seed: seed}}
  first: {graph: test.own, inputs: {x: noise.noise}}
  second: {graph: test.own, inputs: {x: first.y}}
"""


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.line(x),)


def line() -> Graph:
    made = entracte.graphs.on_meta(Line)
    return Graph(made, (Input("x", (2, 8)),), ("y",), "model", owns=("",))


@pytest.fixture
def two(small: Small) -> tuple[Small, dict[str, Line]]:
    """A pipeline of one graph twice, and a folder for each."""
    models = {name: Line() for name in ("a", "b")}
    for name, model in models.items():
        (small.folder / name).mkdir()
        save_file(model.state_dict(), small.folder / name / "model.safetensors")
    text = TWO.replace("WEIGHTS", str(small.folder / "a"))
    (small.folder / "conf" / "pipeline" / "own.yaml").write_text(text)
    return small, models


def test_stages_with_weights_of_their_own(two: tuple[Small, dict[str, Line]]) -> None:
    small, models = two
    small.compiled(line, f"+pipeline.stages.second.weights={small.folder / 'b'}")
    x = torch.from_numpy(random_normal(3, (2, 8)))
    with torch.no_grad():
        wanted = models["b"](models["a"](x)[0])[0].numpy()
    np.testing.assert_allclose(small.output(), wanted, rtol=1e-5, atol=1e-6)
    # A plan from elsewhere does not say what is read here, for no stage.
    folder, build = str(small.folder / "a"), small.folder / "build"
    with pytest.raises(PlanError, match=f"--weights {'second'}=FOLDER"):
        verify_build(build, origin=Origin(weights=folder))
    places = (("second", str(small.folder / "b")),)
    assert verify_build(build, origin=Origin(weights=folder, stage_weights=places)).passed
    wrong = Origin(weights=folder, stage_weights=(("second", folder),))
    assert not verify_build(build, origin=wrong).passed
    stray = Origin(weights=folder, stage_weights=(*places, ("secnd", folder)))
    with pytest.raises(PlanError, match=r"--weights secnd=FOLDER: no stage .* that were: second"):
        verify_build(build, origin=stray)


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (lambda folder: shutil.rmtree(folder), "pipeline.weights: there is no folder"),
    "no file": (lambda folder: (folder / "model.safetensors").unlink(), "there are no weights"),
    "pointer": (lambda folder: (folder / "model.safetensors").write_text(
        "version https://git-lfs.github.com/spec/v1"), "git lfs pull"),
    "truncated": (lambda folder: (folder / "model.safetensors").write_bytes(
        (folder / "model.safetensors").read_bytes()[:-8]), "its tensors take"),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("dry", ["true", "false"])
def test_files_are_looked_at_before_anything_is_traced(
    fault: str, dry: str, two: tuple[Small, dict[str, Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, _ = two
    spoil, words = FAULTS[fault]
    spoil(small.folder / "a")
    monkeypatch.setattr("entracte.trace.measure.trace_stage", lambda *_: pytest.fail("traced"))
    with pytest.raises(ConfigError, match=words) as caught:
        small.compiled(line, f"dry_run={dry}")
    assert str(small.folder / "a") in str(caught.value)


@pytest.mark.parametrize("dry", ["true", "false"])
def test_keys_of_all_stages_are_looked_at_before_any_is_converted(
    dry: str, two: tuple[Small, dict[str, Line]], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, models = two
    other = {"line.weight": torch.zeros(4, 8), "line.bais": models["b"].line.bias.detach()}
    save_file(other, small.folder / "b" / "model.safetensors")
    monkeypatch.setattr("entracte.emit.bundle.emit", lambda *_, **__: pytest.fail("converted"))
    with pytest.raises(ConfigError) as caught:
        small.compiled(
            line, f"dry_run={dry}", f"+pipeline.stages.second.weights={small.folder / 'b'}"
        )
    message = str(caught.value)
    assert message.startswith(f"stage second: {small.folder / 'b'}/model: missing: line.bias")
    assert "unexpected: line.bais" in message
    assert "line.weight (4, 8) instead of (8, 8)" in message


LENT = """
name: lent
title: lent
weights: ""
precision: fp32
outputs:
  y: {kind: tensor, value: second.y}
inputs: {seed: {kind: seed, default: 0}}
stages:
  noise: {host: random_normal, params: {shape: [2, 8]}, inputs: {seed: seed}}
  first: {graph: test.own, inputs: {x: noise.noise}}
  second: {graph: test.own, weights_of: first, inputs: {x: first.y}}
"""


def test_a_stage_with_the_weights_of_another_holds_the_same_numbers(small: Small) -> None:
    """A factory that draws anew each time would give the second stage others."""
    (small.folder / "conf" / "pipeline" / "own.yaml").write_text(LENT)
    message = refused(small, lambda: graph_of(Everything(small.made)))
    assert "stages.second.weights_of" in message and "other numbers than in first" in message
    small.compiled(lambda: graph_of(Everything()), "dry_run=true")


def test_variants_hold_the_same_numbers(small: Small) -> None:
    """They are functions over one copy of the weights."""
    from entracte.ir import DType, Port, Stage, StageKind
    from entracte.lower.backend import CORE_ML
    from entracte.trace.measure import trace_stage
    from entracte.trace.weights import OwnWeights

    stage = Stage(name="s", kind=StageKind.GRAPH, op="toy", functions=(("other", 1),))
    main, same, other = Line(), Line(), Line()
    same.load_state_dict(main.state_dict())
    for variant in (same, entracte.graphs.on_meta(Line), other):
        graph = Graph(
            main.eval(), (Input("x", (2, 8)),), ("y",), variants={"other": variant.eval()}
        )
        ports = {"x": Port("x", (2, 8), DType.FP16)}
        if variant is other:
            with pytest.raises(ConfigError, match="'other' holds other numbers for 'line"):
                trace_stage(stage, graph, ports, None, CORE_ML)
            return
        found = OwnWeights().tensors(trace_stage(stage, graph, ports, None, CORE_ML))
        assert torch.equal(found["line.weight"], main.line.weight)


def test_a_number_that_lies_anyhow_has_its_digest() -> None:
    """Of one number torch allows any strides, also 0."""
    odd = torch.as_strided(torch.ones(1), (1, 1), (0, 0))
    assert odd.is_contiguous()
    assert tensor_digest(odd) == tensor_digest(torch.ones(1, 1)) != tensor_digest(odd + 1)
