"""The graphs registry: names that configurations use, mapped to lazy factories.

A factory takes the stage's `params` as keyword arguments and returns a `entracte.graphs.spec.Graph`
(or `Constants`). Other packages add graphs through the entry point group `entracte.graphs`:

    [project.entry-points."entracte.graphs"]
    "mymodel.denoiser" = "mypackage.build:denoiser"

Nothing here imports the compiler, and torch is imported only by the factory that is asked for.
"""

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.metadata import entry_points

from entracte.graphs.meta import on_meta
from entracte.graphs.spec import Constants, Graph, Input

__all__ = ["Constants", "Graph", "Input", "build", "is_code", "names", "on_meta", "package_of"]

_BUILT_IN = {
    "opensora.text_encoder": "entracte.graphs.opensora.build:text_encoder",
    "opensora.denoiser": "entracte.graphs.opensora.build:denoiser",
    "opensora.temporal_decoder": "entracte.graphs.opensora.build:temporal_decoder",
    "opensora.spatial_decoder": "entracte.graphs.opensora.build:spatial_decoder",
    "opensora.rflow_schedule": "entracte.graphs.opensora.build:rflow_schedule",
    "opensora.guided_euler": "entracte.graphs.opensora.build:guided_euler",
    "opensora.guided_euler_leap": "entracte.graphs.opensora.build:guided_euler_leap",
    "opensora.leap_start": "entracte.graphs.opensora.build:leap_start",
    "zeros": "entracte.graphs.zeros:zeros",
}
GROUP = "entracte.graphs"
_CODE = "opensora."
"""Built-in graphs whose names begin so are made by code and parameters alone."""


def names() -> list[str]:
    """All known graph names, built in and contributed."""
    return sorted({*_BUILT_IN, *(p.name for p in entry_points(group=GROUP))})


def build(name: str, params: Mapping[str, object]) -> Graph | Constants:
    """Make the graph `name`. Raises `ValueError` for an unknown name or wrong params."""
    factory = _factory(name)
    try:
        return factory(**params)
    except TypeError as error:
        raise ValueError(
            f"graph {name!r}: params {sorted(params)} do not suit it: {error}"
        ) from error


def package_of(name: str) -> str:
    """The top-level package that makes the graph `name`, e.g. to digest its code; this one for
    our own and for an unknown name."""
    places = {p.name: p.value for p in entry_points(group=GROUP) if p.name not in _BUILT_IN}
    return places[name].partition(":")[0].partition(".")[0] if name in places else __name__


def is_code(name: str) -> bool:
    """Whether the graph `name` is always the same for the same code and parameters. Whoever reads
    files, or draws numbers, may give another one each time: it must be made to know."""
    return name in _BUILT_IN and name.startswith(_CODE)


def _factory(name: str) -> Callable[..., Graph | Constants]:
    place = _BUILT_IN.get(name)
    if place is not None:
        module, _, attribute = place.partition(":")
        return getattr(import_module(module), attribute)
    for point in entry_points(group=GROUP):
        if point.name == name:
            return point.load()
    raise ValueError(f"no graph is named {name!r}; known: {', '.join(names())}")
