"""Finding the files of an `.mlpackage` without ever leaving its folder."""

from __future__ import annotations

import json
from pathlib import Path

from entracte.reference.errors import PackageError

_MANIFEST_LIMIT = 1 << 20
_MODEL_LIMIT = (1 << 31) - 1
"""Protobuf's own limit on a serialized message."""


def inside(package: Path, root: Path, path: Path, what: str) -> Path:
    """The real path of a regular file below `root`.

    Raises:
        PackageError: it does not exist, is not a regular file, or leads out of the package
            (`..`, an absolute path, a link).
    """
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise PackageError(package, f"{what} {str(path)!r} cannot be opened: {error}") from None
    if not real.is_relative_to(root.resolve()):
        raise PackageError(package, f"{what} {str(path)!r} leads outside the package")
    if not real.is_file():
        raise PackageError(package, f"{what} {str(path)!r} is not a regular file")
    return real


def model_file(package: Path) -> Path:
    """The `.mlmodel` file that the manifest's root identifier names.

    Raises:
        PackageError: no folder, no manifest, or a manifest that does not say where the model is.
    """
    if not package.is_dir():
        raise PackageError(package, "not a folder; an .mlpackage is a folder with a Manifest.json")
    manifest = inside(package, package, package / "Manifest.json", "manifest")
    if manifest.stat().st_size > _MANIFEST_LIMIT:
        raise PackageError(package, "Manifest.json is larger than 1 MiB")
    try:
        entries = json.loads(manifest.read_bytes())
        item = entries["itemInfoEntries"][entries["rootModelIdentifier"]]["path"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise PackageError(package, f"Manifest.json is not a package manifest: {error!r}") from None
    if not isinstance(item, str):
        raise PackageError(package, "Manifest.json: the root model's path is not a string")
    model = inside(package, package, package / "Data" / item, "model")
    if model.stat().st_size > _MODEL_LIMIT:
        raise PackageError(package, "the model specification is larger than 2 GiB")
    return model


def blob_file(package: Path, model_folder: Path, name: str) -> Path:
    """The weight file behind a program's name such as `@model_path/weights/weight.bin`."""
    prefix = "@model_path/"
    if not name.startswith(prefix):
        raise PackageError(package, f"weight file {name!r} does not start with {prefix!r}")
    return inside(package, package, model_folder / name[len(prefix) :], "weight file")
