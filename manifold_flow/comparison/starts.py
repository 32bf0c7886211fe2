"""Where the replicas of an optimizer start: on M, or a little beside it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifold_flow.arrays import refuse_too_large
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.optimizers import Optimizer

__all__ = ["displaced", "independent_runs"]

Array = NDArray[np.float64]

#: more starts of a deterministic optimizer only repeat what it does
MOST_STARTS = 16


def independent_runs(optimizer: Optimizer, replicas: int) -> int:
    """Return how many replicas there are to be: at most 16 without randomness.

    Parameters
    ----------
    optimizer : Optimizer
        Deterministic if it has neither batches nor label noise.
    replicas : int
        As asked for.

    Returns
    -------
    int
        As many, or 16.
    """
    deterministic = optimizer.batches.are_full and optimizer.label_noise is None
    return min(replicas, MOST_STARTS) if deterministic else replicas


def displaced(
    optimizer: Optimizer,
    manifold: ZeroLossManifold,
    start: Array,
    replicas: int,
    rng: np.random.Generator,
) -> Array:
    """Return the starts of replicas, shape (R, p).

    Without label noise an optimizer rests on M, or has no direction there.  It starts
    beside M, in random normal directions, at the root of its slow time per step;
    projected on M that is the same start to first order.

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
    refuse_too_large("the replicas", replicas, start.size)
    starts = np.tile(start, (replicas, 1))
    if optimizer.label_noise is not None:
        return starts
    normal = rng.standard_normal((replicas, manifold.model.n_residuals))
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    distance = np.sqrt(optimizer.time_per_step)
    return starts + distance * normal @ manifold.normal_basis(start)
