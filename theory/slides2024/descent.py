r"""Gradient descent: where it goes on least squares, and where it cannot stay.

Least squares is :math:`\tfrac12‖Ax - b‖^2` with independent rows of A, fewer than
columns; the scalar chain is :math:`R(w) = (w_L ⋯ w_1 - 1)^2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import sympy

from theory.germs import SMALL_STEP, gradient
from theory.statement import Hypothesis, Scope, statement

INDEPENDENT_ROWS = Hypothesis(
    "independent-rows", "A has independent rows: Ax = b for some x"
)
eta = sympy.Symbol("eta", positive=True)


@statement(
    "slides2024/least-squares-bias",
    title="Gradient descent on least squares finds the nearest solution",
    claim=r"x_t = x_0 + A^+\bigl(I - (I - \eta AA^\top)^t\bigr)(b - Ax_0) \to "
    r"x_0 + A^+(b - Ax_0) = \arg\min_{Ax = b}\|x - x_0\|",
    hypotheses=(INDEPENDENT_ROWS, SMALL_STEP),
    reference="Slides, implicit bias of least squares; theory notes 11",
    scope=Scope.FIXED_SIZE,
    control={"kept": 0},
)
def least_squares_bias(kept: int = 1) -> Iterator[tuple[str, Any]]:
    """Use induction: a step takes x₀ + A⁺(I − Q)(b − Ax₀) to that of (I − ηAAᵀ)Q.

    This holds for every matrix Q; it starts at Q = I, and the powers go to 0.  The
    limit solves Ax = b, and differs from any other solution by a vector of ker A, to
    which limit − x₀ is orthogonal: Pythagoras.  For a generic 2 × 3 matrix, with A⁺ =
    Aᵀ(AAᵀ)⁻¹, everything times det AAᵀ.
    """
    A = sympy.Matrix(2, 3, sympy.symbols("a_1:7", real=True))
    origin = sympy.Matrix(sympy.symbols("x_1:4", real=True))
    gap = sympy.Matrix(sympy.symbols("e_1:3", real=True))
    b = A * origin + gap
    Q = sympy.Matrix(2, 2, sympy.symbols("q_1:5", real=True))
    unknown = sympy.symbols("z_1:4", real=True)
    gram = A * A.T

    def iterate(power: sympy.Matrix) -> sympy.Matrix:
        """Return det(AAᵀ) times the claimed iterate."""
        moved = A.T * gram.adjugate() * (sympy.eye(2) - power) * gap
        return kept * gram.det() * origin + moved

    residual = A * sympy.Matrix(unknown) - gram.det() * b
    slope = gradient(residual.dot(residual) / 2, unknown)
    place = dict(zip(unknown, iterate(Q), strict=True))
    stepped = iterate(Q) - eta * slope.subs(place)
    following = iterate((sympy.eye(2) - eta * gram) * Q)
    yield "Q = I is the start", iterate(sympy.eye(2)) - gram.det() * origin
    yield "one step", stepped - following
    limit = iterate(sympy.zeros(2))
    yield "the limit solves Ax = b", A * limit - gram.det() * b
    kernel = A[0, :].cross(A[1, :])
    yield "A kernel = 0", A * kernel.T
    yield "the kernel is not 0", kernel.dot(kernel) - gram.det()
    yield "limit − x₀ ⟂ ker A", (kernel * (limit - gram.det() * origin))[0]


@statement(
    "slides2024/quadratic-stability",
    title="Gradient descent on a quadratic is stable up to 2/η",
    claim=r"x_t = (1 - \eta\lambda)^tx_0, \quad "
    r"|1 - \eta\lambda| < 1 \iff 0 < \eta\lambda < 2",
    reference="Slides, stability of gradient descent; theory notes 9.1",
    scope=Scope.ALL_SIZES,
    control={"threshold": 1},
)
def quadratic_stability(threshold: int = 2) -> Iterator[tuple[str, Any]]:
    """Take the step from the derivative of ½λx²: it multiplies by 1 − ηλ.

    The square of that differs from 1 by ηλ(2 − ηλ); at ηλ = 2 the iterates alternate.
    """
    x, curvature = sympy.symbols("x lambda", real=True)
    step = x - eta * (curvature * x**2 / 2).diff(x)
    shrunk = x**2 - step**2
    yield (
        "x² − (x⁺)² = ηλ(2 − ηλ)x²",
        shrunk - eta * curvature * (threshold - eta * curvature) * x**2,
    )
    yield "at ηλ = 2 it alternates", step.subs(eta, 2 / curvature) + x


@statement(
    "slides2024/chain-stability",
    title="Every minimum of the scalar chain repels gradient descent if η > 1/L",
    claim=r"\lambda_{\max}(\nabla^2R) = 2\sum_k w_k^{-2} \ge 2L, \quad "
    r"DG = I - \eta\nabla^2R \text{ expands} \iff \eta\lambda_{\max} > 2",
    reference="Slides, 2/η; theory notes 9.1 and 6.7",
    scope=Scope.FIXED_SIZE,
    control={"power": 1},
)
def chain_stability(power: int = 2) -> Iterator[tuple[str, Any]]:
    """Differentiate the step G at a minimum: it has the eigenvector (1/w_k).

    Across it DG is the identity.  The w_k^−2 have product 1, so by AM-GM their mean is
    at least 1.  DG lengthens that eigenvector iff ηλ(ηλ − 2) > 0.
    """
    for length in (2, 3):
        w = sympy.symbols(f"w_1:{length + 1}", real=True, nonzero=True)
        loss = (prod(w) - 1) ** 2
        step = sympy.Matrix(w) - eta * gradient(loss, w)
        minimum = {w[-1]: 1 / prod(w[:-1])}
        jacobian = step.jacobian(w).subs(minimum)
        direction = sympy.Matrix([1 / x for x in w]).subs(minimum)
        top = 2 * sum(x ** (-power) for x in w).subs(minimum)
        along = jacobian * direction - (1 - eta * top) * direction
        yield f"L = {length}: DG(1/w) = (1 − ηλ)(1/w)", along
        grown = (jacobian * direction).dot(jacobian * direction)
        grown -= (1 + eta * top * (eta * top - 2)) * direction.dot(direction)
        yield f"L = {length}: |DG(1/w)|² − |1/w|² = ηλ(ηλ − 2)|1/w|²", grown
        for k in range(1, length):
            across = sympy.zeros(length, 1)
            across[0], across[k] = direction[k], -direction[0]
            yield (
                f"L = {length}: DG is the identity across, {k}",
                jacobian * across - across,
            )
    a, b, c = sympy.symbols("a b c", positive=True)
    squares = ((a - b) ** 2 + (b - c) ** 2 + (c - a) ** 2) / 2
    yield "AM-GM of two", a**2 + b**2 - 2 * a * b - (a - b) ** 2
    yield "AM-GM of three", a**3 + b**3 + c**3 - 3 * a * b * c - (a + b + c) * squares
