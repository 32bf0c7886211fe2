"""Matrices of symbols, and derivatives of a loss with respect to them."""

from __future__ import annotations

from collections.abc import Iterable

import sympy

__all__ = [
    "gradient",
    "hessian",
    "hessian_trace",
    "lagrange_squares",
    "matrix_of",
    "rotation",
    "square_norm",
    "symmetric_of",
]


def matrix_of(name: str, rows: int, columns: int) -> sympy.Matrix:
    """Return a matrix of real symbols ``name_00``, ``name_01``, ...

    Examples
    --------
    >>> matrix_of("w", 1, 2)
    Matrix([[w_00, w_01]])
    """
    return sympy.Matrix(
        rows, columns, lambda i, j: sympy.Symbol(f"{name}_{i}{j}", real=True)
    )


def symmetric_of(name: str) -> sympy.Matrix:
    """Return a symmetric 2 × 2 matrix of real symbols.

    Examples
    --------
    >>> symmetric_of("s")
    Matrix([
    [s_00, s_01],
    [s_01, s_11]])
    """
    full = matrix_of(name, 2, 2)
    return sympy.Matrix([[full[0], full[1]], [full[1], full[3]]])


def rotation(tau: sympy.Expr) -> sympy.Matrix:
    """Return the rotation of the plane by 2 arctan τ: rational, all but the half turn.

    Examples
    --------
    >>> rotation(sympy.Integer(2))
    Matrix([
    [-3/5, -4/5],
    [ 4/5, -3/5]])
    """
    cosine, sine = (1 - tau**2) / (1 + tau**2), 2 * tau / (1 + tau**2)
    return sympy.Matrix([[cosine, -sine], [sine, cosine]])


def square_norm(matrix: sympy.Matrix) -> sympy.Expr:
    """Return the sum of the squared entries (Frobenius)."""
    return sum((entry**2 for entry in matrix), sympy.S.Zero)


def gradient(expression: sympy.Expr, variables: Iterable[sympy.Symbol]) -> sympy.Matrix:
    """Return the column of first derivatives."""
    return sympy.Matrix([expression.diff(variable) for variable in variables])


def hessian(expression: sympy.Expr, variables: Iterable[sympy.Symbol]) -> sympy.Matrix:
    """Return the matrix of second derivatives."""
    return sympy.hessian(expression, list(variables))


def hessian_trace(
    expression: sympy.Expr, variables: Iterable[sympy.Symbol]
) -> sympy.Expr:
    """Return the trace of the matrix of second derivatives."""
    return sum((expression.diff(variable, 2) for variable in variables), sympy.S.Zero)


def lagrange_squares(left: sympy.Matrix, right: sympy.Matrix) -> sympy.Expr:
    """Return |a|²|b|² − (a·b)² as Lagrange's sum of squares: what Cauchy-Schwarz drops.

    Examples
    --------
    >>> lagrange_squares(sympy.Matrix([1, 0]), sympy.Matrix([3, 4]))
    16
    """
    pairs = list(zip(left, right, strict=True))
    return sum(
        ((a * d - b * c) ** 2 for i, (a, b) in enumerate(pairs) for c, d in pairs[:i]),
        sympy.S.Zero,
    )
