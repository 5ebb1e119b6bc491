"""The slices of a map: where they lie in what is cut, and in what is put together again."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import prod

from entracte.declare.rests import ASIDE
from entracte.errors import ConfigError
from entracte.ir import DType, Map, Port, Slices, Window


def input_windows(where: str, given: Map, port: Port) -> tuple[Window, ...]:
    """Of an input that is cut. Raises `ConfigError` where the slices do not end where it ends."""
    return tuple(_window(where, cut, port) for cut in given.slices)


def output_windows(
    where: str, given: Map, windows: Sequence[Window], piece: Port
) -> tuple[Window, ...]:
    """Of an output, one piece of which is `piece`; `windows` are those of the inputs.

    What inputs skip leaves no gap: the pieces lie side by side. Raises `ConfigError`.
    """
    axes = [cut.output_axis for cut in given.slices]
    if len(set(axes)) < len(axes) or not all(0 <= a < len(piece.shape) for a in axes):
        raise ConfigError(
            f"{where}.map.output_axis: {axes}: {piece.name} has shape {piece.shape}; give a "
            f"different one of its axes 0 to {len(piece.shape) - 1} for each axis of the map"
        )
    made = tuple(
        Window(cut.output_axis, size, w.count, _stride(where, cut, size, piece))
        for cut, w in zip(given.slices, windows, strict=True)
        for size in [piece.shape[cut.output_axis]]
    )
    if is_blended(made) and piece.dtype is DType.INT32:
        raise ConfigError(
            f"{where}.map.stride: {piece.name} is int32, and where slices overlap outputs are "
            "averaged, which whole numbers cannot be; leave `stride` out"
        )
    return made


@dataclass(frozen=True, slots=True)
class Run:
    """Slices of a map that run in the same iterations."""

    windows: tuple[Window, ...]
    """Of the inputs."""
    suffix: str
    """Behind the names of what they make."""
    at: tuple[int, ...] = ()
    """Of the stage's loop; empty: all."""


def runs_of(where: str, given: Map, windows: tuple[Window, ...]) -> tuple[Run, ...]:
    """All slices, or those that always run and those that rest. Raises `ConfigError`."""
    if not given.rests:
        return (Run(windows, ""),)
    (window,), first, many = windows, given.rests[0], len(given.rests)
    if many >= window.count or (first > 0 and first + many != window.count):
        raise ConfigError(
            f"{where}.map.rests.slices: {list(given.rests)} of {window.count}: give some of the "
            "first or of the last, not all"
        )
    begin = many if first == 0 else 0
    always = _part(window, begin, window.count - many)
    return Run((always,), ""), Run((_part(window, first, many),), ASIDE, given.at)


def _part(window: Window, first: int, count: int) -> Window:
    return replace(window, start=window.begin(first), count=count)


def slice_count(windows: Iterable[Window]) -> int:
    """How many slices there are."""
    return prod(w.count for w in windows)


def is_blended(windows: Iterable[Window]) -> bool:
    """Whether pieces overlap."""
    return any(w.count > 1 and w.stride < w.size for w in windows)


def joined(piece: Port, windows: Iterable[Window]) -> Port:
    """All pieces put together; what is averaged is fp32."""
    shape, windows = list(piece.shape), tuple(windows)
    for w in windows:
        shape[w.axis] = w.begin(w.count - 1) + w.size
    dtype = DType.FP32 if is_blended(windows) else piece.dtype
    return Port(piece.name, tuple(shape), dtype)


def piece_of(whole: Port, windows: Iterable[Window]) -> Port:
    """One piece of it."""
    shape = list(whole.shape)
    for w in windows:
        shape[w.axis] = w.size
    return Port(whole.name, tuple(shape), whole.dtype)


def _window(where: str, cut: Slices, port: Port) -> Window:
    if not 0 <= cut.axis < len(port.shape):
        raise ConfigError(
            f"{where}: it has shape {port.shape}, no axis {cut.axis}; give one of 0 to "
            f"{len(port.shape) - 1}"
        )
    extent = port.shape[cut.axis] - cut.start
    if cut.size > extent:
        raise ConfigError(
            f"{where}: slices of {cut.size} from {cut.start} are larger than axis {cut.axis} of "
            f"{port.shape}; give a size of at most {max(extent, 1)}"
        )
    if cut.stride < cut.size and cut.size > 2 * cut.stride:
        raise ConfigError(
            f"{where}: slices of {cut.size} every {cut.stride} overlap more than two at a time; "
            f"give a stride of at least {-(-cut.size // 2)}"
        )
    count = _count(where, cut, port, extent)
    return Window(cut.axis, cut.size, count, cut.stride, cut.start)


def _count(where: str, cut: Slices, port: Port, extent: int) -> int:
    most, rest = divmod(extent - cut.size, cut.stride)
    most += 1
    if cut.count is not None:
        if cut.count > most:
            raise ConfigError(
                f"{where}: there are {most} slices of {cut.size} every {cut.stride} from "
                f"{cut.start} in axis {cut.axis} of {port.shape}, not {cut.count}; give a smaller "
                "count"
            )
        return cut.count
    if rest == 0:
        return most
    named = f"slices of {cut.size}" + (f" every {cut.stride}" if cut.stride != cut.size else "")
    raise ConfigError(
        f"{where}: cannot map over axis {cut.axis} of {port.shape} in {named}"
        f"{f' from {cut.start}' if cut.start else ''}: {rest} are left over; the nearest sizes are "
        f"{_words(_nearest(cut, extent, rest))} (or give a count)"
    )


def _nearest(cut: Slices, extent: int, rest: int) -> list[int]:
    """Sizes just below and above that end where it ends."""
    if cut.stride == cut.size:
        fits = [n for n in range(1, extent + 1) if extent % n == 0]
        below = [n for n in fits if n < cut.size][-1:]
        return below + [n for n in fits if n > cut.size][:1]
    sizes = [cut.size + rest - cut.stride, cut.size + rest]
    overlaps = cut.stride < cut.size
    most = min(extent, 2 * cut.stride) if overlaps else extent
    least = cut.stride if overlaps else 1
    return [n for n in sizes if least <= n <= most] or [cut.stride]


def _words(numbers: Sequence[int]) -> str:
    return " and ".join(map(str, numbers))


def _stride(where: str, cut: Slices, size: int, piece: Port) -> int:
    if cut.stride >= cut.size:
        return size
    stride, rest = divmod(cut.stride * size, cut.size)
    if rest:
        raise ConfigError(
            f"{where}.map.stride: {cut.stride} of slices of {cut.size} is no whole number of "
            f"{piece.name}'s {size} along axis {cut.output_axis}; give a multiple of "
            f"{_whole_stride(cut.size, size)}"
        )
    return stride


def _whole_stride(size: int, made: int) -> int:
    """The least stride of the input that is a whole one of the output."""
    return next(n for n in range(1, size + 1) if n * made % size == 0)
