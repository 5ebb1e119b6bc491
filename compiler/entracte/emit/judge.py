"""One chunk, run beside its torch source on the reference device, in a worker's process.

Below the floor of its precision an fp16 chunk is repaired: the operations at which the error first
rises compute in fp32, found by comparing every intermediate value that both have; where that is
not enough, all do. What cannot be repaired is refused, with the layer's name.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from entracte.declare.scheme import floor_db
from entracte.disk.folder import fresh
from entracte.emit import shared
from entracte.emit.draws import Values, draws, positive
from entracte.emit.make import CHUNK, PACKAGES, Order, chunk_module, convert_neutral
from entracte.emit.repair import WHOLE, Repair, islands, ops_of
from entracte.ir import Chunk, Op
from entracte.reference.fidelity import psnr
from entracte.store.cache import Cache

if TYPE_CHECKING:
    from torch.fx import GraphModule

COMPARED = "compared"
_ROUNDS = 3
"""Of finding where the error rises: a value that stays large reaches the next operation, too."""
_MOST_DB = 999.0
"""JSON has no infinity."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the cache keeps of a comparison."""

    db: float | None
    """None: it could not be compared, `why` says why."""
    max_error: float
    inputs: str
    repair: Repair
    why: str = ""


@dataclass(frozen=True)
class Trial:
    """What of a chunk is run. It travels to the worker's process."""

    order: Order
    pieces: tuple[Chunk, ...]
    """Parts of a chunk that is too dear to run whole; empty: the chunk itself, as emitted."""
    share: float
    """Of its distinct operations, those that run here or in another chunk's trial."""
    key: str
    """Of the verdict in the cache."""


def judge_trial(trial: Trial, cache: Cache, given: Mapping[str, Path], place: Path) -> None:
    """Run it and keep the verdict.

    Args:
        given: interface of the chunk (`Chunk.interface`) -> a file of its known inputs by name
            (safetensors), where there is one.
        place: a folder for what is converted on the way.

    Raises:
        LowerError: below the floor, and no repair helps.
    """
    with fresh(place, "compare") as scratch:
        verdicts = [s.judged(scratch / str(i)) for i, s in _subjects(trial, cache, given)]
    measured = [v.db for v in verdicts if v.db is not None]
    kept = Verdict(
        db=min([*measured, _MOST_DB]) if measured else None,
        why="" if measured else verdicts[0].why,
        max_error=max(v.max_error for v in verdicts),
        inputs=verdicts[0].inputs,
        repair=_joined([v.repair for v in verdicts]),
    )
    cache.keep(COMPARED, trial.key, kept)


def _joined(repairs: list[Repair]) -> Repair:
    codes = {c for r in repairs for c in r.codes}
    words = "; ".join(dict.fromkeys(r.words for r in repairs if r))
    whole = any(r.whole for r in repairs)
    return WHOLE if whole else Repair(codes=tuple(sorted(codes)), words=words)


Known = Mapping[str, dict[str, np.ndarray]]
"""Function -> known inputs by name."""


def _subjects(
    trial: Trial, cache: Cache, given: Mapping[str, Path]
) -> "Iterator[tuple[int, _Subject]]":
    from safetensors.numpy import load_file

    loaded = {interface: load_file(path) for interface, path in given.items()}
    order = trial.order
    known = {f: loaded.get(order.chunk.interface(f), {}) for f in order.functions}
    if not trial.pieces:
        entry = cache.folder(PACKAGES, trial.order.key)
        assert entry is not None
        yield 0, _Subject(trial.order, known, entry / CHUNK, shared.arrays_of(entry))
        return
    for i, piece in enumerate(trial.pieces):
        # Without its own package: it is converted as a chunk of its own.
        yield i, _Subject(_order_of(trial.order, piece), known, None)


def _order_of(order: Order, piece: Chunk) -> Order:
    from entracte.store.form import form_of

    form = form_of(order.traced.part(piece.graph), piece)
    return replace(order, chunk=piece, form=form)


@dataclass(frozen=True)
class _Score:
    db: float
    max_error: float


class _Subject:
    """A chunk with its torch source, its inputs and what torch makes of them."""

    def __init__(
        self,
        order: Order,
        known: Known,
        package: Path | None,
        arrays: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """`arrays`: the chunk's weights, where its package is a graph that takes them."""
        self._order, self._package, self._arrays = order, package, arrays or {}
        self._stage = order.traced.stage
        self.floor_db = floor_db(self._stage.precision, self._stage.compression)
        self._tensors = order.source.tensors(order.traced, order.form.slots)
        self._modules = {f: self._module(f) for f in order.functions}
        self._draws = self._drawn(known)
        self._wanted: dict[tuple[str, int], list[np.ndarray]] = {}
        self._why = self._why_not()
        if self._why and self._how == "drawn":
            self._draws = {
                f: [(how, positive(values) if how == "drawn" else values) for how, values in made]
                for f, made in self._draws.items()
            }
            self._wanted.clear()
            self._why = self._why_not()

    def _drawn(self, known: Known) -> dict[str, list[tuple[str, Values]]]:
        """Of each function; those with the same inputs get the same."""
        chunk = self._order.chunk
        made: dict[str, list[tuple[str, Values]]] = {}
        for f in self._order.functions:
            at = chunk.interface(f)
            if at not in made:
                made[at] = draws(chunk.ports_of(f)[0], known[f], self._modules[f])
        return {f: made[chunk.interface(f)] for f in self._order.functions}

    @property
    def _how(self) -> str:
        """What inputs are: drawn, if those of any function are."""
        hows = {made[0][0] for made in self._draws.values()}
        return "drawn" if "drawn" in hows else hows.pop()

    def _why_not(self) -> str:
        """Why torch gives nothing to compare with; empty: it does."""
        how = self._how
        try:
            made = [a for f in self._order.functions for a in self._torch(f, 0)]
        except (IndexError, RuntimeError) as error:
            if how != "drawn":
                raise
            said = next(iter(str(error).splitlines()), "")[:200]
            return f"torch refuses what was drawn for its inputs: {said}"
        if any(np.isfinite(array).any() for array in made):
            return ""
        return f"torch itself gives nothing finite on {how} inputs"

    def _module(self, function: str) -> "GraphModule":
        from entracte.lower.rename import input_name

        names = [input_name(i) for i in range(len(self._order.chunk.ports_of(function)[0]))]
        made = chunk_module(
            self._order.traced, self._order.chunk, self._tensors, function, input_names=names
        )
        return cast("GraphModule", made)

    def judged(self, scratch: Path) -> Verdict:
        """Compared, and repaired if need be."""
        if self._why:
            return Verdict(None, 0.0, self._how, Repair(), self._why)
        path, is_neutral = self._package, bool(self._arrays)
        if path is None:
            path, is_neutral = self._converted(self._order, scratch / "plain.mlpackage"), True
        score = self._score(path, is_neutral)
        repair = Repair()
        if score.db < self.floor_db:
            score, repair = self._repaired(path, is_neutral, score, scratch)
        return Verdict(min(score.db, _MOST_DB), score.max_error, self._how, repair)

    def _repaired(
        self, path: Path, is_neutral: bool, first: _Score, scratch: Path
    ) -> tuple[_Score, Repair]:
        blamed = self._blamed(path, is_neutral)
        if self._stage.precision != "fp16":
            raise self._refusal(first, blamed)
        codes = set(self._codes(blamed))
        for i in range(_ROUNDS):
            if not codes:
                break
            repair = islands([o for f in self._order.functions for o in self._ops(f)], codes)
            mended = replace(self._order, repair=repair)
            path = self._converted(mended, scratch / f"mended{i}.mlpackage")
            score = self._score(path, True)
            if score.db >= self.floor_db:
                return score, repair
            fresh = set(self._codes(self._blamed(path, True))) - codes
            if not fresh:
                break
            codes |= fresh
        mended = replace(self._order, repair=WHOLE)
        score = self._score(self._converted(mended, scratch / "whole.mlpackage"), True)
        if score.db < self.floor_db:
            raise self._refusal(max(first, score, key=lambda s: s.db), blamed)
        return score, WHOLE

    def _converted(self, order: Order, path: Path) -> Path:
        convert_neutral(order, self._tensors, path)
        return path

    # ------------------------------------------------------------ comparing

    def _score(self, path: Path, is_neutral: bool) -> _Score:
        """The worst of all outputs, functions and draws."""
        from entracte.reference import load

        worst, largest = math.inf, 0.0
        for function in self._order.functions:
            with load(path, function=function) as package:
                names = self._outputs(function, is_neutral)
                for i, (_, values) in enumerate(self._draws[function]):
                    wanted = self._torch(function, i)
                    found = package.predict(self._features(function, values, path, is_neutral))
                    for array, name in zip(wanted, names, strict=True):
                        made = found[name].double().numpy().reshape(array.shape)
                        db, error = compared(array, made)
                        worst, largest = min(worst, db), max(largest, error)
        return _Score(worst, largest)

    def _features(
        self, function: str, values: Values, path: Path, is_neutral: bool
    ) -> dict[str, np.ndarray]:
        from entracte.lower.rename import input_name

        ports = self._order.chunk.ports_of(function)[0]
        names = [input_name(i) if is_neutral else p.name for i, p in enumerate(ports)]
        arrays = self._arrays if path == self._package else {}
        return dict(zip(names, values, strict=True)) | dict(arrays)

    def _outputs(self, function: str, is_neutral: bool) -> list[str]:
        from entracte.lower.rename import output_name

        ports = self._order.chunk.ports_of(function)[1]
        return [output_name(i) if is_neutral else p.name for i, p in enumerate(ports)]

    def _torch(self, function: str, draw: int) -> list[np.ndarray]:
        import torch

        if (function, draw) not in self._wanted:
            with torch.inference_mode():
                made = self._modules[function](*self._arguments(function, draw))
            self._wanted[function, draw] = [value.double().numpy() for value in made]
        return self._wanted[function, draw]

    def _arguments(self, function: str, draw: int) -> list[Any]:
        import torch

        arrays = self._draws[function][draw][1]
        kinds = [np.int32 if a.dtype == np.int32 else np.float32 for a in arrays]
        return [torch.from_numpy(a.astype(k)) for a, k in zip(arrays, kinds, strict=True)]

    # ------------------------------------------------------------ finding the layer

    def _blamed(self, path: Path, is_neutral: bool) -> list[str]:
        """Nodes at which the error first rises, in order, over all functions and draws."""
        from entracte.emit.blame import Blame

        found: dict[str, None] = {}
        for function in self._order.functions:
            blame = Blame(self._modules[function], self._order.traced.backend, self.floor_db)
            for i, (_, values) in enumerate(self._draws[function]):
                features = self._features(function, values, path, is_neutral)
                nodes = blame.nodes(path, function, self._arguments(function, i), features)
                found.update(dict.fromkeys(nodes))
        return list(found)

    def _codes(self, nodes: list[str]) -> Iterator[str]:
        for function in self._order.functions:
            node_of = dict(self._order.traced.functions[function].node_of)
            for op in self._ops(function):
                if node_of[op.name] in nodes:
                    yield op.code

    def _ops(self, function: str) -> tuple[Op, ...]:
        return ops_of(self._order.traced, self._order.chunk, function)

    def _refusal(self, score: _Score, blamed: list[str]) -> Exception:
        from entracte.frontend.place import place_of
        from entracte.lower.errors import LowerError

        programs = [self._order.traced.program_of(f) for f in self._order.functions]
        nodes = {n.name: n for program in programs for n in program.graph.nodes}
        first = next((nodes[name] for name in blamed if name in nodes), None)
        kind = str(getattr(first, "target", "")).removeprefix("aten.").split(".")[0]
        where = f" of {place_of(first)}" if first is not None else ""
        layer = f"; the error rises at {kind} (node `{first.name}`){where}" if first else ""
        reached = "values that are not finite" if score.db == -math.inf else f"{score.db:.1f} dB"
        tried = wider = ""
        if self._stage.precision == "fp16":
            tried = ", also with all of it in fp32"
            wider = (
                f"give `pipeline.stages.{self._stage.name}.precision=fp32` where values that "
                "chunks hand on leave fp16's range, "
            )
        return LowerError(
            f"the package gives {reached} beside its torch source, below the floor of "
            f"{self.floor_db:.0f} dB{tried}{layer}; write that layer in other operations, {wider}"
            "or compile with `verify=off` to ship it as it is"
        )


def compared(wanted: np.ndarray, made: np.ndarray) -> tuple[float, float]:
    """PSNR and largest error where torch is finite. What torch itself does not make finite is no
    fault of a package."""
    finite = np.isfinite(wanted)
    if not finite.all():
        wanted, made = wanted[finite], made[finite]
    error = float(np.abs(made - wanted).max()) if wanted.size else 0.0
    return psnr(wanted, made), error if math.isfinite(error) else math.inf
