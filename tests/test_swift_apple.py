"""The Swift runner's Core ML side type-checks against stubs of Apple's API; the check can fail."""

import shutil

import pytest

from tests.swift import built
from tools.check_swift_apple import Compiler, Refused, build_stubs, check, sources
from tools.swift_toolchain import BUILD, PACKAGE

CORE = PACKAGE / "Sources" / "EntracteCoreML"
OWN = BUILD / "release" / "Modules"


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    """A compiler and a folder with the modules of the stubs."""
    compiler = Compiler(built())
    folder = tmp_path_factory.mktemp("stubs")
    build_stubs(compiler, folder, PACKAGE)
    return compiler, folder


@pytest.mark.parametrize("place", ["Sources/entracte-run", "App"])
def test_the_core_ml_side_and_what_uses_it_type_check_without_a_warning(stubs, place):
    compiler, folder = stubs
    assert check(compiler, folder, OWN, sources(CORE), sources(PACKAGE / place)) == ""


MISTAKES = {
    "label": ("CoreMLModel.swift", "MLModel.load(contentsOf:", "MLModel.load(at:", "contentsOf"),
    "await": ("CoreMLModel.swift", "try await model.prediction(", "try model.prediction(", "async"),
    "actor": (
        "CoreMLModel.swift",
        "final class BoundModel: @unchecked Sendable",
        "final class BoundModel",
        "non-sendable|does not conform to the 'Sendable'",
    ),
    "pixels": ("Clips.swift", "withPresentationTime:", "at:", "withPresentationTime"),
}


@pytest.mark.parametrize(("name", "right", "wrong", "told"), MISTAKES.values(), ids=MISTAKES.keys())
def test_a_mistake_is_found(stubs, tmp_path, name, right, wrong, told):
    compiler, folder = stubs
    mine = tmp_path / "mine"
    shutil.copytree(CORE, mine)
    text = (mine / name).read_text()
    assert right in text
    (mine / name).write_text(text.replace(right, wrong))
    with pytest.raises(Refused, match=f"(?i)error.*(?:{told})"):
        check(compiler, folder, OWN, sources(mine), [])
