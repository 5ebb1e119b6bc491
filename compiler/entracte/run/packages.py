"""Packages on disk against what the plan says of them: their own facts, and their bytes.

Facts (files, ports, functions, weights, activation peak) are read from the model alone and cost
milliseconds: a run checks all of them before it begins. Bytes are compared by SHA-256 right before
a package is loaded for the first time: what the digest reads stays in the system's page cache, from
which the load then takes it, so that the disk is read once. A file is read again only when its
inode, size or time of change is another one.
"""

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from entracte.errors import PlanError
from entracte.ir import Package, Plan, Port
from entracte.lower.identity import (
    MANIFEST,
    MODEL_FILE,
    WEIGHT_FILE,
    combined_digest,
    manifest_text,
)
from entracte.reference.errors import PackageError
from entracte.reference.info import Feature, PackageInfo, describe_all
from entracte.store.arrays import header_of
from entracte.store.seal import forget_sha256, known_sha256

_REMEDY = "compile again, or copy the build again"


def check_facts(plan: Plan, folder: Path) -> None:
    """Every package is what the plan counts on, by its own declarations. Reads no weights.

    Raises `PlanError` with the package, what differs and the remedy.
    """
    for package in plan.packages:
        _check_files(package, folder)
        _check_arrays(package, folder)
        _check_declared(package, folder)


def check_bytes(package: Package, folder: Path) -> None:
    """The package's files hold the bytes that the plan was made with. Raises `PlanError`."""
    _check_files(package, folder)
    path = folder / package.path
    model = known_sha256(path / MODEL_FILE)
    weights = known_sha256(path / WEIGHT_FILE) if (path / WEIGHT_FILE).exists() else None
    if combined_digest(model, weights) != package.digest:
        _fail(package, folder, f"{_changed(path, model)} holds other bytes than the plan says")
    if (path / MANIFEST).read_bytes() != manifest_text(model, weights).encode():
        _fail(package, folder, f"{MANIFEST} does not describe the model and the weights")
    if package.arrays is not None:
        _check_arrays(package, folder)
        if known_sha256(folder / package.arrays.path) != package.arrays.digest:
            _refuse(folder / package.arrays.path, "it holds other bytes than the plan says")


def check_all_bytes(plan: Plan, folder: Path) -> None:
    """`check_bytes` of all packages, read now whatever was read before."""
    forget_sha256()
    for package in plan.packages:
        check_bytes(package, folder)


def _changed(path: Path, model: str) -> str:
    """The file that is not what its manifest says; the manifest's identifiers are of digests."""
    try:
        manifest = (path / MANIFEST).read_text()
    except (OSError, ValueError):
        return MANIFEST
    root = manifest_text(model, None).partition('"rootModelIdentifier": "')[2].partition('"')[0]
    return WEIGHT_FILE if root in manifest and (path / WEIGHT_FILE).exists() else MODEL_FILE


def _check_files(package: Package, folder: Path) -> None:
    """The model, its weights, the manifest, and nothing else; as many bytes as the plan says."""
    path, size_bytes = folder / package.path, 0
    names = set()
    for name, found in _files(path):
        if name not in (MANIFEST, MODEL_FILE, WEIGHT_FILE) or not stat.S_ISREG(found.st_mode):
            _fail(package, folder, f"{name} does not belong to it")
        names.add(name)
        size_bytes += found.st_size
    if missing := sorted({MANIFEST, MODEL_FILE} - names):
        _fail(package, folder, f"{missing[0]} is missing")
    if size_bytes != package.file_bytes:
        _differs(package, folder, "bytes of files", size_bytes, package.file_bytes)


def _check_arrays(package: Package, folder: Path) -> None:
    """Of a graph that is shared: the chunk's arrays are a file as long as they make it, which
    begins as they say."""
    if package.arrays is None:
        return
    path, header = folder / package.arrays.path, header_of(package.arrays.ports)
    found = path.lstat() if path.exists() else None
    if found is None or not stat.S_ISREG(found.st_mode):
        _refuse(path, "it is missing, or no file")
    wanted = len(header) + package.weight_bytes
    for what, size_bytes in (
        ("it has", found.st_size),
        ("the plan says", package.arrays.file_bytes),
    ):
        if size_bytes != wanted:
            _refuse(path, f"{what} {size_bytes} bytes, its arrays make {wanted}")
    with path.open("rb") as file:
        if file.read(len(header)) != header:
            _refuse(path, "its header is not that of its arrays")


def _files(path: Path) -> Iterator[tuple[str, os.stat_result]]:
    for place in sorted(path.rglob("*")):
        if place.is_symlink() or not place.is_dir():
            yield place.relative_to(path).as_posix(), place.lstat()


def _check_declared(package: Package, folder: Path) -> None:
    try:
        weight_bytes, infos = describe_all(folder / package.path)
    except PackageError as error:
        raise PlanError(f"{error}; {_REMEDY}") from None
    if infos.keys() != set(package.functions):
        names, planned = ", ".join(infos), ", ".join(package.functions)
        _differs(package, folder, "functions", names, planned)
    peaks = [p for info in infos.values() if (p := info.activation_peak_bytes) is not None]
    if len(peaks) < len(infos):
        _fail(package, folder, "it has open shapes; all must be static")
    own_bytes = package.weight_bytes if package.arrays is None else 0
    for what, found, wanted in (
        ("bytes of weights", weight_bytes, own_bytes),
        ("bytes of activations", max(peaks), package.activation_bytes),
    ):
        if found != wanted:
            _differs(package, folder, what, found, wanted)
    for info in infos.values():
        _check_ports(package, folder, info)


def _check_ports(package: Package, folder: Path, info: PackageInfo) -> None:
    if info.states:
        _fail(package, folder, f"function {info.function} has states, which no plan has")
    inputs, outputs = package.features_of(info.function)
    where = "" if len(package.functions) == 1 else f" of function {info.function}"
    for what, features, ports in (
        ("inputs", info.inputs, inputs),
        ("outputs", info.outputs, outputs),
    ):
        found, wanted = sorted(map(_feature, features)), sorted(map(_port, ports))
        if found != wanted:
            _differs(package, folder, f"{what}{where}", ", ".join(found), ", ".join(wanted))


def _feature(feature: Feature) -> str:
    """Core ML has no rank 0: what has it in the program is of shape (1,) outside."""
    return f"{feature.name} {feature.dtype} {list(feature.shape) or [1]}"


def _port(port: Port) -> str:
    return f"{port.name} {port.dtype} {list(port.shape) or [1]}"


def _differs(package: Package, folder: Path, what: str, found: object, wanted: object) -> None:
    _fail(package, folder, f"it has {what} {found}, the plan says {wanted}")


def _fail(package: Package, folder: Path, what: str) -> NoReturn:
    _refuse(folder / package.path, what)


def _refuse(path: Path, what: str) -> NoReturn:
    raise PlanError(f"{path}: {what}; {_REMEDY}")
