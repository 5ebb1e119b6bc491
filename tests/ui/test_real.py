"""What the UI starts is started: the commands themselves, no stand-in. (`plan fits`: test_fits.)"""

import json
import shutil

import pytest
from PIL import Image

from entracte.run.record import read_run
from entracte.ui.studio import Studio
from entracte.ui.tasks import FACTORS
from entracte.ui.words import Chosen
from tests.demo import STEPS
from tests.ui.test_jobs import ended, until


@pytest.fixture
def real(whole, tmp_path):
    """A root with the demo as `builds/demo`, and factors of previews in it."""
    folder = tmp_path / "root"
    shutil.copytree(whole, folder / "builds" / "demo")
    factors = {"tensor": "sample.z", "factors": [[0.1] * 3] * 4, "bias": [0.5] * 3}
    (folder / "builds" / "demo" / FACTORS).write_text(json.dumps(factors))
    studio = Studio(folder)
    yield studio
    studio.jobs.close()


def test_a_dry_run_is_planned_and_a_build_is_run(real):
    chosen = Chosen({"target": "host"}, {"target.memory": "24MiB"}, f"sampler.steps={STEPS}")
    task = real.compile(chosen, "small", dry_run=True)
    assert ended(real).state == "done", real.jobs.status()
    plan = real.plan(task.place)
    assert plan.target.memory_bytes == 24 * 2**20 and not plan.built
    given = {"prompt": "a red 'circle' --moves", "seed": "7"}
    task = real.run("builds/demo", given)
    until(lambda: not real.is_busy)
    status = real.jobs.status()
    assert status.state == "done" and status.progress is not None, status
    place = real.root.folder / task.place
    run = read_run(place / "run.json")
    assert dict(run.inputs)["prompt"] == given["prompt"] and dict(run.inputs)["seed"] == 7
    with Image.open(place / "previews" / "newest.gif") as preview:
        assert preview.n_frames > 1
    assert (place / "clip.mp4").stat().st_size > 1000
