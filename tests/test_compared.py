"""`compile` runs every form of chunk beside its torch source: what is wrong is repaired or refused.

The pipelines are one graph of a few operations, of which a conversion is made wrong on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import entracte.graphs
from entracte.compile.job import Built, compile_pipeline
from entracte.declare.host_ops import random_normal
from entracte.emit import trials
from entracte.errors import EntracteError
from entracte.graphs.spec import Graph, Input
from entracte.inspect.compared import comparison
from entracte.ir import Compared
from entracte.plan.file import read_plan
from entracte.reference import Model
from entracte.run.execute import run_build
from tests.lower.test_watched import registered

PIPELINE = """
name: small
title: "small"
weights: "WEIGHTS"
outputs:
  y: {kind: tensor, value: body.y}
inputs: {seed: {kind: seed, default: 0}}
stages:
  noise:
    host: random_normal
    params: {shape: [2, 8]}
    inputs: {seed: seed}
  body:
    graph: test.small
    inputs: {x: noise.noise}
"""


class Layer(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)


class Body(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor], layers: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer(function) for _ in range(layers)))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        return (self.layers(x) * 2,)


@dataclass
class Reporter:
    """Keeps the phases and what was done in each."""

    phases: dict[str, list[str]]

    def phase(self, name: str, total: int, unit_bytes: bool = False) -> None:
        self.phases[name] = []

    def start(self, label: str) -> None:
        pass

    def advance(self, label: str, amount: int = 1) -> None:
        if amount:
            list(self.phases.values())[-1].append(label)


class Small:
    """Compiles the pipeline with a module of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("conf/pipeline", "weights"):
            (folder / name).mkdir(parents=True)
        text = PIPELINE.replace("WEIGHTS", str(folder / "weights"))
        (folder / "conf" / "pipeline" / "small.yaml").write_text(text)
        self.module: nn.Module = Body(torch.relu)
        self.phases: dict[str, list[str]] = {}

    def factory(self) -> Graph:
        return Graph(self.module.eval(), (Input("x", (2, 8)),), ("y",))

    def compiled(self, module: nn.Module, *overrides: str) -> Built:
        self.module, self.phases = module, {}
        return compile_pipeline(
            ["+target=host", "pipeline=small", f"cache={self.folder / 'cache'}", *overrides],
            out=self.folder / "build",
            config_dir=self.folder / "conf",
            reporter=Reporter(self.phases),
        )


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Small]:
    made = Small(tmp_path)
    place = f"{__name__}:FACTORY"
    monkeypatch.setitem(entracte.graphs._BUILT_IN, "test.small", place)
    monkeypatch.setattr(f"{__name__}.FACTORY", made.factory)
    yield made


FACTORY: Callable[[], Graph] = lambda: Graph(Body(torch.relu), (), ())  # noqa: E731


def only(built: Built) -> Compared:
    (found,) = built.plan.compared
    return found


def flipped(context: Any, node: Any) -> None:
    from coremltools.converters.mil import Builder as mb

    context.add(mb.mul(x=mb.tanh(x=context[node.inputs[0]]), y=-1.0, name=node.name))


def test_a_right_conversion_is_compared_once_and_the_second_compile_takes_it_from_the_cache(
    small: Small,
) -> None:
    built = small.compiled(Body(torch.tanh))
    assert built.plan.verify == "on"
    found = only(built)
    # fp16 keeps 11 bits of each value: about 66 dB and more beside fp32.
    assert found.db > 60 and found.floor_db == 40.0
    assert (found.of, found.inputs, found.share, found.repaired) == ("body.00", "recorded", 1.0, "")
    assert small.phases["compare"] == ["body.00"]
    again = small.compiled(Body(torch.tanh))
    assert "compare" not in small.phases
    assert again.plan.compared == built.plan.compared
    assert read_plan(small.folder / "build").compared == built.plan.compared


def test_a_flipped_sign_is_refused_with_the_layer(small: Small) -> None:
    module = Body(lambda x: torch.tanh(x) + 3)
    with registered("tanh", flipped), pytest.raises(EntracteError) as error:
        small.compiled(module)
    message = str(error.value)
    assert message.startswith("body.00: the package gives ")
    assert "below the floor of 40 dB, also with all of it in fp32" in message
    assert f"the error rises at tanh (node `tanh`) of {__file__}:" in message
    assert "(module layers.0, Layer)" in message
    assert "pipeline.stages.body.precision=fp32" in message and "verify=off" in message
    assert not (small.folder / "build").exists()


def test_off_is_written_and_said(small: Small) -> None:
    with registered("tanh", flipped):
        built = small.compiled(Body(torch.tanh), "verify=off")
    plan = read_plan(small.folder / "build")
    assert plan == built.plan
    assert (plan.verify, plan.compared) == ("off", ())
    said = comparison(plan)
    assert said is not None and not said.is_done
    assert said.summary == "conversions were not compared with their torch source (verify=off)"
    assert "compare" not in small.phases


def test_where_torch_gives_nothing_finite_the_plan_says_so(small: Small) -> None:
    built = small.compiled(Body(lambda x: torch.log(-1 - x.abs())))
    found = only(built)
    assert found.db is None
    assert found.why == "torch itself gives nothing finite on recorded inputs"
    said = comparison(read_plan(small.folder / "build"))
    assert said is not None and not said.is_done
    assert said.notes == (f"body.00 not compared: {found.why}",)


def overflowing(x: Tensor) -> Tensor:
    """Squares of up to 9e6 on the way to values around 1."""
    return (x * 1000) * (x * 1000) / 1e6


def test_an_overflow_is_repaired_by_islands_of_fp32(small: Small) -> None:
    built = small.compiled(Body(overflowing))
    found = only(built)
    assert found.db > 60
    assert found.repaired.startswith("in fp32: ") and "mul" in found.repaired
    x = np.random.default_rng(1).standard_normal((2, 8)).astype(np.float16)
    with Model(small.folder / "build" / built.plan.packages[0].path) as model:
        (y,) = model.predict({next(iter(model.inputs)): x}).values()
    wanted = 2 * x.astype(np.float64) ** 2
    assert np.abs(y - wanted).max() <= 2e-3 * np.abs(wanted).max()
    said = comparison(built.plan)
    assert said is not None and said.notes == (f"body.00 repaired, {found.repaired}",)
    small.compiled(Body(overflowing))
    assert "compare" not in small.phases and small.phases["convert"] == []


def test_of_equal_blocks_one_runs_where_all_are_too_dear(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six blocks of `tanh` and `add`, and a last `mul`: 13 operations of 16 FLOPs each, three of
    them distinct. At 100 FLOPs a second the whole takes 4.2 s both ways, a part 1.1 s with its
    conversion; 2.6 s are allowed: one `tanh` and the `add` behind it."""
    monkeypatch.setattr(trials, "_FLOPS_PER_S", 100.0)
    monkeypatch.setattr(trials, "_SHARE", 1.2)
    built = small.compiled(Body(lambda x: torch.tanh(x) + 3, layers=6))
    found = only(built)
    assert found.share == pytest.approx(2 / 3) and found.db > 60
    said = comparison(built.plan)
    assert said is not None
    assert said.notes == ("body.00 compared in part: 67 % of its operations",)


def test_what_is_too_dear_in_every_part_is_said(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trials, "_SHARE", 0.0)
    built = small.compiled(Body(torch.tanh))
    assert (only(built).db, only(built).share) == (None, 0.0)
    said = comparison(built.plan)
    assert said is not None and not said.is_done
    assert said.notes == (f"body.00 not compared: {only(built).why}",)
    assert "FLOPs are too dear" in only(built).why


class Blocks(nn.Module):
    """Equal blocks with weights of their own, each with a square that fp16 does not hold. The
    residual makes cuts inside a block dearer than those between."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(64, 64, bias=False) for _ in range(count))

    def forward(self, x: Tensor) -> tuple[Tensor]:
        for layer in self.layers:
            x = x + torch.tanh(overflowing(layer(x)))
        return (x,)


@pytest.mark.slow
def test_a_repair_serves_all_chunks_that_are_the_same_program(
    small: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some are stamped from one repaired template; run together they give what torch gives."""
    from safetensors.torch import save_file

    module = Blocks(5)
    save_file(module.state_dict(), small.folder / "weights" / "blocks.safetensors")
    yaml = small.folder / "conf" / "pipeline" / "small.yaml"
    yaml.write_text(yaml.read_text().replace("[2, 8]", "[2, 64]"))
    graph = Graph(module.eval(), (Input("x", (2, 64)),), ("y",), checkpoint="blocks")
    monkeypatch.setattr(small, "factory", lambda: graph)
    monkeypatch.setattr(f"{__name__}.FACTORY", lambda: graph)
    built = small.compiled(module, "partition.chunk_bytes=9KB")
    found = built.plan.compared
    assert all(c.db > 50 for c in found), found
    repaired = [c for c in found if c.repaired]
    assert len({c.of for c in repaired}) < len(repaired)
    made = run_build(small.folder / "build", {"seed": 3}, device="reference")
    with torch.no_grad():
        (wanted,) = module(torch.from_numpy(random_normal(3, (2, 64))))
    assert np.abs(made.output - wanted.numpy()).max() < 0.03
