"""What a run leaves on the disk at an iteration's end, so that another process can go on.

A folder of files, each written whole or not at all:

    snapshot.json               where the run was, of what it is, the SHA-256 of the others
    state-000042.safetensors    every tensor that is alive before step 42
    piece-000003.safetensors    the fourth piece that went to an output's writer

`snapshot.json` takes its place last: killed at any moment, the folder holds the last snapshot or
the one before. Nothing in it is believed: see `read_snapshot`.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from entracte.codec import decode, encode, parse_json
from entracte.disk import left
from entracte.disk.read import inside
from entracte.disk.write import write_text, writing
from entracte.errors import ConfigError, PlanError, RunError
from entracte.ir import DType, Plan, Port, Program
from entracte.run.origin import plan_digest, versions
from entracte.run.position import Position, alive_at, delivered_at
from entracte.store.seal import file_sha256
from entracte.store.tensor_file import read_header, reading, whole_file

FILE = "snapshot.json"
VERSION = 1
MOST_BYTES = 2**24
"""Of `snapshot.json`."""
_OURS = re.compile(r"snapshot\.json|(state|piece)-\d{6,}\.safetensors")
_CODES = {"float16": "F16", "float32": "F32", "int32": "I32"}
STORED = {DType.FP16: ("F16", "F32"), DType.FP32: ("F32",), DType.INT32: ("I32",)}
"""How safetensors call what a tensor of a type may be: a device may hold fp16 as fp32."""
_LOCAL = ("python", "system")
"""Versions that change no number."""
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Piece:
    """One that went to an output's writer."""

    output: str
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Of:
    """The run that a snapshot is of. Another one cannot go on from it."""

    plan: str
    inputs: tuple[tuple[str, str | int | float], ...]
    """As a record names them: its seed among them, files by their digests."""
    device: str
    arithmetic: str
    versions: tuple[tuple[str, str], ...]
    """Of what computes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """`snapshot.json`."""

    version: int
    of: Of
    segment: int
    iteration: int
    """The first iteration that is left."""
    ended: tuple[tuple[str, int], ...]
    """(loop, iterations) of the loops before that may end early."""
    notes: tuple[str, ...]
    """What host steps had to say."""
    state: str
    """SHA-256 of the tensors' file."""
    pieces: tuple[Piece, ...]

    @property
    def position(self) -> Position:
        """Where it goes on."""
        return Position(self.segment, self.iteration)


def run_of(plan: Plan, told: Mapping[str, str | int | float], device: Any) -> Of:
    """What a run is of; `told` are all the plan's inputs as a record names them."""
    return Of(
        plan=plan_digest(plan),
        inputs=tuple(told.items()),
        device=device.name,
        arithmetic=getattr(device, "arithmetic", ""),
        versions=tuple((k, v) for k, v in versions() if k not in _LOCAL),
    )


def state_name(step: int) -> str:
    """Of the file with the tensors alive before a step."""
    return f"state-{step:06}.safetensors"


def piece_name(number: int) -> str:
    """Of the file with a piece, counted over all outputs from 0."""
    return f"piece-{number:06}.safetensors"


def key_of(name: str, slot: int | None) -> str:
    """Of a tensor, or of one of its slots, in the tensors' file."""
    return name if slot is None else f"{name}#{slot}"


# ---------------------------------------------------------------- writing


def write_tensors(path: Path, tensors: Mapping[str, Callable[[], Any]]) -> str:
    """Write a safetensors file, one array after the other: at most one is copied at a time.

    Args:
        tensors: what gives each as a numpy array, by key.

    Returns the SHA-256 of the file. Raises `WriteError`.
    """
    header, at = {}, 0
    for key, get in tensors.items():
        array = get()
        end = at + array.nbytes
        kind, shape = _CODES[array.dtype.name], list(array.shape)
        header[key] = {"dtype": kind, "shape": shape, "data_offsets": [at, end]}
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with writing(path, durable=True) as aside, aside.open("wb") as file:
        sha256 = hashlib.sha256()
        _put(file, sha256, len(text).to_bytes(8, "little") + text)
        for get in tensors.values():
            _put(file, sha256, _bytes(get()))
    return sha256.hexdigest()


def _bytes(array: Any) -> memoryview:
    import numpy as np

    return memoryview(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)


def _put(file: BinaryIO, sha256: Any, data: bytes | memoryview) -> None:
    sha256.update(data)
    file.write(data)


def write_snapshot(folder: Path, snapshot: Snapshot) -> None:
    """The last of its files to be written. Raises `WriteError`."""
    body = json.dumps(encode(snapshot), separators=(",", ":"))
    digest = hashlib.sha256(body.encode()).hexdigest()
    write_text(folder / FILE, f'{{"sha256":"{digest}","snapshot":\n{body}\n}}\n', durable=True)


def remove_files(folder: Path, keep: Iterable[str] = ()) -> None:
    """What snapshots left in a folder, but for the files named; nothing else."""
    kept = set(keep)
    with contextlib.suppress(OSError):
        for path in sorted(folder.iterdir()):
            if _OURS.fullmatch(path.name) and path.name not in kept:
                left.remove(path)


# ---------------------------------------------------------------- reading


def read_snapshot(folder: Path, plan: Plan, of: Of) -> Snapshot | None:
    """The snapshot in a folder, None where there is none. Checked are its types and digests, that
    it is of this run, and every tensor and piece against what the plan says of its position.

    Raises `RunError` with what is wrong and what to do.
    """
    if not (folder / FILE).is_symlink() and not (folder / FILE).exists():
        return None
    try:
        snapshot = _parsed(_regular(folder, FILE))
        if fault := _stranger(snapshot.of, of) or _impossible(snapshot, plan.program):
            raise PlanError(fault)
        _check_state(folder, snapshot, plan.program)
        _check_pieces(folder, snapshot, plan.program)
    except (PlanError, ConfigError) as error:
        raise RunError(
            f"{folder}: cannot go on from the snapshot there: {error}; {_REMEDY}"
        ) from None
    return snapshot


_REMEDY = "run without --resume and with another folder, or remove this one, to begin anew"


def _regular(folder: Path, name: str) -> Path:
    path = inside(folder, name)
    if path is None or not path.is_file():
        raise PlanError(f"{name} is no file there")
    return path


_FRAME = re.compile(rb'\{"sha256":"([0-9a-f]{64})","snapshot":\n(.*)\n\}\n', re.DOTALL)


def _parsed(path: Path) -> Snapshot:
    with reading(path):
        raw = whole_file(path, MOST_BYTES)
    found = None if raw is None else _FRAME.fullmatch(raw)
    if found is None or hashlib.sha256(found[2]).hexdigest() != found[1].decode():
        raise PlanError(f"{FILE} is damaged")
    try:
        made: Snapshot = decode(Snapshot, parse_json(found[2]), FILE)
    except (ValueError, OverflowError) as error:
        raise PlanError(
            f"{FILE}: {error}" if not isinstance(error, PlanError) else str(error)
        ) from None
    if made.version != VERSION:
        raise PlanError(f"{FILE} is of version {made.version}, this is {VERSION}")
    return made


def _stranger(found: Of, wanted: Of) -> str | None:
    """What says that it is of another run."""
    if found.plan != wanted.plan:
        return "it is of another plan"
    theirs, ours = dict(found.inputs), dict(wanted.inputs)
    for name in sorted(theirs.keys() | ours.keys()):
        if theirs.get(name) != ours.get(name):
            return f"it is of another {name!r} ({_short(theirs.get(name))})"
    if (found.device, found.arithmetic) != (wanted.device, wanted.arithmetic):
        theirs_, ours_ = (f"{o.device} {o.arithmetic}".strip() for o in (found, wanted))
        return f"it is of device {_short(theirs_)}, this run is on {ours_}"
    before, now = dict(found.versions), dict(wanted.versions)
    for name in sorted(before.keys() | now.keys()):
        if before.get(name) != now.get(name):
            return (
                f"it was made with {name[:40]} {_short(before.get(name))}, here is {now.get(name)}"
            )
    return None


def _short(value: object) -> str:
    return f"{value!r}"[:60]


def _impossible(snapshot: Snapshot, program: Program) -> str | None:
    """What cannot be of this plan."""
    segments, at = program.segments, snapshot.position
    if not 0 <= at.segment < len(segments) or not 0 <= at.iteration < segments[at.segment].count:
        return f"there is no iteration {at.segment}.{at.iteration}"
    if at == Position():
        return "it is of the beginning"
    counts = {s.name: s.count for s in segments[: at.segment] if s.until is not None}
    ended = dict(snapshot.ended)
    if ended.keys() != counts.keys() or len(ended) < len(snapshot.ended):
        return f"loops that ended are {', '.join(counts) or 'none'}"
    if wrong := [name for name, done in ended.items() if not 1 <= done <= counts[name]]:
        return f"loop {wrong[0]} does 1 to {counts[wrong[0]]} iterations, not {ended[wrong[0]]}"
    if any(not n or len(n) > _LONGEST or not n.isprintable() for n in snapshot.notes):
        return "a note in it is no line"
    return None


def _check_state(folder: Path, snapshot: Snapshot, program: Program) -> None:
    at, decls = snapshot.position, {t.name: t for t in program.tensors}
    name = state_name(at.step(program))
    found = read_header(_digested(folder, name, snapshot.state))
    allowed: dict[str, Port] = {}
    needed = set()
    for tensor in alive_at(program, at):
        decl = decls[tensor]
        if decl.slots == 1:
            needed.add(tensor)
        slots = [None] if decl.slots == 1 else range(decl.slots)
        allowed |= {key_of(tensor, k): decl.port for k in slots}
    if stray := sorted(found.keys() - allowed.keys()):
        raise PlanError(
            f"{name}: tensor {stray[0][:100]!r} is not there at step {at.step(program)}"
        )
    if missing := sorted(needed - found.keys()):
        raise PlanError(f"{name}: lacks tensor {missing[0]!r}")
    for key, stored in found.items():
        _check_port(f"{name}: tensor {key!r}", stored, allowed[key])


def _check_port(where: str, stored: Any, port: Port) -> None:
    if stored.shape != port.shape or stored.dtype not in STORED[port.dtype]:
        wanted = f"{port.dtype} of {port.shape}"
        raise PlanError(f"{where}: is {stored.dtype} of {stored.shape}, the plan says {wanted}")


def _check_pieces(folder: Path, snapshot: Snapshot, program: Program) -> None:
    wanted = delivered_at(program, snapshot.position, dict(snapshot.ended)).pieces
    turn = dict.fromkeys(wanted, 0)
    for number, piece in enumerate(snapshot.pieces):
        name, output = piece_name(number), piece.output
        if output not in wanted or turn[output] == len(wanted[output]):
            raise PlanError(f"{name}: no such piece of {output[:60]!r} is made by then")
        found = read_header(_digested(folder, name, piece.sha256))
        if found.keys() != {output}:
            raise PlanError(f"{name}: holds another tensor than {output!r}")
        _check_port(name, found[output], wanted[output][turn[output]])
        turn[output] += 1
    for output, ports in wanted.items():
        if turn[output] < len(ports):
            raise PlanError(f"{turn[output]} of {len(ports)} pieces of {output!r} are there")


def _digested(folder: Path, name: str, sha256: str) -> Path:
    path = _regular(folder, name)
    with reading(path):
        if file_sha256(path) != sha256:
            raise PlanError(f"{name} holds other bytes than it did")
    return path


def tensors_in(path: Path) -> Iterator[tuple[str, Any]]:
    """The arrays of a file that was checked, one by one; whoever takes them may write to them."""
    import numpy as np
    from safetensors import safe_open

    with reading(path), safe_open(path, "numpy") as file:
        for key in file.keys():  # noqa: SIM118 (it is no dict)
            array = file.get_tensor(key)
            yield key, array if array.flags.writeable else np.array(array)
