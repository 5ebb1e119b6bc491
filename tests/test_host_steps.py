"""Host operations in a whole pipeline: they read what a loop carries, in every iteration, and say
what they left out. The right values are computed here, step by step."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import entracte.graphs
from entracte.compile.job import compile_pipeline
from entracte.errors import ConfigError
from entracte.graphs.spec import Graph, Input
from entracte.plan.file import read_plan
from entracte.run.execute import run_build
from entracte.verify.sampled import known_inputs
from tests.test_host_ops import normal
from tests.test_tokenizers import SECTION, plain

PIPELINE = """
name: walk
title: "A walk through a table"
weights: "WEIGHTS"
outputs:
  sum: {kind: tensor, value: walk.sum}
inputs: {prompt: {kind: text, default: a b}, seed: {kind: seed, default: 5}}
stages:
  tokenize:
    host: tokenize
    params: {tokenizer: words, length: 4, segment: 0, clean: prompt}
    inputs: {text: prompt}
  start:
    host: random_normal
    params: {shape: [1, 4, 3], salt: 2}
    inputs: {seed: seed}
  rows:
    host: gather_rows
    params: {table: text, key: shared.weight, rows: 9, width: 3, dtype: fp32}
    inputs: {ids: walk.ids}
  noise:
    host: random_normal
    params: {shape: [1, 4, 3], stream: iteration}
    inputs: {seed: seed}
  step:
    graph: test.walk
    precision: fp32
    inputs: {ids: walk.ids, sum: walk.sum, rows: rows.rows, noise: noise.noise}
loops:
  walk:
    count: 3
    stages: [rows, noise, step]
    state:
      ids: [tokenize.input_ids, step.next_ids]
      sum: [start.noise, step.next_sum]
"""


class Walk(nn.Module):
    def forward(self, ids, sum, rows, noise):
        return ids + 1, sum + rows + 0.5 * noise


def walk() -> Graph:
    shape = (1, 4, 3)
    inputs = (
        Input("ids", (1, 4), "int"), Input("sum", shape), Input("rows", shape),
        Input("noise", shape),
    )  # fmt: skip
    return Graph(Walk().eval(), inputs, ("next_ids", "next_sum"))


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """The build folder, and the table by which it was made."""
    patch, folder = pytest.MonkeyPatch(), tmp_path_factory.mktemp("walk")
    patch.setitem(entracte.graphs._BUILT_IN, "test.walk", f"{__name__}:walk")
    patch.setenv("ENTRACTE_CACHE", str(folder / "cache"))
    table = torch.randn(9, 3, generator=torch.Generator().manual_seed(0))
    plain(folder / "w" / "words", SECTION | {"direction": "Right"})
    save_file({"shared.weight": table}, folder / "w" / "text.safetensors")
    conf = folder / "conf" / "pipeline"
    conf.mkdir(parents=True)
    (conf / "walk.yaml").write_text(PIPELINE.replace("WEIGHTS", str(folder / "w")))
    yield folder, table.numpy(), made(folder)
    patch.undo()


def made(folder: Path, *more: str) -> Path:
    overrides = ["+target=host", "pipeline=walk", "workers=1", *more]
    out = folder / "build"
    compile_pipeline(overrides, out=out, config_dir=folder / "conf")
    return out


def drawn(**case) -> np.ndarray:
    given = {"seed": 5, "stream": "once", "salt": 0, "iteration": 0, "count": 12} | case
    return np.array(normal(given)).reshape(1, 4, 3)


def test_a_walk_through_a_table(build):
    """Words a b, padded with 6; every iteration reads its own rows and draws its own noise."""
    _, table, folder = build
    outcome = run_build(folder, device="reference")
    ids, wanted = np.array([5, 6, 6, 6]), drawn(salt=2)
    for i in range(3):
        wanted = wanted + table[ids + i] + 0.5 * drawn(stream="iteration", iteration=i)
    np.testing.assert_allclose(outcome.output, wanted, rtol=1e-5, atol=1e-6)
    assert outcome.run.notes == ()


def test_the_plan_says_everything_in_numbers(build):
    _, _, folder = build
    plan = read_plan(folder)
    steps = [s for g in plan.program.segments for s in g.steps if hasattr(s, "op")]
    params = {s.stage: dict(s.params) for s in steps}
    assert params["tokenize"] == {
        "clean": "prompt", "length": 4, "pad_id": 6, "pad_side": "right", "segment": 0,
        "tokenizer": "tokenizer_tokenize.json", "truncation_side": "right",
    }  # fmt: skip
    assert params["rows"] == {"dtype": "fp32", "file": "table_rows.bin", "rows": 9, "width": 3}
    assert [name for name, _ in plan.files] == ["tokenizer_tokenize.json", "table_rows.bin"]


def test_the_record_says_which_words_were_cut(build):
    _, _, folder = build
    run = run_build(folder, {"prompt": "|0|a b b\ta b  b"}, device="reference").run
    assert run.notes == (
        "stage tokenize: the text is cut to 4 tokens; dropped from its end: 'b b'",
    )


def test_who_computes_nothing_and_who_tries_chunks_alone_run_them_too(build):
    """Ids that no chunk has made are 0 on the null device; what reads them is drawn for a trial."""
    _, _, folder = build
    plan = read_plan(folder)
    assert run_build(folder, device="null").run.peak_bytes > 0
    found = known_inputs(plan, folder)(plan.chunks[0].id)
    np.testing.assert_allclose(found["noise"], drawn(stream="iteration"), rtol=1e-6)
    assert "rows" not in found


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("pipeline.stages.rows.params.rows=8", r"rows\.params: .*is \[9, 3\], not rows x width"),
        ("pipeline.stages.rows.params.key=x", r"rows\.params\.key: no file of .* holds 'x'"),
        ("pipeline.stages.tokenize.params.tokenizer=none", "tokenize.params: there is no file"),
        ("pipeline.stages.rows.inputs.ids=walk.sum", r"rows\.inputs\.ids is fp32 \[1, 4, 3\]"),
        ("pipeline.stages.rows.inputs.ids=prompt", "ids: prompt is no whole tensor"),
    ],
)
def test_what_is_wrong_is_told_by_a_dry_run(build, change, message):
    folder, *_ = build
    with pytest.raises(ConfigError, match=message):
        compile_pipeline(
            ["+target=host", "pipeline=walk", "dry_run=true", change], config_dir=folder / "conf"
        )


def test_a_dry_run_names_what_the_build_will_have(build):
    folder, *_ = build
    dry = compile_pipeline(
        ["+target=host", "pipeline=walk", "dry_run=true"], config_dir=folder / "conf"
    ).plan
    assert dry.program == read_plan(folder / "build").program
    assert json.loads(dry.settings)["pipeline"]["stages"]["tokenize"]["params"]["tokenizer"] == (
        "words"
    )
