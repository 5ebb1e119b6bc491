"""The toy device: numbers that tell where they come from.

Every output is made of a hash of the chunk, the function and all that it was given: a tensor in the
wrong place, at the wrong time or of the wrong bits changes everything behind it. It is simple
enough to be written again in any language: `TOY` says how, and `tests/vectors/runs.jsonl` begins
with it.
"""

import weakref
import zlib
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from entracte.devices.arrays import NUMPY, NumpyValues
from entracte.ir import Call, DType, HostStep, Package, Port, Program

TOY = {
    "crc": (
        "CRC-32 of zlib, of a tensor's bytes (row-major, little-endian, fp16 as its 16 bits), "
        "as 8 hex digits"
    ),
    "hash": (
        "64-bit FNV-1a over: each of three names in UTF-8 followed by a byte 0; then for each "
        "input, by rising name of its port: the name, a byte 0, and the CRC as 4 bytes, "
        "little-endian. Of a text the CRC is of its UTF-8, of a seed of its 8 bytes, "
        "little-endian"
    ),
    "names": (
        "of a call: chunk, function, output. Of a host step: its stage, op@iteration, output. "
        "Of an input or a constant of the plan: 'input' or 'constant', nothing, its name"
    ),
    "element": (
        "j of an output: x = mix(hash + (j + 1) * 0x9E3779B97F4A7C15) modulo 2^64, mix being "
        "that of docs/plan-format.md; fp16: ((x >> 55) - 256) / 256; fp32: ((x >> 47) - 65536) "
        "/ 65536; int32: x >> 60"
    ),
    "until": (
        "an output that ends a loop is 0 in the iterations before the one that `ends` says, and"
        " -0.5 in that and later ones; without one in all iterations 0"
    ),
    "given": "texts are the input's name, seeds 7, numbers 0.5, choices 1, tensors as above",
}

RESTS = (
    "an output by which calls rest (`rests_by`) is 1 or 0: (hash + how often it was made before) "
    "modulo 2"
)
"""Where programs have such calls."""

_GOLDEN = 0x9E3779B97F4A7C15
_MASK = 2**64 - 1


def crc_of(value: Any) -> int:
    """Of a tensor, a text or a seed."""
    if isinstance(value, str):
        return zlib.crc32(value.encode())
    if isinstance(value, int):
        return zlib.crc32(value.to_bytes(8, "little", signed=True))
    return zlib.crc32(np.ascontiguousarray(value))


def hash_of(names: tuple[str, str, str], inputs: Mapping[str, Any]) -> int:
    text = b"".join(n.encode() + b"\0" for n in names)
    for name in sorted(inputs):
        text += name.encode() + b"\0" + crc_of(inputs[name]).to_bytes(4, "little")
    h = 0xCBF29CE484222325
    for byte in text:
        h = (h ^ byte) * 0x100000001B3 & _MASK
    return h


def numbers(seed: int, port: Port) -> np.ndarray:
    """A tensor of a port."""
    many = int(np.prod(port.shape))
    with np.errstate(over="ignore"):
        x = np.uint64(seed) + np.arange(1, many + 1, dtype=np.uint64) * np.uint64(_GOLDEN)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        x ^= x >> np.uint64(31)
    if port.dtype is DType.INT32:
        made = (x >> np.uint64(60)).astype(np.int32)
    elif port.dtype is DType.FP16:
        made = (((x >> np.uint64(55)).astype(np.float32) - 256) / 256).astype(np.float16)
    else:
        made = ((x >> np.uint64(47)).astype(np.float32) - 65536) / np.float32(65536)
    return made.reshape(port.shape)


class ToyDevice(NumpyValues):
    """Runs any package."""

    name = "toy"
    one_function = False

    def __init__(self, program: Program, ends: Mapping[int, int]) -> None:
        """`ends`: segment -> iterations after which its loop is over."""
        self._until = {
            (step.chunk, b.feature): ends.get(s)
            for s, g in enumerate(program.segments)
            for step in g.steps
            if isinstance(step, Call)
            for b in step.outputs
            if b.tensor == g.until
        }
        steps = [x for g in program.segments for x in g.steps]
        asked = {x.rests_by for x in steps if isinstance(x, Call)} - {""}
        self._asked = {
            (step.chunk, b.feature)
            for step in steps
            if isinstance(step, Call)
            for b in step.outputs
            if b.tensor in asked
        }
        self._done = Counter[tuple[str, str]]()
        self._made: list[weakref.ref[np.ndarray]] = []
        self.loaded_bytes = 0

    def load(self, package: Package, folder: Any, function: str = "main") -> Package:
        return package

    def free(self, handle: Package) -> None: ...

    def resident_bytes(self) -> int:
        return self.loaded_bytes

    def activation_peak_bytes(self) -> int:
        return 0

    def call(self, handle: Package, function: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        own, ports = handle.ports_of(function)
        assert {p.name: (p.shape, NUMPY[p.dtype]) for p in own} == {
            name: (value.shape, value.dtype) for name, value in inputs.items()
        }, handle.chunk
        return {p.name: self._output(handle.chunk, function, p, inputs) for p in ports}

    def _output(self, chunk: str, function: str, port: Port, inputs: Mapping[str, Any]) -> Any:
        at = (chunk, port.name)
        if at in self._asked:
            odd = (hash_of((chunk, function, port.name), inputs) + self._done[at]) % 2
            self._done[at] += 1
            return self.made(np.full(port.shape, odd, NUMPY[port.dtype]))
        if at not in self._until:
            return self.made(numbers(hash_of((chunk, function, port.name), inputs), port))
        self._done[at] += 1
        end = self._until[at]
        over = end is not None and self._done[at] >= end
        return self.made(np.full(port.shape, -0.5 if over else 0, NUMPY[port.dtype]))

    def made(self, array: np.ndarray) -> np.ndarray:
        self._made.append(weakref.ref(array))
        return array

    def made_bytes(self) -> int:
        """Of outputs that are still there."""
        self._made = [x for x in self._made if x() is not None]
        return sum(array.nbytes for x in self._made if (array := x()) is not None)


def host_steps(program: Program, device: ToyDevice) -> Callable[..., dict[str, Any]]:
    """In place of `entracte.run.host.run_host_step`."""
    ports = {t.name: t.port for t in program.tensors}

    def run(step: HostStep, inputs: Mapping[str, Any], _: Any, iteration: int, *__: Any) -> Any:
        return {
            b.feature: device.made(
                numbers(
                    hash_of((step.stage, f"{step.op}@{iteration}", b.feature), inputs),
                    ports[b.tensor],
                )
            )
            for b in step.outputs
        }

    return run


def given(program: Program) -> dict[str, Any]:
    """What a run is given, as `given_inputs` gives it."""
    plain = {"text": None, "seed": 7, "number": 0.5, "choice": 1}
    made: dict[str, Any] = {}
    for i in program.inputs:
        made[i.name] = i.name if i.kind == "text" else plain.get(i.kind)
        if i.port is not None:
            made[i.name] = numbers(hash_of(("input", "", i.name), {}), i.port)
    return made


def constants(program: Program) -> dict[str, np.ndarray]:
    return {p.name: numbers(hash_of(("constant", "", p.name), {}), p) for p in program.constants}
