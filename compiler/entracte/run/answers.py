"""What a device answered in a run, call by call: `plan run --answers FOLDER`.

A runner on a machine that cannot run packages answers from it, and by the digests of each call's
inputs it knows that all between the calls is right. The format: docs/plan-format.md, "Recorded
answers".
"""

import contextlib
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from entracte.devices import Device
from entracte.devices.arrays import NUMPY
from entracte.disk.folder import can_write, fresh, put
from entracte.disk.write import told, write_text
from entracte.errors import RunError
from entracte.ir import Plan, Port, Run

VERSION = 1
INDEX, BYTES = "answers.json", "answers.bin"


class Answers:
    """Takes calls as they are made; outputs go to the file at once, equal ones one time."""

    def __init__(self, plan: Plan, device: Device, file: BinaryIO) -> None:
        self._chunks = {c.id: c for c in plan.chunks}
        self._device, self._file = device, file
        self._places: dict[str, tuple[int, int]] = {}
        """Digest of an output's bytes -> where they are in the file."""
        self._end = 0
        self.calls: list[list[object]] = []
        self.run: Run | None = None
        """The record of the run, when it has ended well."""

    def take(
        self, chunk: str, function: str, inputs: Mapping[str, Any], outputs: Mapping[str, Any]
    ) -> None:
        """One call that was made."""
        takes, gives = self._chunks[chunk].ports_of(function)
        given = {p.name: _sha256(self._bytes(p, inputs[p.name])) for p in takes}
        made = {p.name: self._kept(self._bytes(p, outputs[p.name])) for p in gives}
        self.calls.append([chunk, function, given, made])

    def _bytes(self, port: Port, value: Any) -> bytes:
        array = np.asarray(self._device.fetch(value)).astype(NUMPY[port.dtype], copy=False)
        little = array.astype(array.dtype.newbyteorder("<"), copy=False)
        return little.reshape(port.shape).tobytes()

    def _kept(self, data: bytes) -> tuple[int, int]:
        digest = _sha256(data)
        if digest not in self._places:
            self._file.write(data)
            self._places[digest] = self._end, self._end + len(data)
            self._end += len(data)
        return self._places[digest]


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@contextlib.contextmanager
def recording(plan: Plan, device: Device, place: Path) -> Iterator[Answers]:
    """While a plan runs; the folder is there when the block has ended well and `Answers.run` is
    set, whole or not at all. Raises `RunError` as `check_place` does, and `WriteError`."""
    check_place(device.name, place)
    with fresh(place.absolute().parent, place.name) as aside:
        with told(place), (aside / BYTES).open("wb") as file:
            answers = Answers(plan, device, file)
            yield answers
        if answers.run is not None:
            write_text(aside / INDEX, _index(answers.run, answers.calls))
            put(aside, place.absolute())


def check_place(device: str, place: Path) -> None:
    """Raises `RunError` for a device or a folder that cannot be, before anything is run."""
    if device == "null":
        raise RunError("--answers: device null computes nothing; use `--device reference`")
    there = {p.name for p in place.iterdir()} if place.is_dir() else set()
    if place.is_symlink() or (place.exists() and not place.is_dir()) or there - {INDEX, BYTES}:
        raise RunError(
            f"--answers {place}: is there, and no recorded answers; name a folder that is not there"
        )
    if not place.name or not can_write(place.parent):
        raise RunError(f"--answers {place}: cannot be written; name another folder")


def _index(run: Run, calls: list[list[object]]) -> str:
    """A call a line."""
    head = {"version": VERSION, "plan": run.plan, "inputs": run.inputs}
    lines = ",\n".join(json.dumps(call, allow_nan=False) for call in calls)
    return f'{json.dumps(head, allow_nan=False)[:-1]}, "calls": [\n{lines}\n]}}\n'
