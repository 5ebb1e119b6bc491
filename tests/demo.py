"""The embedded pipeline in few steps, as the slow tests compile it."""

from pathlib import Path

from hydra import compose, initialize_config_module

from entracte.declare.read import Job, read

STEPS = 3
"""Denoising steps in these tests: enough for first, steady and last iteration. One number for all,
so that what one test traces, others find in the cache of the run."""


def job(out: Path, *overrides: str) -> Job:
    with initialize_config_module("entracte.conf", version_base="1.3"):
        config = compose(
            "compile",
            overrides=["+target=iphone15pro", f"sampler.steps={STEPS}", f"out={out}", *overrides],
        )
    return read(config)
