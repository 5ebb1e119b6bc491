"""Where the numbers come from: safetensors files, or a seed for measuring without them."""

import hashlib
import os
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.resources import files
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from entracte.disk.read import inside
from entracte.errors import ConfigError
from entracte.store.cache import DigestMemo, expanded
from entracte.store.tensor_file import read_header, reading

if TYPE_CHECKING:
    import torch

    from entracte.trace.traced import Traced


class WeightSource(Protocol):
    """Gives the tensors of a traced stage, by their names in the module."""

    is_real: bool
    """Whether these are some model's weights, with which values have the ranges of a real run."""

    def check(self, traced: "Traced") -> None:
        """Raises `ConfigError` listing what the source lacks for this stage."""

    def tensors(
        self, traced: "Traced", names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """fp32 tensors of the named weights, of all by default. Nothing else is read."""

    def identity(self, traced: "Traced", names: Collection[str], memo: DigestMemo) -> list[str]:
        """What tells these weights' values from any others: a text for each, in order."""


_SEED_DIGITS = 19
"""Fewer of them fit into the 64 bits that a generator takes."""


def weight_source(spec: str) -> WeightSource:
    """`package:FOLDER`, a folder of safetensors files, or `random:SEED`."""
    kind, colon, rest = spec.partition(":")
    if colon and kind == "random":
        if not (rest.isascii() and rest.isdigit() and len(rest) < _SEED_DIGITS):
            raise ConfigError(f"pipeline.weights: {spec!r}: give random:SEED with a whole number")
        return RandomWeights(int(rest))
    return FileWeights(weights_folder(spec))


def weights_folder(spec: str) -> Path:
    """The folder that `pipeline.weights` names; raises `ConfigError` if there is none."""
    kind, colon, rest = spec.partition(":")
    if colon and kind == "package":
        package, _, inner = rest.partition("/")
        folder = _inside_package(spec, package, inner)
    else:
        folder = expanded(spec, "pipeline.weights")
    if not os.path.isdir(folder):  # also of names that no system takes
        raise ConfigError(f"pipeline.weights: there is no folder {folder}")
    return folder


def _inside_package(spec: str, package: str, inner: str) -> Path:
    try:
        root = Path(str(files(package)))
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(
            f"pipeline.weights: {spec!r} cannot be found ({error}); give a folder"
        ) from None
    found = inside(root, inner)
    if found is None:
        raise ConfigError(f"pipeline.weights: there is no folder {root / inner} in the package")
    return found


class FileWeights:
    """safetensors files, memory-mapped; only what is asked for is read."""

    is_real = True

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def check(self, traced: "Traced") -> None:
        """Raises `ConfigError` listing missing, unexpected and mis-shaped keys."""
        wanted = _wanted(traced, None)
        if wanted:
            places = self._places(traced)
            shapes = {key: shape for key, (_, shape) in places.items()}
            check_keys(traced, wanted, shapes, self._folder)

    def tensors(
        self, traced: "Traced", names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """As stored and memory-mapped where that is fp32 already."""
        self.check(traced)
        result = _held_by_module(traced, names)
        wanted = _wanted(traced, names)
        places = self._places(traced) if wanted else {}
        for path in sorted({places[key][0] for key in wanted.values()}):
            with _opened(path) as file:
                for name, key in wanted.items():
                    if places[key][0] == path:
                        result[name] = _scaled(file.get_tensor(key).float(), traced, name)
        return result

    def identity(self, traced: "Traced", names: Collection[str], memo: DigestMemo) -> list[str]:
        """SHA-256 of every tensor's bytes, computed once for a file as it is."""
        wanted = _wanted(traced, names)
        places = self._places(traced) if wanted else {}
        digests: dict[str, str] = {}
        for path in sorted({places[key][0] for key in wanted.values()}):
            here = [key for key in wanted.values() if places[key][0] == path]
            known = dict(memo.known(path))
            fresh = _tensor_digests(path, [key for key in here if key not in known])
            if fresh:
                memo.note(path, known | fresh)
            digests |= {key: (known | fresh)[key] for key in here}
        return [_identity(traced, n, digests[wanted[n]]) for n in names if n in wanted]

    @cached_property
    def _headers(self) -> dict[str, dict[str, tuple[Path, tuple[int, ...]]]]:
        return {}

    def _places(self, traced: "Traced") -> dict[str, tuple[Path, tuple[int, ...]]]:
        """Key -> (file that holds it, shape), from the files' headers, read once."""
        stem = str(traced.record.checkpoint)
        if stem not in self._headers:
            self._headers[stem] = self._read_headers(traced)
        return self._headers[stem]

    def _read_headers(self, traced: "Traced") -> dict[str, tuple[Path, tuple[int, ...]]]:
        found: dict[str, tuple[Path, tuple[int, ...]]] = {}
        wanted = set(_wanted(traced, None).values())
        for path in self._files(traced):
            header = read_header(path)
            twice = sorted(found.keys() & header.keys())
            if twice:
                raise ConfigError(
                    f"{path}: holds {twice[0]!r}, and so does {found[twice[0]][0]}; keep one of "
                    "them"
                )
            for key in wanted & header.keys():
                if header[key].dtype not in _FLOATS:
                    raise ConfigError(
                        f"{path}: {key!r} holds {header[key].dtype}, weights are one of "
                        f"{', '.join(_FLOATS)}; save it dequantized"
                    )
            found |= {key: (path, stored.shape) for key, stored in header.items()}
        return found

    def _files(self, traced: "Traced") -> list[Path]:
        stem = traced.record.checkpoint
        place = self._folder / str(stem)
        if stem is not None and place.is_dir():
            with reading(place):
                files = sorted(place.glob("*.safetensors"))
        else:
            # a full file name is taken too
            both = (place, place.with_name(f"{place.name}.safetensors"))
            files = [p for p in both if stem is not None and p.exists()][:1]
        if not files:
            raise ConfigError(
                f"stage {traced.stage.name}: there are no weights {place}.safetensors or "
                f"{place}/*.safetensors; check pipeline.weights"
            )
        return files


_FLOATS = ("F64", "F32", "F16", "BF16")
"""Of safetensors. A narrower float means nothing without the scales that other keys hold."""


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A file whose header was read, mapped. Raises `ConfigError`."""
    from safetensors import safe_open

    with reading(path), safe_open(path, framework="pt") as file:
        yield file


def scale_of(traced: "Traced", name: str) -> float:
    """By what the checkpoint's value of the weight `name` is multiplied when it is read."""
    scales = traced.record.scales
    return next((factor for suffix, factor in scales if name.endswith(suffix)), 1.0)


def _scaled(tensor: "torch.Tensor", traced: "Traced", name: str) -> "torch.Tensor":
    factor = scale_of(traced, name)
    return tensor if factor == 1.0 else tensor * factor


def _identity(traced: "Traced", name: str, digest: str) -> str:
    return f"{digest} x {scale_of(traced, name)}"


def _wanted(traced: "Traced", names: Collection[str] | None) -> dict[str, str]:
    """Name -> key of the weights a checkpoint must give."""
    held = traced.held
    chosen = set(traced.key_of) if names is None else set(names)
    return {n: k for n, k in traced.key_of.items() if n in chosen and n not in held}


def _tensor_digests(path: Path, keys: list[str]) -> dict[str, str]:
    import torch

    found = {}
    with _opened(path) as file:
        for key in keys:
            tensor = file.get_tensor(key)
            if bool(torch.isnan(tensor).any()):
                raise ConfigError(
                    f"{path}: {key!r} holds NaN, a number that is none; the file is damaged, or "
                    "its training failed: give other weights"
                )
            digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)} ".encode())
            digest.update(tensor.contiguous().flatten().view(torch.uint8).numpy())
            found[key] = digest.hexdigest()
    return found


def check_keys(
    traced: "Traced",
    wanted: Mapping[str, str],
    shapes: Mapping[str, tuple[int, ...]],
    folder: Path,
) -> None:
    """Every wanted key is there with its shape, and no key that the graph owns is left over.

    Args:
        wanted: name in the module -> key in the checkpoint.
        shapes: what the checkpoint's files hold.

    Raises:
        ConfigError: lists what is missing, unexpected and of another shape.
    """
    record, shape_of = traced.record, traced.shapes
    known = set(record.known_keys) | set(wanted.values())
    missing = sorted(k for k in wanted.values() if k not in shapes)
    unexpected = sorted(k for k in shapes if k.startswith(record.owns) and k not in known)
    other = [
        f"{key} {shapes[key]} instead of {shape_of[name]}"
        for name, key in sorted(wanted.items())
        if key in shapes and shape_of[name] != shapes[key]
    ]
    faults = [
        f"{title}: {_listed(names)}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("shape", other))
        if names
    ]
    if faults:
        held = f"the weights hold {len(shapes)} tensors, e.g. {', '.join(sorted(shapes)[:3])}"
        raise ConfigError(
            f"stage {traced.stage.name}: {folder}/{record.checkpoint}: {'; '.join(faults)}; {held}"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


class RandomWeights:
    """Normal numbers scaled by fan-in, from a seed and the weight's name: for measuring."""

    is_real = False

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def check(self, traced: "Traced") -> None:
        """Nothing can be missing."""

    def tensors(
        self, traced: "Traced", names: Collection[str] | None = None
    ) -> "Mapping[str, torch.Tensor]":
        """The same numbers in every process."""
        result = _held_by_module(traced, names)
        for name, key in _wanted(traced, names).items():
            result[name] = _scaled(self._values(key, traced.shapes[name]), traced, name)
        return result

    def identity(self, traced: "Traced", names: Collection[str], _: DigestMemo) -> list[str]:
        """The seed and each weight's name: nothing needs to be drawn."""
        wanted = _wanted(traced, names)
        drawn = f"random {_RANDOM_VERSION} {self._seed}"
        return [_identity(traced, n, f"{drawn} {wanted[n]}") for n in names if n in wanted]

    def _values(self, key: str, shape: tuple[int, ...]) -> "torch.Tensor":
        import torch

        generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) ^ self._seed)
        values = torch.randn(shape, generator=generator)
        if len(shape) == 1:
            return values.mul_(0.02).add_(1.0 if key.endswith("weight") else 0.0)
        return values.mul_(max(1, prod(shape[1:])) ** -0.5)


_RANDOM_VERSION = 1
"""Part of what names these values: raise it when they change."""


def _held_by_module(traced: "Traced", names: Collection[str] | None) -> "dict[str, torch.Tensor]":
    """Tables and literals that no checkpoint holds: they are the module's own."""
    chosen = traced.held if names is None else {n for n in traced.held if n in names}
    if not chosen:
        return {}
    from entracte.frontend.extract import constants_of

    found: dict[str, torch.Tensor] = {}
    for function in traced.record.functions:
        wanted = {name: own for name, own in function.held if name in chosen}
        if wanted:
            constants = constants_of(traced.program_of(function.name))
            found |= {name: constants[own] for name, own in wanted.items()}
    return found
