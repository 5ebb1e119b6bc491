"""How the weights of a package are stored: precisions, and one row of `SCHEMES` per compression.

Reading checks names by the table, tracing counts bytes by it, lowering asks coremltools for what a
row says, verifying judges by its floor and `advise` ranks by its place. A new compression is a new
row here, and a file `conf/compression/NAME.yaml` so that `compression=NAME` can be typed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod

from entracte.ir import DType

UNCOMPRESSED = "none"
PRECISION_FLOORS_DB = {"fp16": 40.0, "fp32": 70.0}
"""Precision -> PSNR in dB that a package with dense weights must reach. Apple's Core AI guidance:
fp32 above 70, fp16 above 50 (investigate below 40); whisperkittools and ml-stable-diffusion use 35
for fp16."""


class Codes(StrEnum):
    """What a compressed weight is made of."""

    PALETTE = "palette"
    """An index into 2**bits values, one table per tensor."""
    INTEGER = "integer"
    """Symmetric integers, with a scale per output channel or per block of input channels."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheme:
    """One weight compression."""

    name: str
    codes: Codes
    bits: int
    """Of one element's code."""
    block: int = 0
    """Input channels that share a scale; 0 for one scale per output channel."""
    floor_db: float
    """PSNR in dB that a package must reach against its source. Apple's Core AI guidance asks more
    of 4 bits: about 40 (investigate below 30)."""
    smallest: int = 2048
    """Tensors with fewer elements stay dense: their tables would cost more than they save."""
    since: tuple[str, ...] = ("iOS16", "macOS13")
    """The first deployment targets that can read it: the first one is compared, all are named."""
    is_advised: bool = False
    """Whether `advise` tries it."""

    @property
    def bytes_per_element(self) -> float:
        """Block scales (fp16) included; those of channels and tables count when emitted."""
        return self.bits / 8 + (2 / self.block if self.block else 0.0)

    def takes(self, shape: Sequence[int]) -> bool:
        """Whether a weight of this shape is compressed."""
        return len(shape) >= 2 and prod(shape) >= self.smallest


def _table(*rows: Scheme) -> dict[str, Scheme]:
    return {row.name: row for row in rows}


SCHEMES = _table(
    Scheme(name="int8", codes=Codes.INTEGER, bits=8, floor_db=30.0, is_advised=True),
    Scheme(name="palette8", codes=Codes.PALETTE, bits=8, floor_db=30.0),
    Scheme(name="palette6", codes=Codes.PALETTE, bits=6, floor_db=25.0, is_advised=True),
    Scheme(name="palette4", codes=Codes.PALETTE, bits=4, floor_db=15.0, is_advised=True),
    Scheme(
        name="int4_block32",
        codes=Codes.INTEGER,
        bits=4,
        block=32,
        floor_db=15.0,
        since=("iOS18", "macOS15"),
    ),
)
"""By name. The order is that of fidelity: what keeps most of the weights first."""


def compressions() -> tuple[str, ...]:
    """All that `compression` may be."""
    return (UNCOMPRESSED, *SCHEMES)


def scheme_of(compression: str) -> Scheme | None:
    """The row of a compression's name; None for dense weights."""
    return None if compression == UNCOMPRESSED else SCHEMES[compression]


def weight_bytes(shape: Sequence[int], precision: str, compression: str) -> int:
    """What a weight takes in a package, as far as is known before it is emitted."""
    scheme = scheme_of(compression)
    if scheme is None or not scheme.takes(shape):
        return prod(shape) * DType(precision).width_bytes
    return int(prod(shape) * scheme.bytes_per_element)


def floor_db(precision: str, compression: str) -> float:
    """The PSNR in dB that a package must reach against its source."""
    scheme = scheme_of(compression)
    return PRECISION_FLOORS_DB[precision] if scheme is None else scheme.floor_db


def fidelity(precision: str, compression: str) -> int:
    """Rank of what is kept of the weights; 0 is best. How far a video differs is not measured."""
    ranks = ("fp32", "fp16", *SCHEMES)
    return ranks.index(precision if compression == UNCOMPRESSED else compression)
