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
from pathlib import Path
from typing import Any, TypeVar

from entracte.graphs.checks import similar
from entracte.graphs.recipes import graph_name
from entracte.graphs.recipes.called import takes_of
from entracte.graphs.recipes.hub import ModelFolder, tokens_in
from entracte.graphs.schedules.kinds import settings_of
from entracte.graphs.schedules.probe import Steps, steps_of

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
    tokenizer: str = ""
    """What made them, as outputs of texts name it."""


class Recipe:
    """Collects what a recipe declares.

    Args:
        folder: what it reads.
        options: what the user chose (`pipeline.options`); None where he did not.
        steps: of the sampler, as the user wants them.
        random: whether weights are drawn from a seed: then a folder may lack tokenizers.
    """

    def __init__(
        self,
        folder: ModelFolder,
        options: Mapping[str, Any],
        steps: int | None,
        *,
        random: bool = False,
    ) -> None:
        self.folder = folder
        self.inputs: dict[str, dict[str, Any]] = {}
        self.stages: dict[str, dict[str, Any]] = {}
        self.loops: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self.steps = steps
        self._options, self._read = options, dict[str, Any]()
        self._random, self._loop = random, ""

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

    def size(
        self, name: str, default: int, multiple: int = 1, rest: int = 0, most: int | None = None
    ) -> int:
        """A size that must be `multiple * n + rest`. Raises `ValueError` with the nearest."""
        value = int(self.option(name, default))
        if most is not None and value > most:
            raise ValueError(
                f"pipeline.options.{name}: {value} is more than the {most} that a "
                f"{self.folder.kind} takes; give {most}"
            )
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

    def image(self, name: str, height: int, width: int, **settings: Any) -> Value:
        """A picture, (1, 3, height, width), from -1 to 1 where `range` says nothing else."""
        shape = (1, 3, height, width)
        usual = {"kind": "image", "shape": list(shape), "range": [-1.0, 1.0]}
        return self._input(name, shape, usual | settings)

    def tensor(self, name: str, shape: Shape) -> Value:
        """Numbers of another run, or of another program."""
        return self._input(name, shape, {"kind": "tensor", "shape": list(shape)})

    def given(self, name: str, shape: Shape = (), **settings: Any) -> Value:
        """Any other input, by the keys of `pipeline.inputs`."""
        whole = settings.get("dtype") == "int32" or settings.get("kind") == "choice"
        if settings.get("kind") in ("video", "audio", "tensor"):
            settings["shape"] = list(shape)
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
        place = str(self.folder.path.absolute())
        if self._random and not self.folder.has_tokenizer(tokenizer):
            tokenizer, place = "tokenizer.json", STAND_IN
            rule = {"pad_id": 0, **rule}
        params = {"tokenizer": tokenizer, "length": length, "stand_in": place, **rule}
        made = self.host("tokenize", name or f"tokens_{text.name}", params, text=text)
        shape = (1, length)
        ids, mask = Value(f"{made}.input_ids", shape, True), Value(f"{made}.mask", shape)
        return Tokens(ids, mask, tokenizer)

    def token_count(self, tokenizer: str, text: str) -> int:
        """How many tokens a text is, with the marks that its tokenizer adds."""
        file = self.folder.path / tokenizer / "tokenizer.json"
        if self._random and not self.folder.has_file(tokenizer):
            file = Path(__file__).parents[1] / STAND_IN.partition("/")[2] / "tokenizer.json"
        return tokens_in(file, text)

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
        name: Any = "",  # a text; Any, so that recipes may give `**` of a mapping of values
        settings: Any = None,
        options: Any = None,
        **ports: Value | Shape,
    ) -> Any:
        """A stage that calls a marked function.

        Args:
            component: of the folder, whose module is the function's first argument; its
                configuration says what is built, its folder has the weights.
            name: of the stage, by default the function's.
            settings: further arguments of the function: numbers, texts, lists.
            options: further keys of `pipeline.stages.NAME`: `precision`, `map`, `weights_of`, ...;
                those of `module`: `class` and `config`, where they are not the component's. A map's
                `carry` has of each input the result that the next slice reads in its place.
            ports: of each parameter of the function the value that it reads (of `*xs` x values
                are `xs0`, `xs1`, ...; of what is carried, what the first slice reads); then, in
                order, the name of each result with its shape.

        Returns:
            The result, or a tuple of them.
        """
        takes = takes_of(function, ports)
        inputs = {n: v for n, v in ports.items() if isinstance(v, Value) and n in takes}
        shapes = {n: (v.shape if isinstance(v, Value) else v) for n, v in ports.items()
                  if n not in inputs}  # fmt: skip
        more = dict(options or {})
        carried = more.get("map", {}).get("carry", {})
        for n, port in carried.items():
            if isinstance(port, str):
                carried[n] = [inputs[n].name, port]
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
        over: Mapping[str, Any] | None = None, fixed: bool = False, salt: int = 1,
    ) -> Iterator[Sampling]:  # fmt: skip
        """A loop over the steps of the folder's scheduler.

        Args:
            z: what it begins with: normal numbers.
            steps: of the sampler where the user does not say.
            given: further arguments of the scheduler's `set_timesteps` (`mu`, `sigmas`).
            starts: whether `z` is multiplied by the scheduler's first sigma.
            over: what the pipeline's constructor writes over the scheduler's configuration.
            fixed: whether `steps` holds whatever the user says of the sampler's.
            salt: tells its noise from that of other loops.
        """
        own = self.folder.component(component).kind if self.folder.has(component) else ""
        kind = self.option(component, own)
        config = self.config(component)
        takes = settings_of(kind) if kind == own else ()
        config |= {k: v for k, v in (over or {}).items() if k in config or k in takes}
        count = steps if fixed else self.sampling_steps(steps)
        params = {"scheduler": kind, "config": json.dumps(config, sort_keys=True), "steps": count,
                  "given": json.dumps(dict(given or {}))}  # fmt: skip
        made = steps_of(**params)
        table = self.constant("schedule.table", f"{name}_table", **params)
        if starts and made.start != 1:
            start = self.graph("schedule.start", f"{name}_start",
                               {**params, "shape": list(z.shape)}, z=z)  # fmt: skip
            self.stages[start]["precision"] = "fp32"
            z = Value(f"{start}.z_start", z.shape)
        if made.remembered:
            zeros = {"shape_of": f"{name}_step.history", "dtype": "fp32"}
            self.constant("zeros", f"{name}_zeros", **zeros)
        with self.loop(name, made.evaluations) as inner:
            yield Sampling(self, inner, made, params, table, z, salt)

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
        self, recipe: Recipe, loop: Loop, made: Steps, params: dict[str, Any], table: str,
        z: Value, salt: int = 1,
    ) -> None:  # fmt: skip
        self.loop, self._recipe, self._made, self._salt = loop, recipe, made, salt
        self._params, self._table = params, table
        self.z = loop.state("z", z)
        self.time = loop.scan("time", f"{table}.time", (1,))
        self.input = self.z
        """What the model reads: `z`, scaled where the scheduler does so."""
        if made.is_scaled:
            scale = loop.scan("scale", f"{table}.scale", (1,))
            scaled = recipe.graph("schedule.scale", f"{loop.name}_scale",
                                  {"shape": list(z.shape)}, z=self.z, scale=scale)  # fmt: skip
            recipe.stages[scaled]["precision"] = "fp32"
            self.input = Value(f"{scaled}.scaled", z.shape)

    @property
    def times(self) -> list[float]:
        """What the model is told in each evaluation."""
        return [float(t) for t in self._made.time]

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
        if self._made.has_noise:
            name_of = f"{self.loop.name}_noise"
            inputs["noise"] = self._recipe.noise(self.z.shape, name_of, salt=self._salt)
        if self._made.remembered:
            zeros = Value(f"{self.loop.name}_zeros.zeros")
            inputs["history"] = self.loop.state("history", zeros)
        made = self._recipe.graph("schedule.step", name, params, **inputs)
        self._recipe.stages[made]["precision"] = "fp32"
        self.loop.next("z", Value(f"{made}.z_next", self.z.shape))
        if self._made.remembered:
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
