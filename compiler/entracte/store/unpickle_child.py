"""A pickle of tensors -> a safetensors file, in a process of its own: `store/unpickle.py` runs it.

Run as a script, it imports nothing of Entracte's. What the pickle may call is decided by torch's
restricted unpickler, and no more than a list of tensor types is. Everything around it is a second
wall, for the day on which that one has a hole: no network, no other programs, no files opened for
writing, bounded memory.
"""

import argparse
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from typing import Any

_NAMES = {
    "float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16", "int64": "I64",
    "int32": "I32", "int16": "I16", "int8": "I8", "uint8": "U8", "bool": "BOOL",
    "float8_e4m3fn": "F8_E4M3", "float8_e5m2": "F8_E5M2", "complex64": "C64",
}  # fmt: skip
"""torch's types as safetensors spells them."""
_NESTS = (
    "ema_state_dict", "state_dict_ema", "ema", "params_ema", "state_dict", "model_state_dict",
    "gen_model", "model", "module", "params", "net", "generator",
)  # fmt: skip
"""Where trainers put the tensors: the first of these that is there is read. Averages (EMA) come
first, since they are what is published and what upstream's samplers take."""
_REFUSED = ("socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn",
            "os.spawn", "ctypes.", "pty.", "os.remove", "os.rename", "os.rmdir", "os.mkdir",
            "os.link", "os.symlink", "os.truncate", "os.chmod", "shutil.")  # fmt: skip
"""Audited events of which none is needed to read a file."""
_SPARE_BYTES = 1 << 30
_SPARE_S = 120
_BYTES_PER_S = 10_000_000
_CLONE_NEWUSER, _CLONE_NEWNET, _PR_SET_PDEATHSIG = 0x10000000, 0x40000000, 1
_DEPTH = 3
NO_MEMORY = 9


class Refused(Exception):
    """What is wrong with the file, and what would help."""


def main(source: str, file_bytes: int) -> None:
    """Write the safetensors file to standard output, and what was found to standard error."""
    _cut_off()
    out = os.fdopen(os.dup(1), "wb", buffering=1 << 20)
    os.dup2(2, 1)  # whatever a library prints is no part of the file
    try:
        import torch

        most_bytes = 3 * file_bytes + _SPARE_BYTES
        _bound(most_bytes, _SPARE_S + file_bytes // _BYTES_PER_S)
        sys.addaudithook(_watch)
        found, nest, left_out = _tensors(_loaded(torch, source), torch)
        if _size_bytes(found) > most_bytes:
            os._exit(NO_MEMORY)
        with out:
            _write(out, found)
        said: dict[str, Any] = {"nest": nest, "left_out": left_out[:5], "tensors": len(found)}
    except Refused as refused:
        said = {"refused": str(refused)}
    except MemoryError:
        os._exit(NO_MEMORY)
    except RuntimeError as error:
        if "can't allocate memory" in str(error) or "mmap" in str(error):
            os._exit(NO_MEMORY)
        raise
    sys.stderr.write(f"\n{json.dumps(said)}\n")


def _cut_off() -> None:
    """A namespace without a network, where the system lets us; dies with the command."""
    if sys.platform != "linux":
        return
    with contextlib.suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        if libc.unshare(_CLONE_NEWNET):  # only root may have one alone
            libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNET)
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def _bound(more_bytes: int, cpu_s: int) -> None:
    """This much memory above what torch itself takes, and so long."""
    import resource

    with contextlib.suppress(OSError, ValueError, IndexError):
        with open("/proc/self/status") as status:
            line = next(row for row in status if row.startswith("VmData"))
        limit = int(line.split()[1]) * 1024 + more_bytes
        resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_CPU, (cpu_s, cpu_s))


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event.startswith(_REFUSED):
        raise Refused(f"it tried {event}, which no file of weights needs")
    flags = arguments[2] if event == "open" else 0
    is_written = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    if is_written and arguments[0] != os.devnull:
        raise Refused(f"it tried to write {str(arguments[0])[:200]!r}")


def _loaded(torch: Any, source: str) -> Any:
    with open(source, "rb") as file:
        is_zip = file.read(4) == b"PK\x03\x04"
    # What scripts keep of their command line: a plain object, made of names and values.
    torch.serialization.add_safe_globals([argparse.Namespace])
    try:
        return torch.load(source, map_location="cpu", weights_only=True, mmap=is_zip)
    except (MemoryError, Refused):
        raise
    except Exception as error:
        raise Refused(_why(str(error))) from None


def _why(said: str) -> str:
    """torch's refusal in one sentence."""
    if "can't allocate memory" in said:
        raise MemoryError
    named = re.search(r"GLOBAL ([\w.]+)", said)
    if named:
        return (
            f"it holds more than tensors ({named[1][:100]}), which would run code; save "
            "`model.state_dict()` alone, as safetensors"
        )
    if "TorchScript" in said:
        return "a TorchScript program; save its `state_dict()` as safetensors"
    if "failed finding central directory" in said or "file in archive" in said:
        return "only a part of a PyTorch file; download it again"
    first = next((line for line in said.splitlines() if line.strip()), "")
    return f"no PyTorch checkpoint that can be read ({first[:200]}); save it as safetensors"


def _tensors(found: Any, torch: Any) -> tuple[dict[str, Any], str, list[str]]:
    """The tensors by key, the name they were nested under, and what else lay among them."""
    nest: list[str] = []
    for _ in range(_DEPTH):
        if not isinstance(found, Mapping):
            break
        tensors = {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}
        inner = next((n for n in _NESTS if _is_nest(found.get(n), torch)), None)
        if inner is None or tensors:
            break
        nest.append(inner)
        found = found[inner]
    if not isinstance(found, Mapping):
        raise Refused(f"it holds a {type(found).__name__}, no tensors by name; save a state dict")
    tensors = {k: v for k, v in found.items() if isinstance(v, torch.Tensor)}
    if not tensors:
        keys = ", ".join(str(k)[:60] for k in list(found)[:8]) or "nothing"
        raise Refused(f"it holds no tensors by name, but {keys}; save the state dict alone")
    left_out = [str(k)[:100] for k in found if k not in tensors]
    return dict(_sound(tensors, torch)), ".".join(nest), left_out


def _is_nest(value: Any, torch: Any) -> bool:
    if not isinstance(value, Mapping):
        return False
    inner = (value.get(n) for n in _NESTS)
    return any(isinstance(v, torch.Tensor) for v in value.values()) or any(
        isinstance(v, Mapping) for v in inner
    )


def _sound(tensors: Mapping[Any, Any], torch: Any) -> Iterator[tuple[str, Any]]:
    for key, tensor in tensors.items():
        if not isinstance(key, str) or key == "__metadata__":
            raise Refused(f"a tensor's key is {str(key)[:100]!r}; keys are names")
        name = str(tensor.dtype).removeprefix("torch.")
        if tensor.layout is not torch.strided or tensor.is_quantized or name not in _NAMES:
            kind = "quantized" if tensor.is_quantized else f"{tensor.layout} {tensor.dtype}"
            raise Refused(f"{key[:100]!r} is {kind}; save it as plain floating-point numbers")
        if tensor.device.type != "cpu":
            raise Refused(f"{key[:100]!r} holds no data ({tensor.device}); save real tensors")
        yield key, tensor.detach()


def _size_bytes(tensors: Mapping[str, Any]) -> int:
    """Written out: many tensors may be views of a few numbers, each element the same one."""
    return sum(t.numel() * t.element_size() for t in tensors.values())


def _write(file: Any, tensors: Mapping[str, Any]) -> None:
    """The safetensors format: the header's length, the header, the bytes, gapless."""
    import torch

    header, at = {}, 0
    for key, tensor in tensors.items():
        size = tensor.numel() * tensor.element_size()
        dtype = _NAMES[str(tensor.dtype).removeprefix("torch.")]
        header[key] = {
            "dtype": dtype, "shape": list(tensor.shape), "data_offsets": [at, at + size],
        }  # fmt: skip
        at += size
    raw = json.dumps(header).encode()
    raw += b" " * (-len(raw) % 8)
    file.write(len(raw).to_bytes(8, "little") + raw)
    for tensor in tensors.values():
        flat = tensor.contiguous().reshape(-1)
        if flat.numel():
            file.write(flat.view(torch.uint8).numpy().data)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
