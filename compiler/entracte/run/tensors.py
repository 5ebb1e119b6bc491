"""The tensors of a run, by name: read and written by bindings, freed when the program says so."""

from collections.abc import Mapping
from typing import Any

from entracte.devices import Device
from entracte.ir import Binding, By, Call, HostStep, Program, Segment, Step


class Tensors:
    """Values as the device holds them (texts and seeds as they are)."""

    def __init__(self, program: Program, device: Device) -> None:
        self._device = device
        self._sizes = {t.name: t.size_bytes for t in program.tensors}
        self._values: dict[str, Any] = {}

    def give(
        self, program: Program, given: Mapping[str, Any], constants: Mapping[str, Any]
    ) -> None:
        """The program's inputs, and its constants as numpy arrays."""
        import numpy as np

        for i in program.inputs:
            value = given[i.name]
            numeric = i.kind == "number"
            made = self._device.make(np.array([value], np.float32)) if numeric else value
            self._values[i.name] = made
        for name, array in constants.items():
            self._values[name] = self._device.make(array)

    def fetch(self, name: str) -> Any:
        """As a numpy array."""
        return self._device.fetch(self._values[name])

    def held_bytes(self, step: Call) -> int:
        """Of all tensors while a call runs, its outputs included."""
        names = self._values.keys() | {b.tensor for b in step.outputs}
        return sum(self._sizes.get(n, 0) for n in names)

    # ------------------------------------------------------------ steps

    def inputs(self, step: Call, index: int, iteration: int) -> dict[str, Any]:
        """Of one slice of a call, by feature."""
        return {b.feature: self._read(b, index, iteration) for b in step.inputs}

    def host_inputs(self, step: HostStep) -> dict[str, Any]:
        """By port."""
        return {port: self._values[name] for port, name in step.inputs}

    def put_arrays(self, step: HostStep, arrays: Mapping[str, Any]) -> None:
        """What a host step made, as numpy arrays by port."""
        for binding in step.outputs:
            self._values[binding.tensor] = self._device.make(arrays[binding.feature])

    def put(self, step: Call, slices: Mapping[str, list[Any]]) -> None:
        """What all slices of a call made, by feature."""
        for binding in step.outputs:
            self._values[binding.tensor] = self._joined(binding, slices[binding.feature])

    def drop(self, step: Step) -> None:
        """What nobody reads after this step."""
        for name in step.frees:
            self._values.pop(name, None)

    def _read(self, binding: Binding, index: int, iteration: int) -> Any:
        value = self._values[binding.tensor]
        if binding.by is By.WHOLE:
            return value
        k = index if binding.by is By.MAP else iteration
        if not binding.windows:
            return value[k]
        (window,) = binding.windows
        return self._device.piece(value, window.axis, window.begin(k), window.size)

    def _joined(self, binding: Binding, slices: list[Any]) -> Any:
        if binding.by is By.WHOLE:
            return slices[0]
        if not binding.windows:
            return slices
        (window,) = binding.windows
        return self._device.gather(slices, window.axis)

    # ------------------------------------------------------------ loops

    def enter(self, segment: Segment) -> None:
        """State begins with its first values."""
        for name, first, _ in segment.state:
            self._values[name] = self._values[first]

    def is_over(self, segment: Segment) -> bool:
        """Whether the iteration that was done says that it is the last."""
        if segment.until is None:
            return False
        import numpy as np

        said = np.asarray(self.fetch(segment.until)).reshape(-1)
        if segment.until not in {following for _, _, following in segment.state}:
            del self._values[segment.until]
        return bool(said[0] != 0)

    def move_state(self, segment: Segment) -> None:
        """After an iteration: state takes its next values, which are its alone from now on."""
        for name, _, following in segment.state:
            self._values[name] = self._values[following]
        for following in {following for _, _, following in segment.state}:
            del self._values[following]

    def leave(self, segment: Segment) -> None:
        """What nobody reads after the loop."""
        for name in segment.frees:
            self._values.pop(name, None)
