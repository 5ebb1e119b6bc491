"""LoRA files, merged into weights when these are read: W + scale * (alpha / rank) * up @ down."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.disk.places import place
from entracte.errors import ConfigError
from entracte.ir import Lora, Pipeline
from entracte.store.cache import Cache, DigestMemo, cache_folder
from entracte.store.published import PICKLES
from entracte.store.seal import file_sha256
from entracte.store.tensor_file import read_header, reading
from entracte.store.unpickle import as_safetensors
from entracte.trace.given import listed, scale_of, wanted

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced

_VERSION = 1
"""Part of what names merged values: raise it when they change."""
_HEADER_KEY = "lora_adapter_metadata"
"""Under it diffusers writes peft's configuration into a file's header."""
_TEXT = "text_model."
"""Begins names of CLIP's modules in older versions of transformers, and so in older files."""
_DIGESTS = "lora"


@dataclass(frozen=True)
class _Pair:
    """What is added to one weight, in factors."""

    module: str
    down: "torch.Tensor"
    up: "torch.Tensor"

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the weight that it is for; of none, if the halves do not fit."""
        down, up = tuple(self.down.shape), tuple(self.up.shape)
        fits = len(down) >= 2 and up[1:2] == down[:1] and all(n == 1 for n in up[2:])
        return (up[0], *down[1:]) if fits else ()

    def product(self) -> "torch.Tensor":
        """up @ down in fp32, of the weight's shape."""
        made = self.up.float().flatten(1) @ self.down.float().flatten(1)
        return made.reshape(self.shape)


class LoraFile:
    """One file: what it adds, by component and module. Its tensors are mapped, not read."""

    def __init__(self, lora: Lora, pipeline: Pipeline, cache: Cache | None) -> None:
        self.scale, self.name = lora.scale, lora.file
        self._sha256 = ""
        self._pipeline, self._cache = pipeline, cache or Cache(cache_folder("auto"))

    @property
    def where(self) -> str:
        """Begins messages."""
        return f"pipeline.lora: {self.name}"

    @cached_property
    def _origin(self) -> Path:
        return place(self.name, "pipeline.lora")

    @cached_property
    def path(self) -> Path:
        """As safetensors. Raises `ConfigError` for a file that is none."""
        if self._origin.is_dir():
            raise ConfigError(f"{self.where}: a folder; give the file in it")
        if self._origin.suffix[1:] in PICKLES:
            return as_safetensors(self._origin, self._cache)
        return self._origin

    @cached_property
    def pairs(self) -> dict[tuple[str, str], _Pair]:
        """By component and module. Raises `ConfigError`."""
        import entracte.graphs.lora as spellings
        from entracte.graphs import GraphFault

        try:
            spellings.check_kinds(list(read_header(self.path)))
            tensors, metadata = self._read()
            owner, configs = self._pipeline.lora_class, _configs(self._pipeline)
            found = spellings.pairs(tensors, owner, configs, metadata)
        except GraphFault as fault:
            raise ConfigError(f"{self.where}: {fault}") from None
        return {at: _Pair(".".join(at), down, up) for at, (down, up) in found.items()}

    def _read(self) -> "tuple[dict[str, torch.Tensor], dict[str, Any]]":
        from safetensors import safe_open

        from entracte.trace.numbers import check_finite

        with reading(self.path), safe_open(self.path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            text = (file.metadata() or {}).get(_HEADER_KEY)
        for key, tensor in tensors.items():
            if not tensor.dtype.is_floating_point and not key.endswith(".alpha"):
                raise ConfigError(f"{self.where}: {key!r} holds {tensor.dtype}, no weights")
            check_finite(self.name, key, tensor, endless=False)
        return tensors, _metadata(self.where, text)

    def sha256(self, memo: DigestMemo) -> str:
        """Of the file, computed once for a file as it is."""
        if not self._sha256:
            known = dict(memo.known(self.path))
            if _DIGESTS not in known:
                known[_DIGESTS] = file_sha256(self.path)
                memo.note(self.path, known)
            self._sha256 = known[_DIGESTS]
        return self._sha256


def _metadata(where: str, text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise ConfigError(f"{where}: its header's {_HEADER_KEY} is no table; download it again")
    return found


def _configs(pipeline: Pipeline) -> dict[str, dict[str, Any]]:
    """Of components, as recipes write them into stages."""
    found = {}
    for stage in pipeline.stages:
        params: dict[str, Any] = dict(stage.params)
        if params.get("config") and isinstance(params.get("checkpoint"), str):
            found[params["checkpoint"]] = json.loads(params["config"])
    return found


class Loras:
    """All files of a pipeline, in order."""

    def __init__(self, pipeline: Pipeline, cache: Cache | None = None) -> None:
        self._files = [LoraFile(lora, pipeline, cache) for lora in pipeline.loras]

    def check(self, stages: "Collection[Traced]") -> None:
        """Raises `ConfigError` listing, of each file, what fits no weight of any stage."""
        for file in self._files:
            left = set(file.pairs)
            faults = list[str]()
            for traced in stages:
                known = _known(traced)
                left -= {at for at in left if _key(at, traced, known) is not None}
                faults += [
                    f"{pair.module} of {pair.shape or 'halves that do not fit'} instead of {shape}"
                    for name, pair in self._of(file, traced).items()
                    if not _same(pair.shape, shape := traced.shapes[name])
                ]
            if left:
                names = sorted(".".join(at) for at in left)
                raise ConfigError(
                    f"{file.where}: of {len(file.pairs)} modules {len(left)} fit no weight of the "
                    f"pipeline: {listed(names)}; is it for another model, or for a component that "
                    "this pipeline leaves out?"
                )
            if faults:
                raise ConfigError(
                    f"{file.where}: of other shapes: {listed(sorted(set(faults)))}; it is for "
                    "another model"
                )

    def merged(
        self, traced: "Traced", tensors: "Mapping[str, torch.Tensor]"
    ) -> "Mapping[str, torch.Tensor]":
        """With what the files add to each."""
        if not self._files:
            return tensors
        found = dict(tensors)
        for file in self._files:
            for name, pair in self._of(file, traced).items():
                if name in found:
                    factor = file.scale * scale_of(traced.record.scales, name)
                    added = pair.product().reshape(found[name].shape) * factor
                    found[name] = found[name] + added
        return found

    def identity(self, traced: "Traced", names: Collection[str], memo: DigestMemo) -> list[str]:
        """Of each weight that a file changes: the file's digest, its scale, the weight."""
        asked = set(names)
        return [
            f"lora {_VERSION} {file.sha256(memo)} x {file.scale} {pair.module}"
            for file in self._files
            for name, pair in self._of(file, traced).items()
            if name in asked
        ]

    def _of(self, file: LoraFile, traced: "Traced") -> dict[str, _Pair]:
        """Name in the module -> what the file adds to it."""
        names: dict[str, list[str]] = {}
        for name, key in wanted(traced, None).items():
            names.setdefault(key, []).append(name)
        found: dict[str, _Pair] = {}
        for at, pair in file.pairs.items():
            there = _key(at, traced, names)
            found |= dict.fromkeys(names.get(there or "", ()), pair)
        return found


def _known(traced: "Traced") -> set[str]:
    """Keys of all weights that the module has, also of those that nothing is computed with."""
    return {*traced.record.known_keys, *wanted(traced, None).values()}


def _key(at: tuple[str, str], traced: "Traced", known: Collection[str]) -> str | None:
    """The key in a stage's checkpoint of what a pair is for."""
    component, module = at
    if traced.record.checkpoint != component:
        return None
    key = f"{module}.weight"
    spellings = (key, f"{_TEXT}{key}", key.removeprefix(_TEXT))
    return next((k for k in spellings if k in known), None)


def _same(shape: tuple[int, ...], weight: tuple[int, ...]) -> bool:
    """Convolutions of 1 x 1 are matrices, in both directions."""
    ones = (*shape[2:], *weight[2:])
    is_matrix = 2 in (len(shape), len(weight)) and all(n == 1 for n in ones)
    return shape == weight or (is_matrix and shape[:2] == weight[:2])
