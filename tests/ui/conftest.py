"""A root, plans in it, and a stand-in for the commands that the UI starts."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from entracte.ir import DType, Input, Port
from entracte.plan.file import write_plan
from entracte.ui.places import Root
from entracte.ui.studio import Studio
from tests.planner.plans import make_plan

FAKE = Path(__file__).parent / "fake"


@pytest.fixture(scope="session")
def plan():
    return make_plan()


@pytest.fixture(scope="session")
def pictured(plan):
    """A plan that is given a text and a picture."""
    port = Port("picture", (1, 3, 8, 8), DType.FP32)
    inputs = (Input("prompt", "text", "a circle"), Input("picture", "image", None, port))
    return replace(plan, program=replace(plan.program, inputs=inputs))


@pytest.fixture
def root(tmp_path, plan):
    """With a dry run `plans/one`."""
    folder = tmp_path / "root"
    (folder / "plans" / "one").mkdir(parents=True)
    write_plan(plan, folder / "plans" / "one")
    return Root.of(folder)


@pytest.fixture
def commands(tmp_path, root, monkeypatch):
    """What is started is the stand-in."""
    from PIL import Image

    picture = tmp_path / "picture.png"
    Image.new("RGB", (8, 8), (200, 30, 30)).save(picture)
    places = [str(FAKE), *filter(None, [os.environ.get("PYTHONPATH")])]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(places))
    monkeypatch.setenv("ENTRACTE_FAKE_PLAN", str(root.folder / "plans" / "one" / "plan.json"))
    monkeypatch.setenv("ENTRACTE_FAKE_PICTURE", str(picture))


@pytest.fixture
def studio(root, commands):
    made = Studio(root.folder)
    yield made
    made.jobs.close()
