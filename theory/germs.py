r"""A loss near a point of its zero set Γ: germs and undefined models.

The *germ* is the generic loss to third order at a point of Γ, the origin, in
coordinates along the eigenvectors of the Hessian: two tangent ones, two normal ones,

.. math::
    L(x) = \tfrac12 \sum_i h_i x_i^2 + \tfrac16 \sum_{ijk} T_{ijk} x_i x_j x_k, \quad
    h = (0, 0, h_1, h_2).

T vanishes on tangent triples, because ∇L = 0 along Γ: the tangent part of ∇L at
(s, O(s²)) is ½T[s, s] + O(s³).  Nothing else is asked of h > 0 and T.

The *models* are residuals r_i = f_i − y_i that are undefined functions of the
parameters; `on_zero_loss` puts r_i = 0 after differentiation.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from typing import Any

import sympy
from sympy.core.function import AppliedUndef, Derivative

from theory.statement import Hypothesis

__all__ = [
    "CURVATURES",
    "INTERPOLATION",
    "NORMAL",
    "SMALL_STEP",
    "TANGENT",
    "X",
    "at_origin",
    "germ",
    "gradient",
    "inverse_lyapunov",
    "normal_part",
    "on_zero_loss",
    "pseudo_inverse",
    "residuals",
    "tangent_part",
    "third",
    "trilinear",
]

INTERPOLATION = Hypothesis("interpolation", "the loss is 0: f_i = y_i for all i")
SMALL_STEP = Hypothesis("small-step", "η λ_max(∇²L) < 2")

TANGENT, NORMAL = (0, 1), (2, 3)
X = sympy.symbols("x_0:4", real=True)
CURVATURES = (sympy.S.Zero, sympy.S.Zero, *sympy.symbols("h_1:3", positive=True))


def third(i: int, j: int, k: int) -> sympy.Expr:
    """Return the entry of D³L at the origin."""
    if max(i, j, k) in TANGENT:
        return sympy.S.Zero
    return sympy.Symbol("T_{}{}{}".format(*sorted((i, j, k))), real=True)


def germ() -> sympy.Expr:
    """Return the generic loss to third order, a polynomial in `X`."""
    squares = sum(h * x**2 for h, x in zip(CURVATURES, X, strict=True)) / 2
    cubes = sum(
        third(i, j, k) * X[i] * X[j] * X[k] for i, j, k in product(range(4), repeat=3)
    )
    return sympy.expand(squares + cubes / 6)


def at_origin(expression: Any) -> Any:
    """Return the value at the point of Γ."""
    return expression.subs(dict.fromkeys(X, 0))


def gradient(expression: sympy.Expr, variables: Sequence[sympy.Symbol]) -> sympy.Matrix:
    """Return the column of partial derivatives."""
    return sympy.Matrix([expression.diff(variable) for variable in variables])


def trilinear(loss: sympy.Expr, matrix: sympy.Matrix) -> sympy.Matrix:
    """Return D³L[S] = Σ S_jk ∂_j∂_k∇L at the origin, by differentiating the loss."""
    contracted = sum(
        matrix[j, k] * loss.diff(X[j], X[k]) for j, k in product(range(4), repeat=2)
    )
    return at_origin(gradient(contracted, X))


def tangent_part(vector: sympy.Matrix) -> sympy.Matrix:
    """Return P_T v."""
    return sympy.Matrix([vector[i] if i in TANGENT else 0 for i in range(4)])


def normal_part(vector: sympy.Matrix) -> sympy.Matrix:
    """Return P_N v."""
    return vector - tangent_part(vector)


def pseudo_inverse(vector: sympy.Matrix) -> sympy.Matrix:
    """Return H⁺v, which solves Hx = P_N v with x normal."""
    return sympy.Matrix(
        [vector[i] / CURVATURES[i] if i in NORMAL else 0 for i in range(4)]
    )


def inverse_lyapunov(matrix: sympy.Matrix) -> sympy.Matrix:
    """Return the normal X with HX + XH = S, by solving the equations."""
    hessian = sympy.diag(*CURVATURES)
    unknown = sympy.zeros(4)
    for i, j in product(NORMAL, repeat=2):
        unknown[i, j] = sympy.Symbol(f"X_{i}{j}")
    names = [unknown[i, j] for i, j in product(NORMAL, repeat=2)]
    equations = hessian * unknown + unknown * hessian - matrix
    return unknown.subs(sympy.solve(list(equations), names, dict=True)[0])


def residuals(count: int, variables: Sequence[sympy.Symbol]) -> list[sympy.Expr]:
    """Return undefined functions r_1, r_2, ... of the parameters."""
    return [sympy.Function(f"r_{i + 1}", real=True)(*variables) for i in range(count)]


def on_zero_loss(expression: Any, value: Any = 0) -> Any:
    """Put every residual to 0 (or a value) and keep their derivatives as symbols."""
    atoms = sorted(expression.atoms(Derivative), key=sympy.default_sort_key)
    expression = expression.xreplace(
        {atom: sympy.Symbol(str(atom), real=True) for atom in atoms}
    )
    return expression.xreplace(
        {term: sympy.sympify(value) for term in expression.atoms(AppliedUndef)}
    )
