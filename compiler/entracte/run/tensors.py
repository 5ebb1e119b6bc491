"""The tensors of a run, by name: read and written by bindings, freed when the program says so.

What is made in pieces is allocated whole when the first piece comes, and each piece is written in
its place: nothing is there twice. Pieces that overlap are summed there (`run/blend.py`).
"""

from collections.abc import Iterator, Mapping
from typing import Any

from entracte.declare.edges import SINGLE
from entracte.devices import Device
from entracte.ir import Binding, By, Call, DType, HostStep, Program, Segment, Step, TensorDecl
from entracte.program.slices import is_blended
from entracte.program.steps import firsts_taken
from entracte.run.blend import begins, weighted
from entracte.run.delivery import Delivery


class Tensors:
    """Values as the device holds them (texts and seeds as they are)."""

    def __init__(self, program: Program, device: Device, delivery: Delivery | None = None) -> None:
        self._device, self._program = device, program
        self._decls = {t.name: t for t in program.tensors}
        self._values: dict[str, Any] = {}
        self._plain = {i.name for i in program.inputs if i.kind in ("text", "seed")}
        self._delivery = delivery or Delivery((), {})
        """Where outputs go when they are complete."""

    def give(
        self, program: Program, given: Mapping[str, Any], constants: Mapping[str, Any]
    ) -> None:
        """The program's inputs, and its constants as numpy arrays; of those in slots a list."""
        import numpy as np

        numpy = {DType.FP32: np.float32, DType.INT32: np.int32}
        for i in program.inputs:
            value = given[i.name]
            if i.kind in SINGLE:
                value = self._device.make(np.array([value], numpy[SINGLE[i.kind]]))
            elif i.port is not None:
                value = self._device.make(value)
            self._values[i.name] = value
        for name, array in constants.items():
            self._values[name] = self._made(array)
        self._completed([name for name in self._values if name in self._decls])

    def _made(self, array: Any) -> Any:
        """Of a tensor in slots all of them are given."""
        if isinstance(array, list):
            return [self._device.make(slot) for slot in array]
        return self._device.make(array)

    def give_plain(self, given: Mapping[str, Any]) -> None:
        """The inputs that are no tensors, where the tensors are taken back."""
        self._values |= {name: given[name] for name in self._plain}

    def fetch(self, name: str) -> Any:
        """As a numpy array."""
        return self._device.fetch(self._values[name])

    def slots(self, name: str) -> list[Any]:
        """As numpy arrays: one for each slot, which most tensors have one of."""
        value = self._values[name]
        return [self._device.fetch(x) for x in (value if isinstance(value, list) else [value])]

    def parts(self) -> Iterator[tuple[str, int | None]]:
        """All tensors that are there, by name: slot by slot where there are several, without those
        that nobody made."""
        for name in sorted(n for n in self._values if n in self._decls):
            value = self._values[name]
            if isinstance(value, list):
                yield from ((name, k) for k, slot in enumerate(value) if slot is not None)
            else:
                yield name, None

    def part(self, name: str, slot: int | None) -> Any:
        """One of `parts`, as a numpy array."""
        value = self._values[name]
        return self._device.fetch(value if slot is None else value[slot])

    def there_bytes(self) -> int:
        """Of all tensors that are there."""
        return sum(self._decls[n].size_bytes for n in self._values if n in self._decls)

    def take_back(self, name: str, slot: int | None, array: Any) -> None:
        """What `parts` gave, maybe in another process."""
        if slot is None:
            self._values[name] = self._device.make(array)
            return
        slots = self._values.setdefault(name, [None] * self._decls[name].slots)
        slots[slot] = self._device.make(array)

    def held_bytes(self, step: Call) -> int:
        """Of all tensors while a call runs, its outputs included."""
        names = self._values.keys() | {b.tensor for b in step.outputs}
        return sum(self._decls[n].size_bytes for n in names if n in self._decls)

    # ------------------------------------------------------------ steps

    def inputs(self, step: Call, index: int, iteration: int) -> dict[str, Any]:
        """Of one slice of a call, by feature."""
        return {b.feature: self._read(b, _k(b, index, iteration)) for b in step.inputs}

    def host_inputs(self, step: HostStep) -> dict[str, Any]:
        """By port: texts and seeds as they are, tensors as numpy arrays."""
        return {port: self._host_value(name) for port, name in step.inputs}

    def _host_value(self, name: str) -> Any:
        return self._values[name] if name in self._plain else self.fetch(name)

    def put_arrays(self, step: HostStep, arrays: Mapping[str, Any]) -> None:
        """What a host step made, as numpy arrays by port."""
        for binding in step.outputs:
            self._values[binding.tensor] = self._device.make(arrays[binding.feature])

    def put(self, step: Call, index: int, iteration: int, made: Mapping[str, Any]) -> None:
        """What one slice of a call made, by feature."""
        for b in step.outputs:
            if _k(b, index, iteration) == 0 and not step.rests_by:
                # A map inside a loop makes it anew; what slices that rest made last stands.
                self._values.pop(b.tensor, None)
            self._write(b, _k(b, index, iteration), made[b.feature])

    def end(self, step: Step, segment: Segment) -> None:
        """A step is done: what is complete with it goes to the writers, and what nobody reads any
        more is dropped."""
        self._round(step, By.MAP)
        if not segment.is_loop:
            self._completed([b.tensor for b in step.outputs])
        for name in step.frees:
            self._values.pop(name, None)

    def _read(self, binding: Binding, k: int) -> Any:
        value = self._values[binding.tensor]
        if binding.by is By.WHOLE:
            return value
        if not binding.windows:
            return self._slot(binding.tensor, value, k)
        sizes = [w.size for w in binding.windows]
        return self._device.piece(value, begins(binding.windows, k), sizes)

    def _slot(self, name: str, slots: list[Any], k: int) -> Any:
        """Zeros where a loop ended before it made it."""
        if slots[k] is None:
            port = self._decls[name].port
            slots[k] = self._device.zeros(port.shape, port.dtype)
        return slots[k]

    def _write(self, b: Binding, k: int, made: Any) -> None:
        decl = self._decls[b.tensor]
        if decl.streamed:
            self._delivery.piece(b.tensor, self._device.fetch(made))
        if decl.streamed or b.by is By.WHOLE:
            self._values[b.tensor] = made
        elif not b.windows:
            self._values.setdefault(b.tensor, [None] * decl.slots)[k] = made
        elif is_blended(b.windows):
            whole = self._whole(decl, DType.FP32)
            for where, part in weighted(self._device.fetch(made), b.windows, k):
                self._device.place(whole, where, self._device.make(part), add=True)
        else:
            whole = self._whole(decl, decl.port.dtype)
            self._device.place(whole, begins(b.windows, k), made)

    def _whole(self, decl: TensorDecl, dtype: DType) -> Any:
        """What pieces are written into; zeros until they come."""
        if decl.name not in self._values:
            self._values[decl.name] = self._device.zeros(decl.port.shape, dtype)
        return self._values[decl.name]

    def _round(self, step: Step, by: By) -> None:
        """Sums of pieces that overlap are of the tensor's own type in the end."""
        for b in step.outputs:
            if b.by is by and is_blended(b.windows):
                self._values[b.tensor] = self._cast(b.tensor, self._values[b.tensor])

    def _completed(
        self, names: list[str], cut: Mapping[str, tuple[int, int]] | None = None
    ) -> None:
        """Outputs among them go to their writers; `cut` as `Delivery.completed` takes it."""
        self._delivery.completed(names, self.fetch, cut or {})

    # ------------------------------------------------------------ loops

    def enter(self, segment: Segment) -> None:
        """State begins with its first values, each in its own type."""
        for name, first, _ in segment.state:
            self._values[name] = self._cast(name, self._values[first])
        for name in firsts_taken(self._program, segment):
            self._values.pop(name, None)

    def _cast(self, name: str, value: Any) -> Any:
        return self._device.cast(value, self._decls[name].port.dtype)

    def is_over(self, segment: Segment) -> bool:
        """Whether the iteration that was done says that it is the last."""
        if segment.until is None:
            return False
        said = self.says(segment.until)
        if segment.until not in {following for _, _, following in segment.state}:
            del self._values[segment.until]
        return said

    def says(self, name: str) -> bool:
        """Whether a tensor of one element is not zero."""
        return self.said(name)[0]

    def said(self, name: str) -> list[bool]:
        """Which elements of a tensor are not zero."""
        import numpy as np

        found: list[bool] = (np.asarray(self.fetch(name)).reshape(-1) != 0).tolist()
        return found

    def move_state(self, segment: Segment) -> None:
        """After an iteration: old states go, then each takes its next value, which is its alone
        from then on."""
        for name, _, _ in segment.state:
            self._values.pop(name, None)
        for name, _, following in segment.state:
            self._values[name] = self._cast(name, self._values[following])
        for following in {following for _, _, following in segment.state}:
            del self._values[following]

    def leave(self, segment: Segment, done: int) -> None:
        """After `done` iterations: what the loop made goes to the writers, and what nobody reads
        after it is dropped."""
        if segment.is_loop:
            self._left(segment, done)
        for name in segment.frees:
            self._values.pop(name, None)

    def _left(self, segment: Segment, done: int) -> None:
        """Of a loop: what it collected, its states, and what its last iteration made and nobody
        dropped."""
        for step in segment.steps:
            self._round(step, By.ITERATION)
        bound = [b for x in segment.steps for b in x.outputs]
        made = [b for b in bound if b.by is By.ITERATION]
        last = (b.tensor for b in bound if b.by is not By.ITERATION and b.tensor in self._values)
        names = [*(b.tensor for b in made), *(name for name, _, _ in segment.state), *last]
        ends = {b.tensor: end_of(b, done) for b in made if len(b.windows) == 1}
        self._completed(names, ends)


def _k(binding: Binding, index: int, iteration: int) -> int:
    """Which piece a binding is of, in one slice of a call."""
    return iteration if binding.by is By.ITERATION else index


def end_of(binding: Binding, done: int) -> tuple[int, int]:
    """(axis, end) of what so many iterations made."""
    (window,) = binding.windows
    return window.axis, window.begin(done - 1) + window.size
