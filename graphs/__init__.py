"""The graphs registry: names that configurations use, mapped to lazy factories.

A factory takes the stage's `params` as keyword arguments and returns a `entracte.graphs.spec.Graph`
(or `Constants`). Other packages add graphs through the entry point group `entracte.graphs`:

    [project.entry-points."entracte.graphs"]
    "mymodel.denoiser" = "mypackage.build:denoiser"

Nothing here imports the compiler, and torch is imported only by the factory that is asked for.
"""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any

from entracte.graphs import recipes
from entracte.graphs.checks import GraphFault, similar
from entracte.graphs.contributions import contributed, contributed_names
from entracte.graphs.meta import on_meta
from entracte.graphs.spec import Constants, Graph, Input

__all__ = [
    "Constants",
    "Graph",
    "GraphFault",
    "Input",
    "build",
    "file_params",
    "is_code",
    "names",
    "on_meta",
    "package_of",
    "place_of",
]

_BUILT_IN = {
    "cascade.schedule": "entracte.graphs.cascade.sampler:schedule",
    "minisora.ddpm_step": "entracte.graphs.minisora.ddpm:step",
    "minisora.ddpm_table": "entracte.graphs.minisora.ddpm:table",
    "minisora.transport_start": "entracte.graphs.minisora.transport:start",
    "minisora.transport_step": "entracte.graphs.minisora.transport:step",
    "minisora.transport_table": "entracte.graphs.minisora.transport:table",
    "onnx": "entracte.graphs.onnx.build:stage",
    "opensora.caption_rows": "entracte.graphs.opensora.build:caption_rows",
    "opensora.denoiser": "entracte.graphs.opensora.build:denoiser",
    "opensora.guidance_interval": "entracte.graphs.opensora.build:guidance_interval",
    "opensora.guided_euler": "entracte.graphs.opensora.build:guided_euler",
    "opensora.guided_euler_leap": "entracte.graphs.opensora.build:guided_euler_leap",
    "opensora.rflow_schedule": "entracte.graphs.opensora.build:rflow_schedule",
    "opensora.spatial_decoder": "entracte.graphs.opensora.build:spatial_decoder",
    "opensora.temporal_decoder": "entracte.graphs.opensora.build:temporal_decoder",
    "opensora.text_encoder": "entracte.graphs.opensora.build:text_encoder",
    "recipes.whisper_rows": "entracte.graphs.recipes.parts_whisper:whisper_rows",
    "schedule.scale": "entracte.graphs.schedules.step:scale",
    "schedule.start": "entracte.graphs.schedules.step:start",
    "schedule.step": "entracte.graphs.schedules.step:step",
    "schedule.table": "entracte.graphs.schedules.step:table",
    "seen.goes_on": "entracte.graphs.seen:goes_on",
    "seen.joined": "entracte.graphs.seen:joined",
    "zeros": "entracte.graphs.zeros:zeros",
}
GROUP = "entracte.graphs"
_CODE = ("cascade.", "minisora.", "opensora.", "schedule.", "seen.")
"""Built-in graphs whose names begin so are made by code and parameters alone; recipes' are too."""
_FILES = {"onnx": ("file",)}
"""Parameters that name a file: the compiler finds it, and hands in its path."""


def names() -> list[str]:
    """All known graph names, built in and contributed."""
    return sorted({*_BUILT_IN, *contributed_names(GROUP)})


def build(name: str, params: Mapping[str, object]) -> Graph | Constants:
    """Make the graph `name`. Raises `ValueError` for an unknown name or wrong params, `GraphFault`
    for a factory that cannot be imported, cannot be called so, or gives something else; and what
    the factory raises."""
    factory = _of_recipe(name) or _factory(name)
    _check_params(name, factory, params)
    made = factory(**params)
    if isinstance(made, Graph | Constants):
        return made
    what = "None: it may lack a `return`" if made is None else f"a {type(made).__name__}"
    raise GraphFault(
        f"its factory {place_of(name)} returned {what}; return a "
        "`entracte.graphs.Graph(module, inputs, outputs)`, or `Constants`"
    )


def place_of(name: str) -> str:
    """`MODULE:ATTRIBUTE`, the factory of the graph `name`; empty for an unknown name."""
    if name in _BUILT_IN:
        return _BUILT_IN[name]
    return contributed(GROUP, name, "name different factories so")


def package_of(name: str) -> str:
    """The top-level package that makes the graph `name`, e.g. to digest its code; this one for
    our own and for an unknown name."""
    if name in _BUILT_IN or name.startswith(recipes.OWN):
        return __name__
    if package := recipes.package_of(name):
        return package
    return place_of(name).partition(":")[0].partition(".")[0].strip() or __name__


def is_code(name: str) -> bool:
    """Whether the graph `name` is always the same for the same code and parameters. Whoever reads
    files, or draws numbers, may give another one each time: it must be made to know."""
    return name.startswith(recipes.OWN) or (name in _BUILT_IN and name.startswith(_CODE))


def file_params(name: str) -> tuple[str, ...]:
    """Which parameters of the graph `name` name files. Where these are is for the user to say, so
    a plan that came from elsewhere does not."""
    return _FILES.get(name, ())


def _of_recipe(name: str) -> Callable[..., Graph] | None:
    """The factory of a stage that a recipe declared, if `name` is one's."""
    # Recipes of others are found by looking at all installed packages.
    function = None if name in _BUILT_IN else recipes.function_of(name)
    if function is None:
        return None
    from entracte.graphs.recipes.called import graph

    return partial(graph, function)


def _factory(name: str) -> Callable[..., Graph | Constants]:
    place = place_of(name)
    if not place:
        raise ValueError(f"no graph is named {name!r}; {_known(name)}")
    # Behind it may stand extras, in brackets.
    module, colon, path = (p.strip() for p in place.partition("[")[0].partition(":"))
    if not colon or not path:
        raise GraphFault(f"its entry point is {place!r}; write MODULE:FACTORY")
    found = _imported(place, module)
    for attribute in path.split("."):
        if not hasattr(found, attribute):
            inner = getattr(found, "__dict__", {})
            made = [n for n, value in inner.items() if callable(value) and n[0] != "_"]
            raise GraphFault(
                f"its entry point is {place!r}, and {module} has no {path!r}"
                f"{similar(path, made)}; correct the entry point, and install the package again"
            )
        found = getattr(found, attribute)
    if not callable(found):
        raise GraphFault(f"its entry point {place!r} is a {type(found).__name__}, no function")
    factory: Callable[..., Graph | Constants] = found
    return factory


def _imported(place: str, module: str) -> Any:
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = error.name or module
        if f"{module}.".startswith(f"{missing}."):
            raise GraphFault(
                f"its entry point is {place!r}, and there is no module {missing}; install the "
                "package that has it, or correct the entry point"
            ) from error
        raise GraphFault(
            f"{module}, which has its factory, imports {missing}, and there is no such module; "
            "install it"
        ) from error


def _check_params(name: str, factory: Callable[..., object], params: Mapping[str, object]) -> None:
    """A call with other arguments than a function has: told by what it has."""
    try:
        signature = inspect.signature(factory)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(**params)
    except TypeError:
        pass
    else:
        return
    positional = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.POSITIONAL_ONLY)
    known = [p for p in signature.parameters.values() if p.kind not in positional]
    takes_any = any(p.kind is p.VAR_KEYWORD for p in known)
    names = [p.name for p in known if p.kind is not p.VAR_KEYWORD]
    strange = [] if takes_any else [n for n in params if n not in names]
    needed = [p.name for p in known if p.default is p.empty and p.name in names]
    faults = [f"{n!r} is unknown{similar(n, names)}" for n in strange]
    faults += [f"{n!r} is missing" for n in needed if n not in params]
    free = [n for n in names if n not in needed]
    raise ValueError(
        f"params: {', '.join(faults) or 'cannot be given by name'}; graph {name!r} needs "
        f"{', '.join(needed) or 'none'}" + (f" and may have {', '.join(free)}" if free else "")
    )


def _known(name: str) -> str:
    return f"known: {', '.join(names())}{similar(name, names())}"
