"""`random_normal`: numbers that are the same on every machine and in every language."""

from collections.abc import Mapping
from math import prod
from typing import TYPE_CHECKING, Any

from entracte.declare.host_ops.kinds import SHAPE, one_of, whole
from entracte.declare.host_ops.row import Given, HostOp, Param, Place, Reads
from entracte.ir import DType, Port

if TYPE_CHECKING:
    import numpy as np

_ONCE, _ITERATION = "once", "iteration"
_MASK = 2**64 - 1
_STEP = 0x9E3779B97F4A7C15
"""Of SplitMix64: what its state grows by for each word."""
_PER_ITERATION = 0xD1B54A32D192ED03


def random_normal(seed: int, shape: tuple[int, ...]) -> "np.ndarray":
    """Standard normal numbers, fp32, the same on every machine and in every language.

    SplitMix64 (Steele, Lea, Flood 2014) makes 64-bit words from `seed`; words 2k and 2k+1 give
    uniforms u = (word >> 11 + 1) / 2^53 in (0, 1]; Box-Muller makes of each pair
    sqrt(-2 ln u1) cos(2 pi u2) and sqrt(-2 ln u1) sin(2 pi u2), in that order, in double.
    """
    import numpy as np

    made = np.empty(prod(shape), np.float32)
    for begin in range(0, len(made), _BLOCK):
        made[begin : begin + _BLOCK] = _normal(seed, begin, min(_BLOCK, len(made) - begin))
    return made.reshape(shape)


def stream_seed(seed: int, *, salt: int = 0, iteration: int | None = None) -> int:
    """What SplitMix64 is started at: the seed itself, or another number for every salt and every
    iteration of a loop.

    Seeds that lie side by side start words that lie side by side, so they are mixed first.
    """
    if iteration is None and salt == 0:
        return seed & _MASK
    turns = 0 if iteration is None else iteration + 1
    return mix(mix(seed & _MASK) + salt * _STEP + _PER_ITERATION * turns)


def mix(word: int) -> int:
    """SplitMix64's output function, of a number modulo 2^64."""
    x = word & _MASK
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & _MASK
    return x ^ (x >> 31)


_BLOCK = 2**20
"""Numbers made at once: what is made on the way takes eight times their room."""


def _normal(seed: int, begin: int, count: int) -> "np.ndarray":
    import numpy as np

    pairs = (count + 1) // 2
    steps = np.arange(begin + 1, begin + 2 * pairs + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = np.uint64(seed % 2**64) + steps * np.uint64(_STEP)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    uniform = ((x >> np.uint64(11)).astype(np.float64) + 1.0) / 2.0**53
    radius = np.sqrt(-2.0 * np.log(uniform[0::2]))
    angle = 2.0 * np.pi * uniform[1::2]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    return normal[:count].astype(np.float32)


def _run(params: Given, inputs: Mapping[str, Any], place: Place) -> "dict[str, np.ndarray]":
    iteration = place.iteration if params.get("stream") == _ITERATION else None
    start = stream_seed(int(inputs["seed"]), salt=params.get("salt", 0), iteration=iteration)
    return {"noise": random_normal(start, params["shape"])}


RANDOM_NORMAL = HostOp(
    name="random_normal",
    inputs=(Reads("seed", "seed"),),
    params=(
        Param("shape", SHAPE),
        Param("stream", one_of(_ONCE, _ITERATION), needed=False),
        Param("salt", whole(0, 2**63 - 1), needed=False),
    ),
    ports=lambda params, _: (Port("noise", params["shape"], DType.FP32),),
    in_loop=lambda params: params.get("stream") == _ITERATION,
    run=_run,
)
