"""A package ready to be called."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Self, get_args

import torch

from entracte.reference import mil
from entracte.reference.allowance import check_elements
from entracte.reference.dtypes import TORCH, held
from entracte.reference.errors import PackageError, malformed
from entracte.reference.guard import Guard
from entracte.reference.info import blobs, describe_program, pick
from entracte.reference.inputs import as_tensor
from entracte.reference.options import Limits, Options
from entracte.reference.precision import POLICIES
from entracte.reference.prepare import prepare
from entracte.reference.reader import read_program
from entracte.reference.strict import check_types, lint
from entracte.reference.watch import Accounts
from entracte.reference.weights import Weights

Hold = Literal["owned", "direct", "mapped"]
State = dict[str, torch.Tensor]
Hook = Callable[[str, str, Sequence[Any]], None]


def load(
    path: str | Path | mil.Program, *, function: str = "main", policy: str = "hybrid",
    hold: Hold = "owned", strict: bool = False, limits: Limits | None = None,
) -> Loaded:  # fmt: skip
    """Read a package and prepare one of its functions for calls.

    Args:
        path: the `.mlpackage` folder, or its program if `reader.read_program` has read it.
        function: name of the function.
        policy: how fp16 is computed: `hybrid`, `round` or `fp32` (see `precision`).
        hold: `owned` reads the weights into memory of our own and keeps compressed ones so, to
            decompress them at each use: the resident bytes are the stored ones. `direct` does the
            same past the page cache, where the file system can. `mapped` borrows the mapped file.
        strict: refuse what Core ML is known to refuse although coremltools writes it.
        limits: what the package may ask for; None trusts it with the machine's memory.

    Raises:
        PackageError: unreadable, inconsistent or unsupported; all unsupported operations are
            named at once.
    """
    if policy not in POLICIES:
        raise ValueError(f"policy {policy!r} is none of {', '.join(POLICIES)}")
    if hold not in get_args(Hold):
        raise ValueError(f"hold {hold!r} is none of {', '.join(get_args(Hold))}")
    own = hold != "mapped"
    options = Options(policy, strict, lazy=own, limits=limits)
    program = path if isinstance(path, mil.Program) else read_program(path)
    return _loaded(program, function, Weights(program, own, hold == "direct"), options)


def load_portable(program: mil.Program, *, function: str, policy: str) -> Loaded:
    """As `load` with mapped weights that are decompressed once, but with no kernel that only this
    machine's torch has: slower, and torch.export can follow `execute`."""
    options = Options(policy, strict=False, lazy=False, portable=True)
    return _loaded(program, function, Weights(program, own=False), options)


def _loaded(program: mil.Program, function: str, weights: Weights, options: Options) -> Loaded:
    """Prepared; where that fails, with the weights' files closed."""
    try:
        with malformed(program.package):
            return Loaded(program, function, weights, options)
    except BaseException:
        weights.close()
        raise


class Loaded:
    """One function of a package, prepared. Not to be called from two threads at once.

    Attributes:
        info: the package's declarations.
        interface: what the model description adds to them.
        on_op: called with (operation name, type, results) after each operation when set.
        observed_peak_bytes: most bytes of live tensors during the last `predict`, by the same
            accounting as `activation_peak_bytes`; 0 before the first. Neither counts weights
            decompressed for one use or an operation's own workspace, and under the fp32 policy
            the observed one is up to twice the declared.
    """

    def __init__(
        self, program: mil.Program, name: str, weights: Weights, options: Options,
        owner: bool = True,
    ) -> None:  # fmt: skip
        function = pick(program, name)
        self.info = describe_program(program, function)
        self._check_memory()
        limits = options.limits
        self._guard = None if limits is None else Guard(program, function, limits)
        if options.strict:
            lint(program, function)
        if options.lazy:
            # Everything is kept as it is stored, so it can be read in one go.
            weights.fetch(blobs(function))
        prepared = prepare(program, function, weights, options)
        self.on_op: Hook | None = None
        self.observed_peak_bytes = 0
        self._program = program
        self.interface = program.interfaces[function.name]
        self._inputs = function.inputs
        self._outputs = function.block.outputs
        self._code = prepared.code
        self._session = prepared.code.session
        self._pinned = prepared.constants
        pinned = [self._session.frame[register] for register in self._pinned]
        self._constants = {
            v.untyped_storage().data_ptr() for v in pinned if isinstance(v, torch.Tensor)
        }
        self._weights = weights
        self._owner = owner
        self._dense_bytes = prepared.decompressed_bytes
        self._options = options
        if limits is not None:
            self._session.iterations = limits.iterations
        self._check = check_types(program, name, self._held if options.strict else None)
        self._measured: tuple[tuple[int, ...], ...] | None = None
        self._closed = False

    @property
    def resident_bytes(self) -> int:
        """Bytes of weights held between calls (mapped pages when borrowed)."""
        return self._weights.resident_bytes + self._dense_bytes

    @property
    def own_bytes(self) -> int:
        """What this function alone holds between calls, without the weights siblings share."""
        return self._dense_bytes

    @property
    def activation_peak_bytes(self) -> int | None:
        """The static peak of `describe`."""
        return self.info.activation_peak_bytes

    def make_state(self) -> State:
        """Fresh states, all zero."""
        kinds = {n.name: n.type.wrapped for n in self._inputs if isinstance(n.type, mil.StateType)}
        with self._allowed({}):
            shapes = {name: self._known(kind) for name, kind in kinds.items()}
        return {n: torch.zeros(shapes[n], dtype=self._held(k.dtype)) for n, k in kinds.items()}

    def predict(self, inputs: Mapping[str, Any], state: State | None = None) -> dict[str, Any]:
        """Run the function.

        Args:
            inputs: arrays or tensors by name, converted to the declared types.
            state: from `make_state`, changed in place; needed when the function has states.

        Returns:
            Tensors by name in the declared types and shapes (fp32 in place of fp16 under the
            fp32 policy). They share no memory with inputs or weights.

        Raises:
            PackageError: an input is missing, unknown or of the wrong shape, or an operation
                failed; it is named.
        """
        if self._closed:
            raise self._fail("is closed")
        with self._allowed({}):
            values = self._arguments(inputs, state)
        shapes = tuple(tuple(v.shape) for v in values)
        watcher = None
        steady = self._guard is None or self._guard.steady
        # Liveness is the same for the same shapes: it is measured on the first call of each.
        if self.on_op is not None or shapes != self._measured or not steady:
            watcher = Accounts(self._session.frame, self._pinned, values, self.on_op, self._check,
                               self._guard)  # fmt: skip
        self._session.watcher = watcher
        self._session.counted = 0
        try:
            with torch.no_grad(), self._allowed(inputs, values):
                results = self._code(values)
                single = len(self._outputs) == 1
                found = self._results([results] if single else results, values)
        except BaseException:
            self._clear()
            raise
        finally:
            self._session.watcher = None
        if watcher is not None:
            self.observed_peak_bytes, self._measured = watcher.peak, shapes
        return found

    @property
    def first_call(self) -> tuple[tuple[tuple[int, ...], ...], int] | None:
        """Input shapes and peak of the last call that was watched; None before there was one."""
        return None if self._measured is None else (self._measured, self.observed_peak_bytes)

    def trust(self, first_call: tuple[tuple[tuple[int, ...], ...], int]) -> None:
        """Take `first_call` of an earlier load of the same program: calls with these shapes are
        not rehearsed and measured again. Values that decide shapes are looked at all the same."""
        self._measured, self.observed_peak_bytes = first_call

    def prepared(self, inputs: Mapping[str, Any]) -> list[torch.Tensor]:
        """Inputs as the program takes them: checked, in declared order, types and shapes."""
        return self._arguments(inputs, None)

    def execute(self, values: Sequence[torch.Tensor]) -> list[Any]:
        """The bare program: results in declared order, which may share memory with `values`.

        Nothing is checked, copied or measured; torch.export can follow a `portable` load.
        """
        results = self._code(list(values))
        return [results] if len(self._outputs) == 1 else results

    def sibling(self, function: str) -> Loaded:
        """Another function of the package on the same weights, none of which is read twice.

        It is usable until this one is closed; closing it frees only what it alone holds.
        """
        if self._closed:
            raise self._fail("is closed")
        return Loaded(self._program, function, self._weights, self._options, owner=False)

    def close(self) -> None:
        """Give weights and files back; later calls are refused."""
        self._closed = True
        if self._owner:
            self._weights.close()
        self._code.instructions.clear()
        self._session.frame.clear()
        self._dense_bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- inputs and outputs -----------------------------------------------------------------

    def _check_memory(self) -> None:
        try:
            check_elements((self.info.activation_peak_bytes or 0) // 2, "the activations")
        except ValueError as error:
            raise PackageError(self.info.path, str(error),
                               place=f"function {self.info.function!r}") from None  # fmt: skip

    def _allowed(
        self, given: Mapping[str, Any], values: Sequence[torch.Tensor] = ()
    ) -> AbstractContextManager[None]:
        """What may be allocated within: as much as the inputs that were given justify."""
        if self._guard is None:
            return nullcontext()
        pairs = zip(self._inputs, values, strict=False)
        return self._guard.call(sum(v.nbytes for named, v in pairs if named.name in given))

    def _fail(self, message: str) -> PackageError:
        place = f"function {self.info.function!r}"
        return PackageError(self._program.package, message, place=place)

    def _held(self, dtype: str) -> torch.dtype:
        if dtype not in TORCH:
            raise self._fail(f"a tensor of {dtype} can be no input, state or result")
        return held(dtype, self._options.policy)

    def _known(self, kind: mil.TensorType) -> tuple[int, ...]:
        if None in kind.shape:
            raise self._fail("a state, or an input that is left out, has no known shape")
        try:
            check_elements(math.prod(kind.shape), "it")  # type: ignore[arg-type]
        except ValueError as error:
            raise self._fail(f"a state or an input that is left out: {error}") from None
        return kind.shape  # type: ignore[return-value]

    def _arguments(self, inputs: Mapping[str, Any], state: State | None) -> list[torch.Tensor]:
        names = {n.name for n in self._inputs if isinstance(n.type, mil.TensorType)}
        missing = sorted(names - set(inputs) - set(self.interface.optional))
        unknown = sorted(set(inputs) - names)
        if missing or unknown:
            parts = [f"missing inputs {missing}"] if missing else []
            parts += [f"unknown inputs {unknown}"] if unknown else []
            raise self._fail(f"{', '.join(parts)}; it takes {sorted(names)}")
        return [self._argument(named, inputs, state) for named in self._inputs]

    def _argument(self, named: mil.Named, inputs: Mapping[str, Any], state: State | None
                  ) -> torch.Tensor:  # fmt: skip
        if isinstance(named.type, mil.StateType):
            if state is None or named.name not in state:
                raise self._fail(f"needs state {named.name!r}; see make_state")
            return state[named.name]
        kind = named.type
        if not isinstance(kind, mil.TensorType):
            raise self._fail(f"input {named.name!r} is no tensor")
        if named.name not in inputs:
            filler = self.interface.optional[named.name]
            return torch.full(self._known(kind), filler, dtype=self._held(kind.dtype))
        image = self.interface.images.get(named.name)
        try:
            value = as_tensor(inputs[named.name], image)
        except TypeError as error:
            raise self._fail(f"input {named.name!r} {error}") from None
        self._check_shape(named.name, kind, tuple(value.shape))
        return value.to(self._held(kind.dtype)).contiguous()

    def _check_shape(self, name: str, kind: mil.TensorType, shape: tuple[int, ...]) -> None:
        flexible = self.interface.flexible.get(name)
        if flexible is not None and flexible.enumerated and shape not in flexible.enumerated:
            # In the words of Core ML, which code that runs elsewhere may look for.
            plain = " x ".join(map(str, shape))
            raise self._fail(f"input {name!r}: MultiArray Shape ({plain}) was not in enumerated "
                             f"set of allowed shapes {flexible.enumerated}")  # fmt: skip
        fits = len(shape) == len(kind.shape) and all(
            want is None or have == want for have, want in zip(shape, kind.shape, strict=True)
        )
        if not fits and not (flexible and flexible.enumerated):
            raise self._fail(f"input {name!r} has shape {shape}, it takes {kind.shape}")
        ranges = flexible.ranges if flexible else ()
        for axis, (have, (low, high)) in enumerate(zip(shape, ranges, strict=False)):
            if have < low or (high >= 0 and have > high):
                most = high if high >= 0 else "inf"
                raise self._fail(f"input {name!r}: Size ({have}) of dimension ({axis}) is not in "
                                 f"allowed range ({low}..{most})")  # fmt: skip

    def _results(self, results: Sequence[Any], values: Sequence[torch.Tensor]) -> dict[str, Any]:
        taken = {v.untyped_storage().data_ptr() for v in values} | self._constants
        found: dict[str, Any] = {}
        for name, value in zip(self._outputs, results, strict=True):
            if isinstance(value, torch.Tensor):
                shared = value.untyped_storage().data_ptr() in taken
                value = value.clone() if shared else value.contiguous()
                taken.add(value.untyped_storage().data_ptr())
            found[name] = value
        return found

    def _clear(self) -> None:
        """Drop what an interrupted run left behind."""
        frame = self._session.frame
        for register in range(len(frame)):
            if register not in self._pinned:
                frame[register] = None
