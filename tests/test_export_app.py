"""`plan export --swift`: runner, build and app side by side, in a project that others can read."""

import json
import re
import shutil
import subprocess

import pytest
from typer.testing import CliRunner

from entracte.cli.plan import app
from entracte.errors import WriteError
from entracte.export.swift_app import export_app
from entracte.export.xcode import RUNNER, fixed_settings, identifier, project_text
from entracte.plan.file import check_files, read_plan
from entracte.run.packages import check_all_bytes
from tests.disk.test_write import file_limit


@pytest.fixture(scope="module")
def exported(whole, tmp_path_factory):
    out = tmp_path_factory.mktemp("phone") / "app"
    return export_app(whole, out)


def names(folder):
    return {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}


def test_the_build_in_it_is_the_build(whole, exported):
    plan = read_plan(exported.folder / "Build")
    assert plan == read_plan(whole)
    check_files(plan, exported.folder / "Build")
    check_all_bytes(plan, exported.folder / "Build")
    sizes = [p.stat().st_size for p in (exported.folder / "Build").rglob("*") if p.is_file()]
    assert exported.size_bytes == sum(sizes)
    # What lies beside a build and is no part of it stays where it is.
    assert names(exported.folder / "Build") <= names(whole)


@pytest.mark.slow
def test_a_graph_is_there_once_and_its_arrays_beside_it(one_graph, tmp_path):
    build = export_app(one_graph, tmp_path / "app").folder / "Build"
    plan = read_plan(build)
    check_files(plan, build)
    check_all_bytes(plan, build)
    arrays = {p.arrays.path: p.path for p in plan.packages if p.arrays is not None}
    assert arrays.keys() == {f"packages/{p.name}" for p in build.glob("packages/*.safetensors")}
    assert len(set(arrays.values())) < len(arrays) - 3


def test_the_runner_in_it_is_the_runner_without_its_tests(exported):
    found = names(exported.folder / "Entracte")
    assert found == {"Package.swift"} | {f"Sources/{n}" for n in names(RUNNER / "Sources")}


def test_the_app_is_small_and_has_its_entitlements(exported):
    sources = sorted((exported.folder / "App").glob("*.swift"))
    assert sum(len(p.read_text().splitlines()) for p in sources) < 400
    entitlements = (exported.folder / "App" / "App.entitlements").read_text()
    assert "com.apple.developer.kernel.increased-memory-limit" in entitlements
    assert "com.apple.developer.kernel.extended-virtual-addressing" in entitlements
    readme = (exported.folder / "README.md").read_text()
    assert readme.startswith("# Tiny text-to-video") and "[" not in readme.split("\n\n")[1]
    assert len(re.findall(r"^\d\. ", readme, re.MULTILINE)) == 5


def test_exported_again_the_app_stays_and_the_build_is_new(whole, exported, tmp_path):
    out = tmp_path / "again"
    shutil.copytree(exported.folder, out)
    (out / "App" / "StudioView.swift").write_text("// mine\n")
    (out / "Build" / "plan.json").write_text("damaged")
    again = export_app(whole, out)
    assert again.kept_app
    assert (out / "App" / "StudioView.swift").read_text() == "// mine\n"
    assert read_plan(out / "Build") == read_plan(whole)


def test_the_same_export_has_the_same_bytes(whole, exported, tmp_path):
    again = export_app(whole, tmp_path / "again").folder
    assert names(again) == names(exported.folder)
    assert all((again / n).read_bytes() == (exported.folder / n).read_bytes() for n in names(again))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["{build}"], "say what to write"),
        (["{build}", "x.onnx", "--swift", "y"], "both x.onnx and --swift y"),
        (["{build}", "--swift", "{full}"], "there is something else here; give a new folder"),
        (["{full}", "--swift", "new"], "there is no plan.json here"),
    ],
)
def test_what_cannot_be_is_one_message(whole, tmp_path, monkeypatch, words, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").write_text("mine")
    given = [w.format(build=whole, full=tmp_path / "full") for w in words]
    done = CliRunner().invoke(app, ["export", *given])
    told = " ".join((done.output + done.stderr).split())
    assert done.exit_code == 1 and said in told
    assert [p.name for p in (tmp_path / "full").iterdir()] == ["mine.txt"]
    assert not (tmp_path / "new").exists() and not (tmp_path / "y").exists()


def test_what_could_not_be_written_is_not_there_at_all(whole, tmp_path):
    """For files of this process above so many bytes it is as on a full disk: the runner's sources
    are smaller, the packages are not."""
    with file_limit(200_000), pytest.raises(WriteError, match="cannot be written .File too large"):
        export_app(whole, tmp_path / "new")
    assert not list(tmp_path.iterdir())


def test_the_project_names_what_it_has():
    """Every identifier that an object names is an object; texts of a stranger stay texts."""
    text = project_text("com.example.a-b", 'A "quoted" \\ title')
    assert 'A \\"quoted\\" \\\\ title' in text
    made = set(re.findall(r'^\t\t"([0-9A-F]{24})" = \{', text, re.MULTILINE))
    named = set(re.findall(r'"([0-9A-F]{24})"[;,]', text))
    assert named <= made and identifier("project") in named
    assert made - named == set()


def test_its_systems_are_those_of_the_package():
    floors = dict(re.findall(r"\.(iOS|macOS)\(\.v(\d+)\)", (RUNNER / "Package.swift").read_text()))
    found = fixed_settings()
    assert found["IPHONEOS_DEPLOYMENT_TARGET"] == f"{floors['iOS']}.0"
    assert found["MACOSX_DEPLOYMENT_TARGET"] == f"{floors['macOS']}.0"


def test_the_project_is_a_property_list():
    plutil = shutil.which("plutil")
    if plutil is None:
        pytest.skip("plutil is a Mac's")
    done = subprocess.run(
        [plutil, "-convert", "json", "-o", "-", "-"],
        input=project_text("com.example.a", "A"), capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout)["objectVersion"] == "77"
