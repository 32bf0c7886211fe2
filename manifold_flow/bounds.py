r"""The constants of an instance: what the theorems promise for these data.

For the two-layer network, with :math:`w_i = c_i \|x_i\|^2 / 2` (c the curvatures of
the loss, so that all values are in the model's own loss), theory notes §1.6 and §1.8.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar

from manifold_flow.activations import Activation
from manifold_flow.arrays import as_finite
from manifold_flow.errors import ActivationError, DataError, HypothesisError
from manifold_flow.models.two_layer import TwoLayerNetwork

__all__ = [
    "convexity_threshold",
    "curvature_ratio",
    "hessian_coefficients",
    "local_rate",
    "pl_rate",
    "sample_curvatures",
    "slope_floor",
    "sublevel_interval",
]

Array = NDArray[np.float64]
Interval = tuple[float, float]

#: beyond this preactivation an interval is called unbounded
FAR = 1e8
#: relative spread of preactivations below which neurons count as collapsed
COLLAPSED = 1e-4


def sample_curvatures(model: TwoLayerNetwork) -> Array:
    """Return w_i = c_i ‖x_i‖²/2, shape (n,), so that S = 2 Σ w_i Σ a_j² φ'(z_ij)²."""
    _need_two_layers(model)
    return 0.5 * model.loss.curvatures * np.diag(model.inputs_gram)


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
    return _minimum(lambda z: activation.derivative(z, 1), interval)


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

    return _minimum(ratio, interval)


def pl_rate(model: TwoLayerNetwork, interval: Interval) -> float:
    r"""Return 2c of the Polyak-Łojasiewicz inequality |grad_M S|² ≥ 2c (S − S*).

    :math:`c = 4 \mu\, w_{\min}\, a_{\min}^2\, \rho_1^2\, \kappa_\phi`,
    :math:`\mu = \lambda_{\min}(X X^T)`.  Along :math:`\dot\theta = -\mathrm{grad}_M S`
    in I the gap falls at least like :math:`e^{-2ct}` (theory notes §1.8).

    Parameters
    ----------
    model : TwoLayerNetwork
        With independent input rows.
    interval : (float, float)
        I, holding all preactivations z_ij of the path and of the limit.

    Returns
    -------
    float
        2c, per unit of slow time at rate 1.

    Raises
    ------
    HypothesisError
        If the rows are dependent, or φ' > 0 or φ''' > 0 fails on I.
    """
    _need_independent_rows(model)
    slope = slope_floor(model.activation, interval)
    ratio = curvature_ratio(model.activation, interval) if slope > 0 else np.nan
    if not ratio > 0:
        raise HypothesisError(
            f"{model.activation.name} has min phi' = {slope:.3g} and min phi'''/phi' = "
            f"{ratio:.3g} on [{interval[0]:.4g}, {interval[1]:.4g}]; the inequality "
            "needs both positive. Use an activation with phi', phi''' > 0 there."
        )
    smallest = float((model.output_weights**2).min())
    mu = float(np.linalg.eigvalsh(model.inputs_gram)[0])
    weight = float(sample_curvatures(model).min())
    return 2.0 * (4.0 * mu * weight * smallest * slope**2 * ratio)


def convexity_threshold(model: TwoLayerNetwork, interval: Interval) -> float:
    r"""Return δ*: where |grad_M S| <= δ*, the Hessian of S on M is positive.

    :math:`\delta^* = 2 \sqrt\mu\, w_{\min}\, a_{\min}^2\,
    \min_I \phi'^2 \phi''' / |\phi''|`; at such points with all z_ij in I,
    :math:`\mathrm{Hess}_M S(u, u) \ge 2 \sum_{ij} w_i a_j^2 \phi'\phi'''
    (x_i^T u_j)^2` (theory notes §1.7).

    Parameters
    ----------
    model : TwoLayerNetwork
        With independent input rows.
    interval : (float, float)
        I, holding the preactivations of the point.

    Returns
    -------
    float
        δ*, in the model's own loss; infinity where φ'' = 0 on all of I.

    Raises
    ------
    HypothesisError
        If the rows are dependent, or φ''' > 0 fails on I.

    Examples
    --------
    >>> model = TwoLayerNetwork([[1.0]], [3.0], 2, "cubic", loss="sum")
    >>> convexity_threshold(model, (1.0, 10.0))
    4.5
    """
    _need_independent_rows(model)

    def bending(z: Array) -> Array:
        _, slope, second, third = model.activation.derivatives(z)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient: Array = slope**2 * third / np.abs(second)
        return quotient

    least = _minimum(bending, interval)
    if not least > 0:
        raise HypothesisError(
            f"{model.activation.name} has min phi'^2 phi'''/|phi''| = {least:.3g} on "
            f"[{interval[0]:.4g}, {interval[1]:.4g}]; local convexity needs it "
            "positive. Use an activation with phi', phi''' > 0 there."
        )
    smallest = float((model.output_weights**2).min())
    mu = float(np.linalg.eigvalsh(model.inputs_gram)[0])
    weight = float(sample_curvatures(model).min())
    return 2.0 * float(np.sqrt(mu)) * weight * smallest * least


def local_rate(model: TwoLayerNetwork, flattest: Array) -> float:
    r"""Return the exact rate at which S − S* falls near the flattest point.

    :math:`2 \lambda_{\min}(K\,\mathrm{diag}(4 w a^2 \phi'(z^*)\phi'''(z^*)))` for
    equal output weights a (theory notes §1.8).

    Parameters
    ----------
    model : TwoLayerNetwork
        With equal output weights and at least two neurons.
    flattest : array, shape (p,)
        The flattest point.

    Returns
    -------
    float
        The rate, per unit of slow time at rate 1.

    Raises
    ------
    HypothesisError
        If the output weights differ, the rows are dependent, or the point is not the
        flattest one.
    """
    _need_independent_rows(model)
    if np.ptp(model.output_weights) != 0.0:
        raise HypothesisError(
            "the closed form of the local rate needs equal output weights. Take the "
            "spectrum of ZeroLossManifold.riemannian_hessian instead."
        )
    z = model.features(flattest)
    spread = float(np.ptp(z, axis=1).max())
    if not spread <= COLLAPSED * max(1.0, float(np.abs(z).max())):
        raise HypothesisError(
            f"the preactivations of a sample differ by up to {spread:.3g} over the "
            "neurons, so this is not the flattest point and has no local rate. Pass "
            "references.flattest_point(model, start)."
        )
    stiffness = hessian_coefficients(model, flattest)[:, 0]
    root = np.sqrt(stiffness)
    return float(2.0 * np.linalg.eigvalsh(root[:, None] * model.inputs_gram * root)[0])


def hessian_coefficients(model: TwoLayerNetwork, point: Array) -> Array:
    r"""Return the coefficients of the Riemannian Hessian of Tr ∇²L, shape (n, m).

    :math:`\mathrm{Hess}_M S(u, u) = \sum_{ij} h_{ij} (x_i^T u_j)^2` for tangent u with
    :math:`h_{ij} = 4 w_i a_j^2 [\phi'\phi''' + \phi''\Delta]_{ij}`,
    :math:`\Delta_{ij} = \phi''_{ij} - \beta_i / a_j`, :math:`\beta_i = \alpha_i/4w_i`
    and the multipliers α of the gradient (theory notes §1.4, §1.6).

    Parameters
    ----------
    model : TwoLayerNetwork
        The model.
    point : array, shape (p,)
        Point of the zero-loss manifold.

    Returns
    -------
    array, shape (n, m)
        h; positive where the trace is convex along that preactivation.
    """
    weights = sample_curvatures(model)[:, None]
    here = model.linearize(point)
    multipliers = here.multipliers(here.gram_gradient(np.diag(model.loss.curvatures)))
    ratio = (multipliers[:, None] / (4.0 * weights)) / model.output_weights
    excess = here.second - ratio
    inner = here.slopes * here.third + here.second * excess
    return 4.0 * weights * model.output_weights**2 * inner


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


def _minimum(function: Callable[[Array], Array], interval: Interval) -> float:
    """Minimum over an interval: a grid, then a refinement around its best cell."""
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


def _need_two_layers(model: TwoLayerNetwork) -> None:
    if not isinstance(model, TwoLayerNetwork):
        raise HypothesisError(
            f"these constants are proved for TwoLayerNetwork, not for {model!r}. For "
            "other models, take the spectrum of ZeroLossManifold.riemannian_hessian."
        )


def _need_independent_rows(model: TwoLayerNetwork) -> None:
    _need_two_layers(model)
    if model.rank < model.n_residuals:
        raise HypothesisError(f"{model.caveats[0]} (mu = lambda_min(XX^T) is 0).")
