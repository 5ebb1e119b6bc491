"""`import entracte`: light, its names its own, its documentation true, its faults one message."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from hydra import compose, initialize_config_module
from hydra.core.global_hydra import GlobalHydra
from PIL import Image

import entracte
from entracte.declare.host_ops import random_normal
from tests.noise import build, conf
from tests.test_imports import ROOMS

ROOT = Path(__file__).parent.parent
HEAVY = [
    "torch", "coremltools", "transformers", "diffusers", "numpy", "scipy", "hydra", "omegaconf",
    "rich", "typer", "networkx", "PIL", "av", "safetensors", "tokenizers",
]  # fmt: skip


def python(script: str, cwd: Path = ROOT) -> str:
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_it_imports_nothing_heavy():
    script = f"import entracte, sys; print([m for m in {HEAVY!r} if m in sys.modules])"
    assert python(script).strip() == "[]"


def test_reading_a_plan_needs_no_torch(noise):
    script = (
        f"import entracte, sys; plan = entracte.read_plan({str(noise)!r}); "
        "print(plan.title, [m for m in ('torch', 'coremltools', 'hydra') if m in sys.modules])"
    )
    assert python(script).strip() == "Noise of a seed []"


def test_its_names_are_still_its_own_after_every_room_was_imported():
    """Importing a room sets it on the package: no name of the door may be a room's."""
    script = f"""
import importlib, json, entracte

def places():
    values = {{name: getattr(entracte, name) for name in entracte.__all__ if name[0] != "_"}}
    return {{name: f"{{v.__module__}}.{{v.__qualname__}}" for name, v in values.items()}}

before = places()
for room in {ROOMS!r}:
    importlib.import_module("entracte." + room)
assert places() == before
print(json.dumps(before))
"""
    places = json.loads(python(script))
    assert not set(entracte.__all__) & set(ROOMS)
    assert places["compile_pipeline"] == "entracte.compile.job.compile_pipeline"
    assert places["run_build"] == "entracte.run.execute.run_build"
    assert places["Model"] == "entracte.reference.model.Model"


def test_all_it_promises_is_there_and_documented():
    assert sorted(entracte.__all__) == entracte.__all__
    for name in entracte.__all__:
        value = getattr(entracte, name)
        assert name in dir(entracte)
        assert name == "__version__" or (value.__doc__ and not value.__doc__.startswith(name + "("))
    with pytest.raises(AttributeError, match="no attribute 'compile_pipline'"):
        entracte.compile_pipline  # noqa: B018 - the access is what is tested


def test_one_version():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert entracte.__version__ == project["version"]


# ---------------------------------------------------------------- what its functions do

SHAPE = (1, 3, 2, 4, 6)


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    return build(tmp_path_factory.mktemp("noise"), SHAPE)


def test_overrides_mean_what_they_mean_on_the_command_line(noise, tmp_path):
    """The same plan as the command writes, but for nothing; and a folder of one's own."""
    folder = conf(tmp_path / "my conf", SHAPE)
    words = ["+target=host", "pipeline=noise", "target.memory=1GiB"]
    made = entracte.compile_pipeline(words, out=tmp_path / "door", config_dir=folder)
    command = [sys.executable, "-m", "entracte", "compile", "--config-dir", str(folder)]
    done = subprocess.run(
        [*command, *words, "out=command"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert made.folder == tmp_path / "door"
    written = [(tmp_path / n / "plan.json").read_bytes() for n in ("door", "command")]
    assert written[0] == written[1]
    assert made.plan == entracte.read_plan(str(tmp_path / "door"))
    assert made.plan.target.memory_bytes == 2**30


def test_a_run_gives_the_documented_noise(noise):
    seen = []
    outcome = entracte.run_build(
        noise, {"seed": 8}, device="reference", progress=lambda *step: seen.append(step)
    )
    np.testing.assert_array_equal(outcome.output, random_normal(8, SHAPE))
    assert isinstance(outcome, entracte.Outcome) and outcome.run.device == "reference"
    assert seen and seen[-1][2] == 1
    default = entracte.run_build(str(noise), device="reference")
    np.testing.assert_array_equal(default.output, random_normal(3, SHAPE))


def test_a_plan_is_verified_before_its_packages(noise):
    """Sound, and with no package to compare; the plan file stays what it was."""
    before = (noise / "plan.json").read_bytes()
    told = []
    found = entracte.verify_build(noise, sound=lambda plan, proof: told.append((plan, proof)))
    assert found.passed and found.chunks == () and found.whole is None
    [(plan, proof)] = told
    assert plan == entracte.read_plan(noise)
    assert proof == entracte.check_plan(plan)
    # fp32 numbers of the noise, and nothing else.
    assert proof.peak_bytes == 4 * np.prod(SHAPE)
    assert (noise / "plan.json").read_bytes() == before


def test_a_damaged_plan_is_never_run(noise, tmp_path):
    (tmp_path / "plan.json").write_text((noise / "plan.json").read_text().replace("Noise", "Nose"))
    for use in (entracte.read_plan, entracte.run_build, entracte.verify_build):
        with pytest.raises(entracte.PlanError, match="changed since it was written"):
            use(tmp_path)


def test_faults_are_one_message(noise, tmp_path):
    with pytest.raises(entracte.ConfigError, match="no target: .* one of host, ipad_m4"):
        entracte.compile_pipeline(["dry_run=true"])
    with pytest.raises(entracte.ConfigError, match="target=iphone99: .*iphone15pro"):
        entracte.compile_pipeline(["+target=iphone99"])
    with pytest.raises(entracte.ConfigError, match="target.memory: '' is not a size"):
        entracte.compile_pipeline(["+target=host", "target.memory="])
    with pytest.raises(entracte.ConfigError, match=r"configuration: .*steps: \[1"):
        entracte.compile_pipeline(["+target=host", "sampler.steps: [1"])
    with pytest.raises(entracte.ConfigError, match="configuration: .*'many'"):
        entracte.compile_pipeline(["+target=host", "sampler.steps=many"])
    with pytest.raises(entracte.ConfigError, match="configuration: .*multirun"):
        entracte.compile_pipeline(["+target=host", "sampler.steps=2,3"])
    with pytest.raises(entracte.ConfigError, match="configuration: .*memroy"):
        entracte.compile_pipeline(["+target=host", "target.memroy=1GiB"])
    with pytest.raises(entracte.ConfigError, match="advise=true: only the command"):
        entracte.compile_pipeline(["+target=host", "advise=true"])
    with pytest.raises(entracte.ConfigError, match="config_dir: there is no folder"):
        entracte.compile_pipeline(["+target=host"], config_dir=tmp_path / "none")
    with pytest.raises(entracte.PlanError, match="there is no plan.json"):
        entracte.run_build(tmp_path)
    with pytest.raises(entracte.RunError, match="input 'sede': the plan's inputs are seed"):
        entracte.run_build(noise, {"sede": 1}, device="reference")
    with pytest.raises(entracte.RunError, match="device cuda: not one of"):
        entracte.run_build(noise, device="cuda")
    with pytest.raises(entracte.RunError, match="policy odd: not one of hybrid, round, fp32"):
        entracte.run_build(noise, device="reference", policy="odd")


def test_a_hydra_application_may_call_it(tmp_path):
    """Hydra's state is one for the process; it is the caller's again afterwards."""
    folder = conf(tmp_path / "conf", (4,))
    with initialize_config_module("entracte.conf", version_base="1.3"):
        mine = GlobalHydra.instance().hydra
        for words in (["+target=host", "pipeline=noise", "dry_run=true"], ["+target=none"]):
            try:
                entracte.compile_pipeline(words, config_dir=folder)
            except entracte.ConfigError:
                assert words == ["+target=none"]
            assert GlobalHydra.instance().hydra is mine
        assert compose("compile", overrides=["+target=host"]).target.name == "host"


# ---------------------------------------------------------------- its page


def test_every_example_of_its_page_runs(tmp_path, monkeypatch, capsys):
    text = (ROOT / "docs" / "python.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 6
    monkeypatch.chdir(tmp_path)
    space: dict[str, object] = {}
    for number, block in enumerate(blocks):
        exec(compile(block, f"docs/python.md, block {number + 1}", "exec"), space)  # noqa: S102
    said = capsys.readouterr().out
    assert "does not fit: stage" in said
    assert "(PosixPath('clip.gif'),)" in said
    with Image.open(tmp_path / "clip.gif") as clip:
        assert (clip.n_frames, clip.size) == (16, (64, 64))


def test_its_page_names_what_is_there():
    text = (ROOT / "docs" / "python.md").read_text()
    used = set(re.findall(r"entracte\.([A-Za-z_]+)", text)) - {"ir", "md"}
    assert used <= set(entracte.__all__) | {"__all__"}
    table = {row.split("(")[0] for row in re.findall(r"^\| [^|]+ \| `([^`]+)`", text, re.MULTILINE)}
    functions = {n for n in entracte.__all__ if n[0].islower()} | {"Model"}
    assert table == functions
