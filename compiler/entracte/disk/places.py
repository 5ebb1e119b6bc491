"""Places as users spell them: paths, and folders inside of packages."""

import os
from importlib.resources import files
from pathlib import Path

from entracte.disk.read import inside
from entracte.errors import ConfigError

_RANDOM = "random:"


def is_random(spec: str) -> bool:
    """Whether a place of weights is `random:SEED`: numbers of a seed, and no files."""
    return spec.startswith(_RANDOM)


def expanded(text: str, where: str) -> Path:
    """A path as a user wrote it, `~` included. Raises `ConfigError` for one that can be none."""
    path = Path(text)
    try:
        path = path.expanduser()
        os.lstat(path)
    except RuntimeError:
        raise ConfigError(
            f"{where}: {text!r}: there is no such user; write the whole path"
        ) from None
    except (FileNotFoundError, NotADirectoryError):
        return path
    except (OSError, ValueError) as error:
        what = error.strerror if isinstance(error, OSError) else str(error)
        raise ConfigError(f"{where}: {text[:200]!r} can be no path ({what})") from None
    return path


def weights_folder(spec: str, where: str = "pipeline.weights") -> Path:
    """The folder that `pipeline.weights` names; raises `ConfigError` if there is none."""
    if not spec:
        raise ConfigError(
            f"{where}: it is not said where the weights are; give a folder, or `random:0` to see "
            "sizes and times"
        )
    folder = place(spec, where)
    if not os.path.isdir(folder):  # also of names that no system takes
        file = " (it is a file: give the folder it is in)" if os.path.isfile(folder) else ""
        raise ConfigError(f"{where}: there is no folder {folder}{file}")
    return folder


def place(spec: str, where: str) -> Path:
    """A path, or, spelled `package:NAME/PATH`, what a Python package has there. Raises
    `ConfigError`."""
    kind, colon, rest = spec.partition(":")
    if not colon or kind != "package":
        return expanded(spec, where)
    package, _, inner = rest.partition("/")
    return _inside_package(where, spec, package, inner)


def _inside_package(where: str, spec: str, package: str, inner: str) -> Path:
    try:
        root = Path(str(files(package)))
    except (ImportError, ValueError, TypeError) as error:
        raise ConfigError(f"{where}: {spec!r} cannot be found ({error}); give a path") from None
    found = inside(root, inner)
    if found is None:
        raise ConfigError(f"{where}: there is no {root / inner} in the package")
    return found
