"""Where a path may start: a regular point of the zero-loss manifold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite
from manifold_flow.errors import OffManifoldError, RankDeficientJacobianError
from manifold_flow.linearization import REGULAR_MARGIN
from manifold_flow.manifold import ZeroLossManifold

__all__ = ["regular_start"]

Array = NDArray[np.float64]


def regular_start(manifold: ZeroLossManifold, start: ArrayLike) -> Array:
    """Return a start as an array, after checking it.

    Parameters
    ----------
    manifold : ZeroLossManifold
        The manifold M.
    start : array, shape (p,)
        The start.

    Returns
    -------
    array, shape (p,)
        A copy.

    Raises
    ------
    OffManifoldError
        If the start has loss.
    RankDeficientJacobianError
        If it is no regular point.
    """
    point = as_finite("start", start, 1).copy()
    here = manifold.linearize(point)
    violation, tolerance = float(np.abs(here.residual).max()), manifold.tolerance(point)
    if violation > tolerance:
        raise OffManifoldError(violation, tolerance)
    if here.rank_margin < REGULAR_MARGIN:
        here.multipliers(np.zeros_like(point))  # raises, naming rows, where rank < n
        raise RankDeficientJacobianError(
            f"the start is {manifold.regular_point(point)}: a flow needs a regular "
            "point of the zero-loss set. Start elsewhere.",
            here.singular_values,
        )
    return point
