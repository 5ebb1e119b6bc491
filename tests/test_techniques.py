"""Leaps and token merging: builds verify, every function of them; the arithmetic of the bench."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module

import entracte.emit.make
from entracte.compile.job import compile_job
from entracte.declare.read import read
from entracte.plan.file import read_plan
from entracte.run.execute import execute, make_device
from entracte.verify.verify import verify_plan
from tools.bench_techniques import clip_path, prompt_order
from tools.eval_tiny import ATTRIBUTES
from tools.technique_flops import flops_lines, step_flops
from tools.techniques_table import (
    Clips,
    growth_lines,
    loop_of,
    loop_packages,
    make_row,
    predicted_loop_s,
    psnr_db,
    psnr_summary,
    quality_table,
    weight_file_bytes,
)
from tools.train_tiny.world import COMBINATIONS, draw

MERGED = "+pipeline.stages.denoise.functions.merged=2"
AT_ONCE = ("sampler.leap.tolerance=2", "sampler.leap.patience=1", "sampler.leap.minimum=1")
"""No cosine beats zero by 2: the leap comes at step 1, the second of three."""


def built(folder: Path, *overrides: str) -> Path:
    given = ["+target=iphone15pro", "sampler.steps=3", f"out={folder}", *overrides]
    with initialize_config_module("entracte.conf", version_base="1.3"):
        job = read(compose("compile", overrides=given))
    compile_job(job)
    return folder


@pytest.fixture(scope="session")
def merged(tmp_path_factory):
    return built(tmp_path_factory.mktemp("merged") / "build", MERGED)


@pytest.fixture(scope="session")
def adaptive(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adaptive") / "build"
    return built(folder, "sampler=lpl_adaptive", *AT_ONCE)


def verified(folder: Path):
    plan = read_plan(folder)
    return verify_plan(plan, folder, make_device("reference", plan), {"seed": 1})


# ---------------------------------------------------------------- verification


def test_a_merged_build_passes_with_both_functions(merged, monkeypatch):
    called = set()
    real = entracte.emit.make.chunk_module

    def noted(traced, chunk, tensors, function="main"):
        called.add((chunk.id, function))
        return real(traced, chunk, tensors, function)

    monkeypatch.setattr(entracte.emit.make, "chunk_module", noted)
    result = verified(merged)
    assert result.passed, result
    assert {("denoise.00", "main"), ("denoise.00", "merged")} <= called
    # The first call of each function is compared.
    assert next(c.calls for c in result.chunks if c.chunk == "denoise.00") == 2


def test_a_function_that_computes_something_else_fails(merged, monkeypatch):
    """`merged` held against the source of `main`: only that chunk is found wrong."""
    real = entracte.emit.make.chunk_module
    monkeypatch.setattr(
        entracte.emit.make,
        "chunk_module",
        lambda traced, chunk, tensors, _: real(traced, chunk, tensors),
    )
    result = verified(merged)
    assert [c.chunk for c in result.chunks if not c.passed] == ["denoise.00"]


def test_an_adaptive_build_passes_and_ends_early(adaptive):
    result = verified(adaptive)
    assert result.passed, result
    plan = read_plan(adaptive)
    assert loop_of(plan).until is not None
    run = execute(plan, adaptive, make_device("reference", plan), {"seed": 1}).run
    assert dict(run.iterations) == {"sample": 2}


def test_the_merged_function_shares_the_weights(whole, merged):
    before = {p.chunk: p for p in read_plan(whole).packages}
    after = {p.chunk: p for p in read_plan(merged).packages}
    (both,) = [p for p in after.values() if p.functions != ("main",)]
    assert (both.chunk, both.functions) == ("denoise.00", ("main", "merged"))
    # All else is the same package, byte for byte.
    assert {c for c in after if after[c].digest != before[c].digest} == {"denoise.00"}
    old = weight_file_bytes(whole / before["denoise.00"].path)
    new = weight_file_bytes(merged / both.path)
    # Less is possible: merging functions also drops what `main` held twice.
    assert 0.99 * old < new < 1.01 * old
    assert old > 1e6
    lines = growth_lines(read_plan(whole), read_plan(merged), (whole, merged))
    assert [line.split(":")[0] for line in lines] == ["denoise.00"]
    assert f"weights {new - old:+d} " in lines[0]


# ---------------------------------------------------------------- the table's arithmetic


def test_psnr_of_known_errors():
    a = np.full((2, 2, 2, 3), 100, np.uint8)
    # An error of 1 everywhere: 20 log10(255).
    assert psnr_db(a, a + 1) == pytest.approx(48.1308, abs=1e-4)
    # 255 against 0 wraps in uint8; here it is the largest error there is.
    assert psnr_db(np.zeros_like(a), np.full_like(a, 255)) == 0
    assert psnr_db(a, a) == math.inf


def test_equal_clips_are_counted_apart_from_the_mean():
    a = np.full((3, 2, 2, 2, 3), 100, np.uint8)
    b = a.copy()
    b[1] += 1
    b[2] += 10
    mean, least, equal = psnr_summary(a, b)
    assert (mean, least, equal) == (pytest.approx(38.1308, abs=1e-4), pytest.approx(28.1308), 1)
    assert psnr_summary(a, a) == (math.inf, math.inf, 3)


def test_predicted_time_is_the_sum_of_the_functions_called(merged):
    plan = read_plan(merged)
    facts = {f.id: f for f in plan.facts}
    denoise, step = facts["denoise.00"], facts["step.00"]
    first = denoise.exec_of("merged") + step.exec_s
    assert denoise.exec_of("merged") < denoise.exec_of("main")
    assert predicted_loop_s(plan, 1) == pytest.approx(first)
    # The chunk that stays loaded is loaded again for `main`.
    last = denoise.load_s + denoise.exec_s + step.exec_s
    assert predicted_loop_s(plan, 3) == pytest.approx(2 * first + last)
    assert {p.chunk for p in loop_packages(plan)} == {"denoise.00", "step.00"}


def test_a_plan_that_streams_has_no_such_sum(merged):
    plan = read_plan(merged)
    # Of the loop's two chunks only one fits at a time.
    large = {"denoise.00", "step.00"}
    facts = tuple(replace(f, weight_bytes=10**9) if f.id in large else f for f in plan.facts)
    schedule = replace(plan.schedule, driver="online", kept=(), budget_bytes=15 * 10**8)
    streaming = replace(plan, facts=facts, schedule=schedule)
    with pytest.raises(ValueError, match="chunks are loaded inside the loop"):
        predicted_loop_s(streaming, 3)


def test_a_row_says_what_was_measured(merged):
    plan = read_plan(merged)
    cells = COMBINATIONS[:6]
    drawn, _ = draw(list(cells), np.random.default_rng(0))
    frames = (drawn * 255).round().astype(np.uint8)
    reference = Clips(frames, (3,) * 6)
    spoilt = frames.copy()
    spoilt[1] = 0
    other = Clips(spoilt, (2, 2, 3, 3, 3, 3))
    base = make_row(
        "plain", plan, cells, reference, reference, [(2.0, 0.5), (4.0, 0.5), (3.0, 0.5)]
    )
    row = make_row("other", plan, cells, other, reference, [(1.5, 0.4)])
    assert (base.psnr_mean_db, base.loop_s, base.loop_cpu_s) == (None, 3.0, 0.5)
    assert (row.equal_clips, row.evaluations) == (5, pytest.approx(16 / 6))
    part = "held_out" if cells[1].held_out else "seen"
    assert base.accuracy[part]["all"] == 1
    assert row.accuracy[part]["all"] == pytest.approx(1 - 1 / row.accuracy[part]["clips"], abs=1e-4)
    assert set(ATTRIBUTES) <= set(row.accuracy[part])
    lines = quality_table([base, row])
    assert "| 3 s (1.00x) | 0.5 s (1.00x) |" in lines[2]
    assert "| 1.5 s (2.00x) | 0.4 s (1.25x) |" in lines[3] and "5 equal" in lines[3]


def test_prompts_come_in_a_fixed_mixed_order():
    order = prompt_order()
    assert sorted(order) == list(range(len(COMBINATIONS)))
    some = [COMBINATIONS[i] for i in order[:48]]
    for attribute in ATTRIBUTES:  # an even choice has every value of every attribute
        values = {getattr(c, attribute) for c in COMBINATIONS}
        assert {getattr(c, attribute) for c in some} == values
    assert any(c.held_out for c in some) and not all(c.held_out for c in some)


def test_clips_are_filed_by_what_made_them(whole, merged):
    paths = {clip_path(f, read_plan(f), 7).parent.name for f in (whole, merged)}
    assert len(paths) == 2


def test_flops_of_a_step(whole, merged):
    one, two = (step_flops(read_plan(f)) for f in (whole, merged))
    assert (one.body, one.once, one.schedule) == (two.body, two.once, two.schedule)
    assert one.merged == one.body > two.merged > 0
    assert one.repeated == one.body + one.once + one.schedule
    text = "\n".join(flops_lines(read_plan(merged), two, pairs=3))
    assert f"{two.body / 1e9:.1f}" in text and "64 x 64 x 16" in text
