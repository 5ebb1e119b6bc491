"""Least absolute deviations without negative coefficients."""

import numpy as np

_NOTHING = 1e-3
"""A term that explains a smaller share of all seconds is not seen."""


def fitted(
    terms: dict[str, np.ndarray],
    seconds: np.ndarray,
    known: dict[str, float],
    rates: frozenset[str],
    together: tuple[str, ...] = (),
) -> dict[str, tuple[float, str]]:
    """Seconds per unit of each term, and with which other one it was fitted together.

    The sum over observations of |fitted - observed| is the least that it can be: as with a median,
    single observations that are far off move nothing. It is of seconds and not of their ratios,
    which err low: what a plan is to tell is a sum of seconds.

    A rate that comes out as nothing cannot be told from the others: it shares one factor with the
    rate that takes most, so that both keep the proportion that they had.

    Args:
        terms: name -> quantity in each observation.
        seconds: observed.
        known: name -> seconds per unit as they were before; may be 0.
        rates: the terms that may not be nothing; 0 where no rate is seen.
        together: terms that share one factor from the start.
    """
    seen = [name for name in terms if terms[name].any()]
    groups = [[n for n in seen if n in together], *([n] for n in seen if n not in together)]
    groups = [g for g in groups if g]
    while True:
        unit = [{n: known[n] if len(g) > 1 else 1.0 for n in g} for g in groups]
        columns = np.stack([sum(terms[n] * u[n] for n in u) for u in unit], axis=1)
        found = least_absolute(columns, seconds)
        takes = found * columns.sum(axis=0)
        poor = [i for i, g in enumerate(groups) if set(g) <= rates and _is_nothing(takes, i)]
        rich = [i for i, g in enumerate(groups) if set(g) <= rates and not _is_nothing(takes, i)]
        if not poor or not rich:
            break
        most = max(rich, key=lambda i: float(takes[i]))
        groups = [
            g + groups[poor[0]] if i == most else g for i, g in enumerate(groups) if i != poor[0]
        ]
    found[poor] = 0.0
    return {
        n: (float(factor) * u[n], ", ".join(sorted(set(u) - {n})))
        for u, factor in zip(unit, found, strict=True)
        for n in u
    }


def _is_nothing(takes: np.ndarray, i: int) -> bool:
    return float(takes[i]) <= _NOTHING * float(takes.sum())


def least_absolute(rows: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The coefficients, none below 0, with the least sum of |rows @ coefficients - wanted|.

    Args:
        rows: (observations, coefficients); wanted: (observations,), not all 0.
    """
    from scipy.optimize import linprog
    from scipy.sparse import bmat, eye_array

    count, width = rows.shape
    # Columns differ by ten orders of magnitude.
    scale = np.abs(rows).max(axis=0)
    bound = eye_array(count)
    made = linprog(
        np.concatenate([np.zeros(width), np.ones(count)]),
        A_ub=bmat([[rows / scale, -bound], [-rows / scale, -bound]], format="csr"),
        b_ub=np.concatenate([wanted, -wanted]) / wanted.max(),
        method="highs-ds",
    )
    assert made.status == 0, made.message
    # The solver's tolerance may be below 0.
    found: np.ndarray = np.maximum(made.x[:width], 0) * wanted.max() / scale
    return found
