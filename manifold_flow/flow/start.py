"""Where a path may start: a regular point of the zero-loss manifold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite
from manifold_flow.errors import (
    OffManifoldError,
    RankDeficientJacobianError,
    ShapeError,
)
from manifold_flow.linearization import REGULAR_MARGIN, RegularPoint
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.models.model import Model
from manifold_flow.projection import residual_scale

__all__ = ["refuse_irregular", "regular_start", "shaped_start"]

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
    point = shaped_start(manifold, start)
    reduction = manifold.model.reduction()
    refuse_irregular(reduction.model, reduction.restrict(point), point)
    return point


def shaped_start(manifold: ZeroLossManifold, start: ArrayLike) -> Array:
    """Return a start as a finite array of shape (p,), a read-only copy."""
    point = as_finite("start", start, 1)
    if point.shape != manifold.shape:
        raise ShapeError("start", manifold.shape, point.shape)
    return point


def refuse_irregular(smaller: Model, begin: Array, start: Array) -> None:
    """Raise if a start has loss or no tangent space.

    Parameters
    ----------
    smaller : Model
        The reduced model: all that is looked at is the same in it.
    begin : array, shape (p',)
        The start in it.
    start : array, shape (p,)
        The start.
    """
    here = smaller.linearize(begin)
    violation = float(np.abs(here.residual).max())
    tolerance = 1e-10 * residual_scale(here, start)
    if violation > tolerance:
        raise OffManifoldError(violation, tolerance)
    if here.rank_margin < REGULAR_MARGIN:
        # raises, naming rows, where rank < n
        here.multipliers(np.zeros(smaller.n_params))
        raise RankDeficientJacobianError(
            f"the start is {RegularPoint.of(here)}: a flow needs a regular "
            "point of the zero-loss set. Start elsewhere, or use fewer or less "
            "dependent samples.",
            here.singular_values,
        )
