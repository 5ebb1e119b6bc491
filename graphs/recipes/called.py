"""A recipe's stage as a graph: a library's module on the meta device, and a function calling it."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import Any

from torch import Tensor, nn

from entracte.graphs import models
from entracte.graphs.checks import GraphFault
from entracte.graphs.meta import on_meta
from entracte.graphs.recipes.hub import LIBRARIES, library_class
from entracte.graphs.spec import Graph, Input

Pairs = Mapping[str, Any] | Sequence[tuple[str, Any]]


class Called(nn.Module):
    """`function(module, *tensors, **settings)`; without a module the tensors alone. `names` are
    the tensors'."""

    def __init__(
        self, function: Callable[..., Any], module: nn.Module | None, settings: Mapping[str, Any],
        names: Sequence[str],
    ) -> None:  # fmt: skip
        super().__init__()
        self.module, self._function, self._settings = module, function, dict(settings)
        self._names = tuple(names)

    def forward(self, *inputs: Tensor) -> Any:
        """What the function returns."""
        first = () if self.module is None else (self.module,)
        if _has_many(self._function):
            return self._function(*first, *inputs, **self._settings)
        named = dict(zip(self._names, inputs, strict=True))
        return self._function(*first, **named, **self._settings)


def graph(
    function: Callable[..., Any],
    inputs: Pairs,
    outputs: Sequence[str],
    module: str = "",
    config: str = "",
    checkpoint: str = "",
    whole: Sequence[str] = (),
    settings: str = "{}",
    scales: Pairs = (),
) -> Graph:
    """The graph of a stage that a recipe declared.

    Args:
        function: marked with `stage`; its parameters are the module, the inputs, the settings.
        inputs: name -> shape.
        outputs: names of what it returns.
        module: `LIBRARY.CLASS`; empty where it computes without weights.
        config: the component's configuration, as JSON.
        checkpoint: the component's folder, the stem of its weights.
        whole: inputs of whole numbers.
        settings: further arguments of the function, as JSON.
        scales: (end of a weight's name, factor), see `Graph`.
    """
    shapes, given = dict(inputs), json.loads(settings)
    order = _order(function, list(shapes), given, bool(module))
    ports = tuple(Input(n, tuple(shapes[n]), "int" if n in whole else "float") for n in order)
    if not module:
        return Graph(Called(function, None, given, order).eval(), ports, tuple(outputs))
    made = on_meta(lambda: Called(function, build(module, json.loads(config)), given, order))
    return Graph(
        made,
        ports,
        tuple(outputs),
        checkpoint=checkpoint,
        key_map=(("module.", ""), *_own_names(made)),
        scales=(*dict(scales).items(), *getattr(made.module, "scales", ())),
    )


def _own_names(made: Called) -> tuple[tuple[str, str], ...]:
    """Where the file's names are others than the module's."""
    pairs: Iterable[tuple[str, str]] = getattr(made.module, "key_map", ())
    return tuple((f"module.{inside}", outside) for inside, outside in pairs)


def build(name: str, config: Mapping[str, Any]) -> nn.Module:
    """A module of diffusers or transformers by its configuration. Raises `GraphFault` for what is
    no class of their models: nothing else of a library is called."""
    library, _, kind = name.partition(".")
    if library == models.LIBRARY:
        own: nn.Module = models.build_model(kind, config)
        return own
    cls = _class(library, kind)
    if library == "diffusers":
        made: nn.Module = cls.from_config(dict(config))
        return made
    return cls(_eager(cls.config_class.from_dict(dict(config))))


_UNSCALED = ("t5", "umt5", "mt5", "gemma2")
"""Kinds of models whose scores are not scaled, or are bent: the fused operation does not fit."""


def _eager(config: Any) -> Any:
    """Attention as plain operations: the libraries' choice depends on the machine."""
    config._attn_implementation = "sdpa" if config.model_type not in _UNSCALED else "eager"
    return config


def _class(library: str, kind: str) -> Any:
    if library not in LIBRARIES or not kind.isidentifier():
        raise GraphFault(f"module: {library}.{kind} is of none of {', '.join(LIBRARIES)}")
    if library == "diffusers":
        import diffusers as found
        from diffusers import ModelMixin as Base
    else:
        import transformers as found  # type: ignore[no-redef]
        from transformers import PreTrainedModel as Base  # type: ignore[assignment]
    cls = library_class(library, kind)
    if not (inspect.isclass(cls) and issubclass(cls, Base)):
        raise GraphFault(
            f"module: {library} {found.__version__} has no model {kind}; a newer one may have it"
        )
    return cls


def takes_of(function: Callable[..., Any], names: Iterable[str]) -> list[str]:
    """Names of a function's parameters; `*kept` takes kept0, kept1, ... of those given."""
    found, given = list[str](), set(names)
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind is not parameter.VAR_POSITIONAL:
            found.append(name)
            continue
        numbered = map(f"{name}{{}}".format, range(len(given)))
        found += takewhile(given.__contains__, numbered)
    return found


def _has_many(function: Callable[..., Any]) -> bool:
    """Whether it takes `*kept`; then what stands before it is given by position."""
    parameters = inspect.signature(function).parameters.values()
    return any(p.kind is p.VAR_POSITIONAL for p in parameters)


def _order(
    function: Callable[..., Any], names: list[str], settings: Mapping[str, Any], has_module: bool
) -> list[str]:
    """Inputs as the function takes them."""
    takes = takes_of(function, names)[int(has_module) :]
    order = [name for name in takes if name in names]
    stray = [n for n in [*names, *settings] if n not in takes]
    missing = [n for n, p in inspect.signature(function).parameters.items()
               if n in takes and p.default is p.empty and n not in (*names, *settings)]  # fmt: skip
    is_skipped = _has_many(function) and takes[: len(order)] != order
    if stray or missing or is_skipped:
        raise GraphFault(
            f"{function.__module__}.{function.__name__} takes {', '.join(takes)}; given are the "
            f"inputs {', '.join(names)} and the settings {', '.join(settings) or 'none'}: its "
            "inputs come first, then its settings, each by its name"
        )
    return order
