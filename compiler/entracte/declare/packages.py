"""Places in Python packages: to find one is to import it, which runs its code."""

from collections.abc import Sequence

from entracte.errors import ConfigError

OWN = "entracte"


def package_of(place: str) -> str | None:
    """The Python package that `package:NAME/FOLDER` imports, without what is below it; None for
    other places."""
    kind, colon, rest = place.partition(":")
    return rest.partition("/")[0].partition(".")[0] if colon and kind == "package" else None


def check_package(where: str, place: str, allowed: Sequence[str]) -> None:
    """Raises `ConfigError` where the place is in a package that nobody said may be imported."""
    name = package_of(place)
    if name is not None and name not in (OWN, *allowed):
        raise ConfigError(
            f"{where}: {place!r} imports the package {name!r}, which runs its code; if you "
            f"trust it, say so with `allow_packages=[{name}]`"
        )
