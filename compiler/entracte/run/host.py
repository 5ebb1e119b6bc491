"""The runner's own steps: tokenize, seeded noise. Small and exactly specified.

A runner in another language must give the same numbers; `docs/plan-format.md` has the words.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.errors import RunError
from entracte.ir import HostStep

if TYPE_CHECKING:
    import numpy as np


def run_host_step(step: HostStep, inputs: dict[str, Any], folder: Path) -> "dict[str, np.ndarray]":
    """Run one host step; arrays by port name."""
    params = dict(step.params)
    if step.op == "tokenize":
        text = str(inputs["text"]) + str(params.get("suffix", ""))
        return tokenize(text, folder / str(params["tokenizer"]), _int(params["length"]))
    if step.op == "random_normal":
        shape = params["shape"]
        assert isinstance(shape, tuple)
        return {"noise": random_normal(_int(inputs["seed"]), tuple(_int(d) for d in shape))}
    raise RunError(f"stage {step.stage}: this runner has no host step {step.op!r}")


def _int(value: object) -> int:
    return int(str(value))


def tokenize(text: str, tokenizer: Path, length: int) -> "dict[str, np.ndarray]":
    """Ids padded with 0 and cut to `length` (the end mark is kept); mask 1 where a token is.

    Returns `input_ids` int32 (1, length) and `mask` fp32 (1, length).
    """
    import numpy as np
    from tokenizers import Tokenizer

    if not tokenizer.is_file():
        raise RunError(f"tokenize: there is no tokenizer file {tokenizer}")
    encoder = Tokenizer.from_file(str(tokenizer))
    encoder.no_padding()
    encoder.enable_truncation(length)
    ids = encoder.encode(text).ids
    input_ids = np.zeros((1, length), np.int32)
    mask = np.zeros((1, length), np.float32)
    input_ids[0, : len(ids)] = ids
    mask[0, : len(ids)] = 1
    return {"input_ids": input_ids, "mask": mask}


def random_normal(seed: int, shape: tuple[int, ...]) -> "np.ndarray":
    """Standard normal numbers, fp32, the same on every machine and in every language.

    SplitMix64 (Steele, Lea, Flood 2014) makes 64-bit words from `seed`; words 2k and 2k+1 give
    uniforms u = (word >> 11 + 1) / 2^53 in (0, 1]; Box-Muller makes of each pair
    sqrt(-2 ln u1) cos(2 pi u2) and sqrt(-2 ln u1) sin(2 pi u2), in that order, in double.
    """
    import numpy as np

    count = int(np.prod(shape))
    pairs = (count + 1) // 2
    steps = np.arange(1, 2 * pairs + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = np.uint64(seed % 2**64) + steps * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    uniform = ((x >> np.uint64(11)).astype(np.float64) + 1.0) / 2.0**53
    radius = np.sqrt(-2.0 * np.log(uniform[0::2]))
    angle = 2.0 * np.pi * uniform[1::2]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    return normal[:count].reshape(shape).astype(np.float32)
