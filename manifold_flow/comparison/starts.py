"""Where the replicas of an optimizer start: on M, or a little beside it."""

from __future__ import annotations

from functools import singledispatch

import numpy as np
from numpy.typing import NDArray

from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.optimizers import Optimizer

__all__ = ["displaced", "independent_runs"]

Array = NDArray[np.float64]


@singledispatch
def _distance(optimizer: Optimizer) -> float:
    """Return how far from M an optimizer that rests on it starts; 0 for others."""
    return 0.0


@singledispatch
def independent_runs(optimizer: Optimizer, replicas: int) -> int:
    """Return how many replicas differ by more than where they start.

    Parameters
    ----------
    optimizer : Optimizer
        Deterministic ones need no more than 16.
    replicas : int
        As asked for.

    Returns
    -------
    int
        As many, or 16.
    """
    return replicas


def displaced(
    optimizer: Optimizer,
    manifold: ZeroLossManifold,
    start: Array,
    replicas: int,
    rng: np.random.Generator,
) -> Array:
    """Return the starts of replicas, shape (R, p).

    An optimizer whose every step follows a gradient rests on M; it starts at a distance
    of the size it keeps from M by itself, in random normal directions, so that the
    projected start moves at second order only.

    Parameters
    ----------
    optimizer : Optimizer
        What starts.
    manifold : ZeroLossManifold
        M.
    start : array, shape (p,)
        Point of M.
    replicas : int
        Number R.
    rng : Generator
        Of the directions.

    Returns
    -------
    array, shape (R, p)
        The starts.
    """
    starts = np.tile(start, (replicas, 1))
    distance = _distance(optimizer)
    if distance == 0.0:
        return starts
    normal = rng.standard_normal((replicas, manifold.model.n_residuals))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    return starts + distance * normal @ manifold.normal_basis(start)
