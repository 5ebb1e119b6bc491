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
from pathlib import Path
from typing import Any

from entracte.graphs.recipes import graph_name
from entracte.graphs.recipes.called import takes_of
from entracte.graphs.recipes.guidance import APART, OWN, TOGETHER, Guidance
from entracte.graphs.recipes.hub import ModelFolder, tokens_in
from entracte.graphs.recipes.loops import Loop, Sampling
from entracte.graphs.recipes.options import Options
from entracte.graphs.recipes.values import Shape, Tokens, Value, stage
from entracte.graphs.schedules.kinds import settings_of
from entracte.graphs.schedules.probe import steps_of

__all__ = [
    "STAND_IN",
    "Loop",
    "Recipe",
    "Sampling",
    "Shape",
    "Tokens",
    "Value",
    "image_scale",
    "stage",
]

_TOKENIZERS = ("tokenizer", "decoder")
STAND_IN = "package:entracte.graphs/weights/stand_in"
"""A tokenizer for folders that have none, where weights are random."""


class Recipe(Options):
    """Collects what a recipe declares.

    Args:
        folder: what it reads.
        options: what the user chose (`pipeline.options`); None where he did not.
        steps: of the sampler, as the user wants them.
        random: whether weights are drawn from a seed: then a folder may lack tokenizers.
        evaluations: of them, as the user wants them; None for all.
        guidance: how the user wants both halves of it.
    """

    def __init__(
        self,
        folder: ModelFolder,
        options: Mapping[str, Any],
        steps: int | None,
        *,
        random: bool = False,
        evaluations: int | None = None,
        guidance: Guidance = Guidance(),  # noqa: B008 - frozen
    ) -> None:
        super().__init__(folder.kind, options)
        self.folder = folder
        self.inputs: dict[str, dict[str, Any]] = {}
        self.stages: dict[str, dict[str, Any]] = {}
        self.loops: dict[str, dict[str, Any]] = {}
        self.outputs: dict[str, dict[str, Any]] = {}
        self.steps = steps
        self._evaluations, self._leaps = evaluations, False
        self._random, self._loop = random, ""
        self.guidance = guidance
        self.ways: set[str] = set()
        """How halves of guidance come; none where there is no guidance."""

    # ---------------------------------------------------------------- what is read

    def config(self, component: str) -> dict[str, Any]:
        """A component's `config.json`."""
        return self.folder.config(component)

    def sampling_steps(self, default: int) -> int:
        """`sampler.steps`, or the pipeline's own."""
        return default if self.steps is None else self.steps

    def evaluations(self, default: int) -> int:
        """`sampler.evaluations`: how many of the steps are taken, of which the last covers all that
        remains. A recipe that does not ask takes all."""
        self._leaps = True
        return self.sampling_steps(default) if self._evaluations is None else self._evaluations

    def check_sampler(self) -> None:
        """Raises `ValueError` for fewer evaluations than steps where the recipe takes all."""
        fewer = self._evaluations is not None and self._evaluations != self.steps
        if fewer and not self._leaps:
            raise ValueError(
                f"sampler.evaluations: {self._evaluations} of {self.steps} steps: a {self._kind} "
                "takes all of its scheduler's; leave `sampler` as it is, or give sampler.steps"
            )

    def way(self, own: str) -> str:
        """How both halves of guidance come in the loop that is declared now: as the user wants, or
        as the recipe has it, `own` (apart, where it does not say)."""
        chosen = (own or APART) if self.guidance.way == OWN else self.guidance.way
        self.ways.add(TOGETHER if chosen == TOGETHER else APART)
        return chosen

    def check_guidance(self) -> None:
        """Raises `ValueError` for a way of guidance where there is none."""
        if self.guidance.way != OWN and not self.ways:
            raise ValueError(
                f"guidance={self.guidance.way}: a {self._kind} has no guidance with two halves "
                "here; leave it out"
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
        named = name or f"tokens_{text.name}"
        return self._host_tokens(
            "tokenize", named, length, {"tokenizer": tokenizer, **rule}, text=text
        )

    def _host_tokens(
        self, operation: str, name: str, length: int, rule: dict[str, Any], **read: Value
    ) -> Tokens:
        """Random weights may come without tokenizers: then a stand-in's."""
        place = str(self.folder.path.absolute())
        own = [rule[key] for key in _TOKENIZERS if key in rule]
        if self._random and not all(map(self.folder.has_tokenizer, own)):
            place = STAND_IN
            rule = {"pad_id": 0, **rule} | {k: "tokenizer.json" for k in rule if k in _TOKENIZERS}
        made = self.host(operation, name, {"length": length, "stand_in": place, **rule}, **read)
        shape = (1, length)
        ids, mask = Value(f"{made}.input_ids", shape, True), Value(f"{made}.mask", shape)
        return Tokens(ids, mask, rule["tokenizer"])

    def retokenize(
        self, decoder: str, tokenizer: str, ids: Value, length: int, *, name: str = "", **rule: Any
    ) -> Tokens:
        """What one model wrote with the tokenizer `decoder`, as ids and mask of another's."""
        given = {"tokenizer": tokenizer, "decoder": decoder, **rule}
        return self._host_tokens("retokenize", name or "tokens_written", length, given, ids=ids)

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
        if carried:
            pairs = {n: [inputs[n].name, port] for n, port in carried.items()}
            more["map"] = {**more["map"], "carry": pairs}
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

    def free(self, name: str) -> str:
        """The name, or where a stage has it, with the loop's behind it."""
        return name if name not in self.stages else f"{name}_{self._loop}"

    @property
    def steps_here(self) -> int:
        """Iterations of the loop that is declared now."""
        return int(self.loops[self._loop]["count"])

    def within(self, begin: int, end: int) -> Value:
        """1 in the iterations [begin, end) of the loop that is declared now, else 0: (1,)."""
        params = {"count": self.steps_here, "begin": begin, "end": end}
        name = f"{self._loop}_interval"
        # Before the loop, which reads it row by row.
        self.stages[name] = {"constant": "opensora.guidance_interval", "params": params}
        return Loop(self, self._loop, self.steps_here).scan("within", f"{name}.within", (1,))

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


def image_scale(config: Mapping[str, Any]) -> int:
    """How many pixels a latent of an AutoencoderKL is wide."""
    sizes: Sequence[int] = config["block_out_channels"]
    return int(2 ** (len(sizes) - 1))
