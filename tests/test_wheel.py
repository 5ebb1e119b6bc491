"""The wheel: built, installed by itself, its commands run outside the repository."""

import subprocess
import sys
import sysconfig
import venv
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    # Without isolation, so that nothing is downloaded: setuptools is in the test environment.
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "wheel",
            "--no-deps",
            "--no-build-isolation",
            "-q",
            "-w",
            str(out),
            str(ROOT),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


def test_the_wheel_holds_what_runs_and_nothing_else(wheel):
    names = ZipFile(wheel).namelist()
    assert "entracte/conf/compile.yaml" in names
    assert "entracte/conf/target/iphone15pro.yaml" in names
    assert "entracte/graphs/weights/tiny_t2v/denoiser.safetensors" in names
    assert "entracte/graphs/weights/tiny_t2v/tokenizer.json" in names
    assert {n.split("/")[0] for n in names} <= {"entracte", "entracte-0.1.0.dist-info"}
    assert "entracte/report/assets/vendor.js" in names
    assert "entracte/report/assets/vendor.LICENSES.txt" in names
    assert "entracte/report/templates/report.html" in names
    weights = [i.file_size for i in ZipFile(wheel).infolist() if i.filename.endswith("safetensors")]
    assert sum(weights) <= 12_600_000


def test_the_installed_commands_find_their_configuration(wheel, tmp_path):
    home = tmp_path / "env"
    venv.create(home, with_pip=True)
    python = home / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
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
    look = "import entracte.graphs as graphs, entracte; print(entracte.__file__, graphs.__file__)"
    where = subprocess.run(
        [python, "-c", look],
        cwd=away,
        capture_output=True,
        text=True,
    )
    assert str(ROOT) not in where.stdout
