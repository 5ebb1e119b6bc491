"""`guidance=auto`, the hint of a refusal, and what options that harm the demo say."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

import entracte
from entracte import halves
from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.errors import ConfigError, DoesNotFit
from entracte.halves import _Way, chosen
from entracte.inspect import fidelity
from entracte.inspect.about import about, about_lines
from entracte.store.cache import Cache, cache_folder

DOCS = Path(__file__).parent.parent / "docs" / "techniques.md"
SMALL = ("target=iphone15pro", "sampler.steps=5", "pipeline.precision=fp32",
         "pipeline.stages.decode_space.map.size=1", "dry_run=true")  # fmt: skip
BETWEEN, ROOMY = "target.memory=22912KiB", "target.memory=24960KiB"
"""A budget that the batch's activations exceed and a half's do not, and one that holds both."""


def told(job):
    return json.loads(job.settings)["guidance"]


def auto(*words):
    return chosen(read(compose([*SMALL, "guidance=auto", *words])), Cache(cache_folder("auto")))


CHOICES = {
    "the faster": ((4.0, 0), (3.0, 0), "apart", "apart 3.00 s, together 4.00 s"),
    "one batch where both take as long": ((3.0, 0), (3.0, 0), "together", "together 3.00 s, apart"),
    "what fits": ((None, 2**21), (9.0, 0), "apart", "apart 9.00 s, together does not fit: it"),
    "what lacks least": ((None, 2**21), (None, 2**20), "apart", "apart does not fit: it needs"),
    "the only one": ((3.0, 0), None, "together", "together 3.00 s, the only way, under a"),
}


@pytest.mark.parametrize("case", CHOICES)
def test_auto_chooses(case, monkeypatch):
    together, apart, name, said = CHOICES[case]
    figures = {"together": together, "apart": apart}

    def way(job, name, *_):
        settings = json.dumps(json.loads(job.settings) | {"guidance": {"name": name}})
        found = figures[name]
        return None if found is None else _Way(name, replace(job, settings=settings), *found)

    monkeypatch.setattr(halves, "_way", way)
    job = auto()
    assert told(job)["name"] == name and told(job)["chosen"].startswith(said)


@pytest.mark.slow
def test_auto_is_apart_where_only_that_fits():
    job = auto(BETWEEN)
    assert job.guidance == told(job)["name"] == "apart"
    assert job.pipeline == read(compose([*SMALL, "guidance=apart", BETWEEN])).pipeline
    pattern = r"apart [\d.]+ s, together does not fit: it needs [\d.]+ MiB, under a budget of .*MiB"
    assert re.fullmatch(pattern, told(job)["chosen"])


@pytest.mark.slow
def test_auto_is_the_faster_one_where_both_fit():
    """Each compiled alone is the right value: with much memory one batch, whose calls are fewer."""
    seconds = {
        name: entracte.compile_pipeline([*SMALL, ROOMY, f"guidance={name}"]).dry_run_s
        for name in ("together", "apart")
    }
    assert seconds["together"] < seconds["apart"]
    built = entracte.compile_pipeline([*SMALL, ROOMY, "guidance=auto"])
    assert built.dry_run_s == pytest.approx(seconds["together"])
    lines = dict(about_lines(about(built.plan)))
    assert lines["halves"].startswith("of guidance: together ")
    assert "guidance=together" in lines["made by"] and "chosen" not in lines["made by"]


@pytest.mark.slow
def test_a_refusal_names_the_way_that_fits_and_no_other():
    with pytest.raises(DoesNotFit, match="or `guidance=apart`$"):
        entracte.compile_pipeline([*SMALL, BETWEEN])
    entracte.compile_pipeline([*SMALL, BETWEEN, "guidance=apart"])
    with pytest.raises(DoesNotFit) as refused:
        entracte.compile_pipeline([*SMALL, "target.memory=21120KiB"])
    assert "guidance" not in str(refused.value)


@pytest.mark.slow
def test_a_pipeline_without_two_halves_is_compiled_as_it_is():
    job = read(compose(["pipeline=flux_1_schnell", "target=iphone15pro", "guidance=auto"]))
    made = chosen(job, Cache(cache_folder("auto")))
    assert told(made)["name"] == "own" and "no guidance" in told(made)["chosen"]
    assert made.pipeline == job.pipeline


def test_a_pipeline_without_two_halves_refuses_them():
    words = ["pipeline=flux_1_schnell", "target=iphone15pro", "guidance=apart"]
    with pytest.raises(ConfigError, match="guidance=apart: a FluxPipeline has no guidance with"):
        read(compose(words))


WAYS = {
    ("sdxl_base", "apart"): ({"first", "second", "pooled"}, ()),
    ("sdxl_base", "interval"): ({"first", "second", "pooled"}, (0,)),
    ("wan_t2v_1_3b", "together"): (None, ()),
    ("stable_cascade", "apart"): ({"states", "pooled"}, ()),
    ("dit_xl_2", "interval"): ({"y"}, (0,)),
    ("open_sora", "interval"): ({"text"}, (1,)),
}


@pytest.mark.parametrize(("pipeline", "way"), WAYS)
def test_every_recipe_is_told_the_way(pipeline, way):
    """The half without the prompt rests: Open-Sora's is the second."""
    ports, rests = WAYS[pipeline, way]
    words = ["target=iphone15pro", f"pipeline={pipeline}", f"guidance={way}"]
    stages = read(compose(words)).pipeline.stages
    slices = [s.map for s in stages if s.map and s.op.rpartition(".")[2] in
              ("denoise", "imagine", "denoiser")]  # fmt: skip
    assert [set(m.ports) for m in slices] == ([] if ports is None else [ports])
    assert all(m.rests == rests for m in slices)


# ---------------------------------------------------------------- options that harm


def settings(**groups):
    return {"sampler": {"steps": 30, "evaluations": 30}, "pipeline": {"stages": {}}} | groups


LEAP = {"steps": 30, "evaluations": 16}
EARLY = {"name": "interval", "begin": 0, "end": 8}
RESTING = {"stages": {"denoise": {"reuse": {"at": {"every": 2}}}}}
TESTING = {"stages": {"denoise": {"reuse": {"at": {"change": 0.1}}}}}
HARM = {
    "plain": (settings(), ()),
    "leap": (settings(sampler=LEAP), ()),
    "early": (settings(guidance=EARLY), ()),
    "late": (settings(guidance=EARLY | {"begin": 3}), (fidelity.LATE,)),
    "merged": (settings(pipeline={"stages": {"d": {"functions": {"merged": 3}}}}),
               (fidelity.MERGING,)),
    "short": (settings(sampler=LEAP, guidance=EARLY | {"end": 6}), (fidelity.SHORT,)),
    "tested": (settings(sampler=LEAP, guidance=EARLY, pipeline=TESTING), (fidelity.TESTED,)),
    "test alone": (settings(guidance=EARLY, pipeline=TESTING), ()),
    "all": (settings(sampler=LEAP, guidance=EARLY, pipeline=RESTING), (fidelity.ALL,)),
    "anything": ({"sampler": 3, "pipeline": None, "guidance": []}, ()),
}  # fmt: skip


@pytest.mark.parametrize("case", HARM)
def test_options_that_harm_say_so(case):
    given, sentences = HARM[case]
    assert fidelity.harm_of(given) == ((*sentences, fidelity.ELSEWHERE) if sentences else ())


def test_their_figures_are_those_of_the_page():
    page = DOCS.read_text()
    for sentence in (
        fidelity.MERGING,
        fidelity.LATE,
        fidelity.SHORT,
        fidelity.ALL,
        fidelity.TESTED,
    ):
        for figure in re.findall(r"\d+\.\d(?= %| dB)|\b21\d\b", sentence):
            assert re.search(rf"\b{re.escape(figure)}\b", page), (figure, sentence)
