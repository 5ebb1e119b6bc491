"""LoRA files by module: the spellings of trainers, as diffusers' own loaders convert them.

Low-rank adaptation (Hu et al. 2021): W + scale * (alpha / rank) * up @ down.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from entracte.graphs.checks import GraphFault

_KNOWN = re.compile(r"[._]lora(_linear_layer)?[._](A|B|down|up)(\.\w+)?\.weight$")
_DOWN = (".lora_down.weight", ".lora_A.weight", ".lora.down.weight", "_lora.down.weight",
         ".lora_linear_layer.down.weight", ".lora_A.default.weight")  # fmt: skip
_UP_OF = {"down": "up", "_A": "_B"}
_ALPHA = ".alpha"
_MOST_NAMED = 6
_KINDS = {
    "dora_scale": "DoRA", "magnitude_vector": "DoRA", "hada_": "LoHa", "lokr_": "LoKr",
    "lora_mid": "a Tucker decomposition", "oft_": "OFT", "diff": "whole differences",
    "lora_B.bias": "biases", "bias": "biases", "emb_params": "textual inversion",
    "lora_embedding": "embeddings",
}  # fmt: skip
"""Of what is not known: a part of its keys -> what that is."""
FUSE = (
    "merge it with diffusers (load_lora_weights, fuse_lora, unload_lora_weights, save_pretrained) "
    "and give that folder"
)
Pairs = dict[tuple[str, str], tuple[Tensor, Tensor]]
"""(component, module) -> down (rank, inputs...), up (outputs, rank...), by alpha / rank already."""


def check_kinds(keys: list[str]) -> None:
    """Raises `GraphFault` for a file that holds anything but ranks and alphas."""
    strange = [k for k in keys if not _KNOWN.search(k) and not k.endswith(_ALPHA)]
    if not strange:
        return
    kinds = sorted({what for key in strange for part, what in _KINDS.items() if part in key})
    named = f" ({', '.join(kinds)})" if kinds else ""
    raise GraphFault(f"holds what is no LoRA of ranks{named}: {_listed(strange)}; {FUSE}")


def pairs(
    tensors: Mapping[str, Tensor],
    owner: str,
    configs: Mapping[str, Mapping[str, Any]],
    metadata: Mapping[str, Any],
) -> Pairs:
    """The pairs of a LoRA file.

    Args:
        tensors: of the file, by key.
        owner: the pipeline class of diffusers whose loader converts them; empty: Stable
            Diffusion's where they are spelled in kohya's way, and none otherwise.
        configs: of components that are there.
        metadata: what diffusers wrote into the file's header (`lora_adapter_metadata`).

    Raises:
        GraphFault: of kinds or keys that are not known.
    """
    check_kinds(list(tensors))
    has_alphas = any(key.endswith(_ALPHA) for key in tensors)
    if has_alphas and metadata:
        raise GraphFault(f"says its alphas twice, in tensors and in its header; {FUSE}")
    converted = _converted(_with_alphas_in(tensors), owner, configs)
    made: Pairs = {}
    halves: dict[tuple[str, str], dict[str, Tensor]] = {}
    for key, value in _as_peft(converted).items():
        base, which = _half(key)
        component, _, module = base.partition(".")
        halves.setdefault((component, module), {})[which] = value
    for (component, module), found in halves.items():
        if found.keys() != {"A", "B"}:
            raise GraphFault(f"holds one half only of {component}.{module}; download it again")
        factor = _factor(metadata, component, module, int(found["A"].shape[0]))
        up = found["B"] if factor == 1 else found["B"].float() * factor
        made[component, module] = found["A"], up
    return made


def _half(key: str) -> tuple[str, str]:
    found = re.fullmatch(r"(.+)\.lora_(A|B)(?:\.\w+)?\.weight", key)
    if found is None:
        raise GraphFault(f"the key {key!r} cannot be read as a module's; {FUSE}")
    return found[1], found[2]


def _with_alphas_in(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """With alpha / rank multiplied into what goes up, and every alpha the rank: whether a
    conversion reads them or not is the same then."""
    made = dict(tensors)
    for key in tensors:
        if not key.endswith(_ALPHA):
            continue
        base = key.removesuffix(_ALPHA)
        ends = [end for end in _DOWN if base + end in made]
        if len(ends) != 1:
            raise GraphFault(f"{key!r} is of no module that it holds; {FUSE}")
        up = base + _opposite(ends[0])
        if up not in made:
            raise GraphFault(f"holds one half only of {base}; download it again")
        rank = made[base + ends[0]].shape[0]
        made[up] = made[up].float() * (float(tensors[key]) / rank)
        made[key] = torch.tensor(float(rank))
    return made


def _opposite(end: str) -> str:
    down, up = next(pair for pair in _UP_OF.items() if pair[0] in end)
    return end.replace(down, up)


def _converted(
    tensors: dict[str, Tensor], owner: str, configs: Mapping[str, Mapping[str, Any]]
) -> dict[str, Tensor]:
    """By the class's own loader: keys that begin with components."""
    loader = _loader(owner, tensors)
    if loader is None:
        return _plain(tensors)
    more: dict[str, Any] = {}
    if "unet" in configs:
        more["unet_config"] = SimpleNamespace(**configs["unet"])
    try:
        found = loader.lora_state_dict(dict(tensors), **more)
    except Exception as error:
        said = " ".join(str(error).split())
        raise GraphFault(
            f"diffusers' {loader.__name__} cannot convert its keys ({type(error).__name__}: "
            f"{said[:300]}); is it for another model? Otherwise {FUSE}"
        ) from None
    return _plain(found[0] if isinstance(found, tuple) else found)


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Without alphas, which are the ranks by now."""
    return {key: value for key, value in tensors.items() if not key.endswith(_ALPHA)}


def _loader(owner: str, tensors: Mapping[str, Tensor]) -> Any:
    """A class of diffusers with a loader; nothing else of a library is called."""
    import diffusers
    from diffusers.loaders.lora_base import LoraBaseMixin

    is_kohya = any(key.startswith(("lora_unet_", "lora_te")) for key in tensors)
    name = owner or ("StableDiffusionXLPipeline" if is_kohya else "")
    cls = getattr(diffusers, name, None) if name.isidentifier() else None
    is_known = inspect.isclass(cls) and issubclass(cls, LoraBaseMixin)
    return cls if is_known and hasattr(cls, "lora_state_dict") else None


def _as_peft(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """`COMPONENT.MODULE.lora_A.weight` and `lora_B`, from what diffusers had before."""
    from diffusers.utils import state_dict_utils as names

    text = {**names.UNET_TO_DIFFUSERS, **names.DIFFUSERS_OLD_TO_PEFT, **names.DIFFUSERS_TO_PEFT}
    found: dict[str, Tensor] = {}
    for key, value in tensors.items():
        mapping = text if key.startswith("text_encoder") else names.UNET_TO_DIFFUSERS
        found |= names.convert_state_dict({key: value}, mapping)
    return found


def _factor(metadata: Mapping[str, Any], component: str, module: str, rank: int) -> float:
    """alpha / rank, as the header's `LoraConfig` has it; 1 without one."""
    said = {k.removeprefix(f"{component}."): v for k, v in metadata.items()
            if k.startswith(f"{component}.")}  # fmt: skip
    if not said:
        return 1.0
    if said.get("use_dora") or said.get("lora_bias"):
        raise GraphFault(f"its header says that {component} has DoRA, or biases; {FUSE}")
    alpha = said.get("lora_alpha") or rank
    for pattern, value in (said.get("alpha_pattern") or {}).items():
        name = str(pattern).removeprefix("^")
        if module == name or module.endswith(f".{name}"):
            alpha = value
    if not isinstance(alpha, int | float):
        raise GraphFault(f"its header says of {component} the alpha {alpha!r}; {FUSE}")
    return float(alpha) / (rank**0.5 if said.get("use_rslora") else rank)


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
    return ", ".join(sorted(names)[:_MOST_NAMED]) + more
