"""What was chosen becomes words; none of them leads out of the folder or says how to work."""

import os
import shlex

import pytest

from entracte.declare.compose import compose
from entracte.errors import ConfigError
from entracte.ui.controls import groups
from entracte.ui.places import Root
from entracte.ui.words import Chosen, Words, line

HOST = {"target": "host"}


@pytest.fixture(scope="module")
def words(tmp_path_factory):
    return Words(Root.of(tmp_path_factory.mktemp("root")), groups())


def test_only_what_differs_is_said(words):
    files = {g.name: g.chosen for g in groups()} | HOST
    assert words.of(Chosen(files, {"sampler.steps": "", "target.memory": " "})) == ("target=host",)
    made = words.of(Chosen(HOST | {"policy": "online"}, {"target.memory": "24MiB"}, "verify=off"))
    assert made == ("target=host", "policy=online", "target.memory=24MiB", "verify=off")


TYPED = {
    "target.memory": ("3.3GB", "3.3GB"),
    "pipeline.weights": ("my models/a=b, c's", "my models/a=b, c's"),
    "pipeline.lora_class": ("~a", "~a"),
    "sampler.steps": ("null", None),
    "sampler.evaluations": ("12", 12),
    "target.settle_fraction": ("3e-2", 0.03),
    "policy.retain": ("false", False),
    "verify": ("off", "off"),
}
"""Key -> what is typed, what holds then."""


def test_hydra_reads_what_was_typed(words):
    """The right value is what the command itself composes of the line."""
    from omegaconf import OmegaConf

    # Not checked: `~a` could be somebody's home.
    made = [*words._files(HOST), *words._values({k: typed for k, (typed, _) in TYPED.items()})]
    config = compose(shlex.split(line(made)))
    found = {key: OmegaConf.select(config, key) for key in TYPED}
    assert found == {key: holds for key, (_, holds) in TYPED.items()}


def test_only_keys_of_the_page_are_taken(words):
    with pytest.raises(ConfigError, match="no key of the page"):
        words.of(Chosen(HOST, {"target.title": "x"}))


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        (Chosen({}, {}), "target: choose one of .*host"),
        (Chosen({"target": "../x"}, {}), "no such file"),
        (Chosen(HOST, {"sampler.steps": "many"}), "'many' is no number; e.g. 30"),
        (Chosen(HOST, {"policy.driver": "mine"}), "policy.driver: one of gates, online, best"),
        (Chosen(HOST, {}, "hydra.run.dir=/tmp"), "hydra.run.dir says how to work"),
        (Chosen(HOST, {}, "out=/tmp/x"), "out says how to work"),
        (Chosen(HOST, {}, "+allow_packages=[os]"), "allow_packages says how to work"),
        (Chosen(HOST, {}, "cache=/tmp"), "cache says how to work"),
        (Chosen(HOST, {}, "--config-dir /tmp"), "'--config-dir' is no KEY=VALUE"),
        (Chosen(HOST, {}, "pipeline@x=tiny_t2v"), "is no KEY=VALUE"),
        (Chosen(HOST, {}, "pipeline=../../x"), "pipeline=../../x: of "),
        (Chosen(HOST, {}, "'open"), "close the quote"),
        (Chosen(HOST, {"pipeline.weights": "/etc"}), "pipeline.weights: '/etc' is outside"),
        (Chosen(HOST, {"pipeline.weights": "../up"}), "outside"),
        (Chosen(HOST, {"pipeline.weights": "a/../../up"}), "outside"),
        (Chosen(HOST, {"pipeline.weights": "~root"}), "outside"),
        (Chosen(HOST, {"pipeline.weights": "package:os/x"}), "is for the terminal"),
        (Chosen(HOST, {}, "pipeline.lora=[{file:/etc/x}]"), "pipeline.lora.0.file: .* outside"),
        (Chosen(HOST, {}, "+pipeline.stages.denoise.weights=/etc"), "stages.denoise.weights"),
        (Chosen(HOST, {}, "'+pipeline.over={stages: {a: {weights: /etc}}}'"), "over.stages.a.weig"),
        (Chosen(HOST, {}, "'pipeline.title=${oc.env:HOME}'"), "is for the terminal"),
        (Chosen(HOST, {}, " ".join(["verify=off"] * 201)), "201 words"),
    ],
)
def test_what_is_refused(words, chosen, told):
    with pytest.raises(ConfigError, match=told):
        words.of(chosen)


def test_links_out_of_the_folder_are_refused_and_own_folders_are_not(words, tmp_path):
    outside, root = tmp_path, words._root
    (root.folder / "good").mkdir()
    assert words.of(Chosen(HOST, {"pipeline.weights": "good"})) == (
        "target=host", "pipeline.weights=good",
    )  # fmt: skip
    assert words.of(Chosen(HOST, {"pipeline.weights": str(root.folder / "good")}))
    os.symlink(outside, root.folder / "out")
    with pytest.raises(ConfigError, match="outside"):
        words.of(Chosen(HOST, {"pipeline.weights": "out"}))
    os.symlink(outside, root.folder / "good" / "deep")
    with pytest.raises(ConfigError, match="a link out"):
        words.of(Chosen(HOST, {"pipeline.weights": "good"}))


def test_what_holds_is_told(words):
    """Of the targets' own files."""
    held = words.held(Chosen({"target": "host", "compression": "int8"}, {}))
    assert held["policy.driver"] == "best" and held["sampler.steps"] == "30"
    assert held.keys() == words.controls.keys()
