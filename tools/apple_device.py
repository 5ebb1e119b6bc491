"""Stand-ins for Core ML: coremltools' `MLModel` predicts with the reference device.

Used by `run_coremltools_tests.py`. Everything that is replaced is replaced in `pretend_macos`.
"""

from __future__ import annotations

import contextlib
import tempfile
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from entracte.reference import Model, ModelState, PackageError, describe

REFUSED = "Unable to compute the prediction using ML Program"
"""How coremltools begins the message when Core ML refuses a program or its inputs."""


class Device:
    """The reference device in place of Core ML, and what the current test did with it.

    Attributes:
        ran: (operation, deployment) pairs of the programs that were loaded.
        calls: predictions and states asked for, refused ones included.
        error: largest difference of a compared result, as a fraction of the largest expected
            magnitude; None when nothing was compared.
    """

    def __init__(self, policy: str) -> None:
        self.policy = policy
        self.reset()

    def reset(self) -> None:
        """Forget the last test."""
        self.ran: set[tuple[str, int]] = set()
        self.calls = 0
        self.error: float | None = None

    def load(self, model: Any) -> Model:
        """What `MLModel.__init__` asks of Core ML, done at the first use.

        Raises:
            RuntimeError: as coremltools does when Core ML refuses a program.
        """
        self.calls += 1
        kind = model._spec.WhichOneof("Type")
        if kind != "mlProgram":
            pytest.skip(f"the test makes a {kind}, not an ML Program")
        loaded = getattr(model, "_entracte_loaded", None)
        if loaded is None:
            loaded = model._entracte_loaded = self._read(model)
        self.ran.update(model._entracte_ran)
        return loaded

    def _read(self, model: Any) -> Model:
        # A model may have been edited after it was made: what counts is what save() writes.
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder) / "model.mlpackage")
            model.save(path)
            name = getattr(model, "function_name", None)
            with _refusals():
                info = describe(path, name or "main")
                model._entracte_ran = {(kind, info.deployment) for kind in info.operations}
                return Model(path, name, policy=self.policy, strict=True)

    def predict(self, model: Any, data: Any, state: ModelState | None = None) -> Any:
        """Stands in for `MLModel.predict`."""
        if isinstance(data, list):
            return [self.predict(model, d, state) for d in data]
        model._verify_input_dict(data)
        loaded = self.load(model)
        with _refusals():
            return loaded.predict(data, state)

    def make_state(self, model: Any) -> ModelState:
        """Stands in for `MLModel.make_state`."""
        return self.load(model).make_state()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """Measure what the tests compare; their verdict stays theirs."""
        judge = np.testing.assert_allclose

        def watched(actual: Any, desired: Any, *args: Any, **named: Any) -> None:
            if self.calls:
                self._measure(actual, desired)
            judge(actual, desired, *args, **named)

        np.testing.assert_allclose = watched
        try:
            yield
        finally:
            np.testing.assert_allclose = judge

    def _measure(self, actual: Any, desired: Any) -> None:
        try:
            have, want = (np.asarray(v, dtype=np.float64) for v in (actual, desired))
            difference = np.abs(have - want)
        except (TypeError, ValueError):
            return
        known = np.isfinite(difference) & np.isfinite(want)
        if not known.any():
            return
        scale = float(np.abs(want[known] if want.shape == known.shape else want).max()) or 1.0
        self.error = max(self.error or 0.0, float(difference[known].max()) / scale)


@contextlib.contextmanager
def _refusals() -> Iterator[None]:
    """Our refusals in the words of coremltools; a TypeError stays one."""
    try:
        yield
    except TypeError:
        raise
    except PackageError as error:
        raise RuntimeError(f"{REFUSED}: {error}") from error


def pretend_macos(device: Device) -> None:
    """Make the suites' conditions true and give them the device."""
    from coremltools import _deps
    from coremltools.converters import _converters_entry
    from coremltools.models import model, utils

    _deps._IS_MACOS = True
    for module in (model, utils):
        module._is_macos = lambda: True
        module._macos_version = lambda: (15, 5)
    model.MLModel.predict = lambda self, data, state=None: device.predict(self, data, state)
    model.MLModel.make_state = lambda self: device.make_state(self)
    # convert() ends with gc.collect(), which walks every collected test: 0.25 s a case.
    _converters_entry.gc = types.SimpleNamespace(collect=lambda: 0)
