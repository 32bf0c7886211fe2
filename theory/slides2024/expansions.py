r"""Sharpness as a perturbation: PAC-Bayes, ε-sharpness, and the two kinds of SAM.

The loss is the germ at a point of its zero set Γ, or an average of ½(f_k − y_k)² of
undefined models.  SAM is treated as in theory notes 7.1: near Γ the direction of the
gradient is the top eigenvector, and the statements are about what the ascent step then
adds; that the iterates stay aligned is the theorem of Wen, Ma and Li 2022 and is not
judged.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from math import prod
from typing import Any

import sympy

from theory.germs import (
    CURVATURES,
    INTERPOLATION,
    TANGENT,
    X,
    germ,
    gradient,
    on_zero_loss,
    residuals,
)
from theory.statement import Hypothesis, Scope, statement

GAP = Hypothesis("spectral-gap", "the top eigenvalue of ∇²L is simple")
CUBIC_MINIMUM = Hypothesis(
    "cubic-minimum", "x is a minimum of L, a polynomial of degree at most 3"
)
HALF = sympy.Rational(1, 2)
epsilon, rho, s = sympy.symbols("epsilon rho s", positive=True)


def _jet(size: int, order: int) -> tuple[tuple[sympy.Symbol, ...], sympy.Expr]:
    """Return variables and a generic polynomial in them, as a Taylor polynomial."""
    v = sympy.symbols(f"v_1:{size + 1}", real=True)
    total = sympy.S.Zero
    for powers in product(range(order + 1), repeat=size):
        if 0 < sum(powers) <= order:
            name = "L_" + "".join(map(str, powers))
            weight = prod(map(sympy.factorial, powers))
            term = prod(x**k for x, k in zip(v, powers, strict=True))
            total += sympy.Symbol(name, real=True) * term / weight
    return v, total


@statement(
    "slides2024/pac-bayes-expansion",
    title="Gaussian perturbations see the trace",
    claim=r"\mathbb{E}_{v \sim N(0, s^2I)}L(x + v) - L(x) = "
    r"\tfrac12s^2\Delta L + \tfrac18s^4\Delta^2L + O(s^6)",
    reference="Slides, PAC-Bayes; theory notes 11",
    scope=Scope.FIXED_SIZE,
    control={"half": sympy.S.One},
)
def pac_bayes_expansion(half: sympy.Expr = HALF) -> Iterator[tuple[str, Any]]:
    """Integrate a generic polynomial of degree five against the Gaussian density.

    In two variables, monomial by monomial.  So the remainder after the trace is of
    order s⁴, and exactly ⅛s⁴Δ²L if the loss is a polynomial of degree at most five.
    """
    x = sympy.Symbol("x", real=True)
    density = sympy.exp(-(x**2) / 2) / sympy.sqrt(2 * sympy.pi)
    moments = [
        sympy.integrate(x**k * density, (x, -sympy.oo, sympy.oo)) for k in range(6)
    ]
    v, loss = _jet(2, 5)
    mean = sum(
        factor * prod(s**k * moments[k] for k in powers)
        for powers, factor in sympy.Poly(loss, *v).terms()
    )

    def laplace(expression: sympy.Expr) -> sympy.Expr:
        return sum(expression.diff(variable, 2) for variable in v)

    zero = dict.fromkeys(v, 0)
    trace, twice = laplace(loss).subs(zero), laplace(laplace(loss)).subs(zero)
    yield "½s²ΔL + ⅛s⁴Δ²L", sympy.expand(mean - half * s**2 * trace - s**4 * twice / 8)


@statement(
    "slides2024/epsilon-sharpness",
    title="The worst perturbation sees the top eigenvalue",
    claim=r"\varphi_\varepsilon = \max_{\|v\| \le \varepsilon}L(x + v) - L(x): \quad "
    r"0 \le 2\varphi_\varepsilon/\varepsilon^2 - \lambda_1 \le "
    r"\tfrac\varepsilon3\|D^3L\|_F",
    hypotheses=(CUBIC_MINIMUM,),
    reference="Slides, ε-sharpness; theory notes 11",
    scope=Scope.FIXED_SIZE,
    control={"top": HALF},
)
def epsilon_sharpness(top: sympy.Expr = sympy.S.One) -> Iterator[tuple[str, Any]]:
    """Take two variables along the eigenvectors of the Hessian.

    Upper bound: λ₁‖v‖² − vᵀHv = (λ₁ − λ₂)v₂² ≥ 0, and Cauchy-Schwarz (Lagrange's
    identity) for D³L[v, v, v].  Lower bound: of v = ±εe₁ one has D³L[v, v, v] ≥ 0.
    For L = ½λ₁v₁² + ⅙tv₁³ the upper bound is reached at v = εe₁, for t = 0 the lower:
    no other multiple of λ₁ would do.  A term of fourth order adds one of order ε².
    """
    curvature, gap = sympy.symbols("lambda_2 gap", nonnegative=True)
    v = sympy.symbols("v_1:3", real=True)
    square = v[0] ** 2 + v[1] ** 2
    T = {
        index: sympy.Symbol("T_{}{}{}".format(*sorted(index)), real=True)
        for index in product(range(2), repeat=3)
    }
    cube = {index: prod(v[i] for i in index) for index in T}
    cubic = sum(T[index] * cube[index] for index in T)
    loss = ((curvature + gap) * v[0] ** 2 + curvature * v[1] ** 2) / 2 + cubic / 6
    quadratic = loss - cubic / 6
    yield (
        "quadratic part",
        (curvature + gap) * square / 2 - quadratic - gap * v[1] ** 2 / 2,
    )
    norms = sum(t**2 for t in T.values()) * square**3
    lagrange = sum(
        (T[i] * cube[j] - T[j] * cube[i]) ** 2 for i, j in combinations(T, 2)
    )
    yield "‖T‖²‖v‖⁶ − T[v, v, v]² = squares", sympy.expand(norms - cubic**2 - lagrange)
    ends = [
        2 * loss.subs({v[0]: e, v[1]: 0}) / epsilon**2 - (curvature + gap)
        for e in (epsilon, -epsilon)
    ]
    yield "one of ±εe₁ has at least λ₁", sympy.expand(ends[0] + ends[1])
    yield "their excess is of order ε", sympy.expand(ends[0] - T[0, 0, 0] * epsilon / 3)
    steep = dict.fromkeys(T.values(), sympy.S.Zero) | {curvature: 0, gap: 2}
    for cube_at in (sympy.S.One, sympy.S.Zero):  # where they are reached
        line = loss.subs(steep | {T[0, 0, 0]: cube_at, v[1]: 0, v[0]: epsilon})
        excess = sympy.expand(2 * line / epsilon**2 - 2 * top)
        yield f"upper bound for t = {cube_at}", excess - cube_at * epsilon / 3 <= 0
        yield f"lower bound for t = {cube_at}", excess >= 0


@statement(
    "slides2024/sam-full-batch",
    title="Full-batch SAM follows the top eigenvalue",
    claim=r"\max_{\|v\| \le \rho}L(x + v) = \tfrac12\rho^2\lambda_1 + O(\rho^3), "
    r"\quad P_T\nabla L(x + \rho\hat g) \to "
    r"\tfrac12\rho^2\operatorname{grad}_\Gamma\lambda_1",
    hypotheses=(GAP,),
    reference="Wen, Ma, Li 2022; theory notes 7.1",
    scope=Scope.FIXED_SIZE,
    control={"half": sympy.S.One},
)
def sam_full_batch(half: sympy.Expr = HALF) -> Iterator[tuple[str, Any]]:
    """Start the ascent at δe₁ with e₁ the top eigenvector and let δ go to 0.

    The tangent part of the gradient at the ascended point is ½ρ²D³L[e₁, e₁].  The slope
    of λ₁ along Γ comes from differentiating det(∇²L − λ) = 0.  A step is −η times that:
    −½ηρ² grad λ₁.
    """
    gap, curvature, delta = sympy.symbols("gap lambda delta", positive=True)
    ranked = {CURVATURES[3]: CURVATURES[2] + gap}
    loss = germ().subs(ranked)
    top = CURVATURES[2] + gap
    off = {X[0]: 0, X[1]: 0, X[2]: 0, X[3]: delta}
    approach = gradient(loss, X).subs(off) / (top * delta)
    direction = approach.applyfunc(sympy.cancel).subs(delta, 0)
    yield "∇L/‖∇L‖ → e₁", direction - sympy.Matrix([0, 0, 0, 1])
    ascended = gradient(loss, X).subs(dict(zip(X, rho * direction, strict=True)))
    for t in TANGENT:
        hessian = sympy.hessian(loss, X).subs({x: 0 for x in X if x != X[t]})
        secular = (hessian - curvature * sympy.eye(4)).det(method="berkowitz")
        at = {X[t]: 0, curvature: top}
        slope = -secular.diff(X[t]).subs(at) / secular.diff(curvature).subs(at)
        pushed = sympy.expand(ascended[t]).coeff(rho, 2)
        yield f"½ρ² ∂λ₁, tangent {t + 1}", pushed - half * sympy.cancel(slope)
        yield f"nothing of lower order, tangent {t + 1}", ascended[t] - pushed * rho**2
    ball = half * top * (X[2] ** 2 + X[3] ** 2)
    quadratic = (
        sum(h * x**2 for h, x in zip(CURVATURES, X, strict=True)).subs(ranked) / 2
    )
    yield (
        "½λ₁‖v‖² − ½vᵀHv is a square",
        sympy.expand(ball - quadratic - gap * X[2] ** 2 / 2),
    )


@statement(
    "slides2024/sam-one-sample",
    title="SAM with one sample at a time follows the trace",
    claim=r"\tfrac1n\sum_k\max_{\|v\| \le \rho}L_k = \tfrac12\rho^2"
    r"\operatorname{Tr}\nabla^2L, \quad \tfrac1n\sum_kP_T\nabla L_k(x + \rho\hat g_k) "
    r"\to \tfrac12\rho^2\operatorname{grad}_\Gamma\operatorname{Tr}\nabla^2L",
    hypotheses=(INTERPOLATION,),
    reference="Wen, Ma, Li 2022; theory notes 7.1",
    scope=Scope.FIXED_SIZE,
    control={"half": sympy.S.One},
)
def sam_one_sample(half: sympy.Expr = HALF) -> Iterator[tuple[str, Any]]:
    """Use that every ∇²L_k has rank one on Γ: its sharpness is its trace ‖∇f_k‖².

    The ascent of either sign goes along ∇f_k.  For two undefined models of three
    parameters, with the tangent u = ∇f₁ × ∇f₂: the terms of order ρ² of u·∇L_k(x +
    ρ∇f_k/‖∇f_k‖) add up to the slope of the trace.
    """
    variables = sympy.symbols("theta_1:4", real=True)
    models = residuals(2, variables)
    slopes = [gradient(r, variables) for r in models]
    tangent = on_zero_loss(slopes[0].cross(slopes[1]))
    losses = [r**2 / 2 for r in models]
    loss = sum(losses) / 2
    hessian = on_zero_loss(sympy.hessian(loss, variables))
    at = [on_zero_loss(g) for g in slopes]
    a, b = sympy.Matrix(sympy.symbols("v_1:4")), at[0]
    beyond = a.dot(a) * b.dot(b) - a.dot(b) ** 2
    yield "(v·∇f)² ≤ ‖v‖²‖∇f‖²", sympy.expand(beyond - a.cross(b).dot(a.cross(b)))
    maxima = sum(half * rho**2 * g.dot(g) for g in at) / 2
    yield (
        "mean of max L_k = ½ρ² Tr",
        sympy.expand(maxima - rho**2 * hessian.trace() / 2),
    )
    pushed = sympy.S.Zero
    for one, g in zip(losses, at, strict=True):
        for i, j, k in product(range(3), repeat=3):
            third = on_zero_loss(one.diff(variables[i], variables[j], variables[k]))
            pushed += HALF * third * tangent[i] * g[j] * g[k] / g.dot(g) / 2
    trace = sympy.hessian(loss, variables).trace()
    slope = tangent.dot(on_zero_loss(gradient(trace, variables)))
    yield "½ρ² ∂_u Tr", pushed - half * slope
