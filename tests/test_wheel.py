"""The wheel and the source distribution: built, the wheel installed by itself and run elsewhere."""

import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent


def build(*arguments: str | Path) -> None:
    """A module of this interpreter; without isolation, so that nothing is downloaded."""
    done = subprocess.run([sys.executable, "-m", *arguments], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def wheel_of(source: Path, out: Path) -> Path:
    build("pip", "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", out, source)
    return next(out.glob("*.whl"))


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """The repository's files, links as links, without what earlier builds left in them."""
    built = ("build", ".build", "dist", "*.egg-info", "__pycache__", ".*_cache")
    left = (".git", ".venv*", *built, "tests")
    copy = tmp_path_factory.mktemp("tree") / "entracte"
    shutil.copytree(ROOT, copy, symlinks=True, ignore=shutil.ignore_patterns(*left))
    return copy


@pytest.fixture(scope="module")
def wheel(tree, tmp_path_factory) -> Path:
    return wheel_of(tree, tmp_path_factory.mktemp("wheel"))


def test_the_wheel_holds_what_runs_and_nothing_else(wheel):
    names = ZipFile(wheel).namelist()
    assert "entracte/conf/compile.yaml" in names
    assert "entracte/conf/target/iphone15pro.yaml" in names
    assert "entracte/graphs/published/wan2.1_t2v_1.3b/transformer/config.json" in names
    assert "entracte/graphs/weights/tiny_t2v/denoiser.safetensors" in names
    assert "entracte/graphs/weights/tiny_t2v/tokenizer.json" in names
    assert {n.split("/")[0] for n in names} <= {"entracte", "entracte-0.1.0.dist-info"}
    assert "entracte/report/assets/vendor.js" in names
    assert "entracte/report/assets/vendor.LICENSES.txt" in names
    assert "entracte/report/templates/report.html" in names
    weights = [i.file_size for i in ZipFile(wheel).infolist() if i.filename.endswith("safetensors")]
    assert sum(weights) <= 20_000_000
    assert "entracte/py.typed" in names
    assert "entracte/swift/Package.swift" in names
    assert "entracte/swift/Sources/EntractePlan/Plan.swift" in names
    swift = {n.split("/")[2] for n in names if n.startswith("entracte/swift/")}
    assert swift <= {"Package.swift", "Sources", "App"}
    licence = ZipFile(wheel).read("entracte-0.1.0.dist-info/licenses/LICENSE").decode()
    assert "Apache License" in licence and "END OF TERMS AND CONDITIONS" in licence


def contents(wheel: Path) -> dict[str, int]:
    """Names and check sums; RECORD lists the same."""
    return {i.filename: i.CRC for i in ZipFile(wheel).infolist()}


def test_the_source_distribution_makes_the_same_wheel(tree, wheel, tmp_path):
    """In it the links `compiler/entracte/graphs` and `conf` have become files."""
    build("build", "--sdist", "--no-isolation", "-o", tmp_path, tree)
    packed = next(tmp_path.glob("*.tar.gz"))
    with tarfile.open(packed) as archive:
        members = archive.getmembers()
    assert all(m.isfile() or m.isdir() for m in members)
    tops = {m.name.split("/")[1] for m in members if "/" in m.name}
    assert {"compiler", "LICENSE", "README.md", "pyproject.toml"} <= tops
    assert not tops & {"graphs", "conf", "tests"}
    assert contents(wheel_of(packed, tmp_path / "again")) == contents(wheel)


def test_the_installed_commands_find_their_configuration(wheel, tmp_path):
    home = tmp_path / "env"
    venv.create(home)
    python = home / "bin" / "python"
    build("pip", "--python", python, "install", "-q", "--no-deps", wheel)
    # The dependencies are those of this environment; Entracte itself is only the wheel's.
    site = next((home / "lib").glob("python*/site-packages"))
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    away = tmp_path / "away"
    away.mkdir()
    done = subprocess.run(
        [home / "bin" / "compile", "+target=iphone15pro", "dry_run=true", "out=b"],
        cwd=away,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    both = subprocess.run([home / "bin" / "entracte", "plan", "show", "b"], cwd=away)
    assert both.returncode == 0
    shown = subprocess.run(
        [home / "bin" / "plan", "show", "b"], cwd=away, capture_output=True, text=True
    )
    assert "Tiny text-to-video" in shown.stdout
    made = subprocess.run(
        [home / "bin" / "plan", "report", "b"], cwd=away, capture_output=True, text=True
    )
    assert made.stdout.strip() == "wrote b/report.html", made.stderr
    assert "Tiny text-to-video" in (away / "b" / "report.html").read_text()
    told = "import entracte.graphs as graphs, entracte; print(entracte.__file__, graphs.__file__)"
    where = subprocess.run(
        [python, "-c", told],
        cwd=away,
        capture_output=True,
        text=True,
    )
    assert str(ROOT) not in where.stdout
