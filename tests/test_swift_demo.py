"""The demo, compiled, in the Swift runner: its video is what this side makes, bit for bit.

Packages are run here; what they answered goes to the Swift runner, which reads their weights all
the same and checks the digest of every input that it would give to one.
"""

import json
from pathlib import Path

import numpy as np
import pytest

from entracte.calibrate.fit import fit
from entracte.calibrate.records import recorded as read_records
from entracte.errors import RunError
from entracte.inspect.graphs import disk_bytes
from entracte.plan.file import plan_sha256, read_plan
from entracte.run.execute import open_build
from entracte.run.metadata import read_metadata
from entracte.run.record import run_of
from entracte.run.video import to_frames
from entracte.store.origin import VERSION
from tests.swift import entracte_run, toolchain

SAID = {"prompt": "a red circle moves right", "seed": 3}
WORDS = ("--prompt", SAID["prompt"], "--seed", str(SAID["seed"]))


BUILDS = ["whole", "split", pytest.param("one_graph", marks=pytest.mark.slow)]


@pytest.fixture(scope="session", params=BUILDS)
def recorded(request, tmp_path_factory) -> tuple[Path, Path, np.ndarray]:
    """A build, what its packages answered, and the video."""
    toolchain()
    build = request.getfixturevalue(request.param)
    folder = tmp_path_factory.mktemp("answers")
    opened = open_build(
        build, device="reference", out=folder / "clip.npy", answers=folder / "answers"
    )
    opened.run(SAID)
    return build, folder / "answers", np.load(folder / "clip.npy")


def ran(*words):
    """What the command printed; it must be well."""
    done = entracte_run(*words)
    assert done.returncode == 0, done.stderr
    return done


def test_the_demos_video_out_of_swift_is_this_sides(recorded, tmp_path):
    build, answers, video = recorded
    done = ran(
        "run", build, *WORDS, "--answers", answers, "--out", tmp_path / "swift.npy",
        "--record", tmp_path / "run.json",
    )  # fmt: skip
    made = np.load(tmp_path / "swift.npy")
    assert made.dtype == video.dtype and made.shape == video.shape
    assert made.tobytes() == video.tobytes()
    assert done.stdout.splitlines() == [str(tmp_path / "swift.npy")]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["run.json", "swift.npy"]
    plan = read_plan(build)
    run = run_of(plan, tmp_path / "run.json")
    assert run is not None and run.device == "simulated"
    assert dict(run.inputs) | SAID == dict(run.inputs)
    assert 0 < run.peak_bytes <= plan.forecast.peak_bytes
    # What the system counted, without what is the process's own start (its code, its buffers).
    assert run.anonymous_peak_bytes is not None
    assert run.anonymous_peak_bytes <= plan.forecast.peak_bytes + OWN_BYTES


OWN_BYTES = 2**20
"""Of the Swift process itself while it runs: buffers that read files and hash them."""


def test_its_pictures_are_read_by_others(recorded, tmp_path):
    from PIL import Image

    build, answers, video = recorded
    ran("run", build, *WORDS, "--answers", answers, "--out", f"{tmp_path}/frames/")
    found = sorted((tmp_path / "frames").iterdir())
    frames = to_frames(video)
    assert [p.name for p in found] == [f"{k:05}.png" for k in range(len(frames))]
    for path, frame in zip(found, frames, strict=True):
        np.testing.assert_array_equal(np.asarray(Image.open(path)), frame)
    said = json.loads(Image.open(found[0]).text["Comment"])
    plan = read_plan(build)
    assert dict(said["inputs"]) | SAID == dict(said["inputs"])
    assert (said["made_by"], said["plan"]) == (f"entracte {VERSION}", plan_sha256(plan))
    assert (said["device"], said["versions"]) == ("simulated", {"runner": "swift"})
    assert read_metadata(tmp_path / "frames").made_by == said["made_by"]


def test_several_prompts_and_seeds(recorded, tmp_path):
    build, _, _ = recorded
    (tmp_path / "p.txt").write_text("a red circle\n\n")
    words = (
        "run", build, "--engine", "blank", "--prompt", "a blue square", "--prompts",
        tmp_path / "p.txt", "--seeds", "0-1", "--out", tmp_path / "x.npz",
        "--record", tmp_path / "r.json",
    )  # fmt: skip
    done = ran(*words)
    names = [f"{p}-seed{s}" for p in ("a-blue-square", "a-red-circle") for s in (0, 1)]
    assert done.stdout.splitlines() == [str(tmp_path / f"x-{n}.npz") for n in names]
    assert '4/4 "a red circle", seed 1: ' in done.stderr
    for name in names:
        told = dict(read_metadata(tmp_path / f"x-{name}.npz").inputs)
        assert name == f"{told['prompt'].replace(' ', '-')}-seed{told['seed']}"
        run = run_of(read_plan(build), tmp_path / f"r-{name}.json")
        assert run is not None and dict(run.inputs) == told
    again = entracte_run(*words)
    assert again.returncode == 1 and "is there already, and several runs overwrite" in again.stderr


def test_a_drawn_seed_is_told_and_nothing_else_is_where_it_is_to_be_silent(recorded, tmp_path):
    build, _, _ = recorded
    done = ran(
        "run", build, "--engine", "blank", "--prompt", "x", "--seed", "random", "--no-metadata",
        "--out", tmp_path / "x.npz", "--record", tmp_path / "r.json",
    )  # fmt: skip
    run = run_of(read_plan(build), tmp_path / "r.json")
    assert run is not None
    assert f"seed {dict(run.inputs)['seed']}" in done.stderr.splitlines()
    with pytest.raises(RunError, match="does not say how it was made"):
        read_metadata(tmp_path / "x.npz")


def test_other_words_are_found_out(recorded, tmp_path):
    """Nothing was recorded of them: the first call that sees them says so, and nothing is left."""
    build, answers, _ = recorded
    done = entracte_run(
        "run", build, "--prompt", "a blue square", "--answers", answers, "--out", tmp_path / "x.wav"
    )
    assert done.returncode == 1 and ".wav files hold audio, the output" in done.stderr
    done = entracte_run(
        "run", build, "--prompt", "a blue square", "--answers", answers, "--out", f"{tmp_path}/x/"
    )
    assert done.returncode == 1 and "has SHA-256" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_probe_is_json(recorded):
    build, _, _ = recorded
    plan = read_plan(build)
    told = json.loads(ran("probe", build, "--memory", "3GB").stdout)
    assert told["ready"] and told["fits"] and not told["faults"]
    assert told["bytes"]["claimed_peak"] == plan.forecast.peak_bytes
    assert told["bytes"]["files"] == disk_bytes(plan)
    tight = json.loads(ran("probe", build, "--memory", "5MB").stdout)
    assert not tight["ready"] and tight["fits"] is False and "too much" in tight["refusal"]


def test_a_measurement_is_what_targets_are_fitted_to(recorded, tmp_path):
    build, _, _ = recorded
    done = ran(
        "measure", build, "--engine", "blank", "--repeats", "2", "--record", tmp_path / "m.json"
    )
    told = json.loads(done.stdout)
    assert len(told["runs"]) == 2 and told["engine"] == "blank"
    for name, one in zip(("m.json", "m.2.json"), told["runs"], strict=True):
        (record,) = read_records([str(build), str(tmp_path / name)], "test")
        assert [c["loads"] for c in one["chunks"]] == [c.loads for c in record.run.chunks]
        assert {o.kind for o in record.seen} >= {"first load", "call"}
        assert any(f.observations for f in fit(record.plan.target, record.seen).figures)


@pytest.mark.parametrize(("words", "status", "said"), [
    (("fly",), 2, "'fly': give one of run, install, probe, measure"),
    (("run",), 2, "give BUILD, not nothing"),
    (("run", "x", "--speed", "3"), 2, "--speed: there is no such option; give one of --prompt"),
    (("run", "x", "--no-metadata=yes"), 2, "--no-metadata: takes no value"),
    (("run", "nowhere", "--engine", "blank"), 1, "nowhere: there is no plan.json here"),
    (("probe", "x", "--memory", "much"), 1, "x: there is no plan.json here"),
])  # fmt: skip
def test_faults_are_one_line(words, status, said):
    done = entracte_run(*words)
    assert done.returncode == status and said in done.stderr
    assert done.stderr.startswith("entracte-run: ") and done.stderr.count("\n") == 1


def test_help_needs_nothing():
    assert "entracte-run run BUILD" in ran("--help").stdout


def test_a_changed_build_is_refused(recorded, tmp_path):
    import shutil

    build = shutil.copytree(recorded[0], tmp_path / "build")
    weights = next(build.glob("packages/*/Data/com.apple.CoreML/weights/weight.bin"))
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    told = json.loads(ran("probe", build).stdout)
    assert not told["ready"] and "holds other bytes than the plan says" in told["faults"][0]
    done = entracte_run("run", build, *WORDS, "--engine", "blank", "--out", tmp_path / "x.npy")
    assert done.returncode == 1 and "holds other bytes than the plan says" in done.stderr
    assert not (tmp_path / "x.npy").exists()


@pytest.mark.slow
@pytest.mark.parametrize(("place", "said"), [
    (-1, "it holds other bytes than the plan says"),
    (20, "its header is not that of its arrays"),
])  # fmt: skip
def test_changed_arrays_are_refused(one_graph, tmp_path, place, said):
    import shutil

    toolchain()
    build = shutil.copytree(one_graph, tmp_path / "build")
    arrays = sorted(build.glob("packages/*.safetensors"))[1]
    data = bytearray(arrays.read_bytes())
    data[place] ^= 1
    arrays.unlink()
    arrays.write_bytes(data)
    done = entracte_run("run", build, *WORDS, "--engine", "blank", "--out", tmp_path / "x.npy")
    assert done.returncode == 1 and said in done.stderr and arrays.name in done.stderr
