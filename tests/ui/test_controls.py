"""Controls come from conf/ and the schema: what is added there is on the page."""

from dataclasses import fields
from pathlib import Path

import yaml

from entracte.declare.settings import LOCAL, CompileSettings
from entracte.ui.controls import FIRST, defaults, groups, others

CONF = Path(__file__).parents[2] / "conf"


def test_groups_are_the_folders_of_conf_with_all_their_files():
    found = {g.name: g.choices for g in groups()}
    folders = {p.name for p in CONF.iterdir() if p.is_dir() and any(p.glob("*.yaml"))}
    assert found.keys() == folders
    for name, choices in found.items():
        assert sorted(choices) == sorted(p.stem for p in (CONF / name).glob("*.yaml"))


def test_own_files_are_offered_too(tmp_path):
    (tmp_path / "target").mkdir()
    (tmp_path / "target" / "mine.yaml").write_text("name: mine\n")
    (target,) = (g for g in groups([tmp_path]) if g.name == "target")
    assert "mine" in target.choices


def test_what_is_taken_without_a_word_is_what_compile_yaml_says():
    body = yaml.safe_load((CONF / "compile.yaml").read_text())
    pairs = [p for p in body["defaults"] if isinstance(p, dict)]
    said = {k: v for p in pairs for k, v in p.items() if " " not in k}
    assert defaults() == said
    chosen = {g.name: g.chosen for g in groups()}
    assert chosen["target"] == "" and chosen["pipeline"] == said["pipeline"]


def test_keys_of_one_value_have_a_control_and_others_have_none():
    kinds = {c.place: c.kind for g in groups() for c in g.controls}
    assert kinds["target.memory"] == kinds["partition.chunk_bytes"] == "text"
    assert kinds["sampler.steps"] == kinds["target.contention"] == "number"
    assert kinds["policy.retain"] == "flag"
    assert kinds["policy.driver"] == kinds["pipeline.precision"] == "choice"
    for several in ("pipeline.stages", "target.efficiency", "pipeline.lora", "target.sources"):
        assert several not in kinds
    assert not [c for g in groups() for c in g.controls if not c.means or not c.example]


def test_what_stands_open_exists_and_nothing_local_is_offered():
    places = {c.place for g in groups() for c in g.controls} | {c.place for c in others()}
    assert set(FIRST) <= places
    assert not places & set(LOCAL)
    assert {p.partition(".")[0] for p in places} <= {f.name for f in fields(CompileSettings)}
