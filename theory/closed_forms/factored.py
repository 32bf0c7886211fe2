"""Diagonal networks and matrix factorisations: theory notes 3, 4 and 5."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import sympy

__all__ = [
    "diagonal_flow",
    "least_deep_trace",
    "least_matrix_trace",
    "nuclear_norm",
    "weighted_l1",
]


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
    best: sympy.Expr = sympy.oo
    vertices: list[sympy.Matrix] = []
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
    n, (rows, columns) = sympy.Integer(len(measurements)), matrix.shape
    left = sum((a * a.T / n for a in measurements), sympy.zeros(rows))
    right = sum((a.T * a / n for a in measurements), sympy.zeros(columns))
    return 4 * _roots_of_spectrum(left * matrix * right * matrix.T)


def least_deep_trace(nuclear: Any, inputs: int, outputs: int, depth: int) -> sympy.Expr:
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
