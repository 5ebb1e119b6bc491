"""`compile ... advise=true` on the demo in a tight budget; nothing is converted."""

import io

import pytest
from hydra import compose, initialize_config_module
from rich.console import Console

from entracte.advise import compressed
from entracte.cli.advise import show_advice
from entracte.declare.read import read
from entracte.lower.backend import CORE_ML
from entracte.store.cache import Cache, cache_folder
from entracte.trace.wire import trace_pipeline


def composed(*overrides):
    with initialize_config_module("entracte.conf", version_base="1.3"):
        return compose("compile", overrides=["+target=iphone15pro", *overrides])


@pytest.mark.slow
def test_the_table_of_the_demo_in_a_tight_budget(golden):
    """80 columns; the same in every process."""
    out = io.StringIO()
    show_advice(Console(file=out, width=80), composed("target.memory=24MiB"))
    text = out.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= 80
    golden.check(text)


@pytest.mark.slow
def test_nothing_fits_names_the_remedy():
    out = io.StringIO()
    show_advice(Console(file=out, width=80), composed("target.memory=21MiB"))
    assert "Nothing fits at 64x64; try `target.memory=" in " ".join(out.getvalue().split())


@pytest.mark.parametrize("compression", [pytest.param("int8", marks=pytest.mark.slow), "palette4"])
def test_derived_sizes_are_those_of_a_trace(compression):
    """Weight by weight; what is hoisted may differ, because it depends on the sizes."""
    cache = Cache(cache_folder("auto"))
    plain = trace_pipeline(read(composed()).pipeline, CORE_ML, cache=cache)
    job = read(composed(f"compression={compression}"))
    traced = trace_pipeline(job.pipeline, CORE_ML, cache=cache)
    for name, parts in traced.graphs.items():
        stage = traced.pipeline.stage(name)
        derived = [compressed(g, stage.precision, compression) for g in plain.graphs[name]]
        assert sizes(derived) == sizes(parts)


def sizes(graphs):
    return {w.name: w.size_bytes for g in graphs for w in g.weights}
