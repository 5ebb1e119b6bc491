"""A stage's graph from its factory: whatever a stranger's code does is one message."""

import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from entracte.errors import ConfigError, EntracteError
from entracte.ir import Stage

if TYPE_CHECKING:
    from entracte.graphs import Constants, Graph

_ELSEWHERE = ("pipeline.", "sampler.")
"""How a factory's message begins that names the setting itself."""
_WITHIN = ("params.", "params:", "map.", "functions.")
"""The same, for settings of the stage."""
_SHOWN = 300


def make(stage: Stage) -> "Graph | Constants":
    """What the stage's factory makes. Raises `ConfigError` naming the stage."""
    import entracte.graphs as graphs

    with made_by(stage):
        return graphs.build(stage.op, dict(stage.params))


@contextmanager
def made_by(stage: Stage) -> Iterator[None]:
    """What is raised inside becomes a `ConfigError` that names the stage and its graph."""
    try:
        yield
    except EntracteError:
        raise
    except (Exception, SystemExit) as error:
        raise ConfigError(_told(stage, error)) from error


def _told(stage: Stage, error: BaseException) -> str:
    from entracte.graphs import GraphFault

    where, message = f"pipeline.stages.{stage.name}", _line(error)
    if isinstance(error, GraphFault):
        return f"{where}: graph {stage.op!r}: {message}"
    if type(error) is ValueError and message.startswith(_ELSEWHERE):
        return f"{message} (stage {stage.name})"
    if type(error) is ValueError and message.startswith(_WITHIN):
        return f"{where}.{message}"
    if type(error) is ValueError and message.startswith("no graph is named "):
        return f"{where}.{stage.kind}: {message}"
    kind = type(error).__name__
    what = f"{kind}: {message}" if message else kind
    return f"{where}: graph {stage.op!r} cannot be made with params {_params(stage)}: {what}" + (
        f" ({_place(error)})"
    )


def _line(error: BaseException) -> str:
    """Its message, on one line."""
    return " ".join(str(error).split())[:_SHOWN]


def _params(stage: Stage) -> str:
    return ", ".join(dict(stage.params)) or "none"


def _place(error: BaseException) -> str:
    """The line that raised it, and the last line of the factory's own before it."""
    if isinstance(error, SyntaxError) and error.filename:
        return f"{error.filename}:{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if "-packages/" not in f.filename and "<frozen" not in f.filename]
    frame = (own or list(frames))[-1]
    return f"{frame.filename}:{frame.lineno}: `{(frame.line or '').strip()}`"
