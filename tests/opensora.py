"""Open-Sora 1.2 as users have it, at the sizes of a golden case: the published folder with the
case's configuration in place of its own, and the case's weights under upstream's names."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from entracte import graphs
from entracte.declare.compose import compose
from entracte.declare.read import read
from entracte.ir import Pipeline, Stage
from tests.upstream import Case

PUBLISHED = Path(graphs.__file__).parent / "published" / "open_sora_1.2"


def put(folder: Path, component: str, config: Mapping[str, Any], case: Case | None = None) -> Path:
    """The folder, with a component's configuration and weights; what else it needs is published."""
    if not folder.exists():
        shutil.copytree(PUBLISHED, folder)
    (folder / component / "config.json").write_text(json.dumps(dict(config)))
    if case is not None:
        case.save(folder / component, "model")
    return folder


def declared(folder: Path, *words: str, **options: Any) -> Pipeline:
    """What its recipe makes of the folder, by the options."""
    chosen = [f"++pipeline.options.{key}={value}" for key, value in options.items()]
    given = ["+target=host", "pipeline=folder", f"pipeline.weights={folder}", *chosen, *words]
    return read(compose(given)).pipeline


def graph_of(stage: Stage, **params: Any) -> Any:
    """Of a stage; `params` over its own."""
    return graphs.build(stage.op, {**dict(stage.params), **params})
