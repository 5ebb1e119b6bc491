"""Models that no library has: upstream's classes by their own names, rebuilt with their parameters'
names, so that published files load as they are.

A folder names them by the library `entracte`: `"transformer": ["entracte", "OpenSoraT2V_v1_3"]`.
Such a class is a `torch.nn.Module` whose constructor takes the keys of upstream's configuration,
with the published model's values as defaults. It may say

    unused: names of keys of upstream's configuration that change nothing that is computed here
    key_map (of the instance): (prefix in the module, prefix in the checkpoint), where they differ
    scales (of the instance): (end of a parameter's name, factor), see `Graph`
"""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

from entracte.graphs.checks import GraphFault, similar

LIBRARY = "entracte"
_HERE = "entracte.graphs."
_MODELS: dict[str, str] = {
    "DiT": "minisora.dit:DiT",
    "Latte": "latte.net:Latte",
    "OpenDiTLatte": "minisora.latte:OpenDiTLatte",
    "OpenSoraInpaint_v1_3": "opensora_plan.denoiser:OpenSoraInpaint_v1_3",
    "OpenSoraT2V_v1_3": "opensora_plan.denoiser:OpenSoraT2V_v1_3",
    "Previewer": "cascade.pixels:Previewer",
    "STDiT3": "opensora.upstream:STDiT3",
    "SiT": "minisora.dit:SiT",
    "StageA": "cascade.pixels:StageA",
    "StageB": "cascade.stages:StageB",
    "StageC": "cascade.stages:StageC",
    "VDiT": "minisora.dit:VDiT",
    "VideoAutoencoderPipeline": "opensora.upstream:VideoAutoencoderPipeline",
    "WFVAEModel": "opensora_plan.wfvae:WFVAEModel",
}
"""Class -> module under `entracte.graphs`, and the class in it: `folder.file:Class`."""


def model_class(name: str) -> Any:
    """The class, imported; None for one that there is not."""
    module, _, attribute = _MODELS.get(name, "").partition(":")
    return getattr(import_module(_HERE + module), attribute) if module else None


def build_model(name: str, config: Mapping[str, Any]) -> Any:
    """A model by its configuration. Raises `GraphFault` for a class or a key that there is not."""
    cls = model_class(name)
    if cls is None:
        raise GraphFault(
            f"module: {LIBRARY} has no model {name}{similar(name, _MODELS)}; it has "
            f"{', '.join(_MODELS) or 'none'}"
        )
    ignored = frozenset(getattr(cls, "unused", ()))
    given = {k: v for k, v in config.items() if k[:1] != "_" and k not in ignored}
    try:
        return cls(**given)
    except TypeError as error:
        raise GraphFault(f"module: {name}: its configuration does not fit ({error})") from None
