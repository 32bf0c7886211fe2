"""Gradient flow of deep linear networks: what it conserves, how fast, and where to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import sympy

from theory.deeplinear.definitions import (
    FULL_RANK,
    MINIMISER,
    Layers,
    covariance,
    curvature,
    layers_of,
    product,
    risk,
    rows,
)
from theory.matrices import (
    hessian,
    lagrange_squares,
    matrix_of,
    rotation,
    square_norm,
)
from theory.reduction import random_rationals
from theory.statement import Hypothesis, Scope, statement

FITTED = Hypothesis("matrix-minimiser", "W_L ⋯ W_1 = M: a global minimiser")


def _matrix_gradient(expression: sympy.Expr, layer: sympy.Matrix) -> sympy.Matrix:
    """Return the derivative with respect to a layer, in its shape."""
    return layer.applyfunc(expression.diff)


@statement(
    "deeplinear/balancedness",
    title="Gradient flow conserves the imbalance of neighbouring layers",
    claim=r"\tfrac{d}{dt}\left(W_{k+1}^\top W_{k+1} - W_k W_k^\top\right) = 0",
    reference="Arora, Cohen, Hazan 2018; theory notes 6.3",
    scope=Scope.FIXED_SIZE,
    control={"sign": 1},
)
def balancedness(sign: int = -1) -> Iterator[tuple[str, Any]]:
    """W_{k+1}ᵀ∂R/∂W_{k+1} and ∂R/∂W_k W_kᵀ are the same matrix.

    R is any differentiable function of the product: its derivatives are free symbols.
    """
    layers, slope = layers_of(3), matrix_of("g", 2, 1)
    loss = (product(layers) * slope)[0]  # its derivatives are those of R, by the chain
    motion = [-_matrix_gradient(loss, layer) for layer in layers]
    for k in (0, 1):
        above, below = layers[k + 1], layers[k]
        rise = above.T * motion[k + 1] + sign * motion[k] * below.T
        yield f"imbalance of layers {k + 1} and {k + 2}", rise + rise.T


@statement(
    "deeplinear/balanced-scale",
    title="Balanced minimisers have rank-one layers and one scale",
    claim=r"L = 3,\; W_{k+1}^\top W_{k+1} = W_k W_k^\top \implies \|q_1\|^2 = "
    r"\|w^*\|^{4/3},\; S = 2\|w^*\|^{4/3} \lambda_{\max}(\hat\Sigma + "
    r"2\hat\Sigma^{1/2}\hat w\hat w^\top\hat\Sigma^{1/2})",
    hypotheses=(MINIMISER,),
    reference="theory notes 6.3",
    scope=Scope.FIXED_SIZE,
    control={"power": 2},
)
def balanced_scale(power: int = 3) -> Iterator[tuple[str, Any]]:
    """Put W_kW_kᵀ = W_{k+1}ᵀW_{k+1} − D_k into ‖w‖² and ‖q_1‖², from the bottom.

    At D = 0, ‖w‖² = ‖W_3‖⁶ and ‖q_1‖² = ‖W_3‖⁴ = ‖w‖^(4/3), and what is orthogonal to
    W_3ᵀ is a left kernel of W_2.  As AAᵀ = s²rrᵀ only for A = s r pᵀ with |p| = 1, the
    layers are s p qᵀ, s r pᵀ and s rᵀ with one s: that gives B, and S by
    deeplinear/sharpness.
    """
    layers = layers_of(3)
    d1, d2 = (p.T * p - below * below.T for below, p in pairwise(layers))
    top, q1, w = layers[2], rows(layers)[0], product(layers)
    size = square_norm(top)
    kernel = sympy.Matrix([-top[1], top[0]])
    leak = square_norm(kernel.T * layers[1])
    yield "W_2 has rank one", leak + (kernel.T * d2 * kernel)[0]
    yield "‖q_1‖² = ‖W_3‖⁴", square_norm(q1) + (top * d2 * top.T)[0] - size**2
    lost = (q1 * d1 * q1.T)[0] + 2 * size * (top * d2 * top.T)[0]
    lost -= square_norm(top * d2)
    yield "‖w‖² = ‖W_3‖⁶", square_norm(w) + lost - size**power
    s = sympy.Symbol("s", positive=True)
    p, q, r = (rotation(tau)[:, 0] for tau in sympy.symbols("tau_1:4", real=True))
    balanced = [s * p * q.T, s * r * p.T, s * r.T]
    for k, (lower, upper) in enumerate(pairwise(balanced)):
        yield f"balanced, {k + 1}", upper.T * upper - lower * lower.T
    yield "w = s³ŵ", product(balanced).T - s**3 * q
    claimed = s**4 * (sympy.eye(2) + (power - 1) * q * q.T)
    yield "B = ‖w‖^(4/3)(I + 2ŵŵᵀ)", curvature(balanced) - claimed


@statement(
    "deeplinear/polyak-lojasiewicz",
    title="A Polyak-Łojasiewicz inequality with the norm of the upper layers",
    claim=r"\|\nabla R\|^2 \ge 4 \lambda \|q_1\|^2 (R - R_{\min}), \quad "
    r"\lambda = \lambda_{\min}(\hat\Sigma)",
    hypotheses=(FULL_RANK,),
    reference="theory notes 6.3",
    scope=Scope.FIXED_SIZE,
    control={"factor": 8},
)
def polyak_lojasiewicz(factor: int = 4) -> Iterator[tuple[str, Any]]:
    """Keep only the first layer, ∂R/∂W_1 = 2q_1(Σ̂(w − w*))ᵀ; the others only add.

    |Σ̂e|² − λ e·Σ̂e = (λ + |b|²)(b·e)² for Σ̂ = λI + bbᵀ; depth 3.  Equality at W_1 = 0
    for w* ⟂ b, where the other layers have no gradient: no larger factor would do.
    """
    sigma, low, b = covariance()
    layers, target = layers_of(3), matrix_of("w", 2, 1)
    error = product(layers).T - target
    loss = risk(layers, sigma, target)
    first = square_norm(_matrix_gradient(loss, layers[0]))
    head = square_norm(rows(layers)[0])
    squares = 4 * head * (low + square_norm(b)) * (b.T * error)[0] ** 2
    yield "the first layer", first - 4 * low * head * loss - squares
    crossed = dict(zip([*b, *target], (1, 2, -2, 1), strict=True))
    reached = dict.fromkeys(layers[0], 0) | crossed
    whole = sum(square_norm(_matrix_gradient(loss, layer)) for layer in layers)
    bound = factor * low * head * loss
    at = reached | random_rationals([low, *layers[1], *layers[2]], seed=1)
    yield "equality for factor 4", bool((whole - bound).subs(at) >= 0)


def _moves(layers: Layers) -> list[sympy.Matrix]:
    """Return δW_k = (W_L…W_{k+1})ᵀp (W_{k−1}…W_1 q)ᵀ for p and q the first units."""
    sides = (
        (product(layers[k + 1 :]), product(layers[:k])) for k in range(len(layers))
    )
    return [left[0, :].T * right[:, 0].T for left, right in sides]


@statement(
    "deeplinear/whitened-bound",
    title="Lower bound of the sharpness for a matrix target, white inputs",
    claim=r"R = \|M - W_L\cdots W_1\|_F^2: \quad S \ge 2L\, \sigma_{\max}(M)^{2-2/L},"
    r"\quad L = 2, 3",
    hypotheses=(FITTED,),
    reference="Mulayoff and Michaeli 2020; theory notes 6.5",
    scope=Scope.FIXED_SIZE,
    control={"factor": 3},
)
def whitened_bound(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """Move along δW_k = (W_L…W_{k+1})ᵀp (W_{k−1}…W_1 q)ᵀ: Rayleigh quotient ≥ 2|δ|².

    p and q are unit vectors (rotated so that they are the first unit vectors).  The
    curvature is 2|W'|² ≥ 2(pᵀW'q)², and pᵀW'q = |δ|² =: N.  With σ = pᵀMq, N is 2σ plus
    a square at depth 2.  At depth 3 the product of its terms is at least σ⁴ by
    Cauchy-Schwarz, twice, and AM-GM gives N ≥ 3σ^(4/3).  Multiples of I give equality.
    """
    step = sympy.Symbol("epsilon", real=True)
    for depth in (2, 3):
        layers = layers_of(depth, outputs=2)
        target = product(layers)
        deltas = _moves(layers)
        moved = [w + step * d for w, d in zip(layers, deltas, strict=True)]
        change = product(moved).diff(step).subs(step, 0)
        length = sum(square_norm(delta) for delta in deltas)
        yield f"L = {depth}: pᵀW'q = N", change[0, 0] - length
        curve = square_norm(target - product(moved)).diff(step, 2).subs(step, 0)
        rest = 2 * (square_norm(change) - change[0, 0] ** 2)
        yield f"L = {depth}: 2N² and squares", curve - 2 * length**2 - rest
        entries = [entry for layer in layers for entry in layer]
        at = dict(zip(entries, [2, 0, 0, 2] * depth, strict=True))
        slope = product(layers).reshape(4, 1).jacobian(entries).subs(at)
        top = 2 * max((slope * slope.T).eigenvals())  # S, with M = 2^L I
        yield f"L = {depth}: equality", bool(top >= factor * depth * 4 ** (depth - 1))
    low, upper = layers_of(2, outputs=2)
    length = square_norm(upper[0, :]) + square_norm(low[:, 0])
    gap = length - 2 * (upper * low)[0, 0]
    yield "L = 2: N ≥ 2σ", gap - square_norm(upper[0, :].T - low[:, 0])
    yield from _three_terms()


def _three_terms() -> Iterator[tuple[str, Any]]:
    """Yield the defects of N ≥ 3σ^(4/3) at depth 3."""
    low, middle, upper = layers_of(3, outputs=2)
    left, right = upper[0, :].T, low[:, 0]
    above, below = middle.T * left, middle * right  # σ = above·right = left·below
    terms = square_norm(above) + square_norm(left) * square_norm(right)
    length = sum(square_norm(delta) for delta in _moves([low, middle, upper]))
    yield "L = 3: the terms of N", length - terms - square_norm(below)
    sigma = (upper * middle * low)[0, 0]
    for one, two in ((above, right), (left, below)):
        dropped = lagrange_squares(one, two)
        gap = square_norm(one) * square_norm(two) - sigma**2 - dropped
        yield "L = 3: Cauchy-Schwarz", gap
    x, y, z = sympy.symbols("x y z", nonnegative=True)
    rest = (x + y + z) * ((x - y) ** 2 + (y - z) ** 2 + (z - x) ** 2) / 2
    yield "L = 3: AM-GM of x³, y³, z³", x**3 + y**3 + z**3 - 3 * x * y * z - rest


@statement(
    "deeplinear/whitened-attained",
    title="Balanced layers are flattest for a matrix target, white inputs",
    claim=r"W_k = \operatorname{diag}(s^{1/L}): \quad S = 2L\, \sigma_{\max}^{2-2/L}",
    reference="Mulayoff and Michaeli 2020; theory notes 6.5",
    scope=Scope.FIXED_SIZE,
    control={"factor": 3},
)
def whitened_attained(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """∇²R = 2JᵀJ, and JJᵀ is diagonal: Σ_k s_i^{2(L−k)/L} s_j^{2(k−1)/L} at (i, j).

    Each is at most that of i = j = 1, where s_1 = (x + δ)^L ≥ s_2 = x^L: the
    difference has no negative coefficient.
    """
    x, more = sympy.symbols("x delta", positive=True)
    for depth in (2, 3):
        layers = layers_of(depth, outputs=2)
        entries = [entry for layer in layers for entry in layer]
        balanced = [sympy.diag(x + more, x)] * depth
        values = [entry for layer in balanced for entry in layer]
        at = dict(zip(entries, values, strict=True))
        residual = product(layers) - product(balanced)
        slope = product(layers).reshape(4, 1).jacobian(entries).subs(at)
        found = hessian(square_norm(residual), entries).subs(at)
        yield f"L = {depth}: Hessian", found - 2 * slope.T * slope
        gram = (slope * slope.T).expand()
        yield f"L = {depth}: JJᵀ is diagonal", bool(gram.is_diagonal())
        top = factor * depth * (x + more) ** (2 * depth - 2)
        yield f"L = {depth}: the top value", 2 * gram[0, 0] - top
        for k in range(1, 4):
            gap = sympy.Poly(sympy.expand(gram[0, 0] - gram[k, k]), x, more)
            yield f"L = {depth}: the others", all(c > 0 for c in gap.coeffs())
            yield f"L = {depth}: equal at s_1 = s_2", gap.as_expr().subs(more, 0)


@statement(
    "deeplinear/saddle",
    title="Gradient flow from the identity can end in a saddle",
    claim=r"R = (ab + 1)^2,\; a = b = 1: \quad a(t)^2 = e^{-4t}/(2 - e^{-4t}) \to 0",
    reference="theory notes 6.5",
    scope=Scope.FIXED_SIZE,
    control={"target": 1},
)
def saddle(target: int = -1) -> Iterator[tuple[str, Any]]:
    """Width one, depth two, target −1 against a positive start: a = b is invariant.

    At the origin R = 1 is not the minimum 0, and the Hessian has the eigenvalues ±2.
    """
    a, b, t = sympy.symbols("a b t", positive=True)
    loss = (a * b - target) ** 2
    squared = sympy.exp(-4 * t) / (2 - sympy.exp(-4 * t))
    path = sympy.sqrt(squared)
    for variable in (a, b):
        speed = -loss.diff(variable).subs({a: path, b: path})
        yield f"{variable} follows the flow", path.diff(t) - speed
    yield "it starts at 1", path.subs(t, 0) - 1
    yield "it ends at 0", sympy.limit(squared, t, sympy.oo)
    spectrum = hessian(loss, (a, b)).subs({a: 0, b: 0}).eigenvals()
    yield "a saddle", sorted(spectrum) == [-2, 2]
    yield "not a minimiser", loss.subs({a: 0, b: 0}) - 1
    yield "whose loss is 0", loss.subs({a: sympy.Integer(target), b: 1})
