"""The least memory in which a pipeline is planned, by trying: for tables about one stage alone."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from entracte.compile.job import compile_pipeline
from entracte.errors import DoesNotFit
from entracte.graphs.recipes.recipe import Recipe
from entracte.ir import Plan


def alone(r: Recipe) -> dict[str, Any]:
    """What a recipe declared, as a pipeline with numbers of a seed."""
    return {"name": "alone", "title": "alone", "weights": "random:0", "inputs": r.inputs,
            "stages": r.stages, "outputs": r.outputs}  # fmt: skip


def least(pipeline: Mapping[str, Any], target: str, step_mb: int, low: int = 1) -> tuple[int, Plan]:
    """How many steps of so many megabytes it needs, and the plan in that limit."""
    high, found = 2 * low, None
    while found is None or high - low > 1:
        middle = high if found is None else (low + high) // 2
        plan = planned(pipeline, target, f"target.memory={middle * step_mb}MB")
        if plan is None:
            low, high = middle, high if found else 2 * high
        else:
            high, found = middle, plan
    return high, found


def planned(pipeline: Mapping[str, Any], target: str, *words: str) -> Plan | None:
    """The plan of a dry run; None where it does not fit."""
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "pipeline"
        place.mkdir()
        OmegaConf.save(OmegaConf.create(dict(pipeline)), place / "alone.yaml")
        given = [f"target={target}", "pipeline=alone", "dry_run=true", *words]
        try:
            return compile_pipeline(given, out=Path(folder) / "build", config_dir=Path(folder)).plan
        except DoesNotFit:
            return None
