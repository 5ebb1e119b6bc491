"""Where the numbers come from: the module itself, files, or a seed for measuring without them."""

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Protocol

from entracte.disk.places import weights_folder
from entracte.errors import ConfigError
from entracte.ir import Pipeline, Stage
from entracte.store.cache import Cache, DigestMemo
from entracte.trace.drawn import RandomWeights
from entracte.trace.filed import FileWeights
from entracte.trace.given import given_by_module, own_identities
from entracte.trace.lora import Loras

__all__ = ["FileWeights", "PipelineWeights", "RandomWeights", "WeightSource", "weight_source",
           "weights_folder"]  # fmt: skip

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced


class WeightSource(Protocol):
    """Gives the tensors of a traced stage, by their names in the module."""

    def is_real(self, traced: "Traced") -> bool:
        """Whether these are some model's weights: with them values have the ranges of real runs."""

    def check(self, traced: "Traced") -> None:
        """Raises `ConfigError` listing what the source lacks for this stage. Only headers are
        read."""

    def tensors(
        self, traced: "Traced", names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """fp32 tensors of the named weights, of all by default; whole numbers as they are. Nothing
        else is read."""

    def identity(self, traced: "Traced", names: Collection[str], memo: DigestMemo) -> list[str]:
        """What tells these weights' values from any others: a text for each, in order."""


class StageSource(WeightSource, Protocol):
    """A source that is asked for checkpoints by their stems."""

    def look(self, stage: str, stem: str) -> None:
        """Raises `ConfigError` if the checkpoint's files are missing or damaged: all that can be
        known of them before a stage is traced."""


_SEED_DIGITS = 19
"""Fewer of them fit into the 64 bits that a generator takes."""


def weight_source(
    spec: str, cache: Cache | None = None, where: str = "pipeline.weights"
) -> StageSource:
    """`package:FOLDER`, a folder of weights, or `random:SEED`.

    Args:
        cache: where checkpoints that are pickles become safetensors; by default the usual one.
        where: what names the place, for messages.
    """
    kind, colon, rest = spec.partition(":")
    if colon and kind == "random":
        if not (rest.isascii() and rest.isdigit() and len(rest) < _SEED_DIGITS):
            raise ConfigError(f"{where}: {spec!r}: give random:SEED with a whole number")
        return RandomWeights(int(rest))
    return FileWeights(weights_folder(spec, where), cache)


class PipelineWeights:
    """Each stage's own source: the module itself, the stage's `weights`, or the pipeline's; of one
    that has the weights of another stage, that one's."""

    def __init__(self, pipeline: Pipeline, cache: Cache | None = None) -> None:
        """Raises `ConfigError` if `pipeline.weights` is no place; empty, no stage may read it."""
        self._default, self._cache = pipeline.weights, cache
        self._loras = Loras(pipeline, cache)
        self._lenders = {s.name: s for s in pipeline.stages}
        self._sources: dict[str, StageSource] = {}
        if pipeline.weights:
            self._sources[pipeline.weights] = weight_source(pipeline.weights, cache)

    def look(self, stage: Stage, stem: str | None) -> None:
        """Before anything is traced: places that do not exist, files that are missing or damaged.

        Args:
            stem: the checkpoint that the stage's graph names, if it does.
        """
        if stem is not None:
            self._source(stage).look(stage.name, stem)
        elif stage.weights:
            raise ConfigError(
                f"pipeline.stages.{stage.name}.weights: graph {stage.op} holds its numbers itself "
                "and reads no checkpoint; leave it out"
            )

    def check_all(self, stages: "Mapping[str, Traced]") -> None:
        """`check` of every stage; one with the weights of another has no numbers of its own."""
        for traced in stages.values():
            self.check(traced)
            lender = stages.get(traced.stage.weights_of)
            if lender is not None:
                _check_lent(traced, lender)
        self.check_loras(stages.values())

    def check_loras(self, stages: "Collection[Traced]") -> None:
        """Raises `ConfigError` for what LoRA files hold and no stage has."""
        self._loras.check(stages)

    def is_real(self, traced: "Traced") -> bool:
        """See `WeightSource`."""
        return self._of(traced).is_real(traced)

    def check(self, traced: "Traced") -> None:
        """See `WeightSource`."""
        self._of(traced).check(traced)

    def tensors(
        self, traced: "Traced", names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """See `WeightSource`; with LoRA files merged."""
        return self._loras.merged(traced, self._of(traced).tensors(traced, names))

    def identity(self, traced: "Traced", names: Collection[str], memo: DigestMemo) -> list[str]:
        """See `WeightSource`; and of each weight that a LoRA file changes another text."""
        found = self._of(traced).identity(traced, names, memo)
        return found + self._loras.identity(traced, names, memo)

    def _of(self, traced: "Traced") -> WeightSource:
        return _OWN if traced.is_its_own else self._source(traced.stage)

    def _source(self, stage: Stage) -> StageSource:
        stage = self._lenders.get(stage.weights_of, stage)
        place = stage.weights or self._default
        if place not in self._sources:
            own = f"pipeline.stages.{stage.name}.weights"
            where = own if stage.weights else "pipeline.weights"
            self._sources[place] = weight_source(place, self._cache, where)
        return self._sources[place]


def _check_lent(traced: "Traced", lender: "Traced") -> None:
    """Where modules hold their numbers, those of both must be the same."""
    where = f"pipeline.stages.{traced.stage.name}.weights_of"
    if traced.is_its_own != lender.is_its_own:
        own, other = (traced, lender) if traced.is_its_own else (lender, traced)
        raise ConfigError(
            f"{where}: the graph of {own.stage.name} holds its numbers, that of "
            f"{other.stage.name} reads a checkpoint; let both do the same"
        )
    theirs = {key: lender.own.get(name) for name, key in lender.key_of.items()}
    for name, key in traced.key_of.items() if traced.is_its_own else ():
        if theirs.get(key) not in (None, traced.own.get(name)):
            raise ConfigError(
                f"{where}: {key!r} holds other numbers than in {lender.stage.name}; make both "
                "graphs from the same module (or from the same seed)"
            )


class OwnWeights:
    """The module's own numbers: of a graph that names no checkpoint."""

    def is_real(self, _: "Traced") -> bool:
        """They are meant."""
        return True

    def check(self, traced: "Traced") -> None:
        """Tracing looked at them."""

    def tensors(
        self, traced: "Traced", names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """Those that the module holds; it is built again where its trace is from the cache."""
        return given_by_module(traced, names)

    def identity(self, traced: "Traced", names: Collection[str], _: DigestMemo) -> list[str]:
        """By digest of their values."""
        digests = own_identities(traced, names)
        return [digests[n] for n in names if n in digests]


_OWN = OwnWeights()
