"""Where the numbers come from: safetensors files, or a seed for measuring without them."""

import zlib
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from compiler.errors import ConfigError

if TYPE_CHECKING:
    import torch

    from compiler.trace.measure import Traced


class WeightSource(Protocol):
    """Gives the tensors of a traced stage, by their names in the module."""

    def tensors(self, traced: "Traced") -> "Mapping[str, torch.Tensor]": ...


def weight_source(spec: str) -> WeightSource:
    """`package:FOLDER`, a folder of safetensors files, or `random:SEED`."""
    scheme, colon, rest = spec.partition(":")
    if colon and scheme == "random":
        if not rest.isdigit():
            raise ConfigError(f"pipeline.weights: {spec!r}: give random:SEED with a number")
        return RandomWeights(int(rest))
    return FileWeights(weights_folder(spec))


def weights_folder(spec: str) -> Path:
    """The folder that `pipeline.weights` names; raises `ConfigError` if there is none."""
    scheme, colon, rest = spec.partition(":")
    if colon and scheme == "package":
        package, _, inner = rest.partition("/")
        folder = Path(str(files(package))) / inner
    else:
        folder = Path(spec).expanduser()
    if not folder.is_dir():
        raise ConfigError(f"pipeline.weights: there is no folder {folder}")
    return folder


class FileWeights:
    """safetensors files, memory-mapped; only what is asked for is read."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def tensors(self, traced: "Traced") -> "Mapping[str, torch.Tensor]":
        """Raises `ConfigError` listing missing and mis-shaped keys."""
        from safetensors import safe_open

        own = _held_by_module(traced)
        wanted = {name: key for name, key in traced.key_of.items() if name not in own}
        if not wanted:
            return own
        checkpoint = traced.graph.checkpoint
        path = self._folder / str(checkpoint)
        if checkpoint is None or not path.is_file():
            raise ConfigError(f"stage {traced.stage.name}: there is no weights file {path}")
        state = traced.graph.module.state_dict()
        with safe_open(path, framework="pt") as file:
            present = set(file.keys())
            missing = sorted(k for k in wanted.values() if k not in present)
            if missing:
                raise ConfigError(_missing(traced, path, missing, present))
            tensors = {name: file.get_tensor(key).float() for name, key in wanted.items()}
        for name, tensor in tensors.items():
            if name in state and state[name].shape != tensor.shape:
                raise ConfigError(
                    f"stage {traced.stage.name}: {wanted[name]} in {path} has shape "
                    f"{tuple(tensor.shape)}, the graph wants {tuple(state[name].shape)}"
                )
        return own | tensors


def _missing(traced: "Traced", path: Path, missing: list[str], present: set[str]) -> str:
    listed = ", ".join(missing[:5]) + (f" and {len(missing) - 5} more" if len(missing) > 5 else "")
    return (
        f"stage {traced.stage.name}: {path} lacks {listed}; it holds {len(present)} tensors, "
        f"e.g. {', '.join(sorted(present)[:3])}"
    )


class RandomWeights:
    """Normal numbers scaled by fan-in, from a seed and the weight's name: for measuring."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def tensors(self, traced: "Traced") -> "Mapping[str, torch.Tensor]":
        import torch

        own = _held_by_module(traced)
        result = dict(own)
        state = traced.graph.module.state_dict()
        for name, key in traced.key_of.items():
            if name in own:
                continue
            shape = state[name].shape
            generator = torch.Generator().manual_seed(zlib.crc32(key.encode()) ^ self._seed)
            fan_in = max(1, shape[1:].numel())
            scale = 1.0 if len(shape) == 1 and key.endswith("weight") else fan_in**-0.5
            values = torch.randn(shape, generator=generator) * scale
            result[name] = values if len(shape) > 1 else values * 0.02 + (scale == 1.0)
        return result


def _held_by_module(traced: "Traced") -> "dict[str, torch.Tensor]":
    """Tables and literals that no checkpoint holds: they are the module's own."""
    from compiler.frontend import constants_of

    persistent = set(traced.graph.module.state_dict())
    return {k: v for k, v in constants_of(traced.program).items() if k not in persistent}
