"""The smallest pipeline that compiles and runs: seeded noise is its output, without a module."""

from pathlib import Path

PIPELINE = """
name: noise
title: Noise of a seed
weights: "random:0"
outputs:
  noise: {{value: noise.noise, {output}}}
inputs:
  seed: {{kind: seed, default: 3}}
stages:
  noise:
    host: random_normal
    params: {{shape: {shape}}}
    inputs: {{seed: seed}}
"""


def conf(folder: Path, shape: tuple[int, ...], output: str = "kind: tensor") -> Path:
    """A configuration folder with `pipeline=noise`."""
    (folder / "pipeline").mkdir(parents=True, exist_ok=True)
    text = PIPELINE.format(shape=list(shape), output=output)
    file = folder / "pipeline" / "noise.yaml"
    # Processes that compile it at once would find it half written.
    if not file.is_file() or file.read_text() != text:
        file.write_text(text)
    return folder


def build(folder: Path, shape: tuple[int, ...], output: str = "kind: tensor") -> Path:
    """Its build folder, compiled; `output` in the words of a configuration."""
    from hydra import compose, initialize_config_module

    from entracte.compile.job import compile_job
    from entracte.declare.read import read

    own = conf(folder / "conf", shape, output)
    overrides = [f"hydra.searchpath=[file://{own}]", "+target=host"]
    with initialize_config_module("entracte.conf", version_base="1.3"):
        config = compose("compile", [*overrides, "pipeline=noise", f"out={folder / 'build'}"])
    compile_job(read(config))
    return folder / "build"
