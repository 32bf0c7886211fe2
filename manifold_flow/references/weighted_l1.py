"""The weighted ℓ1 programme, solved to rounding whatever the units of the data."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linprog

from manifold_flow.errors import ConvergenceError, HypothesisError

__all__ = ["weighted_l1"]

Array = NDArray[np.float64]

#: relative residual of X w = y above which no w is said to solve it
CONSISTENT = 1e-10
#: what the answer is refined to: primal relative to its terms, dual to the costs
ACCURATE = 1e-12
REFINEMENTS = 10


def weighted_l1(inputs: Array, targets: Array, costs: Array) -> Array:
    r"""Return argmin :math:`\sum_k c_k |w_k|` subject to X w = y.

    HiGHS knows absolute tolerances only (1e-7), so rows, columns, targets and costs
    are scaled to order 1, and its answer is refined: the programme of what is missing,
    magnified, is solved again (Gleixner, Steffy, Wolter 2016).

    Parameters
    ----------
    inputs : array, shape (n, d)
        X.
    targets : array, shape (n,)
        y.
    costs : array, shape (d,)
        c, positive where the column of X is not 0.

    Returns
    -------
    array, shape (d,)
        w; exactly 0 in the coordinates of zero columns.

    Raises
    ------
    HypothesisError
        If no w satisfies X w = y.
    ConvergenceError
        If HiGHS fails or the refinement stagnates; carries its words and numbers.
    """
    used = (inputs != 0).any(axis=0)
    weights = np.zeros(len(costs))
    columns = np.abs(inputs[:, used]).max(axis=0)
    scaled = inputs[:, used] / columns
    rows = np.abs(scaled).max(axis=1, initial=0.0)
    rows[rows == 0.0] = 1.0
    scaled, right = scaled / rows[:, None], targets / rows
    _need_consistent(scaled, right)
    size = float(np.abs(right).max())
    if size > 0.0:
        prices = costs[used] / columns
        split = _refined(scaled, right / size, prices / prices.max())
        weights[used] = size * split / columns
    return weights


def _need_consistent(inputs: Array, targets: Array) -> None:
    found, *_ = np.linalg.lstsq(inputs, targets, rcond=None)
    missing = float(np.abs(inputs @ found - targets).max())
    if missing > CONSISTENT * float(np.abs(targets).max()):
        raise HypothesisError(
            "no w satisfies X w = y, so no parameters have zero loss: the best one "
            f"misses by {missing:.3g} with rows scaled to order 1. Remove dependent "
            "samples."
        )


def _refined(inputs: Array, targets: Array, costs: Array) -> Array:
    """Solve min c·x, [X, −X] x = y, x ≥ 0 with ever smaller errors; return w."""
    matrix, price = np.hstack([inputs, -inputs]), np.tile(costs, 2)
    x, dual = np.zeros(len(price)), np.zeros(len(targets))
    magnify, primal, gap = 1.0, np.inf, np.inf
    for _ in range(REFINEMENTS):
        reduced = price - dual @ matrix
        found = linprog(
            magnify * reduced,
            A_eq=matrix,
            b_eq=magnify * (targets - matrix @ x),
            bounds=np.stack([-magnify * x, np.full_like(x, np.inf)], axis=1),
            method="highs",
        )
        if found.x is None:
            break
        x = np.maximum(x + found.x / magnify, 0.0)
        dual = dual + found.eqlin.marginals / magnify
        reduced = price - dual @ matrix
        primal = float(np.abs(targets - matrix @ x).max())
        gap = max(float(-reduced.min()), float((x * reduced).max()))
        if max(primal, gap) <= ACCURATE:
            positive, negative = np.split(x, 2)
            return np.asarray(positive - negative, dtype=float)
        magnify = min(1e12, 1.0 / max(primal, gap, 1e-12))
    raise ConvergenceError(
        f"the weighted l1 programme stopped {primal:.1e} from X w = y and {gap:.1e} "
        f"from its optimum, data scaled to order 1 (HiGHS: {found.message}). Rescale "
        "the features to similar sizes."
    )
