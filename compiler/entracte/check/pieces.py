"""The checker's half about bindings: every piece lies inside its tensor and suits its feature.

A tensor is one array, bound whole or by windows, or several of them side by side (`slots`), bound
one by one, or streamed: made piece by piece, each of which goes to an output's writer as it is
made. What a call makes must be all of the tensor: its windows cover it, its slots or streamed
pieces are as many as its repetitions (`map`) or its loop's iterations (`iteration`).

Pieces of an output that overlap are blended: added up in fp32, in the tensor itself, which
therefore is fp32; nobody rounds it later.
"""

from collections.abc import Mapping, Sequence
from math import prod

from entracte.check.life import label_of
from entracte.check.names import once
from entracte.errors import PlanError
from entracte.ir import (
    INPUT_KINDS,
    Binding,
    By,
    Call,
    Chunk,
    DType,
    HostStep,
    Input,
    Port,
    Program,
    Segment,
    TensorDecl,
    Window,
)

MOST_WINDOWS = 2
"""A grid of tiles has two; runners need no more."""
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
        _check_input_tensor(given, decls.get(given.name))
    for value in program.output_values:
        output = decls.get(value)
        if output is not None and output.slots != 1:
            raise PlanError(f"plan: the output {value} is {_decl_words(output)}, not one")


_NO_TENSOR = ("text", "seed")


def _check_input_tensor(given: Input, decl: TensorDecl | None) -> None:
    """A number or a choice may have no tensor, where only the runner reads it."""
    article = "an" if given.kind[:1] in "aeiou" else "a"
    where = f"plan: input {given.name} is {article} {given.kind}"
    if given.kind not in INPUT_KINDS:
        raise PlanError(f"{where}, not one of {', '.join(INPUT_KINDS)}")
    ported = given.kind not in _SINGLE and given.kind not in _NO_TENSOR
    if ported != (given.port is not None):
        raise PlanError(f"{where}, {'without' if ported else 'which has no'} shape and type")
    if decl is None:
        if ported:
            raise PlanError(f"{where}; its tensor is not declared")
        return
    if given.kind in _NO_TENSOR:
        raise PlanError(f"{where}, which is no tensor")
    own = given.port
    wanted = _SINGLE[given.kind] if own is None else (own.shape, own.dtype)
    if (decl.port.shape, decl.port.dtype) != wanted or decl.slots != 1 or decl.streamed:
        raise PlanError(f"{where}, {wanted[1]} {wanted[0]}; its tensor is {_decl_words(decl)}")


def check_pieces(program: Program) -> None:
    """Every binding of every step, against the tensor and the numbers of calls and iterations."""
    decls = {t.name: t for t in program.tensors}
    for segment in program.segments:
        for k, step in enumerate(segment.steps):
            where = f"plan: segment {segment.name}, step {k} ({label_of(step)})"
            once(f"{where}: two outputs are bound to tensor", (b.tensor for b in step.outputs))
            if isinstance(step, HostStep):
                once(f"{where}: two outputs are called", (b.feature for b in step.outputs))
                _check_host(step, decls, where)
            else:
                _check_call(step, segment, decls, where)


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
        if binding.by is By.WHOLE:
            _check_whole(binding, decl, place)
        else:
            _check_input(binding, decl, *_times(binding, call, segment), place)
    for binding in call.outputs:
        _check_output(binding, call, segment, decls, f"{where}: output {binding.feature}")
    read = {b.tensor for b in call.inputs}
    for binding in call.outputs:
        # Its old value is dropped before the first piece is made: there is room for one.
        if binding.by is not By.WHOLE and binding.tensor in read:
            raise PlanError(f"{where} reads {binding.tensor}, which it makes piece by piece")


def _times(binding: Binding, call: Call, segment: Segment) -> tuple[int, str]:
    """How many pieces a binding takes or gives, and of what."""
    if binding.by is By.ITERATION:
        return segment.count, f"{segment.count} iterations"
    return call.repeat, f"{call.repeat} repetitions"


def _check_output(
    binding: Binding, call: Call, segment: Segment, decls: Mapping[str, TensorDecl], place: str
) -> None:
    decl = _decl(decls, binding, place)
    if binding.by is not By.MAP and call.repeat != 1:
        raise PlanError(
            f"{place} is bound {'whole' if binding.by is By.WHOLE else 'by iteration'}, and each "
            f"of the {call.repeat} repetitions would overwrite it; bind it by map"
        )
    if binding.by is By.WHOLE:
        _check_whole(binding, decl, place)
        return
    if binding.by is By.ITERATION and (call.at or call.rests_by):
        raise PlanError(f"{place} is bound by iteration, and rests in some: it would leave gaps")
    many, times = _times(binding, call, segment)
    if decl.streamed:
        _check_streamed(binding, decl, segment, place)
    if not binding.windows:
        there = decl.streamed or _slots(binding, decl, place)
        if there != many:
            raise PlanError(
                f"{place} makes {many} of {binding.tensor} in {times}, it has {there} "
                f"({_decl_words(decl)})"
            )
        return
    _check_count(binding, many, times, place)
    for window in binding.windows:
        _check_covers(window, binding, decl, place)


def _check_streamed(binding: Binding, decl: TensorDecl, segment: Segment, place: str) -> None:
    """It is made once in a run, piece after piece."""
    if binding.windows:
        raise PlanError(f"{place} has windows in {binding.tensor}, of which one piece is there")
    if binding.by is By.MAP and segment.count != 1:
        raise PlanError(
            f"{place} makes {binding.tensor} by map in each of {segment.count} iterations; what is "
            f"streamed ({_decl_words(decl)}) is made once"
        )


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
    if len(binding.windows) > MOST_WINDOWS:
        raise PlanError(f"{place} has {len(binding.windows)} windows, at most {MOST_WINDOWS} do")
    once(f"{place}: two windows are along axis", (str(w.axis) for w in binding.windows))
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
    if is_blended(window) and decl.port.dtype is not DType.FP32:
        raise PlanError(
            f"{place}: pieces of {window.size} every {window.stride} are blended, which is summed "
            f"in fp32, and {binding.tensor} is {_decl_words(decl)}"
        )


def is_blended(window: Window) -> bool:
    """Whether pieces of an output overlap."""
    return window.count > 1 and window.stride < window.size


def _decl(decls: Mapping[str, TensorDecl], binding: Binding, place: str) -> TensorDecl:
    if binding.tensor not in decls:
        raise PlanError(f"{place} is bound to {binding.tensor}, which is not declared as a tensor")
    return decls[binding.tensor]


def _check_whole(binding: Binding, decl: TensorDecl, place: str) -> None:
    if binding.windows:
        raise PlanError(f"{place} is bound whole, and yet to slices of {binding.windows[0].size}")
    if decl.slots != 1 or decl.streamed:
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
    if decl.streamed:
        return f"{_words(decl.port)} streamed in {decl.streamed} pieces"
    return _words(decl.port) + (f" in {decl.slots} slots" if decl.slots != 1 else "")


# ---------------------------------------------------------------- against packages

Ports = tuple[Sequence[Port], Sequence[Port]]
"""Inputs and outputs."""


def ports_of(chunk: Chunk) -> dict[str, Ports]:
    """By function: that of another stage has ports of its own, others have the chunk's."""
    ports: dict[str, Ports] = {"main": (chunk.inputs, chunk.outputs)}
    for v in chunk.variants:
        ports[v.name] = (v.inputs, v.outputs) if v.graph else (chunk.inputs, chunk.outputs)
    return ports


def check_features(program: Program, chunks: Sequence[Chunk]) -> None:
    """Every call gives each input of every function that it uses once, with the shape and type it
    wants, and takes each of its outputs, for one tensor or several."""
    decls = {t.name: t for t in program.tensors}
    ports = {c.id: ports_of(c) for c in chunks}
    for step in (s for g in program.segments for s in g.steps):
        if not isinstance(step, Call):
            continue
        for function in dict.fromkeys((step.function, *(name for name, _ in step.switch))):
            known = ports[step.chunk]
            if function not in known:
                raise PlanError(
                    f"plan: calls function {function!r} of {step.chunk}, which has {sorted(known)}"
                )
            label = step.chunk if function == "main" else f"{step.chunk} ({function})"
            _check_side(label, "input", known[function][0], step.inputs, decls)
            _check_side(label, "output", known[function][1], step.outputs, decls)


def _check_side(
    label: str,
    side: str,
    wanted: Sequence[Port],
    given: Sequence[Binding],
    decls: Mapping[str, TensorDecl],
) -> None:
    by_name = {p.name: p for p in wanted}
    names = {b.feature for b in given}
    if names != by_name.keys():
        raise PlanError(
            f"plan: chunk {label} has {side}s {sorted(by_name)}, the call binds {sorted(names)}"
        )
    for binding in given:
        _check_feature(label, by_name[binding.feature], binding, decls, side == "output")


def _check_feature(
    label: str, port: Port, binding: Binding, decls: Mapping[str, TensorDecl], made: bool
) -> None:
    whole = decls[binding.tensor].port
    shape = list(whole.shape)
    for window in binding.windows:
        shape[window.axis] = window.size
    # What is summed in fp32 may be made in fp16.
    summed = made and any(map(is_blended, binding.windows)) and port.dtype is not DType.INT32
    if tuple(shape) != port.shape or (whole.dtype != port.dtype and not summed):
        raise PlanError(
            f"plan: chunk {label}, {port.name} wants {_words(port)}, tensor {binding.tensor} "
            f"gives {whole.dtype} {tuple(shape)}"
        )
