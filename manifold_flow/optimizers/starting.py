"""What a start must be before a run spends time on it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real, refuse_too_large
from manifold_flow.checks import count
from manifold_flow.errors import (
    DataError,
    HypothesisError,
    ShapeError,
    StabilityError,
)
from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model
from manifold_flow.optimizers.abstract import Optimizer
from manifold_flow.projection import residual_scale

__all__ = ["as_start", "refuse_hopeless"]

Array = NDArray[np.float64]

#: relative residual within which a start lies on M, as for ``ZeroLossManifold``
ON_MANIFOLD = 1e-10
#: distinct starts that are looked at: each costs a factorisation
LOOKED_AT = 8


def as_start(model: Model, start: ArrayLike, replicas: int | None) -> Array:
    """Return a start of shape (p,) or, with replicas, (replicas, p).

    Parameters
    ----------
    model : Model
        What is trained.
    start : array, shape (p,) or (replicas, p)
        The parameters.
    replicas : int or None
        Number of replicas; None for as many as there are rows, or one without them.

    Returns
    -------
    array
        A copy.

    Raises
    ------
    ShapeError
        If it is neither.
    DataError
        If it is not finite.
    """
    begin = as_real("start", start).copy()
    if replicas is not None:
        count("replicas", replicas)
    if begin.ndim == 1 and replicas is not None:
        refuse_too_large("the replicas", replicas, begin.size)
        begin = np.tile(begin, (replicas, 1))
    wanted = (model.n_params,) if begin.ndim < 2 else (len(begin), model.n_params)
    if begin.shape != wanted or (
        begin.ndim == 2 and replicas not in (None, len(begin))
    ):
        expected = (replicas or "replicas", model.n_params)
        raise ShapeError("start", f"({model.n_params},) or {expected}", begin.shape)
    if not np.isfinite(begin).all():
        raise DataError("start is not finite: NaN or infinity is no place to start.")
    return begin


def refuse_hopeless(optimizer: Optimizer, starts: Array) -> None:
    """Raise where the theory beside M says that a run from these starts must fail.

    Off M there is no theorem, and nothing is refused.

    Parameters
    ----------
    optimizer : Optimizer
        What would run.
    starts : array, shape (R, p)
        One row a replica; the first few distinct ones are looked at.

    Raises
    ------
    StabilityError
        If the learning rate is not stable at a start on M.
    HypothesisError
        If the optimizer needs the direction of the gradient, and a start on M has none.
    """
    for here in _on_manifold(optimizer.model, starts):
        if optimizer.needs_gradient:
            raise HypothesisError(
                f"max |residual| = {np.abs(here.residual).max():.1e} at the start: it "
                "lies on the zero-loss manifold, where the gradient is zero up to "
                f"rounding and {type(optimizer).__name__} has no direction. Start "
                "beside it, for example at start + 1e-3 * "
                "manifold.normal_basis(start)[0]."
            )
        threshold = optimizer.stability(here)
        if optimizer.learning_rate > threshold:
            raise StabilityError(
                f"learning_rate = {optimizer.learning_rate:.6g} is not stable at the "
                f"start: above {threshold:.6g} distances from the zero-loss manifold "
                f"grow (2/lambda_max = {2.0 / here.hessian_eigenvalues[0]:.6g}), so "
                "that the run would leave it. Use a smaller learning rate, a flatter "
                "start, or force=True to see it happen.",
                optimizer.learning_rate,
                threshold,
            )


def _on_manifold(model: Model, starts: Array) -> Iterator[Linearization]:
    """Yield the model seen from the distinct starts that lie on M."""
    for params in np.unique(starts, axis=0)[:LOOKED_AT]:
        with np.errstate(all="ignore"):
            largest = np.abs(model.residual(params)).max()
        if largest > 1.0 or not np.isfinite(largest):
            continue
        here = model.linearize(params)
        if largest <= ON_MANIFOLD * residual_scale(here, params):
            yield here
