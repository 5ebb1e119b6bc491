"""Every row of the table, and why a class has none. Imports neither torch nor the libraries."""

from __future__ import annotations

from tools.foreign.audio import AUDIO
from tools.foreign.autoencoders import AUTOENCODERS
from tools.foreign.encoders import ENCODERS
from tools.foreign.tiny import Tiny
from tools.foreign.transformers_image import IMAGE
from tools.foreign.transformers_other import OTHER
from tools.foreign.transformers_video import VIDEO
from tools.foreign.unets import UNETS

__all__ = ["SECTIONS", "TINY", "class_of"]

SECTIONS: dict[str, dict[str, Tiny]] = {
    "Autoencoders of pictures and videos": AUTOENCODERS,
    "Autoencoders and vocoders of sound": AUDIO,
    "UNets": UNETS,
    "Transformers of pictures": IMAGE,
    "Transformers of videos": VIDEO,
    "Other transformers": OTHER,
    "Encoders, and decoders of text": ENCODERS,
}
"""Heading -> its rows. A row is named by its class; by what is run where that is not `forward` or
`decode` (`AutoencoderKL.encode`); and by what the settings make of it (`UNet2DConditionModel
(SDXL)`)."""

TINY = {name: tiny for rows in SECTIONS.values() for name, tiny in rows.items()}


def class_of(row: str) -> str:
    """The class that a row is of."""
    return row.partition(" ")[0].partition(".")[0]
