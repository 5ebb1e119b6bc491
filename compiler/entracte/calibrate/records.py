"""Paths of records and of build folders -> each run with the plan that it is of."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from entracte.calibrate.observed import Observation, observations
from entracte.errors import ConfigError, EntracteError
from entracte.ir import Plan, Run, Target
from entracte.plan.file import FILE as PLAN
from entracte.plan.file import read_plan
from entracte.run.origin import is_of
from entracte.run.record import FILE as RECORD
from entracte.run.record import NULL, read_run, run_of
from entracte.store.seal import file_sha256

MOST = 32
"""Paths at once."""
_REFERENCE = "reference"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A run, the plan that it is of, and the SHA-256 of the record's file."""

    path: Path
    digest: str
    plan: Plan
    run: Run

    @property
    def seen(self) -> tuple[Observation, ...]:
        """What is observed in it."""
        return observations(self.plan, self.run)


def recorded(paths: Sequence[str], where: str) -> tuple[Recorded, ...]:
    """The runs that paths name.

    A build folder brings its own run.json, unless a record of its plan is named too. A record is of
    the plan in its folder, or of one of the build folders that are named.

    Args:
        where: the setting or option that named the paths, for messages.

    Raises `ConfigError`.
    """
    if not 0 < len(paths) <= MOST:
        raise ConfigError(f"{where}: {len(paths)} paths; give 1 to {MOST}")
    places = [Path(text).expanduser() for text in paths]
    folders = [p for p in places if p.is_dir()]
    files = [p for p in places if not p.is_dir()]
    plans = {folder: _plan(folder, where) for folder in folders}
    found = [_of_file(file, plans, where) for file in files]
    for folder, plan in plans.items():
        if not any(is_of(plan, r.run) for r in found):
            found.append(_read(folder / RECORD, plan, where))
    return tuple(found)


def check_of(records: Sequence[Recorded], target: Target, where: str) -> None:
    """Figures are of one target, one compute unit and one device. Raises `ConfigError`."""
    for r in records:
        said = r.plan.target
        if profile_name(said.name) != profile_name(target.name):
            raise ConfigError(
                f"{where}: {r.path} is a run of a plan for {said.name}, and the target is "
                f"{target.name}; give target={profile_name(said.name)}, or a record of this one"
            )
        if said.compute_unit != target.compute_unit:
            raise ConfigError(
                f"{where}: {r.path} is of compute unit {said.compute_unit}, and the target's is "
                f"{target.compute_unit}; figures are of one unit: give "
                f"target.compute_unit={said.compute_unit}, or record a run of this one"
            )
        if (r.run.device == _REFERENCE) != (target.compute_unit == _REFERENCE):
            raise ConfigError(
                f"{where}: {r.path} was recorded on device {r.run.device}, which is not "
                f"{target.name} (compute unit {target.compute_unit}); give a record of that "
                "device, or compile and run for target=host to fit this machine"
            )
        if not r.run.bars:
            raise ConfigError(
                f"{where}: {r.path} tells no single load or call (it has no bars); run again"
            )
    devices = sorted({r.run.device for r in records})
    if len(devices) > 1:
        raise ConfigError(
            f"{where}: runs on several devices ({', '.join(devices)}); give those of one"
        )


def profile_name(name: str) -> str:
    """The name of the profile that a derived target's name begins with."""
    stem, dash, digest = name.rpartition("-")
    hexadecimal = len(digest) == DIGITS and set(digest) <= set("0123456789abcdef")
    return stem if dash and hexadecimal else name


DIGITS = 8
"""Of a derived target's digest, in its name."""


def _plan(folder: Path, where: str) -> Plan:
    if not (folder / PLAN).is_file():
        raise ConfigError(
            f"{where}: {folder} is no build folder (it has no {PLAN}); give a folder that "
            "`compile` made, or a record that `plan run --record` wrote"
        )
    try:
        return read_plan(folder)
    except EntracteError as error:
        raise ConfigError(f"{where}: {error}") from None


def _of_file(path: Path, plans: dict[Path, Plan], where: str) -> Recorded:
    """A record; its plan is one of those named, or the one beside it."""
    try:
        run = read_run(path)
    except EntracteError as error:
        raise ConfigError(f"{where}: {error}") from None
    assert run is not None
    plan = next((p for p in plans.values() if is_of(p, run)), None)
    if plan is None and (path.parent / PLAN).is_file():
        plan = _plan(path.parent, where)
    if plan is None:
        raise ConfigError(
            f"{where}: {path} is a record of none of the builds given; name the build folder that "
            f"was run, too: [BUILD,{path}]"
        )
    return _read(path, plan, where)


def _read(path: Path, plan: Plan, where: str) -> Recorded:
    try:
        run = run_of(plan, path)
        assert run is not None
        digest = file_sha256(path)
    except EntracteError as error:
        raise ConfigError(f"{where}: {error}") from None
    except OSError as error:
        raise ConfigError(f"{where}: {path}: {error.strerror}; run again") from None
    if run.device == NULL:
        raise ConfigError(
            f"{where}: {path} is of the null device, which observes nothing; run on another"
        )
    return Recorded(path, digest, plan, run)
