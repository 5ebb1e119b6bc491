"""What rests in some iterations of its loop: a stage, its blocks, or slices of its map."""

from collections.abc import Mapping

from entracte.declare.settings import ReuseSettings
from entracte.declare.words import is_whole
from entracte.errors import ConfigError
from entracte.ir import Reuse

_KEYS = ("every", "from", "to")
_WAYS = "give a list of iterations, or {every: N}, {from: A, to: B}, or all three"


def read_at(where: str, given: object, count: int | None) -> tuple[int, ...]:
    """Iterations, the first among them; nothing where they are all. Raises `ConfigError`.

    Args:
        given: a list, or a mapping of `every`, `from` and `to`: each N-th of those from A up to B,
            which is not one; nothing for all.
        count: iterations of the loop; None outside of loops.
    """
    if given is None:
        return ()
    if count is None:
        raise ConfigError(f"{where}: a stage outside of loops has no iterations; leave it out")
    if isinstance(given, Mapping):
        chosen = _range(where, given, count)
    else:
        listed = list(given) if isinstance(given, list | tuple) else [given]
        chosen = sorted({x for x in listed if is_whole(x)})
        if not all(map(is_whole, listed)):
            raise ConfigError(f"{where}: {given!r}: {_WAYS}")
    if not chosen or chosen[0] != 0 or chosen[-1] >= count:
        raise ConfigError(
            f"{where}: {list(chosen)[:8]}: iterations are 0 to {count - 1}, and 0 is one of them: "
            "what stands in the others must be made first"
        )
    return () if len(chosen) == count else tuple(chosen)


def _range(where: str, given: Mapping[object, object], count: int) -> list[int]:
    """Of `from` that is above 0 the first iteration too: what stands must be made."""
    ranges = {"every": 1, "from": 0, "to": count}
    every, first, stop = (v if (v := given.get(k)) is not None else ranges[k] for k in _KEYS)
    if not given or set(given) - set(_KEYS) or not all(map(is_whole, (every, first, stop))):
        raise ConfigError(f"{where}: {dict(given)}: {_WAYS}")
    assert isinstance(every, int) and isinstance(first, int) and isinstance(stop, int)
    if every < 1 or first < 0 or stop > count:
        raise ConfigError(
            f"{where}: {dict(given)}: every is at least 1, and `from` and `to` are of 0 to {count}"
        )
    return sorted({0, *range(first, stop, every)})


def read_reuse(where: str, s: ReuseSettings, count: int | None) -> Reuse | None:
    """Nothing where nothing rests. Raises `ConfigError`."""
    for key in ("first", "last"):
        if not is_whole(getattr(s, key)) or getattr(s, key) < 0:
            raise ConfigError(f"{where}.{key}: {getattr(s, key)}: give how many blocks, 0 or more")
    at = read_at(f"{where}.at", s.at, count)
    return Reuse(s.first, s.last, at) if at else None
