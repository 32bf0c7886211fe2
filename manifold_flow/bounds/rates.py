"""How fast the trace flow comes to rest, and where it is convex."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifold_flow.bounds.curvatures import (
    hessian_coefficients,
    need_independent_rows,
    sample_curvatures,
)
from manifold_flow.bounds.intervals import (
    Interval,
    curvature_ratio,
    minimum,
    slope_floor,
)
from manifold_flow.errors import HypothesisError
from manifold_flow.models.two_layer import TwoLayerNetwork

__all__ = ["convexity_threshold", "local_rate", "pl_rate"]

Array = NDArray[np.float64]

#: relative spread of preactivations below which neurons count as collapsed
COLLAPSED = 1e-4


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
    need_independent_rows(model)
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
    need_independent_rows(model)

    def bending(z: Array) -> Array:
        _, slope, second, third = model.activation.derivatives(z)
        with np.errstate(divide="ignore", invalid="ignore"):
            quotient: Array = slope**2 * third / np.abs(second)
        return quotient

    least = minimum(bending, interval)
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
    need_independent_rows(model)
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
