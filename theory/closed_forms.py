r"""Exact flows and minimisers as formulas: oracles for the tests.

Every function takes exact numbers or SymPy expressions and returns the like, so that a
test can hold a numerical answer against ``float(...)`` of the exact one.

=========================================  =========================================
Two-layer network, theory notes 1.5        `collapsed_point`, `least_trace`
... with positive output weights, 1.12a    `stationary_point`, `output_of_multiplier`
Diagonal network, 3.2 and 3.3              `diagonal_flow`, `weighted_l1`
Matrix sensing and deep factorisation,     `nuclear_norm`, `least_matrix_trace`,
4.1 and 5.1                                `least_deep_trace`
Deep linear regression, 6.2                `sharpness_at_scale`, `minimal_sharpness`
=========================================  =========================================
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import sympy

from theory.activations import Z

__all__ = [
    "collapsed_point",
    "diagonal_flow",
    "least_deep_trace",
    "least_matrix_trace",
    "least_trace",
    "minimal_sharpness",
    "nuclear_norm",
    "output_of_multiplier",
    "sharpness_at_scale",
    "stationary_point",
    "weighted_l1",
]


def _inverse(increasing: sympy.Expr, value: Any) -> sympy.Expr:
    """Return the real root of an increasing function of z minus a value."""
    equation = increasing - sympy.sympify(value)
    if equation.is_polynomial(Z) and not equation.free_symbols - {Z}:
        roots = sympy.real_roots(equation, Z)
    else:
        roots = [root for root in sympy.solve(equation, Z) if root.is_real is not False]
    if len(roots) != 1:
        raise ValueError(
            f"{increasing} = {value} has the real solutions {roots}; a closed form "
            "needs exactly one. Use a function that increases on the real line and a "
            "value in its range."
        )
    return roots[0]


def collapsed_point(
    activation: sympy.Expr, targets: Sequence[Any], neurons: int
) -> sympy.Matrix:
    r"""Return the column of z*_i = φ⁻¹(y_i/m), the same for all neurons.

    Parameters
    ----------
    activation : sympy.Expr
        φ, increasing, in ``theory.activations.Z``.
    targets : sequence
        The y_i.
    neurons : int
        m; all output weights are 1.

    Examples
    --------
    >>> collapsed_point(Z**3/6 + Z, [sympy.Rational(20, 3), 0], 2).T
    Matrix([[2, 0]])
    >>> collapsed_point(sympy.sinh(Z), [3], 3)
    Matrix([[log(1 + sqrt(2))]])
    """
    return sympy.Matrix([_inverse(activation, sympy.S(y) / neurons) for y in targets])


def least_trace(
    activation: sympy.Expr,
    targets: Sequence[Any],
    neurons: int,
    weights: Sequence[Any],
) -> sympy.Expr:
    r"""Return F* = 2m Σ_i w_i φ'(z*_i)², the least trace of the two-layer network.

    Parameters
    ----------
    activation, targets, neurons
        As for `collapsed_point`.
    weights : sequence
        w_i = q_i ‖x_i‖², for the loss Σ q_i (r(x_i) − y_i)².

    Examples
    --------
    >>> targets = [sympy.Rational(20, 3), sympy.Rational(88, 3)]
    >>> least_trace(Z**3/6 + Z, targets, 2, [1, 1])
    360
    """
    slope = activation.diff(Z)
    point = collapsed_point(activation, targets, neurons)
    terms = (
        w * slope.subs(Z, z) ** 2 for w, z in zip(weights, point, strict=True)
    )
    return sympy.simplify(2 * neurons * sum(terms, sympy.S.Zero))


def stationary_point(
    activation: sympy.Expr, output_weights: Sequence[Any], beta: Any
) -> sympy.Matrix:
    r"""Return the row of z_j = (φ'')⁻¹(β/a_j): stationary on M for the multiplier β.

    Parameters
    ----------
    activation : sympy.Expr
        φ with φ''' > 0.
    output_weights : sequence
        The a_j.
    beta : number
        The multiplier of one input.

    Examples
    --------
    >>> stationary_point(Z**3/6 + Z, [1, 2], 3)
    Matrix([[3, 3/2]])
    """
    bend = activation.diff(Z, 2)
    return sympy.Matrix([[_inverse(bend, sympy.S(beta) / a) for a in output_weights]])


def output_of_multiplier(
    activation: sympy.Expr, output_weights: Sequence[Any], beta: Any
) -> sympy.Expr:
    r"""Return Σ_j a_j φ(z_j) at `stationary_point`; the minimiser's β makes it y_i.

    It increases with β when all a_j are positive.

    Parameters
    ----------
    activation, output_weights, beta
        As for `stationary_point`.

    Examples
    --------
    >>> output_of_multiplier(Z**3/6 + Z, [1, 2], 2)
    17/3
    """
    point = stationary_point(activation, output_weights, beta)
    terms = (
        a * activation.subs(Z, z) for a, z in zip(output_weights, point, strict=True)
    )
    return sympy.simplify(sum(terms, sympy.S.Zero))


def diagonal_flow(
    u0: Any, v0: Any, moment: Any, time: Any, lift: Any
) -> tuple[sympy.Expr, sympy.Expr]:
    r"""Return (u_k, v_k) of the sharpness flow: u_0 e^(−8ct+2p) and v_0 e^(−8ct−2p).

    The product u_k v_k is u_0 v_0 e^(−16ct) whatever p is; w_k = u_k² − v_k².

    Parameters
    ----------
    u0, v0 : number
        Start of the coordinate.
    moment : number
        c_k = (1/n) Σ_i z_ik².
    time : number
        t; in gradient flow of the loss, 0.
    lift : number
        p = (ZᵀA(t))_k, where A(t) ∈ Rⁿ solves Z w = y.

    Examples
    --------
    >>> p = sympy.Symbol("p", real=True)
    >>> u, v = diagonal_flow(1, 1, 1, 0, p)
    >>> u * v, sympy.simplify((u**2 - v**2).rewrite(sympy.sinh) - 2*sympy.sinh(4*p))
    (1, 0)
    """
    decay = -8 * sympy.sympify(moment) * time
    return u0 * sympy.exp(decay + 2 * lift), v0 * sympy.exp(decay - 2 * lift)


def weighted_l1(
    design: sympy.Matrix, targets: sympy.Matrix, weights: Sequence[Any]
) -> tuple[sympy.Expr, list[sympy.Matrix]]:
    r"""Return min Σ c_k |w_k| over Z w = y, and all vertices that attain it.

    Every vertex is tried, so keep d small.  One vertex means one solution; the
    solutions are the convex hull of the vertices.

    Parameters
    ----------
    design : sympy.Matrix
        Z, n × d, of rank n.
    targets : sympy.Matrix
        y, a column.
    weights : sequence
        The c_k > 0; all 1 is the plain norm.

    Examples
    --------
    >>> weighted_l1(sympy.Matrix([[1, 2]]), sympy.Matrix([2]), [1, 4])
    (2, [Matrix([
    [2],
    [0]])])
    """
    rows, columns = design.shape
    best, vertices = sympy.oo, []
    for support in combinations(range(columns), rows):
        square = design[:, list(support)]
        if square.det() == 0:
            continue
        vertex = sympy.zeros(columns, 1)
        for k, entry in zip(support, square.LUsolve(targets), strict=True):
            vertex[k] = entry
        value = sum(c * abs(w) for c, w in zip(weights, vertex, strict=True))
        if value < best:
            best, vertices = value, []
        if value == best and vertex not in vertices:
            vertices.append(vertex)
    if not vertices:
        raise ValueError(
            f"the {rows} x {columns} design has rank {design.rank()}, so it has no "
            f"basis of {rows} columns. Drop dependent rows."
        )
    return best, vertices


def _roots_of_spectrum(matrix: sympy.Matrix) -> sympy.Expr:
    """Return the sum of the square roots of the eigenvalues."""
    if matrix.shape == (2, 2):  # √a + √b = √(a + b + 2√ab): no nested roots
        return sympy.sqrt(matrix.trace() + 2 * sympy.sqrt(matrix.det()))
    spectrum = matrix.eigenvals()
    return sum((k * sympy.sqrt(value) for value, k in spectrum.items()), sympy.S.Zero)


def nuclear_norm(matrix: sympy.Matrix) -> sympy.Expr:
    r"""Return ‖M‖_*, the sum of the singular values.

    Parameters
    ----------
    matrix : sympy.Matrix
        Small and exact.

    Examples
    --------
    >>> nuclear_norm(sympy.Matrix([[3, 0], [4, 5]]))
    4*sqrt(5)
    """
    return _roots_of_spectrum(matrix * matrix.T)


def least_matrix_trace(
    measurements: Sequence[sympy.Matrix], matrix: sympy.Matrix
) -> sympy.Expr:
    r"""Return 4‖D₁^½ M D₂^½‖_*, the least trace of the Hessian over UVᵀ = M.

    For the loss (1/n) Σ (⟨A_i, UVᵀ⟩ − b_i)², D₁ = (1/n) Σ A_iA_iᵀ and
    D₂ = (1/n) Σ A_iᵀA_i.  The squares of the singular values are the eigenvalues of
    D₁MD₂Mᵀ, so no root of a matrix is needed.

    Parameters
    ----------
    measurements : sequence of sympy.Matrix
        The A_i.
    matrix : sympy.Matrix
        M.

    Examples
    --------
    >>> least_matrix_trace([sympy.diag(2, 1)], sympy.diag(0, 3))
    12
    """
    n = sympy.Integer(len(measurements))
    left = sum((a * a.T for a in measurements[1:]), measurements[0] * measurements[0].T)
    right = sum((a.T * a for a in measurements[1:]), measurements[0].T * measurements[0])
    return 4 * _roots_of_spectrum(left * matrix * right * matrix.T / n**2)


def least_deep_trace(
    nuclear: Any, inputs: int, outputs: int, depth: int
) -> sympy.Expr:
    r"""Return 2L (d_0 d_L)^(1/L) ‖M‖_*^(2(L−1)/L): the least trace over W_L…W_1 = M.

    For isotropic measurements and the loss (1/n) Σ (⟨A_i, W_L…W_1⟩ − b_i)².

    Parameters
    ----------
    nuclear : number
        ‖M‖_*.
    inputs, outputs : int
        d_0 and d_L.
    depth : int
        L.

    Examples
    --------
    >>> least_deep_trace(3, 2, 2, 2), least_deep_trace(8, 1, 1, 3)
    (24, 96)
    """
    share = sympy.Rational(1, depth)
    size = sympy.Integer(inputs * outputs) ** share
    return 2 * depth * size * sympy.sympify(nuclear) ** (2 * (1 - share))


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
