"""Observations x target -> the target with the rates that were observed.

Each figure is either fitted to observations, or the profile's because too few tell it: what is said
of each is in `Figure.note`. The method is `lines.fitted`; docs/cost-model.md has it in words.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from entracte.calibrate.lines import fitted
from entracte.calibrate.observed import CALL, FIRST_LOAD, LOAD, Observation
from entracte.cost import CLASSES, MOVE, exec_seconds, work_seconds
from entracte.ir import Target, Work

FEWEST = 3
"""Observations without which a figure is not fitted."""
_ROUNDS = 8
"""At most, of which side of the roofline binds, and rates that follow from that."""
_ENDLESS = 1e30
_OVERHEAD, _BYTES, _FIRST, _MOVED = "overhead", "bytes", "first", "moved"
_NOTHING = (0.0, "")
_FEW = f"fewer than {FEWEST} observations"


@dataclass(frozen=True, slots=True)
class Figure:
    """One figure of a target: `efficiency.conv` for that of a class.

    Attributes:
        given: the profile's; None where it has none.
        value: the derived target's.
        observations: that it was fitted to; 0 where it is the profile's.
        note: why it is the profile's, or what it was fitted together with; else empty.
    """

    name: str
    given: float | None
    value: float | None
    observations: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A target with fitted figures, under the profile's name."""

    target: Target
    figures: tuple[Figure, ...]


def fit(target: Target, seen: Sequence[Observation]) -> Fitted:
    """The rates of loads and of calls that explain what was observed on this target."""
    loads, load_figures = _loads(target, seen)
    calls, call_figures = _calls(loads, [o for o in seen if o.kind == CALL])
    return Fitted(calls, (*load_figures, *call_figures))


def _rounded(value: float) -> float:
    """To four digits: more are noise, and would differ from one machine's arithmetic to another."""
    return float(f"{value:.4g}")


# ---------------------------------------------------------------- loads


def _loads(target: Target, seen: Sequence[Observation]) -> tuple[Target, tuple[Figure, ...]]:
    """`load_overhead_s`, `load_bandwidth`, `cold_bandwidth`."""
    first = [o for o in seen if o.kind == FIRST_LOAD and o.typical_s > 0]
    later = [o for o in seen if o.kind == LOAD and o.typical_s > 0]
    parted = min(len(first), len(later)) >= FEWEST
    used = [*first, *later] if parted else max(first, later, key=len)
    if len(used) < FEWEST:
        return _kept_loads(target, _FEW)
    found = _load_terms(target, used, parted=parted)
    if found.get(_BYTES, _NOTHING)[0] <= 0:
        return _kept_loads(target, "nothing that grows with bytes was seen")
    overhead_s, bytes_s = found.get(_OVERHEAD, _NOTHING)[0], found[_BYTES][0]
    first_s = found.get(_FIRST, (0.0, ""))[0]
    n = len(used)
    if parted or used is later:
        warm = _rounded(1 / bytes_s)
    else:
        # Nothing was loaded twice: known is that it is no slower then.
        warm = max(target.load_bandwidth, _rounded(1 / bytes_s))
    cold = _cold(target, warm, bytes_s, first_s, n=0 if used is later else n)
    made = replace(
        target, load_overhead_s=_rounded(overhead_s), load_bandwidth=warm, cold_bandwidth=cold
    )
    few_later, few_first = not (parted or used is later), used is later
    return made, (
        _figure(target, made, "load_overhead_s", n),
        _kept(target, "load_bandwidth", f"{_FEW} of a load that is not the first", warm)
        if few_later
        else _figure(target, made, "load_bandwidth", n, found[_BYTES][1]),
        _kept(target, "cold_bandwidth", f"{_FEW} of a first load", cold)
        if few_first
        else _figure(target, made, "cold_bandwidth", n),
    )


def _kept_loads(target: Target, why: str) -> tuple[Target, tuple[Figure, ...]]:
    names = ("load_overhead_s", "load_bandwidth", "cold_bandwidth")
    return target, tuple(_kept(target, name, why) for name in names)


def _load_terms(
    target: Target, used: Sequence[Observation], *, parted: bool
) -> dict[str, tuple[float, str]]:
    """Seconds per load, per byte, and, where both are known, per byte of a first load more."""
    size = np.array([float(o.size_bytes) for o in used])
    terms = {_OVERHEAD: np.array([o.share for o in used]), _BYTES: size}
    if parted:
        terms[_FIRST] = size * np.array([o.kind == FIRST_LOAD for o in used])
    per_byte = 1 / target.load_bandwidth
    cold = 1 / (target.cold_bandwidth or target.load_bandwidth)
    known = {
        _OVERHEAD: target.load_overhead_s,
        _BYTES: per_byte if parted or used[0].kind == LOAD else cold,
        _FIRST: max(0.0, cold - per_byte),
    }
    seconds = np.array([o.typical_s for o in used])
    found = fitted(terms, seconds, known, frozenset({_BYTES}))
    if found.get(_BYTES, _NOTHING)[0] > 0:
        return found
    # Time that does not grow with the bytes tells no bandwidth.
    return fitted(terms, seconds, known, frozenset(), together=(_OVERHEAD, _BYTES))


def _cold(target: Target, warm: float, bytes_s: float, first_s: float, *, n: int) -> float | None:
    if n == 0:
        given = target.cold_bandwidth
        return None if given is None else min(given, warm)
    cold = _rounded(1 / (bytes_s + first_s))
    return None if cold >= warm else cold


# ---------------------------------------------------------------- calls


def _calls(target: Target, calls: Sequence[Observation]) -> tuple[Target, tuple[Figure, ...]]:
    """`call_overhead_s`, `memory_bandwidth`, and the rate of each class.

    Which side of the roofline binds follows from the rates and they from it: begun both with the
    profile's sides and with all FLOPs binding, and the better end is taken.
    """
    seen = [o for o in calls if o.typical_s > 0]
    fast = replace(target, memory_bandwidth=_ENDLESS)
    ends = [_settled(target, start, seen) for start in (target, fast)]
    made, found, count = min(ends, key=lambda end: _deviation(end[0], seen))
    return made, _call_figures(target, made, found, count)


_Found = tuple[Target, dict[str, tuple[float, str]], dict[str, int]]


def _settled(target: Target, start: Target, seen: Sequence[Observation]) -> _Found:
    """Fitted until the sides that bind are those of the fit."""
    terms = _call_terms(start, seen)
    for _ in range(_ROUNDS):
        end = _calls_once(target, seen, terms)
        again = _call_terms(end[0], seen)
        if _same(again, terms):
            break
        terms = again
    return end


def _deviation(target: Target, seen: Sequence[Observation]) -> float:
    """What `lines.fitted` makes small."""
    each = ((exec_seconds(o.part, target), o.typical_s) for o in seen)
    return sum(abs(fitted_s - seen_s) for fitted_s, seen_s in each)


def _same(a: dict[str, np.ndarray], b: dict[str, np.ndarray]) -> bool:
    return all(np.array_equal(a[n], b[n]) for n in a)


def _call_terms(target: Target, seen: Sequence[Observation]) -> dict[str, np.ndarray]:
    """Calls, FLOPs of each class where these bind, and bytes moved where those do."""
    terms = {n: np.zeros(len(seen)) for n in (_OVERHEAD, *CLASSES, _MOVED)}
    terms[_OVERHEAD][:] = 1
    for i, o in enumerate(seen):
        for w in o.work:
            if w.kind != MOVE and _computes(w, target):
                terms[w.kind][i] += w.flops
            else:
                terms[_MOVED][i] += w.moved_bytes
    return terms


def _computes(work: Work, target: Target) -> bool:
    """Whether its FLOPs take longer than its bytes."""
    return work_seconds(work, target) > work.moved_bytes / target.memory_bandwidth


def _calls_once(
    target: Target, seen: Sequence[Observation], terms: dict[str, np.ndarray]
) -> _Found:
    """What few observations have stays the profile's; they are left out, unless they are most of
    all."""
    known = _known(target)
    count = {n: int(np.count_nonzero(t)) for n, t in terms.items()}
    kept = [n for n in terms if count[n] < FEWEST]
    seconds = np.array([o.typical_s for o in seen])
    aside = np.asarray(sum((terms[n] * known[n] for n in kept), np.zeros(len(seen))))
    use = aside == 0
    if 2 * int(use.sum()) < len(seen):
        use = aside <= seconds / 2
    if int(use.sum()) < FEWEST:
        return target, {}, count
    told = {n: t[use] for n, t in terms.items() if n not in kept and t[use].any()}
    rates = frozenset(told) - {_OVERHEAD}
    found = fitted(told, (seconds - aside)[use], known, rates)
    found = {n: x for n, x in found.items() if x[0] > 0 or n == _OVERHEAD}
    count = {n: int(np.count_nonzero(t[use])) for n, t in terms.items()}
    return _with_rates(target, {n: x[0] for n, x in found.items()}), found, count


def _known(target: Target) -> dict[str, float]:
    share = dict(target.efficiency)
    rates = {k: 1 / (target.compute_flops * share.get(k, 1.0)) for k in CLASSES}
    return {
        _OVERHEAD: target.call_overhead_s, **rates, _MOVED: 1 / target.memory_bandwidth
    }  # fmt: skip


def _with_rates(target: Target, per_unit: dict[str, float]) -> Target:
    """The target with the seconds per unit that were found; the fastest class has efficiency 1."""
    known = _known(target) | per_unit
    rates = {k: _rounded(1 / known[k]) for k in CLASSES if k != MOVE}
    fastest = max(rates.values())
    overhead, moved = known[_OVERHEAD], known[_MOVED]
    return replace(
        target,
        call_overhead_s=_rounded(overhead) if _OVERHEAD in per_unit else overhead,
        memory_bandwidth=_rounded(1 / moved) if _MOVED in per_unit else target.memory_bandwidth,
        compute_flops=fastest,
        efficiency=tuple(
            (k, min(1.0, _rounded(rates[k] / fastest))) for k in CLASSES if k in rates
        ),
    )


def _call_figures(
    target: Target, made: Target, found: dict[str, tuple[float, str]], count: dict[str, int]
) -> tuple[Figure, ...]:
    was, now = _known(target), _known(made)

    def figure(name: str, term: str, value: tuple[float, float]) -> Figure:
        if term not in found:
            return Figure(name, value[0], value[1], 0, _FEW)
        return Figure(name, *value, count[term], _together(found[term][1]))

    return (
        figure("call_overhead_s", _OVERHEAD, (target.call_overhead_s, made.call_overhead_s)),
        *(figure(f"rate.{k}", k, (1 / was[k], 1 / now[k])) for k in CLASSES if k != MOVE),
        figure("memory_bandwidth", _MOVED, (target.memory_bandwidth, made.memory_bandwidth)),
    )


# ---------------------------------------------------------------- figures


def _together(others: str) -> str:
    return f"not told apart from {others}" if others else ""


def _figure(target: Target, made: Target, name: str, n: int, others: str = "") -> Figure:
    return Figure(name, getattr(target, name), getattr(made, name), n, _together(others))


def _kept(target: Target, name: str, why: str, value: float | None = None) -> Figure:
    given = getattr(target, name)
    return Figure(name, given, given if value is None else value, 0, why)
