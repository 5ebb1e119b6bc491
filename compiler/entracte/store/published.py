"""A folder of weights as it was published: which of its files are the checkpoint.

Names are read as the libraries write them: `BASE.safetensors`, `BASE-00001-of-00002.safetensors`
with `BASE.safetensors.index.json`, a variant (`fp16`) in any place where they put one, and the same
of pickles (`.bin`, `.pt`, `.pth`, `.ckpt`). Of several complete sets one is taken, by a rule:
safetensors before pickles, without a variant before one, fp32, bf16, fp16 in that order.
"""

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from entracte.codec import parse_json
from entracte.errors import ConfigError
from entracte.store.tensor_file import LFS_POINTER, reading, whole_file

_LOG = logging.getLogger("entracte")
SAFE = "safetensors"
PICKLES = ("bin", "pt", "pth", "ckpt")
_OTHERS = ("gguf", "onnx", "h5", "msgpack", "npz", "tflite")
_VARIANTS = ("fp32", "bf16", "fp16")
_EXT = "|".join((SAFE, *PICKLES))
_WORD = r"[A-Za-z]\w*"
_ANY = ".+?"


def _file(base: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<base>{base})(?:\.(?P<a>{_WORD})|_(?P<c>{'|'.join(_VARIANTS)}))?"
        rf"(?:-(?P<n>\d{{5}})-of-(?P<total>\d{{5}}))?(?:\.(?P<b>{_WORD}))?\.(?P<ext>{_EXT})"
    )


def _index(base: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?P<base>{base})(?:\.(?P<a>{_WORD}))?\.(?P<ext>{_EXT})(?:\.(?P<b>{_WORD}))?"
        rf"\.index(?:\.(?P<c>{_WORD}))?\.json"
    )


_NO_WEIGHTS = re.compile(r"(optimizer|scheduler|training_args|rng_state|random_states|scaler)\b.*")
"""What trainers leave beside a checkpoint."""
_LARGEST_INDEX_BYTES = 100_000_000


@dataclass(frozen=True, slots=True)
class Published:
    """The files of one checkpoint."""

    files: tuple[Path, ...]
    index: Path | None = None
    key_of: tuple[tuple[str, str], ...] = ()
    """(key, name of its file), as the index says."""
    variant: str = ""


@dataclass(frozen=True, slots=True)
class _Name:
    """A file's name, taken apart."""

    path: Path
    base: str
    variant: str
    ext: str
    shard: tuple[int, int] | None
    """(number, of how many)"""
    is_index: bool = False

    @property
    def is_pickle(self) -> bool:
        return self.ext != SAFE


def published(stage: str, folder: Path, stem: str) -> Published:
    """The checkpoint `stem` of a weights folder. Raises `ConfigError` naming the stage."""
    place = folder / stem
    with reading(place):
        return _published(stage, folder, place)


def _published(stage: str, folder: Path, place: Path) -> Published:
    if place.is_file():
        return _named(place)
    inner = _names(place)
    beside = [] if place == folder else _names(place.parent, place.name)
    if inner and beside:
        raise ConfigError(
            f"stage {stage}: {place} holds weights, and so does {beside[0].path}; keep one of them"
        )
    if not inner and not beside:
        raise ConfigError(_nothing(stage, place))
    return _chosen(place, inner or beside)


def _named(place: Path) -> Published:
    """A full file name; of a shard, its whole set."""
    name = _taken_apart(place) or _Name(place, place.name, "", SAFE, None)
    if name.shard is None:
        return _complete(place, [name])
    parts = (name.base, name.variant, name.ext)
    every = (n for p in _listed(place.parent) if (n := _taken_apart(p)) is not None)
    return _complete(place, [n for n in every if (n.base, n.variant, n.ext) == parts])


def _nothing(stage: str, place: Path) -> str:
    """What is said where no weights are; what is not read is named."""
    lying = [p for p in _listed(place) + _beside(place) if p.suffix[1:].lower() in _OTHERS]
    instead = f" ({lying[0].name} is not read: save it as safetensors)" if lying else ""
    return (
        f"stage {stage}: there are no weights {place}.safetensors or {place}/*.safetensors"
        f"{instead}; check pipeline.weights"
    )


def _listed(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    with reading(folder):
        return sorted(folder.iterdir())


def _beside(place: Path) -> list[Path]:
    return [p for p in _listed(place.parent) if p.name.startswith(f"{place.name}.")]


def _names(folder: Path, base: str | None = None) -> list[_Name]:
    """Of a folder's weight files, maybe of one base; pickles only where nothing else is."""
    found = [n for p in _listed(folder) if (n := _taken_apart(p, base)) is not None]
    safe = [n for n in found if not n.is_pickle]
    return safe or [n for n in found if not _NO_WEIGHTS.fullmatch(n.path.name)]


def _taken_apart(path: Path, base: str | None = None) -> _Name | None:
    wanted = _ANY if base is None else re.escape(base)
    if index := _index(wanted).fullmatch(path.name):
        variant = index["a"] or index["b"] or index["c"] or ""
        return _Name(path, index["base"], variant, index["ext"], None, is_index=True)
    file = _file(wanted).fullmatch(path.name)
    if file is None:
        return None
    shard = (int(file["n"]), int(file["total"])) if file["n"] else None
    variant = file["a"] or file["b"] or file["c"] or ""
    return _Name(path, file["base"], variant, file["ext"], shard)


def _chosen(place: Path, names: Sequence[_Name]) -> Published:
    """Of one variant's files: those of its index, or all there are."""
    variants = sorted({n.variant for n in names})
    variant = next((v for v in ("", *_VARIANTS) if v in variants), None)
    if variant is None and len(variants) > 1:
        raise ConfigError(
            f"{place}: there are weights of the variants {', '.join(variants)}, and none without; "
            "keep one of them, or name one file as the graph's checkpoint"
        )
    variant = variants[0] if variant is None else variant
    if variant or len(variants) > 1:
        others = [v or "none" for v in variants if v != variant]
        _LOG.warning(
            "weights: %s: read is the variant %r%s", place, variant or "none",
            f", not {', '.join(others)}" if others else "",
        )  # fmt: skip
    return _complete(place, [n for n in names if n.variant == variant])


def _complete(place: Path, names: Sequence[_Name]) -> Published:
    """The files of one variant. Raises `ConfigError` for shards that lack each other."""
    indices = [n for n in names if n.is_index]
    files = [n for n in names if not n.is_index]
    if len(indices) > 1:
        raise ConfigError(
            f"{place}: {indices[0].path.name} and {indices[1].path.name} are two checkpoints; keep "
            "one of them"
        )
    if indices:
        return _of_index(indices[0], files)
    for file in files:
        _check_siblings(file, files)
    return Published(tuple(f.path for f in files), variant=names[0].variant)


def _check_siblings(file: _Name, files: Sequence[_Name]) -> None:
    if file.shard is None:
        return
    total = file.shard[1]
    there = {f.shard[0] for f in files if f.shard and (f.base, f.shard[1]) == (file.base, total)}
    missing = next((i for i in range(1, total + 1) if i not in there), None)
    if missing is not None:
        raise ConfigError(
            f"{file.path}: shard {missing} of {total} is missing beside it; download the whole "
            "checkpoint"
        )


def _of_index(index: _Name, files: Sequence[_Name]) -> Published:
    """What the index lists, and nothing of the same name that it does not list."""
    key_of = _weight_map(index.path)
    listed = sorted(set(key_of.values()))
    for name in listed:
        if not (index.path.parent / name).is_file():
            raise ConfigError(
                f"{index.path}: lists {name!r}, which is not there; download the whole checkpoint"
            )
    for file in files:
        if file.shard and file.base == index.base and file.path.name not in listed:
            raise ConfigError(
                f"{file.path}: a shard that {index.path.name} does not list; remove it, or "
                "download the index again"
            )
    whole = [f for f in files if f.base == index.base and not f.shard and f.path.name not in listed]
    if whole:
        raise ConfigError(
            f"{index.path}: lists shards, and {whole[0].path.name} is a whole checkpoint beside "
            "them; keep one of them"
        )
    paths = tuple(index.path.parent / name for name in listed)
    return Published(paths, index.path, tuple(sorted(key_of.items())), index.variant)


def _weight_map(index: Path) -> dict[str, str]:
    """Key -> file name. An index that names files elsewhere is none."""
    with reading(index):
        text = whole_file(index, _LARGEST_INDEX_BYTES)
    if text is None:
        raise ConfigError(f"{index}: too large for an index of weights; download it again")
    if text.startswith(LFS_POINTER):
        raise ConfigError(f"{index}: a Git LFS pointer, the index is not there; run `git lfs pull`")
    try:
        found: Any = parse_json(text)["weight_map"]
    except (ValueError, LookupError, TypeError, RecursionError):
        found = None
    if not isinstance(found, dict) or not found:
        raise ConfigError(f"{index}: holds no `weight_map`, so it is no index of weights")
    for key, name in found.items():
        if not isinstance(name, str) or name != Path(name).name or name in ("", ".", ".."):
            raise ConfigError(
                f"{index}: {key[:100]!r} is said to be in {name!r:.100}, which is no name of a "
                "file beside it"
            )
    return found
