"""Gradient flow of deep linear networks: what it conserves, how fast, and where to."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import sympy

from theory.deeplinear.definitions import (
    FULL_RANK,
    covariance,
    layers_of,
    product,
    risk,
    rows,
)
from theory.matrices import hessian, matrix_of, square_norm
from theory.statement import Scope, statement


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
    claim=r"W_{k+1}^\top W_{k+1} = W_k W_k^\top \implies \|q_1\|^2 = "
    r"\|w^*\|^{2 - 2/L},\; S = 2\|w^*\|^{2-2/L} \lambda_{\max}(\hat\Sigma + (L-1)"
    r"\hat\Sigma^{1/2}\hat w\hat w^\top\hat\Sigma^{1/2})",
    reference="theory notes 6.3",
    scope=Scope.FIXED_SIZE,
    control={"power": 2},
)
def balanced_scale(power: int = 3) -> Iterator[tuple[str, Any]]:
    """Put W_kW_kᵀ = W_{k+1}ᵀW_{k+1} − D_k into ‖w‖² and ‖q_1‖², from the bottom.

    Depth 3: at D = 0, ‖w‖² = ‖W_3‖⁶ and ‖q_1‖² = ‖W_3‖⁴ = ‖w‖^(4/3), the scale t of
    deeplinear/s-min-attained; what is orthogonal to W_3ᵀ is a left kernel of W_2.
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

    |Σ̂e|² − λ e·Σ̂e = (λ + |b|²)(b·e)² for Σ̂ = λI + bbᵀ; depth 3.
    """
    sigma, low, b = covariance()
    layers, target = layers_of(3), matrix_of("w", 2, 1)
    error = product(layers).T - target
    loss = risk(layers, sigma, target)
    first = square_norm(_matrix_gradient(loss, layers[0]))
    head = square_norm(rows(layers)[0])
    squares = 4 * head * (low + square_norm(b)) * (b.T * error)[0] ** 2
    yield "the first layer", first - factor * low * head * loss - squares


@statement(
    "deeplinear/whitened-bound",
    title="Lower bound of the sharpness for a matrix target, white inputs",
    claim=r"R = \|M - W_L\cdots W_1\|_F^2: \quad S \ge 2L\, \sigma_{\max}(M)^{2-2/L}",
    reference="Mulayoff and Michaeli 2020; theory notes 6.5",
    scope=Scope.FIXED_SIZE,
    control={"factor": 3},
)
def whitened_bound(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """Move along δW_k = (W_L…W_{k+1})ᵀp (W_{k−1}…W_1 q)ᵀ: Rayleigh quotient ≥ 2|δ|².

    p and q are unit vectors (rotated so that they are the first unit vectors).  The
    curvature is 2|W'|² ≥ 2(pᵀW'q)², and pᵀW'q = |δ|² =: N.  Depth 2: N is 2σ plus a
    square, σ = pᵀMq; deeper: AM-GM as in matrix/deep-bound.
    """
    step = sympy.Symbol("epsilon", real=True)
    for depth in (2, 3):
        layers = layers_of(depth, outputs=2)
        target = product(layers)
        deltas = []
        for k in range(depth):
            left, right = product(layers[k + 1 :]), product(layers[:k])
            deltas.append(left[0, :].T * right[:, 0].T)
        moved = [w + step * d for w, d in zip(layers, deltas, strict=True)]
        change = product(moved).diff(step).subs(step, 0)
        length = sum(square_norm(delta) for delta in deltas)
        yield f"L = {depth}: pᵀW'q = N", change[0, 0] - length
        curve = square_norm(target - product(moved)).diff(step, 2).subs(step, 0)
        rest = 2 * (square_norm(change) - change[0, 0] ** 2)
        yield f"L = {depth}: 2N² and squares", curve - factor * length**2 - rest
    low, upper = layers_of(2, outputs=2)
    length = square_norm(upper[0, :]) + square_norm(low[:, 0])
    gap = length - factor * (upper * low)[0, 0]
    yield "N ≥ 2σ", gap - square_norm(upper[0, :].T - low[:, 0])


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
