"""One checkpoint: the keys of all its files, looked at by their headers, and their tensors."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.errors import ConfigError
from entracte.store.published import PICKLES, Published, published
from entracte.store.tensor_file import Stored, read_header, reading
from entracte.store.unpickle import as_safetensors
from entracte.trace import fp8

if TYPE_CHECKING:
    import torch

    from entracte.store.cache import Cache, DigestMemo

FLOATS = ("F64", "F32", "F16", "BF16")
"""Of safetensors: numbers that mean what they are."""
WHOLE = ("BOOL", "U8", "I8", "I16", "U16", "I32", "U32", "I64", "U64")
_CODES = ("qweight", "weight_packed", "weight_quantized", "qzeros")
"""What lies in a weight's place where a checkpoint is quantized (GPTQ, AWQ, compressed-tensors)."""
_DEQUANTIZE = "give the checkpoint that it was quantized from, or save it dequantized"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor is."""

    path: Path
    origin: Path
    """The file as its owner knows it: of a pickle, `path` is in the cache."""
    stored: Stored


class Checkpoint:
    """The tensors of one checkpoint by key. Only headers are read until a tensor is asked for."""

    def __init__(self, stage: str, folder: Path, stem: str, cache: Cache) -> None:
        """Raises `ConfigError` for files that are missing, damaged, or do not suit each other."""
        found = published(stage, folder, stem)
        self.places = _places(found, cache)
        if found.index is not None:
            _check_index(found, self.places)

    def check(self, wanted: Mapping[str, str], whole: Collection[str]) -> None:
        """Every wanted key holds numbers of the right kind.

        Args:
            wanted: name in the module -> key.
            whole: names of weights that are no floating-point numbers.
        """
        others = self.places.keys() - set(wanted.values())
        for name, key in wanted.items():
            if key not in self.places:
                self._check_codes(key)
            elif name in whole:
                self._check_whole(key)
            else:
                self._check_float(key, others)

    def _check_codes(self, key: str) -> None:
        parent, dot, _ = key.rpartition(".")
        for codes in (f"{parent}{dot}{name}" for name in _CODES):
            if codes in self.places:
                raise ConfigError(
                    f"{self.places[codes].origin}: holds {codes!r} in the place of {key!r}: "
                    f"quantized codes, no weights; {_DEQUANTIZE}"
                )

    def _check_whole(self, key: str) -> None:
        place = self.places[key]
        if place.stored.dtype not in WHOLE:
            raise ConfigError(
                f"{place.origin}: {key!r} holds {place.stored.dtype}, the module has whole numbers "
                "there; give the checkpoint of this model"
            )

    def _check_float(self, key: str, others: Collection[str]) -> None:
        """`others`: keys that no weight of the module has, so that they may be scales."""
        place = self.places[key]
        scale = fp8.scale_of(key, others)
        if place.stored.dtype in fp8.FP8:
            self._check_fp8(key, scale)
        elif place.stored.dtype not in FLOATS:
            raise ConfigError(
                f"{place.origin}: {key!r} holds {place.stored.dtype}, weights are one of "
                f"{', '.join(FLOATS)}; they are codes of a quantized checkpoint: {_DEQUANTIZE}"
            )
        elif scale is not None:
            raise ConfigError(
                f"{place.origin}: {key!r} holds {place.stored.dtype} and has a scale ({scale!r}), "
                f"which only codes have; {_DEQUANTIZE}"
            )

    def _check_fp8(self, key: str, scale: str | None) -> None:
        place = self.places[key]
        if scale is None:
            raise ConfigError(
                f"{place.origin}: {key!r} holds {place.stored.dtype}, weights are one of "
                f"{', '.join(FLOATS)}, or fp8 with scales, and there are none beside it "
                f"({', '.join(fp8.scale_keys(key))}); {_DEQUANTIZE}"
            )
        given = self.places[scale]
        if fp8.reach(place.stored.shape, given.stored.shape) is None:
            raise ConfigError(
                f"{given.origin}: {scale!r} of shape {given.stored.shape} may mean several things "
                f"for {key!r} of shape {place.stored.shape}: one number, one for each row, or one "
                f"for each whole block of 2^n are known; {_DEQUANTIZE}"
            )
        if given.stored.dtype not in FLOATS:
            raise ConfigError(
                f"{given.origin}: {scale!r} holds {given.stored.dtype}, scales are one of "
                f"{', '.join(FLOATS)}; {_DEQUANTIZE}"
            )

    def tensors(self, keys: Collection[str]) -> Iterator[tuple[str, torch.Tensor]]:
        """As stored and memory-mapped; fp8 in fp32, scaled."""
        for path, here in self._by_file(keys).items():
            with _opened(path) as file:
                for key in here:
                    yield key, self._scaled(key, file.get_tensor(key))

    def _scaled(self, key: str, tensor: torch.Tensor) -> torch.Tensor:
        scale = self._scale(key)
        return tensor if scale is None else fp8.scaled(tensor, self._one(scale))

    def _scale(self, key: str) -> str | None:
        is_fp8 = self.places[key].stored.dtype in fp8.FP8
        return fp8.scale_of(key, self.places) if is_fp8 else None

    def _one(self, key: str) -> torch.Tensor:
        with _opened(self.places[key].path) as file:
            found: torch.Tensor = file.get_tensor(key)
            return found

    def digests(
        self, keys: Collection[str], endless: Collection[str], memo: DigestMemo
    ) -> dict[str, str]:
        """SHA-256 of tensors' bytes, computed once for a file as it is; of fp8 with its scales.

        Args:
            endless: keys in which infinity may be meant.

        Raises:
            ConfigError: a tensor holds numbers that are none.
        """
        scales = {key: s for key in keys if (s := self._scale(key)) is not None}
        found: dict[str, str] = {}
        for path, here in self._by_file({*keys, *scales.values()}).items():
            known = dict(memo.known(path))
            fresh = self._fresh(path, [k for k in here if k not in known], endless)
            if fresh:
                memo.note(path, known | fresh)
            found |= {key: (known | fresh)[key] for key in here}
        return {k: f"{found[k]} {found[scales[k]]}" if k in scales else found[k] for k in keys}

    def check_same(self, keys: Sequence[str], memo: DigestMemo) -> None:
        """Raises `ConfigError` for keys of one tensor that hold different numbers."""
        if len(set(self.digests(keys, (), memo).values())) == 1:
            return
        tensors = {key: tensor.float() for key, tensor in self.tensors(keys)}
        first, *others = keys
        for key in others:
            same = tensors[key].shape == tensors[first].shape
            if not same or not bool((tensors[key] == tensors[first]).all()):
                raise ConfigError(
                    f"{self.places[key].origin}: {key!r} holds other numbers than {first!r}, and "
                    "the module has one tensor for both; build it without tying them (in "
                    "transformers: tie_word_embeddings=False), or remove the key that is not meant"
                )

    def _fresh(self, path: Path, keys: list[str], endless: Collection[str]) -> dict[str, str]:
        from entracte.trace.numbers import check_finite, tensor_digest

        found: dict[str, str] = {}
        if not keys:
            return found
        with _opened(path) as file:
            for key in keys:
                tensor = file.get_tensor(key)
                origin = str(self.places[key].origin)
                check_finite(origin, key, tensor, endless=key in endless)
                found[key] = tensor_digest(tensor)
        return found

    def _by_file(self, keys: Collection[str]) -> dict[Path, list[str]]:
        found: dict[Path, list[str]] = {}
        for key in keys:
            found.setdefault(self.places[key].path, []).append(key)
        return dict(sorted(found.items()))


def _places(found: Published, cache: Cache) -> dict[str, Place]:
    places: dict[str, Place] = {}
    for origin in found.files:
        is_pickle = origin.suffix[1:] in PICKLES
        path = as_safetensors(origin, cache) if is_pickle else origin
        header = read_header(path)
        twice = sorted(places.keys() & header.keys())
        if twice:
            raise ConfigError(
                f"{origin}: holds {twice[0]!r}, and so does {places[twice[0]].origin}; keep one of "
                "them"
            )
        places |= {key: Place(path, origin, stored) for key, stored in header.items()}
    return places


def _check_index(found: Published, places: Mapping[str, Place]) -> None:
    listed = dict(found.key_of)
    for key, name in listed.items():
        if key not in places or places[key].origin.name != name:
            raise ConfigError(
                f"{found.index}: says that {key!r} is in {name}, and it is not; download the "
                "whole checkpoint"
            )
    for key, place in places.items():
        if key not in listed:
            raise ConfigError(
                f"{place.origin}: holds {key!r}, which {found.index and found.index.name} does not "
                "list; download the whole checkpoint"
            )


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file whose header was read, mapped. Raises `ConfigError`."""
    from safetensors import safe_open

    with reading(path), safe_open(path, framework="pt") as file:
        yield file
