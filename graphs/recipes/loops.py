"""What is declared of a loop while its stages are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from entracte.graphs.recipes.values import Shape, Value

if TYPE_CHECKING:
    from entracte.graphs.recipes.recipe import Recipe
    from entracte.graphs.schedules.probe import Steps


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
