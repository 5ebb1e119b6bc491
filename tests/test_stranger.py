"""What a plan or a configuration may not do: read the environment, import, choose places."""

import json
import sys
from dataclasses import dataclass, replace
from types import SimpleNamespace

import pytest

from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.errors import ConfigError, PlanError
from entracte.verify.source import Origin, check_settings, job_of

SECRET = "do-not-tell"


@pytest.fixture
def recorded() -> dict:
    """The settings of a plan of the demo."""
    return json.loads(read(compose(["+target=host"])).settings)


def plan_of(settings: object) -> SimpleNamespace:
    return SimpleNamespace(settings=json.dumps(settings))


@dataclass
class Trap:
    """A package that says so when it is imported."""

    name: str
    root: object

    @property
    def sprung(self) -> bool:
        return self.name in sys.modules


@pytest.fixture
def trap(tmp_path, monkeypatch):
    package = tmp_path / "site" / "entracte_trap"
    (package / "weights").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "weights" / "secret").write_text("x")
    monkeypatch.syspath_prepend(str(tmp_path / "site"))
    yield Trap("entracte_trap", package)
    sys.modules.pop("entracte_trap", None)


# ---------------------------------------------------------------- configurations


@pytest.mark.parametrize(
    "value",
    [
        "${oc.env:ENTRACTE_SECRET}",
        "a ${oc.env:ENTRACTE_SECRET,none} b",
        "${oc.decode:${oc.env:ENTRACTE_SECRET}}",
        "${hydra:runtime.cwd}",
        "${now:%Y}",
        "${python_version:}",
        "${their_own:}",
    ],
)
@pytest.mark.parametrize("key", ["pipeline.title", "out", "pipeline.stages.text.params.preset"])
def test_nothing_outside_a_configuration_lands_in_a_plan(value, key, monkeypatch):
    from omegaconf import OmegaConf

    monkeypatch.setenv("ENTRACTE_SECRET", SECRET)
    OmegaConf.register_new_resolver("their_own", lambda: SECRET, replace=True)
    config = compose(["+target=host", "dry_run=true"])
    OmegaConf.update(config, key, value)
    with pytest.raises(ConfigError, match=f"{key}: .*outside the configuration") as caught:
        read(config)
    assert SECRET not in str(caught.value)
    # Other Hydra applications in this process keep theirs.
    assert OmegaConf.create({"a": "${oc.env:ENTRACTE_SECRET}"}).a == SECRET
    OmegaConf.clear_resolver("their_own")


def test_a_configuration_may_look_at_itself():
    title = "pipeline.title='${oc.select:target.name} ${sampler.steps}'"
    job = read(compose(["+target=host", "sampler.steps=3", title]))
    assert job.pipeline.title == "host 3"


def test_a_text_that_would_be_looked_up_later_is_refused():
    from omegaconf import OmegaConf

    config = compose(["+target=host"])
    OmegaConf.update(config, "pipeline.title", r"\${oc.env:HOME}")
    with pytest.raises(ConfigError, match="holds `"):
        read(config)


def test_packages_are_imported_only_if_allowed(trap):
    words = ["+target=host", f"pipeline.weights=package:{trap.name}/weights"]
    with pytest.raises(ConfigError, match=r"allow_packages=\[entracte_trap\]"):
        read(compose(words))
    with pytest.raises(ConfigError, match="imports the package 'entracte_trap'"):
        read(compose([
            "+target=host", "pipeline.weights=random:0",
            f"+pipeline.stages.tokenize.params.stand_in=package:{trap.name}/weights",
        ]))  # fmt: skip
    with pytest.raises(ConfigError, match=r"stages.text.weights: .* imports the package"):
        read(compose([
            "+target=host", f"+pipeline.stages.text.weights=package:{trap.name}/weights",
        ]))  # fmt: skip
    assert not trap.sprung
    job = read(compose([*words, "allow_packages=[entracte_trap]"]))
    assert "allow_packages" not in job.settings


def test_a_package_place_stays_inside_the_package(trap):
    from entracte.disk.places import weights_folder

    assert weights_folder(f"package:{trap.name}/weights") == trap.root / "weights"
    (trap.root / "link").symlink_to("/etc")
    for inner in ("../..", "weights/../..", "/etc", "link"):
        with pytest.raises(ConfigError, match="in the package"):
            weights_folder(f"package:{trap.name}/{inner}")
    with pytest.raises(ConfigError, match="give a path"):
        weights_folder("package:no_such_package_at_all/x")


# ---------------------------------------------------------------- plans


def test_a_plan_of_ours_is_verified_as_it_is(recorded):
    assert job_of(plan_of(recorded)).pipeline.weights.startswith("package:entracte.")


def test_what_a_plan_shows_is_what_its_settings_say(recorded):
    job = job_of(plan_of(recorded))
    program = SimpleNamespace(inputs=job.pipeline.inputs, outputs=job.pipeline.outputs)
    fine = SimpleNamespace(
        target=job.target,
        schedule=SimpleNamespace(policy=job.policy),
        pipeline=job.pipeline.name,
        title=job.pipeline.title,
        program=program,
    )
    check_settings(fine, job)
    for name, other, told in (
        ("target", replace(job.target, contention=2.5), "its target"),
        ("schedule", SimpleNamespace(policy=replace(job.policy, name="x")), "its policy"),
        ("pipeline", "other", "its pipeline's name"),
        ("title", "other", "its title"),
        ("program", SimpleNamespace(**vars(program) | {"inputs": ()}), "its inputs"),
        ("program", SimpleNamespace(**vars(program) | {"outputs": ()}), "its outputs"),
    ):
        wrong = SimpleNamespace(**vars(fine) | {name: other})
        with pytest.raises(PlanError, match=f"{told} and the settings .* differ"):
            check_settings(wrong, job)


@pytest.mark.parametrize("place", ["/etc", "~/x", "build/../..", "package:entracte_trap/weights"])
def test_weights_are_said_anew(recorded, trap, tmp_path, place):
    recorded["pipeline"]["weights"] = place
    with pytest.raises(PlanError, match="--weights FOLDER"):
        job_of(plan_of(recorded))
    assert not trap.sprung
    job = job_of(plan_of(recorded), Origin(weights=str(tmp_path)))
    assert job.pipeline.weights == str(tmp_path)


@pytest.fixture
def with_model(recorded, tmp_path) -> dict:
    """The same with a stage that reads a file, and such a file inside and outside a folder."""
    for place in ("mine/m.onnx", "mine/sub/m.onnx", "secret.onnx"):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).write_bytes(b"x")
    (tmp_path / "mine" / "link.onnx").symlink_to(tmp_path / "secret.onnx")
    (tmp_path / "sub").write_bytes(b"x")  # where the command runs; in the folder it is another
    stage = {"graph": "onnx", "params": {"file": "m.onnx"}, "inputs": {"z": "sample.z"}}
    recorded["pipeline"]["stages"]["model"] = stage
    return recorded


@pytest.mark.parametrize(
    "file", ["/etc/passwd", "../secret.onnx", "sub/../../secret.onnx", "link.onnx", "none.onnx",
             "sub", "~/m.onnx", "{outside}"]
)  # fmt: skip
def test_a_plan_does_not_say_which_file_a_graph_reads(with_model, tmp_path, monkeypatch, file):
    monkeypatch.chdir(tmp_path)
    file = file.format(outside=tmp_path / "secret.onnx")
    with_model["pipeline"]["stages"]["model"]["params"]["file"] = file
    for origin in (Origin(), Origin(weights=str(tmp_path / "mine"))):
        with pytest.raises(PlanError, match="stage model reads the file .* `--weights FOLDER`"):
            job_of(plan_of(with_model), origin)


def test_a_file_in_the_folder_that_the_user_names_is_read(with_model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path / "mine")
    folder = tmp_path / "mine"
    for file in ("m.onnx", "sub/m.onnx", str(folder / "m.onnx")):
        with_model["pipeline"]["stages"]["model"]["params"]["file"] = file
        job_of(plan_of(with_model), Origin(weights=str(folder)))
        with_model["pipeline"]["weights"] = "random:0"
        with pytest.raises(PlanError, match="stage model reads the file"):
            job_of(plan_of(with_model))


def test_local_settings_of_a_plan_are_not_done(recorded, tmp_path):
    recorded |= {
        "cache": str(tmp_path / "theirs"), "out": str(tmp_path / "out"), "workers": 999,
        "dry_run": True, "allow_packages": ["os"], "cache_limit": "0",
    }  # fmt: skip
    job = job_of(plan_of(recorded), Origin(cache=str(tmp_path / "mine")))
    assert job.cache == str(tmp_path / "mine") and job.out is None and job.workers < 999
    assert not list(tmp_path.iterdir())
    assert job_of(plan_of(recorded)).cache == "auto"


@pytest.mark.parametrize("key", ["title", "name", "output"])
def test_a_plan_looks_nothing_up(recorded, monkeypatch, key):
    monkeypatch.setenv("ENTRACTE_SECRET", SECRET)
    recorded["pipeline"][key] = "${oc.env:ENTRACTE_SECRET}"
    with pytest.raises(PlanError, match="nothing is looked up"):
        job_of(plan_of(recorded))


def test_graphs_of_other_packages_run_only_if_allowed(recorded, monkeypatch):
    point = SimpleNamespace(name="their.graph", value="their_package.build:make")
    monkeypatch.setattr("entracte.graphs.contributions.entry_points", lambda group: [point])
    recorded["pipeline"]["stages"]["text"]["graph"] = "their.graph"
    with pytest.raises(PlanError, match="--allow-package their_package"):
        job_of(plan_of(recorded))
    job_of(plan_of(recorded), Origin(packages=("their_package",)))


@pytest.mark.parametrize(
    "settings",
    [
        "", [], {}, 3, {"pipeline": 3}, {"pipeline": {"stages": [], "weights": ""}},
        {"pipeline": {"stages": {"a": 1}, "weights": ""}},
        {"pipeline": {"stages": {}, "weights": "random:0", "stray": 1}},
        {"pipeline": {"stages": {}, "weights": "random:0"}, "target": {"memory": [1]}},
    ],
)  # fmt: skip
def test_settings_that_are_none_are_one_message(settings):
    with pytest.raises((PlanError, ConfigError)):
        job_of(plan_of(settings))
    with pytest.raises(PlanError):
        job_of(SimpleNamespace(settings="[" * 100_000))
