r"""The second derivative of the limit map Φ: how noise becomes drift.

Φ(θ) is where gradient flow from θ ends.  At a point of M, with
:math:`H = J^T \mathrm{diag}(c) J`, tangent vectors a and normal ones
:math:`b = J^T \beta`,

.. math::
   \partial^2\Phi[a, a] &= -H^+ D^3L[a, a] = -J^T G^{-1} D^2 r(a, a), \\
   \partial^2\Phi[a, b] &= -P_T D^3L[a, H^+ b]
       = -P_T \textstyle\sum_i \beta_i D^2 r_i\, a, \\
   \partial^2\Phi[J^T N J] &= -P_T D^3L[J^T V J]
       = -2 P_T \textstyle\sum_{ij} (\mathrm{diag}(c)\, G V)_{ij} D^2 r_i \nabla r_j,

V the solution of the Lyapunov equation :math:`H\, J^TVJ + J^TVJ\, H = J^TNJ` in the
normal space (theory notes §2.2).  Nothing of shape (p, p) appears.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite
from manifold_flow.errors import ShapeError, require
from manifold_flow.fluctuations import stationary_covariance
from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold

__all__ = ["limit_map_hessian", "normal_block", "tangent_block"]

Array = NDArray[np.float64]


def limit_map_hessian(
    manifold: ZeroLossManifold, point: ArrayLike, first: ArrayLike, second: ArrayLike
) -> Array:
    r"""Return ∂²Φ(θ)[a, b] at a point of M, where gradient flow from θ ends at Φ(θ).

    Of noise with covariance Σ in the gradient, an optimizer's limit has the drift
    :math:`\tfrac12 \partial^2\Phi[\Sigma]` along M.

    Parameters
    ----------
    manifold : ZeroLossManifold
        The manifold M.
    point : array, shape (p,)
        A point of M; elsewhere the formula does not hold.
    first, second : array, shape (p,)
        Any vectors a and b.

    Returns
    -------
    array, shape (p,)
        The derivative, in units of the parameters per unit of a and of b.

    Raises
    ------
    ShapeError, DataError
        For vectors of another shape, or not finite.
    RankDeficientJacobianError
        If the point is no regular point.

    References
    ----------
    Li, Wang, Arora (2021), arXiv:2110.06914; theory notes §2.2.

    Examples
    --------
    To the unit circle gradient flow is radial: Φ(1 + s, t) = (1 − t²/2, t − s t) + ...

    >>> import manifold_flow as mf
    >>> circle = mf.CallableModel(lambda t: [t @ t - 1.0], n_params=2)
    >>> manifold = mf.ZeroLossManifold(circle)
    >>> mf.limit_map_hessian(manifold, [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]) + 0.0
    array([-1.,  0.])
    >>> mf.limit_map_hessian(manifold, [1.0, 0.0], [1.0, 0.0], [0.0, 1.0]) + 0.0
    array([ 0., -1.])
    """
    require("manifold", manifold, ZeroLossManifold)
    here = manifold.linearize(point)
    a, b = _vector("first", first, manifold), _vector("second", second, manifold)
    alpha, beta = here.multipliers(a), here.multipliers(b)
    a_tangent, b_tangent = here.tangent_part(a), here.tangent_part(b)
    noise = 0.5 * (np.outer(alpha, beta) + np.outer(beta, alpha))
    mixed = here.curvature(beta, a_tangent) + here.curvature(alpha, b_tangent)
    # D²r(a, b) by polarisation
    bend = here.bend(a_tangent + b_tangent) - here.bend(a_tangent - b_tangent)
    return (
        normal_block(here, noise)
        - here.tangent_part(mixed)
        + tangent_block(here, 0.25 * bend)
    )


def normal_block(here: Linearization, noise: Array) -> Array:
    """Return ∂²Φ[JᵀNJ], a tangent vector of shape (p,).

    Parameters
    ----------
    here : Linearization
        The model at a point of M.
    noise : array, shape (n, n)
        Symmetric N.

    Returns
    -------
    array, shape (p,)
        The derivative.
    """
    fluctuations = stationary_covariance(here, noise)
    weights = here.curvatures[:, None] * here.gram @ fluctuations
    return -2.0 * here.tangent_part(here.couple(weights))


def tangent_block(here: Linearization, bend: Array) -> Array:
    """Return Σ_k ∂²Φ[a_k, a_k] of tangent vectors, a normal vector of shape (p,).

    Parameters
    ----------
    here : Linearization
        The model at a point of M.
    bend : array, shape (n,)
        Σ_k D²r(a_k, a_k).

    Returns
    -------
    array, shape (p,)
        The derivative: how M curves.
    """
    return -here.normal_solve(bend)


def _vector(name: str, value: ArrayLike, manifold: ZeroLossManifold) -> Array:
    vector = as_finite(name, value, 1)
    if vector.shape != manifold.shape:
        raise ShapeError(name, manifold.shape, vector.shape)
    return vector
