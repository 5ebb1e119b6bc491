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
    from graphs.spec import Graph


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
        """Raises `ConfigError` listing missing, unexpected and mis-shaped keys."""
        from safetensors import safe_open

        own = _held_by_module(traced)
        wanted = {name: key for name, key in traced.key_of.items() if name not in own}
        if not wanted:
            return own
        places = self._places(traced)
        check_keys(traced, wanted, {key: shape for key, (_, shape) in places.items()}, self._folder)
        result = dict(own)
        for path in sorted({places[key][0] for key in wanted.values()}):
            with safe_open(path, framework="pt") as file:
                for name, key in wanted.items():
                    if places[key][0] == path:
                        result[name] = file.get_tensor(key).float() * scale_of(traced.graph, name)
        return result

    def _places(self, traced: "Traced") -> dict[str, tuple[Path, tuple[int, ...]]]:
        """Key -> (file that holds it, shape), from the files' headers."""
        from safetensors import safe_open

        found: dict[str, tuple[Path, tuple[int, ...]]] = {}
        for path in self._files(traced):
            with safe_open(path, framework="pt") as file:
                keys = list(file.keys())
                found |= {k: (path, tuple(file.get_slice(k).get_shape())) for k in keys}
        return found

    def _files(self, traced: "Traced") -> list[Path]:
        stem = traced.graph.checkpoint
        place = self._folder / str(stem)
        if stem is not None and place.is_dir():
            files = sorted(place.glob("*.safetensors"))
        else:
            # a full file name is taken too
            both = (place, place.with_name(f"{place.name}.safetensors"))
            files = [p for p in both if stem is not None and p.is_file()][:1]
        if not files:
            raise ConfigError(
                f"stage {traced.stage.name}: there are no weights {place}.safetensors or "
                f"{place}/*.safetensors; check pipeline.weights"
            )
        return files


def scale_of(graph: "Graph", name: str) -> float:
    """By what the checkpoint's value of the weight `name` is multiplied when it is read."""
    return next((factor for suffix, factor in graph.scales if name.endswith(suffix)), 1.0)


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
    from compiler.trace.measure import checkpoint_key

    graph = traced.graph
    state = graph.module.state_dict()
    known = {checkpoint_key(name, graph.key_map) for name in state} | set(wanted.values())
    missing = sorted(k for k in wanted.values() if k not in shapes)
    unexpected = sorted(k for k in shapes if k.startswith(graph.owns) and k not in known)
    other = [
        f"{key} {shapes[key]} instead of {tuple(state[name].shape)}"
        for name, key in sorted(wanted.items())
        if name in state and key in shapes and tuple(state[name].shape) != shapes[key]
    ]
    faults = [
        f"{title}: {_listed(names)}"
        for title, names in (("missing", missing), ("unexpected", unexpected), ("shape", other))
        if names
    ]
    if faults:
        held = f"the weights hold {len(shapes)} tensors, e.g. {', '.join(sorted(shapes)[:3])}"
        raise ConfigError(
            f"stage {traced.stage.name}: {folder}/{graph.checkpoint}: {'; '.join(faults)}; {held}"
        )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


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
            values = values if len(shape) > 1 else values * 0.02 + (scale == 1.0)
            result[name] = values * scale_of(traced.graph, name)
        return result


def _held_by_module(traced: "Traced") -> "dict[str, torch.Tensor]":
    """Tables and literals that no checkpoint holds: they are the module's own."""
    from compiler.frontend import constants_of

    persistent = set(traced.graph.module.state_dict())
    return {k: v for k, v in constants_of(traced.program).items() if k not in persistent}
