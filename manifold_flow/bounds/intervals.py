"""Intervals of preactivations, and what an activation does at least on them."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from manifold_flow.activations import Activation
from manifold_flow.arrays import as_finite
from manifold_flow.bounds.curvatures import sample_curvatures
from manifold_flow.errors import ActivationError, DataError, HypothesisError
from manifold_flow.models.two_layer import TwoLayerNetwork

__all__ = [
    "Interval",
    "curvature_ratio",
    "minimum",
    "slope_floor",
    "sublevel_interval",
]

Array = NDArray[np.float64]
Interval = tuple[float, float]

#: beyond this preactivation an interval is called unbounded
FAR = 1e8


def slope_floor(activation: Activation, interval: Interval) -> float:
    r"""Return :math:`\rho_1 = \min_I \phi'`.

    Parameters
    ----------
    activation : Activation
        φ.
    interval : (float, float)
        I, bounded.

    Returns
    -------
    float
        The minimum, to the accuracy of a bounded scalar minimisation.
    """
    return minimum(lambda z: activation.derivative(z, 1), interval)


def curvature_ratio(activation: Activation, interval: Interval) -> float:
    r"""Return :math:`\kappa_\phi = \min_I \phi'''/\phi'`, the hidden convexity.

    Parameters
    ----------
    activation : Activation
        φ.
    interval : (float, float)
        I, bounded.

    Returns
    -------
    float
        The minimum; positive under the hypotheses of Gatmiry et al.

    Examples
    --------
    For sinh the two derivatives are equal:

    >>> curvature_ratio(Activation.of("sinh"), (-1.0, 2.0))
    1.0
    """

    def ratio(z: Array) -> Array:
        _, slope, _, third = activation.derivatives(z)
        quotient: Array = third / slope
        return quotient

    return minimum(ratio, interval)


def sublevel_interval(model: TwoLayerNetwork, point: Array) -> Interval:
    r"""Return an interval that holds every z_ij for ever, known before the flow runs.

    S never increases, so :math:`\phi'(z_{ij})^2 \le S_0 / (2 w_i a_j^2)`; where φ' is
    unbounded on one side only, the constraint bounds the other side (positive output
    weights; theory notes §1.8).

    Parameters
    ----------
    model : TwoLayerNetwork
        With φ' positive and convex.
    point : array, shape (p,)
        Start on the zero-loss manifold.

    Returns
    -------
    (float, float)
        The interval I.

    Raises
    ------
    HypothesisError
        If the sublevel set is not bounded by these arguments.
    """
    weights = sample_curvatures(model)[:, None] * model.output_weights**2
    z = model.features(point)
    slopes = model.activation.derivative(z, 1)
    start = 2.0 * float((weights * slopes**2).sum())
    steepest = np.sqrt(start / (2.0 * weights))
    upper = _last_below(model.activation, z, steepest, +1.0)
    lower = _last_below(model.activation, z, steepest, -1.0)
    if not np.isfinite(lower).all() and np.isfinite(upper).all():
        lower = _bound_by_constraint(model, upper)
    elif not np.isfinite(upper).all() and np.isfinite(lower).all():
        upper = _bound_by_constraint(model, lower)
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        raise HypothesisError(
            "the sharpness does not bound the preactivations of "
            f"{model.activation.name} with these output weights, so no rate is known "
            "before the flow has run. Use the interval seen along the path."
        )
    return float(lower.min()), float(upper.max())


def _last_below(activation: Activation, z: Array, bound: Array, side: float) -> Array:
    """Furthest point on one side of z up to which φ' <= bound, entry by entry."""
    near, width = z.copy(), np.ones_like(z)
    while True:
        beyond = activation.derivative(z + side * width, 1) > bound
        if beyond.all():
            break
        if width.max() > FAR:
            return np.full_like(z, side * np.inf)
        width = np.where(beyond, width, 2.0 * width)
    far = z + side * width
    for _ in range(100):
        middle = 0.5 * (near + far)
        inside = activation.derivative(middle, 1) <= bound
        near, far = np.where(inside, middle, near), np.where(inside, far, middle)
    return far


def _bound_by_constraint(model: TwoLayerNetwork, ends: Array) -> Array:
    """Bound a_j φ(z_ij) = y_i − Σ_{k≠j} a_k φ(z_ik) by the ends of the others."""
    if (model.output_weights < 0).any():
        return np.full_like(ends, np.inf)
    terms = model.output_weights * model.activation(ends)
    others = terms.sum(axis=1, keepdims=True) - terms
    try:
        return model.activation.inverse(
            (model.targets[:, None] - others) / model.output_weights
        )
    except ActivationError:
        return np.full_like(ends, np.inf)


def minimum(function: Callable[[Array], Array], interval: Interval) -> float:
    """Return the minimum over an interval: a grid, then its best cell refined.

    Parameters
    ----------
    function : callable
        ``z (K,) -> values (K,)``.
    interval : (float, float)
        Bounded.

    Returns
    -------
    float
        The minimum; a value of the function.

    Raises
    ------
    DataError
        If the interval is none.
    """
    low, high = _ends(interval)
    grid = np.linspace(low, high, 2001)
    values = np.asarray(function(grid), dtype=float)
    best = int(np.argmin(values))
    bracket = (grid[max(best - 1, 0)], grid[min(best + 1, 2000)])
    if bracket[0] == bracket[1]:
        return float(values[best])
    found = minimize_scalar(
        lambda z: float(function(np.array([z]))[0]), bounds=bracket, method="bounded"
    )
    return float(min(values[best], found.fun))


def _ends(interval: Interval) -> Interval:
    ends = as_finite("interval", interval, 1)
    if ends.shape != (2,) or ends[0] > ends[1]:
        raise DataError(
            f"interval = {ends.tolist()}: a minimum is taken between two numbers, the "
            "smaller first. Pass bounds.sublevel_interval(model, start)."
        )
    return float(ends[0]), float(ends[1])
