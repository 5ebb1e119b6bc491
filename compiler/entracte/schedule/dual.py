"""A linear program's dual bound, solved by HiGHS.

The bound is computed from the dual solution, so the solver's tolerances do not matter: any dual
that is feasible, or is made so, gives one.
"""

from collections.abc import Sequence
from typing import Any

_ROWS = 6_000
"""Up to so many the dual simplex takes half the time of an interior point, with more several times
as long (docs/planner.md)."""

Entries = tuple[list[int], list[int], list[float]]
"""Rows, columns and values of a matrix."""


def dual_bound(
    entries: Entries, cost: Sequence[float], right: Sequence[float], upper: Sequence[float]
) -> float:
    """At most the least cost of variables between 0 and `upper` whose rows are at most `right`, and
    at least 0. The faster method first, the other one where that fails; 0.0 where both do."""
    import numpy as np
    from scipy.sparse import csr_array

    rows, columns, values = (np.array(x) for x in entries)
    matrix: Any = csr_array((values, (rows, columns)), shape=(len(right), len(upper)))
    costs, rights, uppers = (np.array(x) for x in (cost, right, upper))
    methods = ("highs-ds", "highs-ipm")
    for method in methods if len(right) <= _ROWS else reversed(methods):
        dual = _dual(method, costs, matrix, rights, uppers)
        if dual is not None:
            rest = costs - matrix.T @ dual
            return max(0.0, float(dual @ rights + np.minimum(rest, 0.0) @ uppers))
    return 0.0


def _dual(method: str, cost: Any, matrix: Any, right: Any, upper: Any) -> Any:
    """The dual solution, none of it positive; None where HiGHS has none. All are arrays."""
    import numpy as np
    from scipy.optimize import linprog

    bounds = np.stack([np.zeros_like(upper), upper], axis=1)
    done = linprog(cost, A_ub=matrix, b_ub=right, bounds=bounds, method=method)
    if not done.success or done.ineqlin is None or done.ineqlin.marginals is None:
        return None
    dual = np.minimum(np.asarray(done.ineqlin.marginals, dtype=float), 0.0)
    return dual if dual.shape == right.shape and np.isfinite(dual).all() else None
