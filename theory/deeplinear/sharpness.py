"""The sharpness of a minimiser of deep linear regression, and its least value."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.closed_forms import minimal_sharpness, sharpness_at_scale
from theory.deeplinear.definitions import (
    FULL_RANK,
    MINIMISER,
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
    symmetric_of,
)
from theory.reduction import random_rationals
from theory.statement import Scope, statement


@statement(
    "deeplinear/sharpness",
    title="The sharpness of a minimiser is an eigenvalue of a small matrix",
    claim=r"S = 2 \lambda_{\max}(\hat\Sigma^{1/2} B \hat\Sigma^{1/2})",
    hypotheses=(MINIMISER,),
    reference="Marion and Chizat 2024; theory notes 6.1",
    scope=Scope.FIXED_SIZE,
    control={"factor": 1},
)
def sharpness(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """At w = w* the Hessian is 2GΣ̂Gᵀ with G = ∂w/∂W, and GᵀG = B: one spectrum.

    Depths 2 and 3.  Then characteristic polynomials at an exact point whose targets
    have a part orthogonal to the inputs, so that the least risk is positive.
    """
    sigma = symmetric_of("sigma")
    target = matrix_of("w", 2, 1)
    for depth in (2, 3):
        layers = layers_of(depth)
        entries = [entry for layer in layers for entry in layer]
        whole = product(layers).T
        reached = dict(zip(target, whole, strict=True))
        found = hessian(risk(layers, sigma, target), entries).subs(reached)
        slope = whole.jacobian(entries).T
        yield f"L = {depth}: Hessian", found - factor * slope * sigma * slope.T
        yield f"L = {depth}: GᵀG", slope.T * slope - curvature(layers)
    mu, layers = sympy.Symbol("mu"), layers_of(2)
    entries = [entry for layer in layers for entry in layer]
    at = random_rationals(entries, seed=2, largest=3)
    inputs = sympy.Matrix([[1, 2], [0, 1], [2, -1]])
    normal = inputs[:, 0].cross(inputs[:, 1])
    y = inputs * product(layers).T.subs(at) + normal
    loss = square_norm(y - inputs * product(layers).T) / 3
    yield "the least risk is positive", bool(loss.subs(at) > 0)
    found = hessian(loss, entries).subs(at).charpoly(mu).as_expr()
    small = factor * curvature(layers).subs(at) * inputs.T * inputs / 3
    yield "spectrum", found - mu**4 * small.charpoly(mu).as_expr()


@statement(
    "deeplinear/lower-bound",
    title="No minimiser is flatter than an aligned one of its scale",
    claim=r"B \succeq t I + (L-1) t^{-1/(L-1)} w^* w^{*\top}, \quad t = \|q_1\|^2",
    hypotheses=(MINIMISER,),
    reference="theory notes 6.2",
    scope=Scope.FIXED_SIZE,
    control={"gain": 3},
)
def lower_bound(gain: int = 2) -> Iterator[tuple[str, Any]]:
    """‖q‖²AᵀA ⪰ wwᵀ when Aᵀq = w (Cauchy-Schwarz), then AM-GM over the layers.

    For every x the difference of the quadratic forms is a sum of squares; depth 3,
    where t^(−1/2) = 1/‖q_1‖.  Aligned layers give equality: no larger factor would do.
    """
    layers, x = layers_of(3), matrix_of("x", 2, 1)
    w = product(layers).T
    norms = [square_norm(row) for row in rows(layers)]
    form = (x.T * curvature(layers) * x)[0] - norms[0] * square_norm(x)
    along = (w.T * x)[0] ** 2
    dropped = sympy.S.Zero
    for k in (1, 2):
        image = product(layers[:k]) * x
        squares = lagrange_squares(rows(layers)[k - 1], image)
        dropped += norms[k] / norms[k - 1] * squares
    ratios = sum(norms[k] / norms[k - 1] for k in (1, 2))
    yield "Cauchy-Schwarz", form - ratios * along - dropped
    p, q = sympy.symbols("p q", positive=True)  # ‖q_1‖ and ‖q_2‖; ‖q_3‖ = 1
    square = (q / p - 1 / q) ** 2
    yield "AM-GM", (q / p) ** 2 + 1 / q**2 - 2 / p - square
    yield "‖q_3‖ = 1", norms[2] - 1
    unit = sympy.diag(1, 0)
    excess = curvature([unit, unit, unit[0, :]]) - sympy.eye(2) - gain * unit
    yield "B less the bound where t = 1, w* = e_1", bool(excess[0, 0] >= 0)


@statement(
    "deeplinear/s-min-attained",
    title="Aligned layers attain the bound",
    claim=r"W_1 = \sigma_1 e \hat w^\top,\; W_k = \sigma e e^\top,\; "
    r"\sigma_1\sigma^{L-1} = \|w^*\| \implies B = t I + (L-1) t^{-1/(L-1)} "
    r"w^* w^{*\top},\; t = \sigma^{2(L-1)}",
    hypotheses=(FULL_RANK,),
    reference="theory notes 6.2",
    scope=Scope.FIXED_SIZE,
    control={"gain": 2},
)
def s_min_attained(gain: int = 1) -> Iterator[tuple[str, Any]]:
    """Multiply the layers; depths 2, 3 and 4, every scale σ and direction ŵ.

    Hence S_min = 2 min_t λ_max(tΣ̂ + (L−1)t^(−1/(L−1)) Σ̂^½w*w*ᵀΣ̂^½), convex in ln t: the
    quadratic form is e^s times one square plus e^(−s/(L−1)) times another.
    """
    scale, size = sympy.symbols("sigma omega", positive=True)
    direction = rotation(sympy.Symbol("tau", real=True))[:, 0]
    e = rotation(sympy.Integer(2))[:, 0]  # any: hidden units may be turned
    target = size * direction
    log = sympy.Symbol("s", real=True)
    squares = sympy.symbols("x_:2", positive=True)
    for depth in (2, 3, 4):
        first = size / scale ** (depth - 1)
        layers = [first * e * direction.T]
        layers += [scale * e * e.T] * (depth - 2)
        layers += [scale * e.T]
        yield f"L = {depth}: w = w*", product(layers).T - target
        t, share = scale ** (2 * depth - 2), sympy.Rational(1, depth - 1)
        claimed = t * sympy.eye(2) + gain * (depth - 1) * t**-share * target * target.T
        yield f"L = {depth}: B", curvature(layers) - claimed
        form = sympy.exp(log) * squares[0]
        form += (depth - 1) * sympy.exp(-share * log) * squares[1]
        bend = sympy.exp(log) * squares[0]
        bend += share * sympy.exp(-share * log) * squares[1]
        yield f"L = {depth}: bend in ln t", form.diff(log, 2) - bend
        yield f"L = {depth}: convex in ln t", bend > 0


@statement(
    "deeplinear/first-bound",
    title="The lower bound of Marion and Chizat",
    claim=r"S_{\min} \ge 2L \|\hat\Sigma w^*\|^{2/L} (w^{*\top}\hat\Sigma w^*)^{1-2/L} "
    r"\ge 2 L a \|w^*\|^{2-2/L}",
    hypotheses=(FULL_RANK,),
    reference="Marion and Chizat 2024, Theorem 1; theory notes 6.2",
    scope=Scope.FIXED_SIZE,
    control={"factor": 3},
)
def first_bound(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """Rayleigh quotient at Σ̂^½w*, weighted AM-GM in t, then ‖Σ̂w‖‖w‖ ≥ w·Σ̂w.

    With p = ‖Σ̂w‖²/w·Σ̂w, q = w·Σ̂w and t = τ^(L−1), x^L = tp and y^L = q/τ.  Equality
    for Σ̂ = I; depths 2, 3 and 4.
    """
    w, t = matrix_of("w", 2, 1), sympy.Symbol("t", positive=True)
    root = symmetric_of("k")
    sigma, test = root * root, root * w
    moved, inner = sigma * w, (w.T * sigma * w)[0]
    x, y, size = sympy.symbols("x y omega", positive=True)
    p, q = sympy.symbols("p q", positive=True)
    cauchy = square_norm(moved) * square_norm(w) - inner**2
    yield "‖Σ̂w‖ ≥ a‖w‖", cauchy - lagrange_squares(moved, w)
    for depth in (2, 3, 4):
        gain = (depth - 1) * t ** sympy.Rational(-1, depth - 1)
        matrix = t * sigma + gain * test * test.T
        quotient = (test.T * matrix * test)[0] / square_norm(test)
        least = depth * (p * q ** (depth - 1)) ** sympy.Rational(1, depth)
        form = t * p + gain * q
        yield (
            f"L = {depth}: the quotient",
            quotient - form.subs({p: square_norm(moved) / inner, q: inner}),
        )
        squares = sum((k + 1) * x ** (depth - 2 - k) * y**k for k in range(depth - 1))
        mean = factor * depth * x * y ** (depth - 1) / 2
        am_gm = x**depth + (depth - 1) * y**depth - mean
        yield f"L = {depth}: AM-GM", am_gm - (x - y) ** 2 * squares
        best = (q / p) ** sympy.Rational(depth - 1, depth)
        yield (
            f"L = {depth}: equality",
            sympy.powsimp(sympy.expand(form.subs(t, best) - least), force=True),
        )
        bound = factor * depth * size ** sympy.Rational(2 * depth - 2, depth)
        white = minimal_sharpness(sympy.eye(2), sympy.Matrix([3, 4]), depth)
        yield f"L = {depth}: tight for Σ̂ = I", white - bound.subs(size, 5)


@statement(
    "deeplinear/minimal-sharpness-algebraic",
    title="The least sharpness is an algebraic number",
    claim=r"(S_{\min}/2)^L = \min_{0 < r \le 1/\Lambda} (L-1)^{L-1} g(r)^{L-1}/r, "
    r"\quad g(r) = w^{*\top} \hat\Sigma (I - r\hat\Sigma)^{-1} w^*",
    hypotheses=(FULL_RANK,),
    reference="derived here from theory notes 6.2",
    scope=Scope.FIXED_SIZE,
    control={"shift": 1},
)
def minimal_sharpness_algebraic(shift: int = 0) -> Iterator[tuple[str, Any]]:
    """λ is an eigenvalue at scale t = λr iff λ^(L/(L−1)) = (L−1) r^(−1/(L−1)) g(r).

    This is the determinant of a rank-one change; λ is the top one if r < 1/Λ, and
    ln g is convex as the logarithm of a sum of log-convex terms 1/(1 − rσ).
    """
    sigma = symmetric_of("sigma")
    w, r = matrix_of("w", 2, 1), sympy.Symbol("r", positive=True)
    root = sympy.Symbol("nu", positive=True)  # λ = ν^(L−1), r = ρ^(L−1): no powers
    rho = sympy.Symbol("rho", positive=True)
    for depth in (2, 3):
        top, inverse_scale = root ** (depth - 1), 1 / (root * rho)
        scale = top * rho ** (depth - 1)
        gain = (depth - 1 + shift) * inverse_scale
        pencil = top * sympy.eye(2) - scale * sigma - gain * sigma * w * w.T
        resolvent = sympy.eye(2) - rho ** (depth - 1) * sigma
        g = (w.T * sigma * resolvent.adjugate() * w)[0] / resolvent.det()
        condition = top - (depth - 1) * inverse_scale * g
        yield (
            f"L = {depth}: determinant",
            pencil.det() - top * resolvent.det() * condition,
        )
    s = sympy.symbols("s_:2", positive=True)
    c = sympy.symbols("c_:2", positive=True)
    terms = [c[k] / (1 - r * s[k]) for k in range(2)]
    g = sum(terms)
    log_terms = [term * sympy.log(term).diff(r, 2) for term in terms]
    spread = (
        terms[0]
        * terms[1]
        * (sympy.log(terms[0]).diff(r) - sympy.log(terms[1]).diff(r)) ** 2
    )
    yield (
        "ln g is convex",
        g**2 * sympy.log(g).diff(r, 2) - g * sum(log_terms) - spread,
    )
    yield (
        "each term is log-convex",
        log_terms[0] - terms[0] * s[0] ** 2 / (1 - r * s[0]) ** 2,
    )
    least = minimal_sharpness(sympy.diag(1, 4), sympy.Matrix([1, 0]), 2)
    yield "an end point", least - 8 / sympy.sqrt(3)
    sigma, w = sympy.diag(1, 2), sympy.Matrix([1, 1])
    least = minimal_sharpness(sigma, w, 2)
    for scale in (1, sympy.Rational(6, 5), sympy.Rational(3, 2)):
        value = sharpness_at_scale(sigma, w, 2, scale)
        yield "no scale is below", bool(value.evalf(20) >= least.evalf(20))


@statement(
    "deeplinear/balanced-not-flattest",
    title="The balanced minimiser is not the flattest",
    claim=r"\hat\Sigma = \operatorname{diag}(1, 4),\; w^* = (1, 0),\; L = 2:\; "
    r"S = 8 \text{ balanced},\; S_{\min} = 8/\sqrt3",
    hypotheses=(FULL_RANK,),
    reference="theory notes 6.2",
    scope=Scope.FIXED_SIZE,
    control={"along": 1},
)
def balanced_not_flattest(along: int = 0) -> Iterator[tuple[str, Any]]:
    """Eigenvalues of the Hessian of the loss at two pairs of aligned layers.

    The control puts w* along the top eigenvector, where balanced is flattest.
    """
    sigma = sympy.diag(1, 4)
    target, e = sympy.eye(2)[:, along], sympy.Matrix([1, 0])
    layers = layers_of(2)
    entries = [entry for layer in layers for entry in layer]
    found = hessian(risk(layers, sigma, target), entries)

    def sharpness(scale: sympy.Expr) -> sympy.Expr:
        aligned = [e * target.T / scale, scale * e.T]
        values = [entry for layer in aligned for entry in layer]
        matrix = found.subs(dict(zip(entries, values, strict=True)))
        return sympy.Max(*matrix.eigenvals())

    balanced, other = sharpness(sympy.S.One), sharpness(sympy.Rational(2, 3))
    yield "balanced", balanced - 8
    yield "another is flatter", bool(other < balanced)
    best = sharpness(3 ** sympy.Rational(-1, 4))
    yield "the flattest", best - 8 / sympy.sqrt(3)
    yield "it is S_min", best - minimal_sharpness(sigma, target, 2)
