r"""Flat minima of univariate ReLU networks have small second derivative.

.. math::
    f(x) = \sum_k w_k^{(2)}\operatorname{relu}(w_k^{(1)}x + b_k) + b, \quad
    L = \frac1{2n}\sum_i(f(x_i) - y_i)^2 \text{ at } f = y.

Neuron k has its knot at τ_k = −b_k/w_k^{(1)} and is active on one side of it.  Over the
data X of that side, of which there is the share P, put A = P E|X − τ| and D = P√(1 + (E
X)²); g(τ) is the smaller value of A·D on the two sides, and :math:`\int|f''|g =
\sum_k|w_k^{(1)}w_k^{(2)}|g(τ_k)`.

The network is one: data x = −1, 0, 2, 3, knots at 1 (active on the right) and 1/2
(active on the left), and all weights that have these knots.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.germs import INTERPOLATION, gradient
from theory.statement import Hypothesis, Scope, statement

DESCENT = Hypothesis("stable-descent", "λ_max(∇²L) ≤ 2/η: gradient descent is stable")

DATA = tuple(map(sympy.Integer, (-1, 0, 2, 3)))
KNOTS = (sympy.S.One, sympy.Rational(1, 2))
SIDES = (1, -1)
rho = sympy.symbols("rho_1:3", positive=True)  # |w⁽¹⁾|
W1, W2 = sympy.symbols("w_1:3", real=True), sympy.symbols("v_1:3", real=True)
B1, B = sympy.symbols("b_1:3", real=True), sympy.Symbol("b", real=True)
WEIGHTS = (*W1, *W2, *B1, B)
PLACE = {
    **{W1[k]: SIDES[k] * rho[k] for k in range(2)},
    **{B1[k]: -KNOTS[k] * SIDES[k] * rho[k] for k in range(2)},
}


def _active(k: int, side: int) -> list[sympy.Expr]:
    """Return the data on one side of a knot."""
    return [x for x in DATA if side * (x - KNOTS[k]) > 0]


def _slopes() -> list[sympy.Matrix]:
    """Return ∇f(x_i) at the network; no knot is a datum, so f is smooth there."""
    slopes = []
    for x in DATA:
        f = B
        for k in range(2):
            if x in _active(k, SIDES[k]):
                f += W2[k] * (W1[k] * x + B1[k])
        slopes.append(gradient(f, WEIGHTS).subs(PLACE))
    return slopes


def _factors(k: int, side: int) -> tuple[sympy.Expr, sympy.Expr]:
    """Return A and D² of a side of a knot, from the data."""
    data = _active(k, side)
    share = sympy.Rational(len(data), len(DATA))
    distance = sum(abs(x - KNOTS[k]) for x in data) / len(data)
    mean = sum(data) / len(data)
    return share * distance, share**2 * (1 + mean**2)


@statement(
    "stability/mean-gradient-bound",
    title="The top eigenvalue is at least the square of the mean gradient",
    claim=r"\lambda_{\max}(\nabla^2L) \ge \|\bar g\|^2, \quad "
    r"\bar g = \tfrac1n\sum_i\nabla f(x_i)",
    hypotheses=(INTERPOLATION,),
    reference="Mulayoff, Michaeli, Soudry 2021; theory notes 9.3",
    scope=Scope.FIXED_SIZE,
    control={"power": 1},
)
def mean_gradient_bound(power: int = 2) -> Iterator[tuple[str, Any]]:
    """ḡᵀHḡ − ‖ḡ‖⁴ is the variance of g_iᵀḡ, so the Rayleigh quotient at ḡ is enough.

    For three generic gradients of two parameters; equal gradients give equality.
    """
    g = [sympy.Matrix(sympy.symbols(f"g_{i}_1:3", real=True)) for i in range(3)]
    mean = sum(g, sympy.zeros(2, 1)) / 3
    hessian = sum((a * a.T for a in g), sympy.zeros(2)) / 3
    square = mean.dot(mean)
    variance = sum((a.dot(mean) - square) ** 2 for a in g) / 3
    quotient = mean.dot(hessian * mean)
    yield "ḡᵀHḡ = ‖ḡ‖⁴ + variance", sympy.expand(quotient - square**power - variance)
    yield "equality", variance.subs({a[j]: g[0][j] for a in g for j in range(2)})


@statement(
    "stability/univariate-relu",
    title="Sharpness bounds the weighted second derivative of a ReLU network",
    claim=r"\lambda_{\max}(\nabla^2L) \ge 1 + 2\int|f''|g, \quad\text{so}\quad "
    r"\int|f''|g \le \tfrac1\eta - \tfrac12",
    hypotheses=(INTERPOLATION, DESCENT),
    reference="Mulayoff, Michaeli, Soudry 2021; theory notes 9.3",
    scope=Scope.INSTANCE,
    control={"factor": 4},
)
def univariate_relu(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """Average the gradients: ‖ḡ‖² = 1 + Σ_k(ρ²A² + v²D²) with ρ = |w⁽¹⁾|, v = w⁽²⁾.

    Two squares exceed twice their product, ρ|v|AD ≥ ρ|v|g(τ), and the choice
    ρA = |v|D makes that an equality; so no larger factor would do.
    """
    slopes = _slopes()
    mean = sum(slopes, sympy.zeros(len(WEIGHTS), 1)) / len(DATA)
    square = mean.dot(mean)
    sides = [_factors(k, SIDES[k]) for k in range(2)]
    expected = sum(
        rho[k] ** 2 * A**2 + W2[k] ** 2 * D2 for k, (A, D2) in enumerate(sides)
    )
    yield "‖ḡ‖² = 1 + Σ(ρ²A² + v²D²)", square - 1 - expected
    magnitude = [sympy.Abs(v) for v in W2]
    products = [A * sympy.sqrt(D2) for A, D2 in sides]
    excess = sum(
        (rho[k] * A - magnitude[k] * sympy.sqrt(D2)) ** 2
        for k, (A, D2) in enumerate(sides)
    )
    bound = 1 + factor * sum(rho[k] * magnitude[k] * products[k] for k in range(2))
    yield "‖ḡ‖² = 1 + 2Σρ|v|AD + squares", square - bound - excess
    root = sympy.sqrt(5)
    least = (3 * root / 16, root / 8)  # left of both knots
    for k in range(2):
        both = [A * sympy.sqrt(D2) for A, D2 in (_factors(k, s) for s in (1, -1))]
        yield f"g(τ_{k + 1})", sympy.Min(*both) - least[k]
        yield f"g(τ_{k + 1}) ≤ AD", products[k] >= least[k]
    eta, total = sympy.symbols("eta total", real=True)
    bounded = sympy.solve(1 + 2 * total - 2 / eta, total)
    yield "1 + 2∫ ≤ 2/η ⟺ ∫ ≤ 1/η − ½", bounded[0] - (1 / eta - sympy.Rational(1, 2))
