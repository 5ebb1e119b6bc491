"""The checker's half about bindings: every piece lies inside its tensor and suits its feature.

A tensor is either one array, bound whole or by slices along an axis, or several of them side by
side (`slots`), bound one by one. What a call makes must be all of the tensor: its slices, or its
slots, are as many as its repetitions.
"""

from collections.abc import Mapping, Sequence

from entracte.check.names import once
from entracte.errors import PlanError
from entracte.ir import (
    Binding,
    By,
    Call,
    DType,
    HostStep,
    Port,
    Program,
    Segment,
    Step,
    TensorDecl,
)

INPUT_KINDS = ("text", "seed", "number")
_NUMBER = ((1,), DType.FP32)


def check_given(program: Program) -> None:
    """What a program is given has the tensor that its memory is counted by."""
    decls = {t.name: t for t in program.tensors}
    for port in program.constants:
        decl = decls.get(port.name)
        if decl is None or decl.slots != 1 or decl.port != port:
            raise PlanError(
                f"plan: constant {port.name} is {_words(port)}, its tensor is "
                f"{'not declared' if decl is None else _decl_words(decl)}"
            )
    for given in program.inputs:
        decl = decls.get(given.name)
        if given.kind not in INPUT_KINDS:
            raise PlanError(
                f"plan: input {given.name} is a {given.kind!r}, not one of {', '.join(INPUT_KINDS)}"
            )
        if decl is None:
            continue
        if given.kind != "number":
            raise PlanError(f"plan: input {given.name} is a {given.kind}, which is no tensor")
        if (decl.port.shape, decl.port.dtype) != _NUMBER or decl.slots != 1:
            raise PlanError(
                f"plan: input {given.name} is a number, fp32 (1,); its tensor is "
                f"{_decl_words(decl)}"
            )
    output = decls.get(program.output)
    if output is not None and output.slots != 1:
        raise PlanError(f"plan: the output {program.output} is {_decl_words(output)}, not one")


def check_pieces(program: Program) -> None:
    """Every binding of every step, against the tensor and the numbers of calls and iterations."""
    decls = {t.name: t for t in program.tensors}
    for segment in program.segments:
        for k, step in enumerate(segment.steps):
            where = f"plan: segment {segment.name}, step {k} ({_label(step)})"
            once(f"{where}: two outputs are bound to tensor", (b.tensor for b in step.outputs))
            once(f"{where}: two outputs are called", (b.feature for b in step.outputs))
            if isinstance(step, HostStep):
                _check_host(step, decls, where)
            else:
                _check_call(step, segment, decls, where)


def _label(step: Step) -> str:
    return step.chunk if isinstance(step, Call) else step.stage


def _check_host(step: HostStep, decls: Mapping[str, TensorDecl], where: str) -> None:
    once(f"{where}: two inputs are called", (name for name, _ in step.inputs))
    for binding in step.outputs:
        place = f"{where}: output {binding.feature}"
        if binding.by is not By.WHOLE:
            raise PlanError(f"{place} is bound by {binding.by}; a host step gives whole tensors")
        _check_whole(binding, _decl(decls, binding, place), place)


def _check_call(call: Call, segment: Segment, decls: Mapping[str, TensorDecl], where: str) -> None:
    once(f"{where}: two inputs are called", (b.feature for b in call.inputs))
    for binding in call.inputs:
        place = f"{where}: input {binding.feature}"
        decl = _decl(decls, binding, place)
        many = segment.count if binding.by is By.ITERATION else call.repeat
        what = "iterations" if binding.by is By.ITERATION else "repetitions"
        if binding.by is By.WHOLE:
            _check_whole(binding, decl, place)
        elif (extent := _extent(binding, decl, place)) < many * binding.size:
            raise PlanError(
                f"{place} takes {many * binding.size} of {binding.tensor} in {many} {what} of "
                f"{binding.size}, it has {extent} ({_decl_words(decl)})"
            )
    for binding in call.outputs:
        _check_output(binding, call, decls, f"{where}: output {binding.feature}")


def _check_output(
    binding: Binding, call: Call, decls: Mapping[str, TensorDecl], place: str
) -> None:
    decl = _decl(decls, binding, place)
    if binding.by is By.ITERATION:
        raise PlanError(f"{place} is bound by iteration; what a call makes is whole, or by map")
    if binding.by is By.WHOLE:
        if call.repeat != 1:
            raise PlanError(
                f"{place} is bound whole, and each of the {call.repeat} repetitions would "
                "overwrite it; bind it by map"
            )
        _check_whole(binding, decl, place)
    elif (extent := _extent(binding, decl, place)) != call.repeat * binding.size:
        raise PlanError(
            f"{place} makes {call.repeat * binding.size} of {binding.tensor} in {call.repeat} "
            f"repetitions of {binding.size}, it has {extent} ({_decl_words(decl)})"
        )


def _decl(decls: Mapping[str, TensorDecl], binding: Binding, place: str) -> TensorDecl:
    if binding.tensor not in decls:
        raise PlanError(f"{place} is bound to {binding.tensor}, which is not declared as a tensor")
    return decls[binding.tensor]


def _check_whole(binding: Binding, decl: TensorDecl, place: str) -> None:
    if binding.axis is not None or binding.size != 1:
        raise PlanError(f"{place} is bound whole, and yet to slices of {binding.size}")
    if decl.slots != 1:
        raise PlanError(f"{place} is bound whole to {binding.tensor}, which is {_decl_words(decl)}")


def _extent(binding: Binding, decl: TensorDecl, place: str) -> int:
    """What pieces are taken from: elements along the axis, or slots."""
    if binding.axis is None:
        if binding.size != 1 or decl.slots < 2:
            raise PlanError(
                f"{place} is bound to {binding.size} slots at once of {binding.tensor}, which is "
                f"{_decl_words(decl)}; slots are bound one by one, a single tensor by an axis"
            )
        return decl.slots
    axes = len(decl.port.shape)
    if not 0 <= binding.axis < axes or decl.slots != 1:
        raise PlanError(
            f"{place} slices axis {binding.axis} of {binding.tensor}, which is {_decl_words(decl)}"
        )
    return decl.port.shape[binding.axis]


def _words(port: Port) -> str:
    return f"{port.dtype} {port.shape}"


def _decl_words(decl: TensorDecl) -> str:
    return _words(decl.port) + (f" in {decl.slots} slots" if decl.slots != 1 else "")


# ---------------------------------------------------------------- against packages


def check_features(
    program: Program, ports: Mapping[str, tuple[Sequence[Port], Sequence[Port]]]
) -> None:
    """Every call gives each input of its package once, with the shape and type it wants."""
    decls = {t.name: t for t in program.tensors}
    for step in (s for g in program.segments for s in g.steps):
        if not isinstance(step, Call):
            continue
        inputs, outputs = ports[step.chunk]
        for side, wanted, given in (
            ("input", inputs, step.inputs),
            ("output", outputs, step.outputs),
        ):
            names = [b.feature for b in given]
            if sorted(names) != sorted(p.name for p in wanted):
                raise PlanError(
                    f"plan: chunk {step.chunk} has {side}s {sorted(p.name for p in wanted)}, "
                    f"the call binds {sorted(names)}"
                )
            by_name = {p.name: p for p in wanted}
            for binding in given:
                _check_feature(step.chunk, by_name[binding.feature], binding, decls)


def _check_feature(
    chunk: str, port: Port, binding: Binding, decls: Mapping[str, TensorDecl]
) -> None:
    whole = decls[binding.tensor].port
    shape = list(whole.shape)
    if binding.axis is not None:
        shape[binding.axis] = binding.size
    if tuple(shape) != port.shape or whole.dtype != port.dtype:
        raise PlanError(
            f"plan: chunk {chunk}, {port.name} wants {_words(port)}, tensor {binding.tensor} "
            f"gives {whole.dtype} {tuple(shape)}"
        )
