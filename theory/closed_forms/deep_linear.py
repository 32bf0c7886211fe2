"""Deep linear regression: theory notes 6.2."""

from __future__ import annotations

from typing import Any

import sympy

__all__ = ["minimal_sharpness", "sharpness_at_scale"]


def sharpness_at_scale(
    covariance: sympy.Matrix, target: sympy.Matrix, depth: int, scale: Any
) -> sympy.Expr:
    r"""Return 2 λ_max(tΣ̂ + (L−1) t^(−1/(L−1)) Σ̂^½ w*w*ᵀ Σ̂^½) at one scale t.

    It is the sharpness of the minimiser with rank-one aligned layers and ‖q_1‖² = t;
    the least over t is `minimal_sharpness`, and t = ‖w*‖^(2−2/L) is the balanced one.

    Parameters
    ----------
    covariance : sympy.Matrix
        Σ̂ = XᵀX/n, of the loss (1/n)‖y − Xw‖².
    target : sympy.Matrix
        w*, a column.
    depth : int
        L ≥ 2.
    scale : number
        t > 0.

    Examples
    --------
    >>> sharpness_at_scale(sympy.diag(1, 4), sympy.Matrix([1, 0]), 2, 1)
    8
    """
    gain = (depth - 1) * sympy.sympify(scale) ** sympy.Rational(-1, depth - 1)
    # similar to the symmetric matrix, and free of roots of a matrix
    similar = scale * covariance + gain * covariance * target * target.T
    return 2 * sympy.Max(*similar.eigenvals())


def minimal_sharpness(
    covariance: sympy.Matrix, target: sympy.Matrix, depth: int
) -> sympy.Expr:
    r"""Return S_min, the least λ_max(∇²R) over all global minimisers, exactly.

    With g(r) = w*ᵀΣ̂(I − rΣ̂)⁻¹w*,

    .. math::
        (S_{\min}/2)^L = \min_{0 < r \le 1/Λ} (L-1)^{L-1} g(r)^{L-1} / r :

    λ exceeds the top eigenvalue at scale t = λr iff I − rΣ̂ does, in this sense
    (statement deeplinear/minimal-sharpness-algebraic).  The logarithm is convex in r,
    so the minimum is the one root of (L−1) r g' = g, or the end of the interval.

    Parameters
    ----------
    covariance, target, depth
        As for `sharpness_at_scale`, with rational entries.

    Examples
    --------
    >>> minimal_sharpness(sympy.eye(2), sympy.Matrix([3, 4]), 2)
    20
    >>> minimal_sharpness(sympy.diag(1, 4), sympy.Matrix([1, 0]), 2)
    8*sqrt(3)/3
    """
    r = sympy.Symbol("r", positive=True)
    inverse = (sympy.eye(covariance.rows) - r * covariance).adjugate()
    determinant = (sympy.eye(covariance.rows) - r * covariance).det()
    g = sympy.cancel((target.T * covariance * inverse * target)[0] / determinant)
    condition = sympy.numer(sympy.cancel((depth - 1) * r * g.diff(r) - g))
    inner = [root for root in sympy.real_roots(sympy.Poly(condition, r)) if root > 0]
    ends = [root for root in sympy.real_roots(sympy.Poly(determinant, r)) if root > 0]
    best = sympy.Min(*inner, *ends)
    power = ((depth - 1) * g.subs(r, best)) ** (depth - 1) / best
    return sympy.simplify(2 * power ** sympy.Rational(1, depth))
