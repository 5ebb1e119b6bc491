"""The checker's half about bindings: every piece lies inside its tensor and suits its feature.

A tensor is either one array, bound whole or by slices along an axis, or several of them side by
side (`slots`), bound one by one. What a call makes must be all of the tensor: its slices, or its
slots, are as many as its repetitions.
"""

from collections.abc import Mapping, Sequence
from math import prod

from entracte.check.names import once
from entracte.errors import PlanError
from entracte.ir import (
    INPUT_KINDS,
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
    Window,
)

_SINGLE = {"number": ((1,), DType.FP32), "choice": ((1,), DType.INT32)}


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
        own = given.port
        wanted = _SINGLE.get(given.kind, None if own is None else (own.shape, own.dtype))
        if wanted is None:
            raise PlanError(f"plan: input {given.name} is a {given.kind}, which is no tensor")
        if (decl.port.shape, decl.port.dtype) != wanted or decl.slots != 1:
            raise PlanError(
                f"plan: input {given.name} is a {given.kind}, {wanted[1]} {wanted[0]}; its "
                f"tensor is {_decl_words(decl)}"
            )
    for value in program.output_values:
        output = decls.get(value)
        if output is not None and output.slots != 1:
            raise PlanError(f"plan: the output {value} is {_decl_words(output)}, not one")


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
        else:
            _check_input(binding, decl, many, f"{many} {what}", place)
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
    elif not binding.windows:
        if (there := _slots(binding, decl, place)) != call.repeat:
            raise PlanError(
                f"{place} makes {call.repeat} of {binding.tensor} in {call.repeat} repetitions, it "
                f"has {there} ({_decl_words(decl)})"
            )
    else:
        _check_count(binding, call.repeat, f"{call.repeat} repetitions", place)
        for window in binding.windows:
            _check_covers(window, binding, decl, place)


def _check_input(binding: Binding, decl: TensorDecl, many: int, times: str, place: str) -> None:
    if not binding.windows:
        if (there := _slots(binding, decl, place)) < many:
            raise PlanError(
                f"{place} takes {many} of {binding.tensor} in {times}, it has {there} "
                f"({_decl_words(decl)})"
            )
        return
    _check_count(binding, many, times, place)
    for window in binding.windows:
        end = window.begin(window.count - 1) + window.size
        if end > (extent := _extent(window, binding, decl, place)):
            raise PlanError(
                f"{place} takes {end} of {binding.tensor} along axis {window.axis} in {times} of "
                f"{window.size}, it has {extent} ({_decl_words(decl)})"
            )


def _check_count(binding: Binding, many: int, times: str, place: str) -> None:
    pieces = prod(w.count for w in binding.windows)
    if pieces != many:
        raise PlanError(f"{place} has {pieces} pieces of {binding.tensor}, in {times}")


def _check_covers(window: Window, binding: Binding, decl: TensorDecl, place: str) -> None:
    """All of the axis, and nowhere more than two pieces."""
    extent = _extent(window, binding, decl, place)
    end = window.begin(window.count - 1) + window.size
    if window.start != 0 or end != extent:
        raise PlanError(
            f"{place} makes {window.start} to {end} of {binding.tensor} along axis {window.axis} "
            f"in pieces of {window.size}, it has {extent} ({_decl_words(decl)})"
        )
    if window.count > 1 and not window.stride <= window.size <= 2 * window.stride:
        raise PlanError(
            f"{place}: pieces of {window.size} every {window.stride} leave gaps, or overlap more "
            "than two at a time"
        )


def _decl(decls: Mapping[str, TensorDecl], binding: Binding, place: str) -> TensorDecl:
    if binding.tensor not in decls:
        raise PlanError(f"{place} is bound to {binding.tensor}, which is not declared as a tensor")
    return decls[binding.tensor]


def _check_whole(binding: Binding, decl: TensorDecl, place: str) -> None:
    if binding.windows:
        raise PlanError(f"{place} is bound whole, and yet to slices of {binding.windows[0].size}")
    if decl.slots != 1:
        raise PlanError(f"{place} is bound whole to {binding.tensor}, which is {_decl_words(decl)}")


def _slots(binding: Binding, decl: TensorDecl, place: str) -> int:
    if decl.slots < 2:
        raise PlanError(
            f"{place} is bound to slots of {binding.tensor}, which is {_decl_words(decl)}; a "
            "single tensor is bound by windows"
        )
    return decl.slots


def _extent(window: Window, binding: Binding, decl: TensorDecl, place: str) -> int:
    """Elements along the window's axis."""
    axes = len(decl.port.shape)
    if not 0 <= window.axis < axes or decl.slots != 1:
        raise PlanError(
            f"{place} slices axis {window.axis} of {binding.tensor}, which is {_decl_words(decl)}"
        )
    if window.size < 1 or window.count < 1 or window.stride < 1 or window.start < 0:
        raise PlanError(f"{place}: a window's size, count and stride are at least 1: {window}")
    return decl.port.shape[window.axis]


def _words(port: Port) -> str:
    return f"{port.dtype} {port.shape}"


def _decl_words(decl: TensorDecl) -> str:
    return _words(decl.port) + (f" in {decl.slots} slots" if decl.slots != 1 else "")


# ---------------------------------------------------------------- against packages


def check_features(
    program: Program, ports: Mapping[tuple[str, str], tuple[Sequence[Port], Sequence[Port]]]
) -> None:
    """Every call gives each input of its package once, with the shape and type it wants.

    Args:
        ports: (chunk, function) -> its inputs and outputs.
    """
    decls = {t.name: t for t in program.tensors}
    for step in (s for g in program.segments for s in g.steps):
        if not isinstance(step, Call):
            continue
        inputs, outputs = ports[step.chunk, step.function]
        if any(ports[step.chunk, other] != (inputs, outputs) for other, _ in step.switch):
            raise PlanError(
                f"plan: a call of chunk {step.chunk} switches between functions of other ports"
            )
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
    for window in binding.windows:
        shape[window.axis] = window.size
    if tuple(shape) != port.shape or whole.dtype != port.dtype:
        raise PlanError(
            f"plan: chunk {chunk}, {port.name} wants {_words(port)}, tensor {binding.tensor} "
            f"gives {whole.dtype} {tuple(shape)}"
        )
