"""From a function to a flat list of closures over one frame of values.

Everything that can be decided at load is: constants become Python values or tensors in the frame,
precision wrappers are chosen per operation, `draft.finish` says what to drop after each of them.
The run loop (`code.Code`) then costs one Python call per operation beyond torch's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch

from entracte.reference import mil
from entracte.reference.bind import Bind
from entracte.reference.code import Code, Session
from entracte.reference.constants import Constants
from entracte.reference.draft import Draft, finish
from entracte.reference.errors import PackageError
from entracte.reference.fuse import fuse
from entracte.reference.info import walk
from entracte.reference.ops import load_table
from entracte.reference.options import Options
from entracte.reference.precision import wrap
from entracte.reference.registry import Arg, Compute, Handler
from entracte.reference.weights import Packed, Weights, unpack

Meaning = int | mil.Value | mil.Operation
"""Of a name: a register, a constant, or the operation that decompresses a weight."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A function that can be called."""

    code: Code
    constants: frozenset[int]
    """Registers of the frame that hold constants."""
    decompressed_bytes: int
    """Bytes of the weights that were decompressed for good."""


def prepare(
    program: mil.Program, function: mil.Function, weights: Weights, options: Options
) -> Prepared:
    """Make the code of one function of a package.

    Raises:
        PackageError: it is inconsistent or not supported; all unsupported operations are named.
    """
    session = Session(program.package, function.name)
    constants = Constants(session, weights)
    common = _Common(session, weights, constants, load_table(), function.opset, options)
    _refuse_unknown(common, function)
    code = CodeBuilder(common, {}, {}).build(function.inputs, function.block)
    return Prepared(code, frozenset(constants.registers), constants.decompressed_bytes)


@dataclass(frozen=True, slots=True)
class _Common:
    """What all blocks of a function share while it is prepared."""

    session: Session
    weights: Weights
    constants: Constants
    table: Mapping[str, Handler]
    opset: int
    options: Options


def _refuse_unknown(common: _Common, function: mil.Function) -> None:
    missing: dict[str, list[str]] = {}
    for operation in walk(function.block):
        if operation.type != "const" and operation.type not in common.table:
            missing.setdefault(operation.type, []).append(operation.name)
    if missing:
        listed = "; ".join(
            f"{kind} ({len(names)}x: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
            for kind, names in sorted(missing.items())
        )
        raise common.session.fail(f"operations that are not supported: {listed}")


class CodeBuilder:
    """Makes the code of one block; it is the `bind.Scope` of the block's operations."""

    def __init__(
        self, common: _Common, meanings: dict[str, Meaning], types: dict[str, mil.Type]
    ) -> None:
        """`meanings`, `types`: of the names that are known before the block; added to."""
        self._common, self._options = common, common.options
        self._meanings = meanings
        self._types = types
        self._drafts: list[Draft] = []
        self._inner: frozenset[int] = frozenset()
        """What the blocks inside the operation that is being built read."""

    def build(self, inputs: Iterable[mil.Named], block: mil.Block) -> Code:
        """The code of a block that receives `inputs`."""
        session, constants = self._common.session, self._common.constants
        received = tuple(self._declare(named) for named in inputs)
        for operation in block.operations:
            self._operation(operation)
        outputs = tuple(self._register(name, "output") for name in block.outputs)
        code = finish(session, self._drafts, received, outputs, constants.registers)
        if self._options.strict or self._options.portable:
            # A strict load checks the type of every operation's result; a portable one is exported.
            return code
        fused = fuse(
            self._drafts, outputs,
            constant=self.constant, value=constants.value, policy=self._options.policy,
        )  # fmt: skip
        if fused is not None:
            code.quick = finish(session, fused, received, outputs, constants.registers).instructions
        return code

    # -- bind.Scope -------------------------------------------------------------------------

    def constant(self, binding: mil.Binding) -> mil.Value | None:
        """See `Scope`."""
        found = self._meanings.get(binding) if isinstance(binding, str) else binding
        return found if isinstance(found, mil.Value) else None

    def type_of(self, binding: mil.Binding) -> mil.Type | None:
        """See `Scope`."""
        return self._types.get(binding) if isinstance(binding, str) else binding.type

    def dense(self, value: mil.Value, op: str) -> torch.Tensor:
        """See `Scope`."""
        return self._common.weights.tensor(value, op)

    def nested(self, block: mil.Block) -> Code:
        """See `Scope`."""
        inner = CodeBuilder(self._common, dict(self._meanings), dict(self._types))
        code = inner.build(block.inputs, block)
        self._inner |= code.uses
        return code

    def count_iteration(self) -> None:
        """See `Scope`."""
        self._common.session.count_iteration()

    def fail(self, message: str, op: str = "") -> PackageError:
        """See `Scope`."""
        return self._common.session.fail(message, op)

    # -- operations -------------------------------------------------------------------------

    def _declare(self, named: mil.Named) -> int:
        self._types[named.name] = named.type
        register = self._common.session.new_register()
        self._meanings[named.name] = register
        return register

    def _operation(self, operation: mil.Operation) -> None:
        for named in operation.outputs:
            self._types[named.name] = named.type
        if operation.type == "const":
            self._constant_operation(operation)
        elif operation.unpacks:
            # It becomes an instruction where its result is used.
            self._meanings.update((named.name, operation) for named in operation.outputs)
        else:
            for named, register in zip(operation.outputs, self._append(operation), strict=False):
                self._meanings[named.name] = register

    def _constant_operation(self, operation: mil.Operation) -> None:
        bindings = operation.inputs.get("val", ())
        if len(bindings) != 1 or isinstance(bindings[0], str) or len(operation.outputs) != 1:
            raise self.fail("a constant without a value", operation.name)
        self._meanings[operation.outputs[0].name] = bindings[0]

    def _append(self, operation: mil.Operation) -> tuple[int, ...]:
        """Add the instruction of an operation; the registers of its outputs, at least one."""
        handler = self._common.table[operation.type]
        bind = Bind(self, operation, self._common.opset, self._options)
        given = [operation.inputs.get(arg.name, ()) for arg in handler.args]
        self._inner = frozenset()
        run = self._run(handler, bind, given)
        inner = self._inner
        groups = [self._argument(bind, *both) for both in zip(handler.args, given, strict=True)]
        run = _grouped(run, handler.args, [len(group) for group in groups])
        if operation.unpacks:
            run = _unpacking(run)
        ins = tuple(chain.from_iterable(groups))
        new = self._common.session.new_register
        outs = tuple(new() for _ in operation.outputs) or (new(),)
        self._drafts.append(Draft(run, ins, outs, operation, inner))
        return outs

    def _run(self, handler: Handler, bind: Bind, given: list[tuple[mil.Binding, ...]]) -> Compute:
        """The operation as its handler builds it, rounding as the policy says."""
        try:
            run = handler.build(bind)
        except PackageError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise bind.fail(str(error)) from error
        types = [self.type_of(bindings[0]) if bindings else None for bindings in given]
        kind = bind.kind or handler.kind
        return wrap(run, kind, self._options.policy, handler.args, types, bind.operation)

    # -- what operations read ---------------------------------------------------------------

    def _argument(self, bind: Bind, arg: Arg, bindings: tuple[mil.Binding, ...]) -> list[int]:
        """The registers of what an operation gives for one declared argument."""
        operation, constants = bind.operation, self._common.constants
        if not bindings:
            if not arg.optional:
                raise bind.fail(f"input {arg.name!r} is missing")
            return [constants.absent()]
        if arg.plain and bind.is_constant(arg.name):
            return [constants.plain(operation, arg.name, bind.const(arg.name))]
        if len(bindings) > 1 and not arg.many:
            raise bind.fail(f"several values for {arg.name!r}")
        stored = operation.unpacks
        return [self._register(binding, operation.name, stored=stored) for binding in bindings]

    def _register(self, binding: mil.Binding, op: str, *, stored: bool = False) -> int:
        """The register that a binding is read from by `op`; of a constant, `stored` or dense."""
        meaning = self._meanings.get(binding) if isinstance(binding, str) else binding
        if isinstance(meaning, int):
            return meaning
        if isinstance(meaning, mil.Value):
            constants = self._common.constants
            return constants.stored(meaning, op) if stored else constants.dense(meaning, op)
        if isinstance(meaning, mil.Operation):
            names = [named.name for named in meaning.outputs]
            return self._decompressed(meaning)[names.index(str(binding))]
        raise self.fail(f"reads {binding!r}, which nothing before it defines", op)

    def _decompressed(self, operation: mil.Operation) -> tuple[int, ...]:
        """The registers of a weight that is stored compressed."""
        if self._options.lazy:
            # Each use decompresses again: between uses only the stored form is held.
            return self._append(operation)
        return self._common.constants.kept(operation) or self._decompressed_for_good(operation)

    def _decompressed_for_good(self, operation: mil.Operation) -> tuple[int, ...]:
        session, constants = self._common.session, self._common.constants
        alone = CodeBuilder(self._common, self._meanings, self._types)
        with constants.passing_stored():
            outs = alone._append(operation)
            finish(session, alone._drafts, (), outs, constants.registers).run()
        constants.keep(operation, outs)
        return outs


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value


def _unpacking(run: Compute) -> Compute:
    """Weights stay as stored between uses; only here do they become dense."""
    return lambda *values: run(*[unpack(v) if isinstance(v, Packed) else v for v in values])


def _grouped(run: Compute, args: tuple[Arg, ...], counts: list[int]) -> Compute:
    """Collect `name*` arguments into lists and turn `#name` tensors into Python values."""
    if not any(a.many or a.plain for a in args):
        return run
    if len(args) == 1 and args[0].many:
        return lambda *flat: run(list(flat))
    spans = []
    start = 0
    for arg, count in zip(args, counts, strict=True):
        spans.append((start, start + count, arg.many, arg.plain))
        start += count

    def grouped(*flat: Any) -> Any:
        values = [
            list(flat[low:high]) if many else _plain(flat[low]) if plain else flat[low]
            for low, high, many, plain in spans
        ]
        return run(*values)

    return grouped
