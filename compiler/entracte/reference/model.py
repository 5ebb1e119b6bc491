"""The public door: a package that is called like coremltools' `MLModel`, on any machine.

    from entracte.reference import Model

    with Model("model.mlpackage") as model:
        outputs = model.predict({"x": array})

Names, element types, shapes and kinds of error are those of `MLModel.predict` on a Mac: fp16
outputs come back as float32, rank-0 outputs with shape (1,), picture outputs as PIL images.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
import torch

from entracte.reference import mil
from entracte.reference.errors import (
    InputKindError,
    PackageError,
    PredictionError,
    UnknownInputError,
    malformed,
)
from entracte.reference.info import Feature
from entracte.reference.inputs import door_value
from entracte.reference.loaded import Loaded, State, load
from entracte.reference.options import Limits
from entracte.reference.outputs import RETURNED, door_result
from entracte.reference.range import OutOfRange, first_out_of_range

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Description:
    """One input, output or state of a model.

    Attributes:
        shape: as declared; None where the package leaves a dimension open.
        dtype: element type at the door: 'float32', 'int32', ...; 'image' for a PIL image,
            'string' for a class label, 'dict' for a table of classes.
        declared: the element type inside the program: 'fp16', 'fp32', 'int32', ...
        optional: may be left out of `predict`.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    declared: str
    optional: bool = False


class ModelState:
    """The states of one sequence of calls, as coremltools' `MLState`."""

    def __init__(self, tensors: dict[str, torch.Tensor], package: str) -> None:
        self._tensors = tensors
        self._package = package

    def read_state(self, name: str) -> np.ndarray:
        """A copy of a state; fp16 comes as float32."""
        tensor = self._find(name)
        return (tensor.float() if tensor.dtype is torch.float16 else tensor.clone()).numpy()

    def write_state(self, name: str, value: Any) -> None:
        """Replace a state by an array of the same shape."""
        tensor, array = self._find(name), np.asarray(value)
        if array.shape != tuple(tensor.shape):
            shape = tuple(tensor.shape)
            raise PredictionError(
                self._package, f"state {name!r} has shape {shape}, given {array.shape}"
            )
        tensor.copy_(torch.from_numpy(np.array(array)))

    def _find(self, name: str) -> torch.Tensor:
        if name not in self._tensors:
            known = ", ".join(sorted(self._tensors)) or "none"
            raise PredictionError(self._package, f"no state {name!r}; it has {known}")
        return self._tensors[name]


class Model:
    """A loaded `.mlpackage`. May be called from several threads: calls are done one at a time.

    Args:
        path: the `.mlpackage` folder.
        function_name: which function of a multifunction package; None is its default.
        policy: how fp16 is computed: `hybrid`, `round` or `fp32` (docs/reference-device.md).
        strict: refuse what Core ML is known to refuse although coremltools writes it.
        limits: what the package may ask for (largest tensor, iterations of loops).

    Raises:
        PackageError: the package cannot be read, is inconsistent or not supported.

    Attributes:
        inputs, outputs, states: `Description`s by name, in the package's order.
        function_name: the function that `predict` runs.
        functions: names of all functions of the package.
    """

    def __init__(
        self, path: str | Path, function_name: str | None = None, *, policy: str = "hybrid",
        strict: bool = False, limits: Limits | None = None,
    ) -> None:  # fmt: skip
        self._loaded = load(path, function=function_name or "main", policy=policy, strict=strict,
                            limits=limits or Limits())  # fmt: skip
        self._lock = threading.Lock()
        interface = self._loaded.interface
        info = self._loaded.info
        self.function_name = info.function
        self.functions = info.functions
        self._images = interface.images
        matched = _matched(interface.outputs, info.outputs)
        self._described = {f.name: d for f, d in zip(info.outputs, matched, strict=True)}
        self.inputs = {
            f.name: _description(f, "image" if f.name in self._images else "",
                                 f.name in interface.optional)
            for f in info.inputs
        }  # fmt: skip
        self.outputs = {
            d.name: _description(f, _kind(d, f), name=d.name)
            for d, f in zip(matched, info.outputs, strict=True)
        }
        self.states = {f.name: _description(f) for f in info.states}

    def predict(self, data: Any, state: ModelState | None = None) -> Any:
        """Run the model on a dictionary of inputs, or on each of a list of them.

        Args:
            data: by input name: numpy arrays of float16, float32, float64, int32 or int8, torch
                tensors of these, lists of floats, Python numbers; PIL images for image inputs.
                Left as it is.
            state: from `make_state`; changed in place.

        Returns:
            numpy arrays (PIL images, labels, tables) by output name; for a list, a list of these.

        Raises:
            KeyError: an input that the model does not have.
            TypeError: `data` is neither, or an image input is given no image of the right mode.
            RuntimeError: what Core ML refuses: a missing input, a wrong shape or element type, a
                missing state, an operation that fails. All three are `PackageError`s too, except
                a TypeError about `data` itself.
        """
        if type(data) is list and all(type(item) is dict for item in data):
            if state is not None:
                raise self._fail("a state can only be used with one dictionary, not with a list")
            return [self._predict(item, None) for item in data]
        if type(data) is not dict:
            raise TypeError(f"data must be a dict or a list of dicts, not {type(data).__name__}")
        return self._predict(data, state)

    def make_state(self) -> ModelState:
        """Fresh states, all zero."""
        with malformed(self._loaded.info.path):
            return ModelState(self._loaded.make_state(), self._loaded.info.path)

    def first_out_of_range(
        self, data: Mapping[str, Any], state: ModelState | None = None
    ) -> OutOfRange | None:
        """Run once and name the first operation with a result that fp16 cannot hold, else None."""
        with self._lock:
            return self._guarded(first_out_of_range, self._given(data), state)

    def close(self) -> None:
        """Give the weights back; later calls are refused."""
        with self._lock:
            self._loaded.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inside -------------------------------------------------------------------------------

    def _predict(self, data: Mapping[str, Any], state: ModelState | None) -> dict[str, Any]:
        given = self._given(data)
        with self._lock:
            found = self._guarded(Loaded.predict, given, state)
        return {d.name: door_result(found[name], d) for name, d in self._described.items()}

    def _guarded(
        self, run: Callable[[Loaded, dict[str, Any], State | None], Result],
        given: dict[str, Any], state: ModelState | None,
    ) -> Result:  # fmt: skip
        try:
            with malformed(self._loaded.info.path):
                return run(self._loaded, given, None if state is None else state._tensors)
        except PackageError as error:
            raise PredictionError(
                error.package, error.message, op=error.op, place=error.place
            ) from error

    def _given(self, data: Mapping[str, Any]) -> dict[str, Any]:
        unknown = sorted(str(name) for name in data if name not in self.inputs)
        if unknown:
            known = ", ".join(sorted(self.inputs)) or "none"
            raise UnknownInputError(
                self._loaded.info.path, f"no input {', '.join(unknown)}; its inputs are {known}",
                place=self._place,
            )  # fmt: skip
        return {name: self._value(name, value) for name, value in data.items()}

    def _value(self, name: str, value: Any) -> Any:
        try:
            return door_value(value, self._images.get(name), len(self.inputs[name].shape))
        except TypeError as error:
            raise InputKindError(
                self._loaded.info.path, f"input {name!r} {error}", place=self._place
            ) from None
        except ValueError as error:
            raise self._fail(f"input {name!r} {error}") from None

    @property
    def _place(self) -> str:
        return f"function {self.function_name!r}"

    def _fail(self, message: str) -> PredictionError:
        return PredictionError(self._loaded.info.path, message, place=self._place)


def _matched(
    described: tuple[mil.Described, ...], outputs: tuple[Feature, ...]
) -> tuple[mil.Described, ...]:
    """The description of each of the program's outputs, in the program's order."""
    by_name = {d.name: d for d in described}
    if set(by_name) == {f.name for f in outputs}:
        return tuple(by_name[f.name] for f in outputs)
    if len(described) == len(outputs):
        # Core ML goes by the description's names; coremltools writes both in the same order.
        return described
    return tuple(by_name.get(f.name, mil.Described(f.name)) for f in outputs)


def _kind(described: mil.Described, feature: Feature) -> str:
    if described.image is not None:
        return "image"
    if described.array in RETURNED:
        return np.dtype(RETURNED[described.array]).name
    return {"dictionaryType": "dict"}.get(feature.dtype, "")


def _description(
    feature: Feature, dtype: str = "", optional: bool = False, name: str = ""
) -> Description:
    plain = {"fp16": "float32", "fp32": "float32", "fp64": "float64"}
    kind = dtype or plain.get(feature.dtype, feature.dtype)
    return Description(name or feature.name, feature.shape, kind, feature.dtype, optional)
