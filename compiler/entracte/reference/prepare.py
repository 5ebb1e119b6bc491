"""From a function to a flat list of closures over one frame of values.

Everything that can be decided at load is: constants become Python values or tensors in the frame,
precision wrappers are chosen per operation, liveness says what to drop after each step. The run
loop (`code.Code`) then costs one Python call per operation beyond torch's own.
"""

from __future__ import annotations

from typing import Any

import torch

from entracte.reference import mil
from entracte.reference.bind import Bind
from entracte.reference.code import Code, Session, Step
from entracte.reference.errors import PackageError
from entracte.reference.fuse import fuse
from entracte.reference.precision import wrap
from entracte.reference.registry import Arg, Run, load_table
from entracte.reference.weights import Packed, Weights, unpack


class Compiler:
    """Compiles one function of a package; `code` is the result."""

    def __init__(
        self, program: mil.Program, function: mil.Function, weights: Weights, *,
        policy: str, strict: bool, lazy: bool, portable: bool = False,
    ) -> None:  # fmt: skip
        self.session = Session(program.package, function.name)
        self.weights = weights
        self.opset = function.opset
        self.portable = portable
        self.policy, self._strict, self._lazy = policy, strict, lazy
        self._slots: dict[str, int] = {}
        self._constants: dict[str, mil.Value] = {}
        self._expressions: dict[str, mil.Operation] = {}
        self._types: dict[str, mil.Type] = {}
        self._pinned: dict[Any, int] = {}
        self.pinned_bytes = 0
        self._table = load_table()
        self._steps: list[Step] = []
        self._inner_uses: set[int] = set()
        self._refuse_unknown(function)
        inputs = tuple(self._declare(named) for named in function.inputs)
        self.code = self._block(function.block, inputs)
        self._finish()

    def fail(self, message: str, op: str = "") -> PackageError:
        """An error that names package, function and operation."""
        place = f"function {self.session.function!r}"
        return PackageError(self.session.package, message, op=op, place=place)

    def constant(self, binding: mil.Binding) -> mil.Value | None:
        """The constant behind a binding, None when it is computed."""
        return self._constants.get(binding) if isinstance(binding, str) else binding

    def is_constant(self, operation: mil.Operation, name: str) -> bool:
        """Whether an input is given and constant."""
        bindings = operation.inputs.get(name, ())
        return bool(bindings) and all(self.constant(b) is not None for b in bindings)

    def type_of(self, binding: mil.Binding) -> mil.Type | None:
        """The declared type of a binding."""
        return self._types.get(binding) if isinstance(binding, str) else binding.type

    def nested(self, block: mil.Block) -> Code:
        """Compile an inner block; it sees the names of the blocks around it."""
        outer_steps, self._steps = self._steps, []
        outer_slots, outer_uses = dict(self._slots), self._inner_uses
        inputs = tuple(self._declare(named) for named in block.inputs)
        code = self._block(block, inputs)
        self._steps, self._slots = outer_steps, outer_slots
        self._inner_uses = outer_uses | code.uses
        return code

    # -- building ---------------------------------------------------------------------------

    def _refuse_unknown(self, function: mil.Function) -> None:
        missing: dict[str, list[str]] = {}
        stack = [function.block]
        while stack:
            for operation in stack.pop().operations:
                stack.extend(operation.blocks)
                if operation.type != "const" and operation.type not in self._table:
                    missing.setdefault(operation.type, []).append(operation.name)
        if missing:
            listed = "; ".join(
                f"{kind} ({len(names)}x: {', '.join(names[:3])}{', ...' if len(names) > 3 else ''})"
                for kind, names in sorted(missing.items())
            )
            raise self.fail(f"operations that are not supported: {listed}")

    def _declare(self, named: mil.Named) -> int:
        self._types[named.name] = named.type
        # Names may be shadowed: an inner constant must not hide behind an older meaning.
        self._constants.pop(named.name, None)
        self._expressions.pop(named.name, None)
        slot = self._slots[named.name] = self._new_slot()
        return slot

    def _new_slot(self, value: Any = None) -> int:
        self.session.frame.append(value)
        return len(self.session.frame) - 1

    def _block(self, block: mil.Block, inputs: tuple[int, ...]) -> Code:
        steps = self._steps
        extra: list[set[int]] = []
        for operation in block.operations:
            self._inner_uses = set()
            before = len(steps)
            self._operation(operation)
            extra += [set()] * (len(steps) - before)
            if self._inner_uses and len(steps) > before:
                extra[-1] = self._inner_uses
        before = len(steps)
        outputs = tuple(self._tensor_slot(name, "output") for name in block.outputs)
        extra += [set()] * (len(steps) - before)
        code = self._live(steps, extra, inputs, outputs)
        # A strict load checks the type of every operation's result; a portable one is exported.
        fused = None if self._strict or self.portable else fuse(self, steps, extra, outputs)
        if fused is not None:
            code.quick = self._live(*fused, inputs, outputs).steps
        return code

    def constant_value(self, slot: int) -> Any:
        """The tensor in a slot that holds a constant; None for a computed one."""
        return self.session.frame[slot] if slot in self._pinned.values() else None

    def _live(
        self, steps: list[Step], extra: list[set[int]], inputs: tuple[int, ...],
        outputs: tuple[int, ...],
    ) -> Code:  # fmt: skip
        own = set(inputs)
        for step in steps:
            own |= {step[2]} if isinstance(step[2], int) else set(step[2])
        seen: set[int] = set(outputs)
        uses: set[int] = set(outputs) - own
        done: list[Step] = []
        for (run, ins, out, _, operation), inner in zip(
            reversed(steps), reversed(extra), strict=True
        ):
            touched = set(ins) | inner | ({out} if isinstance(out, int) else set(out))
            frees = tuple(sorted((touched - seen) & own))
            seen |= touched
            uses |= touched - own
            done.append((run, ins, out, frees, operation))
        done.reverse()
        unread = own - seen
        clears = tuple(sorted(set(outputs) & own | unread))
        pinned = set(self._pinned.values())
        return Code(self.session, inputs, outputs, done, uses - pinned, clears)

    def _operation(self, operation: mil.Operation) -> None:
        for named in operation.outputs:
            self._types[named.name] = named.type
        if operation.type == "const":
            self._constant_op(operation)
            return
        if operation.type.startswith("constexpr_"):
            for named in operation.outputs:
                self._constants.pop(named.name, None)
                self._slots.pop(named.name, None)
                self._expressions[named.name] = operation
            return
        self._emit(operation)

    def _constant_op(self, operation: mil.Operation) -> None:
        bindings = operation.inputs.get("val", ())
        if len(bindings) != 1 or isinstance(bindings[0], str) or len(operation.outputs) != 1:
            raise self.fail("a constant without a value", operation.name)
        name = operation.outputs[0].name
        self._slots.pop(name, None)
        self._expressions.pop(name, None)
        self._constants[name] = bindings[0]

    def _emit(self, operation: mil.Operation) -> tuple[int, ...]:
        """Append the step of one operation; its output slots."""
        entry = self._table[operation.type]
        bind = Bind(self, operation, self.opset, self.policy, self._strict)
        try:
            run = entry.build(bind)
        except PackageError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError) as error:
            raise self.fail(f"{operation.type}: {error}", operation.name) from error
        ins, counts = self._arguments(operation, entry.args)
        given = [operation.inputs.get(arg.name) for arg in entry.args]
        types = [self.type_of(bindings[0]) if bindings else None for bindings in given]
        run = wrap(run, bind.kind or entry.kind, self.policy, entry.args, types, operation)
        run = _grouped(run, entry.args, counts)
        if operation.type.startswith("constexpr_"):
            run = _unpacking(run)
        for named in operation.outputs:
            self._declare(named)
        outs = tuple(self._slots[named.name] for named in operation.outputs)
        if len(outs) == 0:
            outs = (self._new_slot(),)
        self._steps.append((run, ins, outs[0] if len(outs) == 1 else outs, (), operation))
        return outs

    def _arguments(
        self, operation: mil.Operation, args: tuple[Arg, ...]
    ) -> tuple[tuple[int, ...], list[int]]:
        slots: list[int] = []
        counts: list[int] = []
        for arg in args:
            bindings = operation.inputs.get(arg.name, ())
            if not bindings and not arg.optional:
                raise self.fail(f"{operation.type}: input {arg.name!r} is missing", operation.name)
            if arg.plain and bindings and self.is_constant(operation, arg.name):
                bind = Bind(self, operation, self.opset, self.policy, self._strict)
                found = [self._pin((operation.name, arg.name), bind.const(arg.name))]
            elif not bindings:
                found = [self._pin("none", None)]
            else:
                packed = operation.type.startswith("constexpr_")
                found = [self._tensor_slot(b, operation.name, packed) for b in bindings]
            if len(found) != 1 and not arg.many:
                raise self.fail(f"{operation.type}: several values for {arg.name!r}",
                                operation.name)  # fmt: skip
            slots += found
            counts.append(len(found))
        return tuple(slots), counts

    def _tensor_slot(self, binding: mil.Binding, op: str, packed: bool = False) -> int:
        value = self.constant(binding)
        if value is not None and packed:
            return self._pin(("packed", value.blob or id(value), value.type),
                             self.weights.packed(value, op))  # fmt: skip
        if value is not None:
            source = value.blob or (binding if isinstance(binding, str) else id(value))
            key = (source, value.type)
            if key not in self._pinned:
                self._pin(key, self.weights.tensor(value, op))
            return self._pinned[key]
        assert isinstance(binding, str), "a binding that is no constant is a name"
        if binding in self._slots:
            return self._slots[binding]
        if binding in self._expressions:
            return self._expression(binding)
        raise self.fail(f"reads {binding!r}, which nothing before it defines", op)

    def _expression(self, name: str) -> int:
        """A decompressed weight: as a step just before its use, or once and for all."""
        operation = self._expressions[name]
        key = ("expression", id(operation), name)
        if key in self._pinned:
            return self._pinned[key]
        if self._lazy:
            kept = dict(self._expressions)
            outs = self._emit(operation)
            # The next use decompresses again: between uses only the stored form is held.
            self._expressions = kept
            for named in operation.outputs:
                self._slots.pop(named.name, None)
            return outs[[n.name for n in operation.outputs].index(name)]
        outer, self._steps = self._steps, []
        self._expression_now(operation)
        self._steps = outer
        return self._pinned[key]

    def _expression_now(self, operation: mil.Operation) -> None:
        kept = dict(self._expressions)
        outs = self._emit(operation)
        self._expressions = kept
        for named in operation.outputs:
            self._slots.pop(named.name, None)
        code = self._live(self._steps, [set()] * len(self._steps), (), outs)
        code.run()
        for named, slot in zip(operation.outputs, outs, strict=True):
            value = self.session.frame[slot]
            self._pinned["expression", id(operation), named.name] = slot
            self.pinned_bytes += value.numel() * value.element_size()
        for key in [k for k in self._pinned if k[0] == "packed"]:
            self.session.frame[self._pinned.pop(key)] = None
            self.weights.release(key[1])

    def _pin(self, key: Any, value: Any) -> int:
        if key not in self._pinned:
            self._pinned[key] = self._new_slot(value)
        return self._pinned[key]

    def _finish(self) -> None:
        self.pinned = frozenset(self._pinned.values())


def _plain(value: Any) -> Any:
    return value.tolist() if isinstance(value, torch.Tensor) else value


def _unpacking(run: Run) -> Run:
    """Weights stay as stored between uses; only here do they become dense."""
    return lambda *values: run(*[unpack(v) if isinstance(v, Packed) else v for v in values])


def _grouped(run: Run, args: tuple[Arg, ...], counts: list[int]) -> Run:
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
