"""A package of graphs outside of the repository: installed, compiled by the command, and run; the
numbers are those of its torch module, called by hand."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

import entracte

PACKAGE = Path(__file__).parent / "example_package"


@pytest.fixture
def installed(tmp_path) -> dict[str, str]:
    """An environment of processes that have it: what an installer writes, from its pyproject."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    info = tmp_path / "site" / f"{project['name']}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    known = f"Name: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\n{known}")
    groups = project["entry-points"].items()
    points = "".join(
        f"[{group}]\n" + "".join(f"{name} = {place}\n" for name, place in names.items())
        for group, names in groups
    )
    (info / "entry_points.txt").write_text(points)
    (tmp_path / "site" / "tide").symlink_to(PACKAGE / "tide")
    return os.environ | {"PYTHONPATH": str(tmp_path / "site")}


@torch.no_grad()
def test_a_package_of_others_compiles_and_computes_what_its_module_does(installed, tmp_path):
    sys.path.insert(0, str(PACKAGE))
    try:
        from tide.model import Forecaster
    finally:
        sys.path.remove(str(PACKAGE))
    torch.manual_seed(7)
    module = Forecaster(24, 6, 8).eval()
    (tmp_path / "weights").mkdir()
    save_file(module.state_dict(), tmp_path / "weights" / "tide.safetensors")
    levels = np.random.default_rng(3).standard_normal((1, 24)).astype(np.float32)
    np.save(tmp_path / "levels.npy", levels)
    command = [sys.executable, "-m", "entracte", "compile", "--config-dir", str(PACKAGE / "conf")]
    words = ["+target=host", "pipeline=tide", "pipeline.weights=weights", "out=build", "workers=1"]
    done = subprocess.run(
        [*command, *words], env=installed, cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    # The build is complete: it runs where no such package is installed.
    outs = {"level": tmp_path / "level.npy", "spread": tmp_path / "both.npz"}
    entracte.run_build(
        tmp_path / "build", {"levels": tmp_path / "levels.npy"}, device="reference", out=outs
    )
    wanted = module(torch.tensor(levels))
    level, spread = np.load(tmp_path / "level.npy"), np.load(tmp_path / "both.npz")["spread"]
    assert level.shape == spread.shape == (1, 6) and not np.array_equal(level, spread)
    np.testing.assert_allclose(level, wanted["level"], rtol=0, atol=1e-5)
    np.testing.assert_allclose(spread, wanted["spread"], rtol=0, atol=1e-5)


def test_without_the_package_its_graph_is_unknown():
    words = ["+target=host", "pipeline=tide", "pipeline.weights=random:0", "dry_run=true"]
    with pytest.raises(entracte.ConfigError, match="no graph is named 'tide.forecaster'; known: "):
        entracte.compile_pipeline(words, config_dir=PACKAGE / "conf")
