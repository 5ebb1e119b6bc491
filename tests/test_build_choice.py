"""Chunks are chosen again where packages need more than was traced."""

from dataclasses import replace

import pytest

import entracte.build as build
from entracte.build import Quiet
from entracte.decide.decide import decide_job
from entracte.declare.read import Job
from entracte.emit.host_files import look
from entracte.ir import Bundle, Compared, Package
from entracte.store.cache import Cache, cache_folder
from entracte.trace.weights import PipelineWeights
from tests.demo import job


class Converter:
    """Stands for conversion: packages need `factor` times the activations that were traced."""

    def __init__(self, factor: float) -> None:
        self.factor, self.partitions = factor, []

    def __call__(self, job: Job, traced, source, decision, shop) -> Bundle:
        chunks = decision.partition.chunks
        self.partitions.append(tuple(c.id for c in chunks))
        return Bundle(tuple(map(self.package, chunks)))

    def package(self, chunk) -> Package:
        return Package(
            chunk=chunk.id,
            path=f"packages/{chunk.id}.mlpackage",
            digest="0" * 64,
            file_bytes=chunk.weight_bytes,
            weight_bytes=chunk.weight_bytes,
            activation_bytes=int(self.factor * chunk.activation_bytes),
            precision="fp16",
            compression="none",
            inputs=chunk.inputs,
            outputs=chunk.outputs,
        )


@pytest.fixture(scope="module")
def traced(tmp_path_factory):
    made = job(tmp_path_factory.mktemp("choice"), "target.memory=24MiB", "sampler.steps=30",
               "verify=off")  # fmt: skip
    cache = Cache(cache_folder(made.cache))
    found, _ = build._trace(made, cache, Quiet())
    return made, replace(found, pipeline=look(made.pipeline, cache).into(found.pipeline))


def emitted(made, found, decision, aside, cache):
    """As `compile_job` does it."""
    files = build._write_files(look(made.pipeline, cache), found.constants, aside)
    source, shop = PipelineWeights(made.pipeline, cache), build._shop(made, aside, cache, Quiet())
    plan, _ = build._emit_and_plan(made, found, source, decision, files, shop, Quiet())
    return plan


@pytest.fixture(scope="module")
def slow(traced):
    """A decision that is not the best: all chunks are small, so there are many loads."""
    made, found = traced
    return decide_job(replace(made, chunk_bytes=150 * 2**10), found.measured)


def compiled(traced, tmp_path, monkeypatch, factor, first=None):
    made, found = traced
    converter = Converter(factor)
    monkeypatch.setattr(build, "_emit", converter)
    first = first or decide_job(made, found.measured)
    cache = Cache(cache_folder(made.cache))
    plan = emitted(made, found, first, tmp_path, cache)
    return made, first, plan, converter


def test_what_was_predicted_well_is_converted_once(traced, tmp_path, monkeypatch):
    _, first, plan, converter = compiled(traced, tmp_path, monkeypatch, 1.0)
    assert len(converter.partitions) == 1
    assert plan.chunks == first.partition.chunks


def test_another_partition_is_taken_where_it_is_faster(traced, slow, tmp_path, monkeypatch):
    made, first, plan, converter = compiled(traced, tmp_path, monkeypatch, 1.1, slow)
    assert len(converter.partitions) > 1
    stuck = build._scheduled(made, first, Converter(1.1)(made, None, None, first, None))
    assert plan.forecast.makespan_s < 0.98 * stuck.makespan_s
    assert tuple(c.id for c in plan.chunks) in converter.partitions


def test_another_partition_is_taken_where_the_first_does_not_fit(traced, tmp_path, monkeypatch):
    made, first, plan, converter = compiled(traced, tmp_path, monkeypatch, 1.4)
    assert len(converter.partitions) == 2
    assert plan.chunks != first.partition.chunks
    assert plan.forecast.peak_bytes <= made.target.budget_bytes


def test_the_best_of_all_attempts_is_kept(traced, slow, tmp_path, monkeypatch):
    """If what was learnt leads to something slower, the first packages are linked again."""
    made, found = traced
    converter = Converter(1.1)
    monkeypatch.setattr(build, "_emit", converter)
    stuck, good = slow, decide_job(made, found.measured)
    before = build._scheduled(made, good, converter(made, None, None, good, None))
    promised = iter([stuck])
    monkeypatch.setattr(build, "_decided_again", lambda *_: next(promised, None))
    cache = Cache(cache_folder(made.cache))
    converter.partitions.clear()
    plan = emitted(made, found, good, tmp_path, cache)
    assert plan.forecast.makespan_s == pytest.approx(before.makespan_s)
    names = [tuple(c.id for c in x.partition.chunks) for x in (good, stuck, good)]
    assert converter.partitions == names


def test_chunks_that_were_chosen_again_are_compared_too(traced, tmp_path, monkeypatch):
    """What is recorded for the comparison is of a plan that agrees with its packages."""
    from entracte.emit import bundle
    from entracte.verify import recorded

    made, found = traced
    converter, plans = Converter(1.4), []
    monkeypatch.setattr(build, "_emit", converter)
    monkeypatch.setattr(recorded, "record_inputs", lambda plan, *_: plans.append(plan))

    def compare_all(_, chunks, *__, known, **___):
        known([])
        found = (Compared(chunk=c.id, of=c.id, floor_db=40.0, why="a test") for c in chunks)
        return tuple(found), False

    monkeypatch.setattr(bundle, "compare_all", compare_all)
    cache = Cache(cache_folder(made.cache))
    first = decide_job(made, found.measured)
    emitted(replace(made, verify=True), found, first, tmp_path, cache)
    assert len(converter.partitions) > 1
    assert plans and plans[0].built
