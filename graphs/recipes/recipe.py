"""What a recipe declares with: stages, loops, inputs and outputs, as a configuration has them.

    def stable_diffusion(r: Recipe) -> None:
        unet = r.config("unet")
        ...
        states = r.stage(text, "text_encoder", prompt=ids, negative=others, states=(2, 77, 768))
        with r.sampling(z, steps=50) as loop:
            loop.step(r.stage(denoise, "unet", z=loop.input, time=loop.time, text=states, out=z))
        r.image(r.stage(decode, "vae", z=loop.z, image=(1, 3, height, width)))

Nothing is computed here: what comes out is the same mapping that a yaml file would give.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from entracte.graphs.checks import similar
from entracte.graphs.recipes import graph_name
from entracte.graphs.recipes.called import takes_of
from entracte.graphs.recipes.hub import ModelFolder
from entracte.graphs.schedules.rows import row_of

_Function = TypeVar("_Function", bound=Callable[..., Any])
Shape = tuple[int, ...]
STAND_IN = "package:entracte.graphs/weights/stand_in"
"""A tokenizer for folders that have none, where weights are random."""


def stage(function: _Function) -> _Function:
    """Marks a function that a stage computes: `function(module, *tensors, **settings)`."""
    function.is_stage = True  # type: ignore[attr-defined]
    return function


@dataclass(frozen=True, slots=True)
class Value:
    """What a stage makes, a loop carries, or a user gives."""

    name: str
    """As configurations refer to it: `STAGE.PORT`, or an input's name."""
    shape: Shape = ()
    is_whole: bool = False

    def of(self, *shape: int) -> Value:
        """The same with another shape: where the recipe knows better than the builder."""
        return Value(self.name, shape, self.is_whole)


@dataclass(frozen=True, slots=True)
class Tokens:
    """Of a text."""

    ids: Value
    mask: Value


class Recipe:
    """Collects what a recipe declares.

    Args:
        folder: what it reads.
        options: what the user chose (`pipeline.options`); None where he did not.
        steps: of the sampler, as the user wants them.
        tokenizers: where tokenizers are when weights are random.
    """

    def __init__(
        self, folder: ModelFolder, options: Mapping[str, Any], steps: int | None, tokenizers: str
    ) -> None:
        self.folder = folder
        self.inputs: dict[str, dict[str, Any]] = {}
        self.stages: dict[str, dict[str, Any]] = {}
        self.loops: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self.steps = steps
        self._options, self._read = options, dict[str, Any]()
        self._tokenizers, self._loop = tokenizers, ""

    # ---------------------------------------------------------------- what is read

    def config(self, component: str) -> dict[str, Any]:
        """A component's `config.json`."""
        return self.folder.config(component)

    def option(self, name: str, default: Any) -> Any:
        """What the user chose, or the default."""
        given = self._options.get(name)
        if given is not None and default is not None and not _is_like(given, default):
            raise ValueError(
                f"pipeline.options.{name}: {given!r} is not of the kind of its default, {default!r}"
            )
        self._read[name] = default if given is None else given
        return self._read[name]

    def size(self, name: str, default: int, multiple: int = 1, rest: int = 0) -> int:
        """A size that must be `multiple * n + rest`. Raises `ValueError` with the nearest."""
        value = int(self.option(name, default))
        if value < 1 or (value - rest) % multiple:
            low = max((value - rest) // multiple, 0 if rest else 1) * multiple + rest
            rule = f"a multiple of {multiple}" + (f", plus {rest}" if rest else "")
            raise ValueError(
                f"pipeline.options.{name}: {value} is not {rule}; give {low} or {low + multiple}"
            )
        return value

    def sampling_steps(self, default: int) -> int:
        """`sampler.steps`, or the pipeline's own."""
        return default if self.steps is None else self.steps

    @property
    def options_read(self) -> dict[str, Any]:
        """What was asked for, with what it became."""
        return self._read

    def check_options(self) -> None:
        """Raises `ValueError` for one that the recipe does not know."""
        for name, value in self._options.items():
            if value is not None and name not in self._read:
                raise ValueError(
                    f"pipeline.options.{name}: a {self.folder.kind} has no such option"
                    f"{similar(name, self._read)}; it has {', '.join(self._read) or 'none'}"
                )

    # ---------------------------------------------------------------- what a user gives

    def text(self, name: str, default: str = "") -> Value:
        """A text."""
        return self._input(name, (), {"kind": "text", "default": default})

    def number(self, name: str, default: float) -> Value:
        """A number, in the pipeline a tensor of one element."""
        return self._input(name, (1,), {"kind": "number", "default": default})

    def image(self, name: str, height: int, width: int) -> Value:
        """A picture, (1, 3, height, width), from -1 to 1."""
        shape = (1, 3, height, width)
        settings = {"kind": "image", "shape": list(shape), "range": [-1.0, 1.0]}
        return self._input(name, shape, settings)

    def given(self, name: str, shape: Shape = (), **settings: Any) -> Value:
        """Any other input, by the keys of `pipeline.inputs`."""
        whole = settings.get("dtype") == "int32" or settings.get("kind") == "choice"
        return self._input(name, shape, settings, whole)

    def _input(
        self, name: str, shape: Shape, settings: dict[str, Any], whole: bool = False
    ) -> Value:
        self.inputs[name] = settings
        return Value(name, shape, whole)

    # ---------------------------------------------------------------- what is computed

    def tokenize(
        self, tokenizer: str, text: Value, length: int, *, name: str = "", **rule: Any
    ) -> Tokens:
        """Ids and mask, (1, length), of a text; `rule` as of the host's step `tokenize`."""
        if self._tokenizers == STAND_IN:
            # One file, which does not say what pads.
            tokenizer, rule = "tokenizer.json", {"pad_id": 0, **rule}
        params = {"tokenizer": tokenizer, "length": length, "stand_in": self._tokenizers, **rule}
        made = self.host("tokenize", name or f"tokens_{text.name}", params, text=text)
        shape = (1, length)
        return Tokens(Value(f"{made}.input_ids", shape, True), Value(f"{made}.mask", shape))

    def host(self, operation: str, name: str, params: Mapping[str, Any], **inputs: Value) -> str:
        """A step of the runner's own; the name that it got."""
        read = {port: value.name for port, value in inputs.items()}
        return self._add(name, {"host": operation, "params": dict(params), "inputs": read})

    def noise(self, shape: Shape, name: str = "noise", *, salt: int = 0) -> Value:
        """Normal numbers of the input `seed`; inside a loop new ones in each iteration. `salt`
        tells streams of one seed apart."""
        self.inputs.setdefault("seed", {"kind": "seed", "default": 0})
        params: dict[str, Any] = {"shape": list(shape)}
        params |= {"salt": salt} if salt else {}
        params |= {"stream": "iteration"} if self._loop else {}
        return Value(f"{self.host('random_normal', name, params, seed=Value('seed'))}.noise", shape)

    def constant(self, graph: str, name: str, **params: Any) -> str:
        """A stage of tables; the name that it got."""
        return self._add(name, {"constant": graph, "params": params})

    def graph(self, graph: str, name: str, params: Mapping[str, Any], **inputs: Value) -> str:
        """A stage of any registered graph; the name that it got."""
        read = {port: value.name for port, value in inputs.items()}
        return self._add(name, {"graph": graph, "params": dict(params), "inputs": read})

    def stage(
        self,
        function: Callable[..., Any],
        component: str | None = None,
        *,
        name: str = "",
        settings: Mapping[str, Any] | None = None,
        options: Mapping[str, Any] | None = None,
        **ports: Value | Shape,
    ) -> Any:
        """A stage that calls a marked function.

        Args:
            component: of the folder, whose module is the function's first argument; its
                configuration says what is built, its folder has the weights.
            name: of the stage, by default the function's.
            settings: further arguments of the function: numbers, texts, lists.
            options: further keys of `pipeline.stages.NAME`: `precision`, `map`, `weights_of`, ...;
                those of `module`: `class` and `config`, where they are not the component's.
            ports: of each parameter of the function the value that it reads (of what `map.carry`
                names, a value with its shape alone); then, in order, the name of each result with
                its shape.

        Returns:
            The result, or a tuple of them.
        """
        takes = takes_of(function, ports)
        inputs = {n: v for n, v in ports.items() if isinstance(v, Value) and n in takes}
        shapes = {n: (v.shape if isinstance(v, Value) else v) for n, v in ports.items()
                  if n not in inputs}  # fmt: skip
        more = dict(options or {})
        carried = more.get("map", {}).get("carry", {})
        params: dict[str, Any] = {
            "inputs": {n: list(v.shape) for n, v in inputs.items()},
            "outputs": list(shapes),
            "whole": [n for n, v in inputs.items() if v.is_whole],
            "settings": json.dumps(settings or {}),
        }
        if component is not None:
            own = self.folder.component(component)
            config = more.pop("config", None) or self.config(component)
            params |= {
                "module": more.pop("class", own.name),
                "config": json.dumps(config, sort_keys=True),
                "checkpoint": more.pop("checkpoint", component),
            }
        params |= {"scales": more.pop("scales")} if "scales" in more else {}
        made = self._add(
            name or function.__name__,
            {
                "graph": graph_name(self.folder.kind, function),
                "params": params,
                "inputs": {n: v.name for n, v in inputs.items() if n not in carried},
                **more,
            },
        )
        results = tuple(Value(f"{made}.{port}", shape) for port, shape in shapes.items())
        return results[0] if len(results) == 1 else results

    def _add(self, name: str, settings: dict[str, Any]) -> str:
        if name in self.stages:
            raise ValueError(f"a recipe names two stages {name!r}; give one another `name`")
        self.stages[name] = settings
        if self._loop:
            self.loops[self._loop]["stages"].append(name)
        return name

    # ---------------------------------------------------------------- loops

    @contextmanager
    def loop(self, name: str, count: int) -> Iterator[Loop]:
        """Stages declared inside run `count` times."""
        self.loops[name] = {"count": count, "stages": [], "state": {}, "scan": {}, "collect": {}}
        self._loop = name
        try:
            yield Loop(self, name, count)
        finally:
            self._loop = ""

    @contextmanager
    def sampling(
        self, z: Value, *, steps: int, component: str = "scheduler", name: str = "sample",
        given: Mapping[str, Any] | None = None, starts: bool = True,
    ) -> Iterator[Sampling]:  # fmt: skip
        """A loop over the steps of the folder's scheduler.

        Args:
            z: what it begins with: normal numbers.
            steps: of the sampler where the user does not say.
            given: further arguments of the scheduler's `set_timesteps` (`mu`, `sigmas`).
            starts: whether `z` is multiplied by the scheduler's first sigma.
        """
        own = self.folder.component(component).kind if self.folder.has(component) else ""
        kind = self.option(component, own)
        config = self.config(component)
        count = self.sampling_steps(steps)
        row = row_of(kind, config)
        params = {"scheduler": kind, "config": json.dumps(config, sort_keys=True), "steps": count,
                  "given": json.dumps(dict(given or {}))}  # fmt: skip
        table = self.constant("schedule.table", f"{name}_table", **params)
        if starts and row.starts:
            start = self.graph("schedule.start", f"{name}_start",
                               {**params, "shape": list(z.shape)}, z=z)  # fmt: skip
            self.stages[start]["precision"] = "fp32"
            z = Value(f"{start}.z_start", z.shape)
        if row.history:
            zeros = {"shape_of": f"{name}_step.history", "dtype": "fp32"}
            self.constant("zeros", f"{name}_zeros", **zeros)
        with self.loop(name, row.evaluations(count)) as inner:
            yield Sampling(self, inner, row, params, table, z)

    # ---------------------------------------------------------------- what a run gives

    def output(self, name: str, kind: str, value: Value | Sequence[Value], **settings: Any) -> None:
        """By the keys of `pipeline.outputs`; several values are joined."""
        names = value.name if isinstance(value, Value) else [v.name for v in value]
        self.outputs[name] = {"kind": kind, "value": names, **settings}

    def picture(self, value: Value) -> None:
        """The output `image`, (1, 3, height, width) from -1 to 1."""
        self.output("image", "image", value, range=[-1.0, 1.0])

    def video(self, value: Value | Sequence[Value], rate: float) -> None:
        """The output `video`, (1, 3, frames, height, width) from -1 to 1, frames a second."""
        self.output("video", "video", value, range=[-1.0, 1.0], rate=rate)


class Loop:
    """What is declared of a loop while its stages are."""

    def __init__(self, recipe: Recipe, name: str, count: int) -> None:
        self.recipe, self.name, self.count = recipe, name, count

    @property
    def _settings(self) -> dict[str, Any]:
        return self.recipe.loops[self.name]

    def scan(self, name: str, value: str, shape: Shape, is_whole: bool = False) -> Value:
        """Each iteration reads its row of a table, (1, ...): `value` is `STAGE.PORT`."""
        self._settings["scan"][name] = value
        return Value(f"{self.name}.{name}", shape, is_whole)

    def state(self, name: str, first: Value) -> Value:
        """What an iteration hands to the next; `next` says what that is."""
        self._settings["state"][name] = [first.name, ""]
        return Value(f"{self.name}.{name}", first.shape, first.is_whole)

    def next(self, name: str, value: Value) -> None:
        """What the state is after an iteration."""
        self._settings["state"][name][1] = value.name

    def collect(self, name: str, value: Value, axis: int) -> Value:
        """What all iterations make, joined."""
        self._settings["collect"][name] = {"value": value.name, "axis": axis}
        shape = list(value.shape)
        shape[axis] *= self.count
        return Value(f"{self.name}.{name}", tuple(shape), value.is_whole)

    def until(self, value: Value) -> None:
        """Where it is not zero after an iteration, the loop ends."""
        self._settings["until"] = value.name


class Sampling:
    """A loop over a scheduler's steps."""

    def __init__(
        self, recipe: Recipe, loop: Loop, row: Any, params: dict[str, Any], table: str, z: Value
    ) -> None:
        self.loop, self._recipe, self._row = loop, recipe, row
        self._params, self._table = params, table
        self.z = loop.state("z", z)
        self.time = loop.scan("time", f"{table}.time", (1,))
        self.input = self.z
        """What the model reads: `z`, scaled where the scheduler does so."""
        if row.scales:
            scale = loop.scan("scale", f"{table}.scale", (1,))
            made = recipe.graph("schedule.scale", f"{loop.name}_scale",
                                {"shape": list(z.shape)}, z=self.z, scale=scale)  # fmt: skip
            recipe.stages[made]["precision"] = "fp32"
            self.input = Value(f"{made}.scaled", z.shape)

    def step(self, output: Value) -> None:
        """The scheduler's step, in fp32, with what the model made."""
        shape, table = list(self.z.shape), self._table
        params, name = {**self._params, "shape": shape}, f"{self.loop.name}_step"
        # Its shape is the graph's to say: what a scheduler remembers follows from its steps.
        inputs = {
            "z": self.z,
            "output": output,
            "parts": self.loop.scan("parts", f"{table}.parts", ()),
        }
        if self._row.noise:
            inputs["noise"] = self._recipe.noise(self.z.shape, f"{self.loop.name}_noise", salt=1)
        if self._row.history:
            zeros = Value(f"{self.loop.name}_zeros.zeros")
            inputs["history"] = self.loop.state("history", zeros)
        made = self._recipe.graph("schedule.step", name, params, **inputs)
        self._recipe.stages[made]["precision"] = "fp32"
        self.loop.next("z", Value(f"{made}.z_next", self.z.shape))
        if self._row.history:
            self.loop.next("history", Value(f"{made}.history_next"))


def _is_like(given: object, default: object) -> bool:
    if isinstance(default, bool):
        return isinstance(given, bool)
    if isinstance(default, int):
        return isinstance(given, int) and not isinstance(given, bool)
    if isinstance(default, float):
        return isinstance(given, int | float) and not isinstance(given, bool)
    return isinstance(given, type(default))


def image_scale(config: Mapping[str, Any]) -> int:
    """How many pixels a latent of an AutoencoderKL is wide."""
    sizes: Sequence[int] = config["block_out_channels"]
    return int(2 ** (len(sizes) - 1))
