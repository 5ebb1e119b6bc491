"""What coremltools 9 does several times with each weight's bytes, and with each operation, done
once.

Nothing here changes what it makes: the same conversion gives the same bytes, which tests compare.
Of a chunk of 386 million weights a conversion took 2.9 s to copy them for their number and for
their bytes, and 1.9 s to copy the written file; of a graph of 1,400 operations it took a third of
the time to look through all of it before and after each of 112 passes, and 2 s of the 8 s that
were left to do so after some of them, to write it down for a log and to infer constants again.
"""

from __future__ import annotations

import functools
import gc
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from entracte.disk.folder import make_folder
from entracte.disk.write import move, write_bytes
from entracte.lower import package
from entracte.lower.quiet import coremltools
from entracte.lower.rounding import FEW
from entracte.lower.rounding import cast as rounded
from entracte.store.seal import known_sha256

__all__ = ["KINDS", "QUICKER"]

KINDS = ("is_tensor", "is_list")
"""Questions about a type of MIL."""
_LARGE = 1 << 14
"""Elements from which on torch's cast is worth the call."""


def check_underflow_once() -> None:
    """Its check copies all values to count them, and then leaves alone those that are many."""
    from coremltools.converters.mil.mil.passes.defs.quantization import FP16ComputePrecision

    stock = FP16ComputePrecision._check_underflow_to_zero

    @functools.wraps(stock)
    def check(self: Any, new_var: Any, var: Any) -> None:
        if np.size(var.val) < FEW:
            stock(self, new_var, var)

    FP16ComputePrecision._check_underflow_to_zero = check


def cast_by_torch() -> None:
    """Its casts are numpy's (`entracte.lower.rounding`)."""
    from coremltools.converters.mil.mil.ops.defs.iOS15.elementwise_unary import cast

    stock = cast.get_cast_value.__func__

    @functools.wraps(stock)
    def value(cls: Any, input_var: Any, dtype_val: str) -> Any:
        given = input_var.val
        is_fp32 = isinstance(given, np.ndarray) and given.dtype == np.float32
        if not is_fp32 or dtype_val != "fp16" or given.size < _LARGE:
            return stock(cls, input_var, dtype_val)
        return rounded(np.ascontiguousarray(given), torch.float16)

    cast.get_cast_value = classmethod(value)


def write_without_copies() -> None:
    """Three copies of each weight were made to hand its bytes to the file."""
    from coremltools.converters.mil.backend.mil import helper

    stock = helper._get_offset_by_writing_data

    @functools.wraps(stock)
    def offset(output_var: Any, blob_writer: Any) -> Any:
        value = np.ascontiguousarray(output_var.val).reshape(-1)
        if value.dtype == np.float16:
            return blob_writer.write_fp16_data(value.view(np.uint16))
        if value.dtype == np.float32:
            return blob_writer.write_float_data(value)
        return stock(output_var, blob_writer)

    helper._get_offset_by_writing_data = offset


def move_weights() -> None:
    """The file of weights was copied into the package, from a folder that is removed."""
    model = coremltools().models.model
    stock = model._create_mlpackage

    @functools.wraps(stock)
    def create(proto: Any, weights_dir: str | None = None, package_path: str | None = None) -> str:
        files = sorted(Path(weights_dir).iterdir()) if weights_dir else []
        weights = Path(package.WEIGHT_FILE)
        if package_path is None or [f.name for f in files] not in ([], [weights.name]):
            made: str = stock(proto, weights_dir, package_path)
            return made
        path = Path(package_path)
        make_folder((path / weights).parent if files else (path / package.MODEL_FILE).parent)
        write_bytes(path / package.MODEL_FILE, proto.SerializeToString())
        for file in files:
            move(file, path / weights)
        package.write_manifest(path, known_sha256(path / weights) if files else None)
        return package_path

    model._create_mlpackage = create


def validate_between_steps() -> None:
    """Not after each of a pipeline's passes: the program is validated when it comes from torch, and
    twice before it is written."""
    from coremltools.converters.mil.mil.passes.pass_pipeline import PassPipelineManager
    from coremltools.converters.mil.mil.program import Program

    stock = PassPipelineManager.apply_pipeline

    @functools.wraps(stock)
    def apply(*arguments: Any) -> None:
        validate = Program.validate
        Program.validate = lambda *_, **__: None
        try:
            stock(*arguments)
        finally:
            Program.validate = validate

    PassPipelineManager.apply_pipeline = staticmethod(apply)


def propagate_what_is_there() -> None:
    """Which compressed constants a value is made from is noted anew for each value after each pass;
    mostly there are none. What is noted begins with one that is found to be compressed."""
    from coremltools.converters.mil.mil.block import Function
    from coremltools.converters.mil.mil.var import Var

    stock, is_one = Function._propagate_nonreplaceable_vars, Var._is_nonreplaceable_var
    seen = False

    def notice(var: Any) -> bool:
        nonlocal seen
        found: bool = is_one(var)
        seen = seen or found
        return found

    @functools.wraps(stock)
    def propagate(self: Any) -> None:
        if seen:
            stock(self)

    Var._is_nonreplaceable_var = staticmethod(notice)
    Function._propagate_nonreplaceable_vars = propagate


def infer_constants_once() -> None:
    """One pass infers all again, three times over: a weight's value was compared with itself.

    What is another than the constant was given (int32 for int64, a permutation counted from the
    end) is inferred again: coremltools changes such values in place.
    """
    from coremltools.converters.mil.mil.operation import Operation

    stock = Operation.type_value_inference

    @functools.wraps(stock)
    def infer(self: Any, overwrite_output: bool = False) -> None:
        is_constant = overwrite_output and self.op_type == "const"
        if not is_constant or self.val.val is not self.outputs[0].val:
            stock(self, overwrite_output)

    Operation.type_value_inference = infer


def describe_seldom() -> None:
    """Whole programs were written out as text for a log that nobody reads."""
    from coremltools.converters.mil.mil.block import Function

    stock = Function.to_str

    @functools.wraps(stock)
    def text(self: Any, func_name: str | None = None, print_attr: bool = False) -> str:
        if not logging.getLogger("coremltools").isEnabledFor(logging.DEBUG):
            return f"{func_name} ..."
        made: str = stock(self, func_name, print_attr)
        return made

    Function.to_str = text


def know_types() -> None:
    """Of what kind a type is was found out by making a description of it, each time."""
    from coremltools.converters.mil.mil import types

    for name in KINDS:
        setattr(types, name, functools.cache(getattr(types, name)))


def collect_nothing() -> None:
    """It looked for garbage in all that it made, when the caller still had hold of that."""
    from coremltools.converters import _converters_entry as entry

    entry.gc = SimpleNamespace(collect=lambda: 0, __wrapped__=gc)


QUICKER = (
    check_underflow_once,
    cast_by_torch,
    write_without_copies,
    move_weights,
    validate_between_steps,
    propagate_what_is_there,
    infer_constants_once,
    describe_seldom,
    know_types,
    collect_nothing,
)
"""Applied once per process, with the cures (`entracte.lower.registrations`)."""
