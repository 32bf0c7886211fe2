r"""Corrections to the slides: what they should say, with what they print as control.

Where the printed formula is a matter of words (theory notes 12.6, 12.8, 12.9) there is
nothing to compute here.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import sympy

from theory.germs import (
    INTERPOLATION,
    TANGENT,
    X,
    germ,
    gradient,
    on_zero_loss,
    residuals,
)
from theory.li2021 import clock
from theory.li2021.definitions import INDEPENDENT_NOISE
from theory.slides2024.diagonal import loss_hessian
from theory.statement import Hypothesis, Scope, statement

GENERIC = Hypothesis(
    "generic", "Z and the start lie outside the zeros of some polynomial"
)
HALF = sympy.Rational(1, 2)


@statement(
    "slides2024/correction-label-noise",
    title="The printed label-noise update is four times faster than its printed flow",
    claim=r"\theta^+ = \theta - \eta\nabla(f_i - y_i - \varepsilon)^2: \quad "
    r"\dot Y = -\sigma^2\operatorname{grad}_\Gamma\operatorname{Tr}\nabla^2L, \quad "
    r"L = \tfrac1{2n}\sum_i(f_i - y_i)^2",
    hypotheses=(INTERPOLATION, INDEPENDENT_NOISE),
    reference="Slides print −(δ²/4) grad Tr; theory notes 12.1 and 0.4",
    scope=Scope.FIXED_SIZE,
    control={"rate": sympy.Rational(1, 4)},
)
def correction_label_noise(rate: sympy.Expr = sympy.S.One) -> Iterator[tuple[str, Any]]:
    """Take the covariance Σ = c∇²L of the update as printed.

    By the general law the flow is −(c/4) grad Tr ∇²L.  The printed constant forgets
    that the update has no ½ while the loss of the flow has one.
    """
    update = clock.covariance(sympy.S.One, clock.without_replacement(1))
    of_loss = clock.hessian(HALF / clock.n)
    constant = sympy.cancel(update[0, 0] / of_loss[0, 0])
    yield "the noise is matched", update - constant * of_loss
    yield "c/4", constant / 4 - rate * clock.sigma**2
    update = clock.covariance(HALF, clock.without_replacement(1))
    yield "with the ½: σ²/4", update / 4 - clock.sigma**2 / 4 * of_loss


@statement(
    "slides2024/correction-trace",
    title="The trace of the half-mean loss is the mean square of the gradients",
    claim=r"L = \tfrac1{2n}\sum_i(f_i - y_i)^2: \quad "
    r"\operatorname{Tr}\nabla^2L = \tfrac1n\sum_i\|\nabla f_i\|^2",
    hypotheses=(INTERPOLATION,),
    reference="Slides print (4/n)Σ‖∇f‖²; theory notes 12.2",
    scope=Scope.FIXED_SIZE,
    control={"factor": 4},
)
def correction_trace(factor: int = 1) -> Iterator[tuple[str, Any]]:
    """Differentiate twice: the terms with second derivatives carry residuals.

    For two undefined models of two parameters.
    """
    variables = sympy.symbols("theta_1:3", real=True)
    models = residuals(2, variables)
    loss = sum(r**2 for r in models) / 4
    trace = on_zero_loss(sympy.hessian(loss, variables).trace())
    slopes = [on_zero_loss(gradient(r, variables)) for r in models]
    squares = sum(g.dot(g) for g in slopes) / 2
    yield "Tr ∇²L", sympy.expand(trace - factor * squares)


@statement(
    "slides2024/correction-sample-count",
    title="There is an implicit bias only with fewer samples than features",
    claim=r"\text{on } \Gamma \text{ the flow } -\operatorname{grad}_\Gamma"
    r"\operatorname{Tr}\nabla^2L \text{ moves } w = u^2 - v^2 \iff n < d",
    hypotheses=(INTERPOLATION, GENERIC),
    reference="Slides print n ≫ d; theory notes 12.3 and 3.1",
    scope=Scope.FIXED_SIZE,
    control={"samples": 2},
)
def correction_sample_count(samples: int = 1) -> Iterator[tuple[str, Any]]:
    """Project the gradient of the trace of the diagonal network with two features.

    The flow is ẇ = −16c∘w + 4(Zᵀα)∘(u² + v²), with the multipliers α for which Zẇ = 0.
    Two samples determine w; one leaves it a line to move on.  There ẇ is a rational
    function, seen not to be 0 at one point: so almost everywhere, though not everywhere
    (z = (1, 0) and u = v stand still).
    """
    u, v = sympy.symbols("u_1:3", real=True), sympy.symbols("v_1:3", real=True)
    data = sympy.Matrix(2, 2, sympy.symbols("z_1:5", positive=True))
    w = sympy.Matrix([u[k] ** 2 - v[k] ** 2 for k in range(2)])

    def velocity(count: int) -> tuple[sympy.Matrix, sympy.Expr]:
        """Return ẇ times det JJᵀ, and det JJᵀ."""
        models = data[:count, :] * w
        trace = loss_hessian(list(models), (*u, *v)).trace()
        jacobian = models.jacobian((*u, *v))
        slope = gradient(trace, (*u, *v))
        gram = jacobian * jacobian.T
        tangent = gram.det() * slope - jacobian.T * (gram.adjugate() * jacobian * slope)
        return -w.jacobian((*u, *v)) * tangent, gram.det()

    z = data[0, :]
    sizes = [u[k] ** 2 + v[k] ** 2 for k in range(2)]
    pull = sum(16 * z[k] ** 3 * w[k] for k in range(2))
    pull /= sum(4 * z[k] ** 2 * sizes[k] for k in range(2))
    moving = [-16 * z[k] ** 2 * w[k] + 4 * z[k] * pull * sizes[k] for k in range(2)]
    yield "n < d: along Zw = y", z.dot(sympy.Matrix(moving))
    scaled, determinant = velocity(samples)
    yield "n < d: w moves", scaled[0] - determinant * moving[0]
    at = {u[0]: 1, v[0]: 1, u[1]: 1, v[1]: 0}
    speed = 16 * z[0] * z[1] ** 3 * 2 / (2 * z[0] ** 2 + z[1] ** 2)
    yield "n < d: from w = (0, 1)", moving[0].subs(at) - speed
    yield "n < d: it is not 0 there", speed > 0
    yield "n = d: w stands still", velocity(2)[0]


@statement(
    "slides2024/correction-sam",
    title="SAM evaluates the gradient at the ascended point",
    claim=r"x^+ = x - \eta\nabla L(x + \rho\hat g): \quad "
    r"P_T(x^+ - x) \to -\tfrac12\eta\rho^2P_TD^3L[\hat g, \hat g]",
    reference="Slides close the parenthesis after x; theory notes 12.4",
    scope=Scope.FIXED_SIZE,
    control={"inside": False},
)
def correction_sam(inside: bool = True) -> Iterator[tuple[str, Any]]:
    """Start at δ along the last eigenvector and let δ go to 0.

    With the parenthesis closed too early, ∇L(x) + ρĝ, the step stays normal to Γ: no
    sharpness is seen at all.
    """
    delta, rho, eta = sympy.symbols("delta rho eta", positive=True)
    slopes = gradient(germ(), X)
    point = sympy.Matrix([0, 0, 0, delta])
    direction = sympy.Matrix([0, 0, 0, 1])

    def at(position: sympy.Matrix) -> sympy.Matrix:
        return slopes.subs(dict(zip(X, position, strict=True)))

    step = -eta * (
        at(point + rho * direction) if inside else at(point) + rho * direction
    )
    cubic = [direction.dot(sympy.hessian(g, X) * direction) for g in slopes]
    for t in TANGENT:
        yield f"tangent {t + 1}", step[t].subs(delta, 0) + eta * rho**2 * cubic[t] / 2


@statement(
    "slides2024/correction-normal-equations",
    title="The limit on least squares needs (AAᵀ)⁻¹ on the right, not (AᵀA)⁻¹",
    claim=r"n < d: \quad \det AA^\top = \sum(\text{minors of size } n)^2, \quad "
    r"\det A^\top A = 0",
    hypotheses=(Hypothesis("wide", "A has fewer rows than columns"),),
    reference="Slides print (AᵀA)⁻¹Aᵀ; theory notes 12.5",
    scope=Scope.FIXED_SIZE,
    control={"printed": True},
)
def correction_normal_equations(printed: bool = False) -> Iterator[tuple[str, Any]]:
    """Apply Cauchy-Binet to a generic 2 × 3 matrix.

    Independent rows have a minor that is not 0, so AAᵀ is regular; AᵀA has rank n < d.
    """
    A = sympy.Matrix(2, 3, sympy.symbols("a_1:7", real=True))
    inverted = A.T * A if printed else A * A.T
    minors = [A.extract([0, 1], list(pair)).det() for pair in combinations(range(3), 2)]
    regular = inverted.det() - sum(minor**2 for minor in minors)
    yield "the inverted matrix is regular", sympy.expand(regular)
    yield "det AᵀA = 0", sympy.expand((A.T * A).det())
    right, wrong = A.T * (A * A.T).adjugate(), A.T * A
    yield "Aᵀ(AAᵀ)⁻¹ is a right inverse", A * right - (A * A.T).det() * sympy.eye(2)
    kernel = A[0, :].cross(A[1, :])
    yield "AᵀA annihilates ker A", wrong * kernel.T


@statement(
    "slides2024/correction-path-norm",
    title="Σ|a|‖w‖ is the path norm of the weights, not a norm of the function",
    claim=r"f = 0 \text{ has weights with } \sum_j|a_j|\|w_j\| > 0; \quad "
    r"\text{rescaling neurons keeps both}",
    reference="Slides call it the Barron norm; theory notes 12.7",
    scope=Scope.FIXED_SIZE,
    control={"norm_of_function": True},
)
def correction_path_norm(norm_of_function: bool = False) -> Iterator[tuple[str, Any]]:
    """Let two neurons of opposite output weights cancel.

    The function is 0 and the sum is not, so the Barron norm, the least sum of a
    function's networks, is another quantity.
    """
    a, w, c, r = sympy.symbols("a w c r", positive=True)
    x = sympy.Symbol("x", real=True)

    def network(neurons: list[tuple[Any, Any]]) -> sympy.Expr:
        return sum(out * sympy.Max(0, inner * x) for out, inner in neurons)

    def path(neurons: list[tuple[Any, Any]]) -> sympy.Expr:
        return sum(sympy.Abs(out) * sympy.Abs(inner) for out, inner in neurons)

    nothing, cancelling = [(0, w)], [(a, w), (-a, w)]
    yield "the same function", network(cancelling) - network(nothing)
    excess = path(cancelling) - path(nothing)
    yield "another sum", excess if norm_of_function else excess - 2 * a * w
    yield "which is positive", excess > 0
    rescaled = [(a / c, c * w)]
    for side, value in (("active", r), ("inactive", -r)):
        change = network(rescaled).subs(x, value) - network([(a, w)]).subs(x, value)
        yield f"rescaling keeps the function where {side}", change
    yield "rescaling keeps the sum", path(rescaled) - path([(a, w)])
