"""Weights out of a folder of checkpoints."""

import logging
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from entracte.errors import ConfigError
from entracte.store.cache import Cache, DigestMemo, cache_folder
from entracte.trace.checkpoint import Checkpoint, Place
from entracte.trace.fp8 import FP8, keys_beside
from entracte.trace.given import (
    given_by_module,
    identity,
    listed,
    own,
    own_identities,
    read,
    wanted,
)

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced


_LOG = logging.getLogger("entracte")
_BEFORE_KEYS = ("text_model.", "vision_model.")
"""Begin CLIP's keys in files, or the keys of a CLIP that is part of a model; transformers 5 has
flattened the modules."""
_WRAPPER = "module."
"""Begins all keys of a model that was saved inside what trains it on many devices."""
_BEFORE_PARTS = ((".to_q.", ".query."), (".to_k.", ".key."), (".to_v.", ".value."),
                 (".to_out.0.", ".proj_attn."))  # fmt: skip
"""What diffusers' attention is called, and was called in the first files of its autoencoders."""
_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")
"""Buffers that training fills: what a module is built with means nothing."""


class FileWeights:
    """A folder of checkpoints, memory-mapped; only what is asked for is read."""

    def __init__(self, folder: Path, cache: Cache | None = None) -> None:
        self._folder, self._cache = folder, cache
        self._known: dict[str, Checkpoint] = {}
        self._checked: list[Traced] = []

    def is_real(self, _: "Traced") -> bool:
        """They are some model's."""
        return True

    def look(self, stage: str, stem: str) -> None:
        """See `Place`."""
        self._checkpoint(stage, stem)

    def check(self, traced: "Traced") -> None:
        """Raises `ConfigError` listing missing, unexpected and mis-shaped keys, and for numbers of
        another kind."""
        if any(known is traced for known in self._checked):
            return
        if wanted(traced, None):
            found, key_of = self._found(traced, None)
            found.check(key_of, traced.record.whole)
            check_keys(traced, key_of, found.places, self._folder)
            self._tell(traced, sorted(_taken(traced, None, key_of)))
        self._checked.append(traced)

    def tensors(
        self, traced: "Traced", names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """As stored and memory-mapped where that is fp32 already."""
        self.check(traced)
        result = given_by_module(traced, names)
        if not wanted(traced, names):
            return result
        found, key_of = self._found(traced, names)
        result |= own(traced, _taken(traced, names, key_of))
        named: dict[str, list[str]] = {}
        for name, key in key_of.items():
            named.setdefault(key, []).append(name)
        for key, tensor in found.tensors(named):
            for name in named[key]:
                result[name] = read(tensor, traced, name)
        return result

    def identity(self, traced: "Traced", names: Collection[str], memo: DigestMemo) -> list[str]:
        """SHA-256 of every tensor's bytes, computed once for a file as it is."""
        digests = own_identities(traced, names)
        if wanted(traced, names):
            found, key_of = self._found(traced, names)
            endless = {k for n, k in key_of.items() if n in traced.record.buffers}
            by_key = found.digests(set(key_of.values()), endless, memo)
            digests |= {n: identity(traced, n, by_key[key]) for n, key in key_of.items()}
            taken = _taken(traced, names, key_of)
            digests |= own_identities(traced, taken, with_buffers=True)
            for keys in _tied(traced, key_of, found):
                found.check_same(keys, memo)
        return [digests[n] for n in names if n in digests]

    def _found(
        self, traced: "Traced", names: Collection[str] | None
    ) -> tuple[Checkpoint, dict[str, str]]:
        """The stage's checkpoint, and the key of each weight in it: its own, or that of a name it
        is tied to, since files hold tied weights once, or what older files call it. Tables that
        no file has and the module does are left out."""
        found = self._checkpoint(traced.stage.name, str(traced.record.checkpoint))
        others = dict(traced.record.ties)
        key_of = {}
        for name, key in wanted(traced, names).items():
            there = [k for k in (key, *others.get(name, ())) if k in found.places]
            there = there or _before(key, found.places)
            if there or name not in traced.own or name.endswith(_STATISTICS):
                key_of[name] = there[0] if there else key
        return found, key_of

    def _tell(self, traced: "Traced", taken: list[str]) -> None:
        if taken:
            place = self._folder / str(traced.record.checkpoint)
            _LOG.warning(
                "weights: %s: %s: not there; taken are the values that the module itself holds",
                place, listed(taken),
            )  # fmt: skip

    def _checkpoint(self, stage: str, stem: str) -> Checkpoint:
        if stem not in self._known:
            cache = self._cache or Cache(cache_folder("auto"))
            self._known[stem] = Checkpoint(stage, self._folder, stem, cache)
        return self._known[stem]


def _before(key: str, places: Collection[str]) -> list[str]:
    """What older files call a key, as their libraries read them; nothing where two may be meant."""
    parts = [key.replace(now, before) for now, before in _BEFORE_PARTS if now in key]
    begins = [0, *(i + 1 for i, sign in enumerate(key) if sign == ".")]
    parts += [key[:i] + level + key[i:] for i in begins for level in _BEFORE_KEYS]
    parts += [_WRAPPER + k for k in (key, *parts)]
    there = [k for k in parts if k in places]
    return there if len(there) == 1 else []


def _taken(traced: "Traced", names: Collection[str] | None, key_of: Mapping[str, str]) -> set[str]:
    """Weights that a checkpoint may give, and the module does."""
    return wanted(traced, names).keys() - key_of.keys()


def _tied(
    traced: "Traced", key_of: Mapping[str, str], found: Checkpoint
) -> Iterator[tuple[str, ...]]:
    """Keys of the files that the module has one tensor for."""
    for name, others in traced.record.ties:
        if name in key_of:
            key = traced.key_of[name]
            there = tuple(k for k in sorted({key, *others}) if k in found.places)
            if len(there) > 1:
                yield there


def check_keys(
    traced: "Traced",
    key_of: Mapping[str, str],
    places: Mapping[str, Place],
    folder: Path,
) -> None:
    """Every wanted key is there with its shape, and no key that the graph owns is left over.

    Args:
        key_of: name in the module -> key in the checkpoint.
        places: what the checkpoint's files hold.

    Raises:
        ConfigError: lists what is missing, unexpected and of another shape.
    """
    record, shape_of = traced.record, traced.shapes
    shapes = {key: place.stored.shape for key, place in places.items()}
    known = set(record.known_keys) | set(key_of.values())
    narrow = [key for key in known & places.keys() if places[key].stored.dtype in FP8]
    known |= {beside for key in narrow for beside in keys_beside(key)}
    missing = sorted(k for k in key_of.values() if k not in shapes)
    unexpected = sorted(k for k in shapes if k.startswith(record.owns) and k not in known)
    other = [
        f"{key} {shapes[key]} instead of {shape_of[name]}"
        for name, key in sorted(key_of.items())
        if key in shapes and shape_of[name] != shapes[key]
    ]
    faults = [
        f"{title}: {listed(names)}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("shape", other))
        if names
    ]
    if faults:
        held = f"the weights hold {len(shapes)} tensors, e.g. {', '.join(sorted(shapes)[:3])}"
        held += _under_another_prefix(missing, shapes)
        raise ConfigError(
            f"stage {traced.stage.name}: {folder}/{record.checkpoint}: {'; '.join(faults)}; {held}"
        )


_LOOKED_AT = 8
"""The first may be a head that the files leave out."""


def _under_another_prefix(missing: list[str], stored: Collection[str]) -> str:
    """Says so where what is missing lies there under a longer or a shorter name."""
    for key in missing[:_LOOKED_AT]:
        for other in sorted(stored):
            if other.endswith(f".{key}") or key.endswith(f".{other}"):
                return f"; {key!r} may be {other!r} there: say so in the graph's key_map"
    return ""
