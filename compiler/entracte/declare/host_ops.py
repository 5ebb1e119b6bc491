"""Host operations: what a runner does itself, between calls of packages. One row each.

A row says all that there is to know of one: what it reads, its params, the ports it gives, the
files it needs in the build folder, and how it runs. A `HostStep` of a program names its row in
`op`. To add one, write its row here and put it into `HOST_OPS`.

They are small and exactly specified: a runner in another language must give the same numbers
(`docs/plan-format.md` has the words). numpy and tokenizers are imported by what runs.
"""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from entracte.disk.read import inside
from entracte.errors import RunError
from entracte.graphs.checks import similar
from entracte.ir import DType, Port

if TYPE_CHECKING:
    import numpy as np

Given = Mapping[str, Any]
"""Params by name, checked by their row."""

MOST_ELEMENTS, MOST_AXES = 2**26, 16
"""Of what a host operation makes: a stranger's plan must not fill the memory of whoever runs it."""

SHAPE_OF = "shape_of"
"""`STAGE.INPUT` in place of `shape`: the shape that the stage's graph declares for that input."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What values a param may have."""

    words: str
    holds: Callable[[object], bool]


def _is_size(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value <= MOST_ELEMENTS


def _is_shape(value: object) -> bool:
    if not isinstance(value, tuple) or not 0 < len(value) <= MOST_AXES:
        return False
    return all(map(_is_size, value)) and prod(value) <= MOST_ELEMENTS


def _is_file(value: object) -> bool:
    return isinstance(value, str) and value not in ("", ".", "..") and not set(value) & set("/\\")


TEXT = Kind("a text", lambda value: isinstance(value, str))
SIZE = Kind(f"a whole number above 0, at most {MOST_ELEMENTS}", _is_size)
SHAPE = Kind(f"a list of sizes, each above 0, together at most {MOST_ELEMENTS} elements", _is_shape)
FILE = Kind("a file's name, without folders", _is_file)


@dataclass(frozen=True, slots=True)
class Param:
    """A param of a host operation."""

    name: str
    kind: Kind
    needed: bool = True

    def fault(self, params: Given) -> str | None:
        """What is wrong with its value, if it is given."""
        if self.name not in params or self.kind.holds(params[self.name]):
            return None
        return f"params.{self.name}: {_shown(params[self.name])} is not {self.kind.words}"


@dataclass(frozen=True, slots=True, kw_only=True)
class HostOp:
    """One operation of the host."""

    name: str
    inputs: tuple[str, ...]
    """What it reads: inputs of the pipeline, by these names."""
    params: tuple[Param, ...]
    ports: Callable[[Given], tuple[Port, ...]]
    """What it gives, by its params."""
    run: Callable[[Given, Mapping[str, Any], Path], "dict[str, np.ndarray]"]
    """(params, inputs by name, build folder) -> arrays by port. Raises `RunError`."""
    files: Callable[[Given, str], tuple[tuple[str, str], ...]] = lambda *_: ()
    """(params, `pipeline.weights`) -> (place that holds it, spelled like `pipeline.weights`; file):
    copied into the build folder, which must run where there is no model code."""
    check_file: Callable[[Path], object] = lambda _: None
    """Raises `RunError` for one of its files that cannot be used, before minutes are spent."""

    def fault(self, params: Given, inputs: Collection[str]) -> str | None:
        """What is wrong with the params and inputs of a step; None where nothing is."""
        known = [p.name for p in self.params]
        needed = [p.name for p in self.params if p.needed]
        return (
            self._names("params", params, needed, known)
            or self._names("inputs", inputs, self.inputs, self.inputs)
            or next((f for p in self.params if (f := p.fault(params))), None)
        )

    def _names(
        self, what: str, given: Collection[str], needed: Sequence[str], known: Sequence[str]
    ) -> str | None:
        strange = sorted(set(given) - set(known))
        faults = [f"{name!r} is unknown{similar(name, known)}" for name in strange]
        faults += [f"{name!r} is missing" for name in needed if name not in given]
        if not faults:
            return None
        spelled = [f"{n} (or {SHAPE_OF})" if n == "shape" else n for n in needed]
        free = [name for name in known if name not in needed]
        return f"{what}: {', '.join(faults)}; {self.name} needs {', '.join(spelled) or 'none'}" + (
            f" and may have {', '.join(free)}" if free else ""
        )

    def declared_fault(self, params: Given, inputs: Collection[str]) -> str | None:
        """`fault` for a stage as configured: a `shape_of` stands for a shape that only tracing
        knows."""
        if SHAPE_OF not in params or "shape" not in {p.name for p in self.params}:
            return self.fault(params, inputs)
        if "shape" in params:
            return f"params: both shape and {SHAPE_OF}; give one of them"
        rest = {name: value for name, value in params.items() if name != SHAPE_OF}
        return self.fault(rest | {"shape": (1,)}, inputs)


def _shown(value: object) -> str:
    return str(list(value)) if isinstance(value, tuple) else repr(value)


# ---------------------------------------------------------------- tokenize

MAX_TOKENIZER_BYTES = 64 * 2**20


def tokenize(text: str, tokenizer: Path, length: int) -> "dict[str, np.ndarray]":
    """Ids padded with 0 and cut to `length` (the end mark is kept); mask 1 where a token is.

    Returns `input_ids` int32 (1, length) and `mask` fp32 (1, length).
    """
    import numpy as np

    ids = _ids(text, tokenizer, length)
    input_ids = np.zeros((1, length), np.int32)
    mask = np.zeros((1, length), np.float32)
    input_ids[0, : len(ids)] = ids
    mask[0, : len(ids)] = 1
    return {"input_ids": input_ids, "mask": mask}


def _ids(text: str, tokenizer: Path, length: int) -> list[int]:
    encoder = _encoder(tokenizer)
    with _telling(tokenizer):
        encoder.no_padding()
        encoder.enable_truncation(length)
        ids: list[int] = encoder.encode(text).ids
    if len(ids) > length or max(ids, default=0) > _MOST_ID:
        raise RunError(f"tokenize: {tokenizer} gives ids that no int32 holds, or too many of them")
    return ids


_MOST_ID = 2**31 - 1
_MOST_TOKENIZER_BYTES = 256 << 20


def _encoder(tokenizer: Path) -> Any:
    """What a tokenizer file says. Raises `RunError` for one that does not exist or says nothing."""
    from tokenizers import Tokenizer

    if not tokenizer.is_file():
        raise RunError(f"tokenize: there is no tokenizer file {tokenizer}")
    with _telling(tokenizer):
        if tokenizer.stat().st_size > _MOST_TOKENIZER_BYTES:
            raise RunError(f"tokenize: {tokenizer} is larger than {_MOST_TOKENIZER_BYTES} bytes")
        return Tokenizer.from_file(str(tokenizer))


@contextmanager
def _telling(tokenizer: Path) -> Iterator[None]:
    """The library raises bare exceptions, and of its panics such as nothing else catches."""
    try:
        yield
    except (RunError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise RunError(
            f"tokenize: {tokenizer} is no tokenizer ({what or type(error).__name__}); give the "
            "tokenizer.json of the tokenizers library"
        ) from None


def _run_tokenize(params: Given, inputs: Mapping[str, Any], folder: Path) -> Any:
    text = str(inputs["text"]) + params.get("suffix", "")
    name = params["tokenizer"]
    file = inside(folder, name)
    if file is None or not file.is_file() or file.stat().st_size > MAX_TOKENIZER_BYTES:
        raise RunError(
            f"tokenize: there is no tokenizer file {name} in the build folder {folder} (or it is a "
            f"link out of it, or larger than {MAX_TOKENIZER_BYTES} bytes)"
        )
    return tokenize(text, file, params["length"])


def _tokenizer(params: Given, weights: str) -> tuple[tuple[str, str], ...]:
    """Beside the weights; random weights have none, `stand_in` names a place for them."""
    random = weights.startswith("random:")
    return ((params.get("stand_in", weights) if random else weights, params["tokenizer"]),)


TOKENIZE = HostOp(
    name="tokenize",
    inputs=("text",),
    params=(
        Param("tokenizer", FILE),
        Param("length", SIZE),
        Param("suffix", TEXT, needed=False),
        Param("stand_in", TEXT, needed=False),
    ),
    ports=lambda params: (
        Port("input_ids", (1, params["length"]), DType.INT32),
        Port("mask", (1, params["length"]), DType.FP32),
    ),
    files=_tokenizer,
    check_file=_encoder,
    run=_run_tokenize,
)


# ---------------------------------------------------------------- random_normal


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


_BLOCK = 2**20
"""Numbers made at once: what is made on the way takes eight times their room."""


def _normal(seed: int, begin: int, count: int) -> "np.ndarray":
    import numpy as np

    pairs = (count + 1) // 2
    steps = np.arange(begin + 1, begin + 2 * pairs + 1, dtype=np.uint64)
    with np.errstate(over="ignore"):
        x = np.uint64(seed % 2**64) + steps * np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x = x ^ (x >> np.uint64(31))
    uniform = ((x >> np.uint64(11)).astype(np.float64) + 1.0) / 2.0**53
    radius = np.sqrt(-2.0 * np.log(uniform[0::2]))
    angle = 2.0 * np.pi * uniform[1::2]
    normal = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).reshape(-1)
    return normal[:count].astype(np.float32)


RANDOM_NORMAL = HostOp(
    name="random_normal",
    inputs=("seed",),
    params=(Param("shape", SHAPE),),
    ports=lambda params: (Port("noise", params["shape"], DType.FP32),),
    run=lambda params, inputs, _: {"noise": random_normal(int(inputs["seed"]), params["shape"])},
)


HOST_OPS = {op.name: op for op in (TOKENIZE, RANDOM_NORMAL)}
