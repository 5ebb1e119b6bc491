"""Files that the parameters of graphs name (an ONNX model): where they are."""

from dataclasses import replace
from pathlib import Path

from entracte.disk.places import expanded, is_random, weights_folder
from entracte.disk.read import inside
from entracte.errors import ConfigError
from entracte.ir import Pipeline, Stage, StageKind


def with_files(pipeline: Pipeline) -> Pipeline:
    """Each parameter that names a file of a graph's has the place of that file.

    It is looked for in the stage's folder of weights, then where the command runs. Raises
    `ConfigError` where it is in neither.
    """
    return replace(pipeline, stages=tuple(_placed(pipeline, stage) for stage in pipeline.stages))


def files_named(stage: Stage) -> tuple[tuple[str, str], ...]:
    """(parameter, text) of the files that a stage's parameters name."""
    import entracte.graphs as graphs

    if stage.kind is StageKind.HOST:
        return ()
    known = graphs.file_params(stage.op)
    return tuple((n, v) for n, v in stage.params if n in known and isinstance(v, str))


def outside(pipeline: Pipeline) -> tuple[Stage, str] | None:
    """The first stage that names a file which is not inside its folder of weights, and that file:
    nobody but who wrote the configuration says that it may be read."""
    for stage in pipeline.stages:
        for _, text in files_named(stage):
            folder = _folder(pipeline, stage)
            found = None if folder is None else inside(folder, text)
            if found is None or not found.is_file():  # a folder of that name would not be found
                return stage, text
    return None


def _placed(pipeline: Pipeline, stage: Stage) -> Stage:
    found = {name: _place(pipeline, stage, name, text) for name, text in files_named(stage)}
    if not found:
        return stage
    return replace(stage, params=tuple((n, found.get(n, v)) for n, v in stage.params))


def _place(pipeline: Pipeline, stage: Stage, name: str, text: str) -> str:
    where = f"pipeline.stages.{stage.name}.params.{name}"
    folder = _folder(pipeline, stage)
    places = [] if folder is None else [folder / text]
    places.append(expanded(text, where))
    for place in places:
        if text and _is_file(place):
            return str(place.absolute())
    looked = " nor ".join(dict.fromkeys(str(p) for p in places))
    raise ConfigError(
        f"{where}: there is no file {looked}; give its name in the folder of pipeline.weights, or "
        "a path"
    )


def _is_file(place: Path) -> bool:
    try:
        return place.is_file()
    except (OSError, ValueError):  # names that no system takes
        return False


def _folder(pipeline: Pipeline, stage: Stage) -> Path | None:
    """That of a stage's weights, if they are in one."""
    spec = stage.weights or pipeline.weights
    return None if not spec or is_random(spec) else weights_folder(spec)
