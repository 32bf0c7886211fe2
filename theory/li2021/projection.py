"""The derivatives of the limit map Φ on Γ, by its flow and by its equations."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.germs import (
    NORMAL,
    TANGENT,
    X,
    germ,
    gradient,
    inverse_lyapunov,
    pseudo_inverse,
    tangent_part,
    trilinear,
)
from theory.li2021.definitions import CONSTANT_RANK, Phi
from theory.statement import Scope, statement


def _vector(name: str, where: tuple[int, ...]) -> sympy.Matrix:
    return sympy.Matrix(
        [sympy.Symbol(f"{name}_{i}", real=True) if i in where else 0 for i in range(4)]
    )


def _second_derivative(matrix: sympy.Matrix) -> sympy.Matrix:
    """Return ∂²Φ[S] = Σ S_jk ∂_j∂_kΦ, from the solved flow."""
    return sympy.Matrix(
        [sum(sympy.hessian(term, X).multiply_elementwise(matrix)) for term in Phi()[1]]
    )


def _equation_of_limits() -> sympy.Matrix:
    """Return the terms of second order of ∂Φ(x)∇L(x), which is 0 for every x."""
    epsilon = sympy.Symbol("epsilon")
    first, second = Phi()
    jacobian = sympy.Matrix([a + b for a, b in zip(first, second, strict=True)])
    product = jacobian.jacobian(X) * gradient(germ(), X)
    along = product.subs({x: epsilon * x for x in X}, simultaneous=True)
    return along.applyfunc(lambda entry: sympy.expand(entry).coeff(epsilon, 2))


@statement(
    "li2021/normal-normal",
    title="Second derivative of the limit map, two normal directions",
    claim=r"\partial\Phi = P_T, \quad \partial^2\Phi[S] = "
    r"-P_T D^3L[\mathcal{L}_H^{-1} S] \text{ for normal } S",
    hypotheses=(CONSTANT_RANK,),
    reference="Li, Wang, Arora 2021, Lemma on ∂²Φ; theory notes 2.2",
    scope=Scope.FIXED_SIZE,
    control={"factor": 2},
)
def normal_normal(factor: int = 1) -> Iterator[tuple[str, Any]]:
    """Solve the gradient flow of the generic loss to second order in the distance to Γ.

    Two normal components decay like exp(−(h_i + h_j)t), so what they push along Γ
    integrates to −½T_ij/(h_i + h_j), which is the inverse of 𝓛_H.  The same Φ solves
    ∂Φ∇L = 0, the equation that says that Φ is constant along the flow.
    """
    b, c = _vector("b", NORMAL), _vector("c", NORMAL)
    matrix = b * c.T + c * b.T
    yield "∂Φ = P_T", sympy.Matrix(Phi()[0]) - tangent_part(sympy.Matrix(X))
    yield "∂Φ∇L = 0 to second order", _equation_of_limits()
    closed = -factor * tangent_part(trilinear(germ(), inverse_lyapunov(matrix)))
    yield "∂²Φ[S] = −P_T D³L[𝓛⁻¹S]", _second_derivative(matrix) - closed


@statement(
    "li2021/tangent-normal",
    title="Second derivative of the limit map, one tangent and one normal direction",
    claim=r"\partial^2\Phi[a, b] = -P_T D^3L[a, H^+ b], \quad a \in T,\ b \in N",
    hypotheses=(CONSTANT_RANK,),
    reference="Li, Wang, Arora 2021, Lemma on ∂²Φ; theory notes 2.2",
    scope=Scope.FIXED_SIZE,
    control={"factor": sympy.Rational(1, 2)},
)
def tangent_normal(factor: sympy.Expr = sympy.S.One) -> Iterator[tuple[str, Any]]:
    """Solve the gradient flow of the generic loss to second order, as before.

    The tangent component stands still and the normal one decays like exp(−ht), so the
    push along Γ integrates to −T[a, b]/h: without the ½ of two normal directions.
    """
    a, b = _vector("a", TANGENT), _vector("b", NORMAL)
    bilinear = (a * b.T + b * a.T) / 2
    closed = -factor * tangent_part(trilinear(germ(), a * pseudo_inverse(b).T))
    yield "∂Φ∇L = 0 to second order", _equation_of_limits()
    yield "∂²Φ[a, b] = −P_T D³L[a, H⁺b]", _second_derivative(bilinear) - closed


@statement(
    "li2021/tangent-tangent",
    title="Second derivative of the limit map, two tangent directions",
    claim=r"\partial^2\Phi[a, a] = \mathrm{II}(a, a) = -H^+ D^3L[a, a], \quad a \in T",
    hypotheses=(CONSTANT_RANK,),
    reference="Li, Wang, Arora 2021, Lemma on ∂²Φ; theory notes 2.2",
    scope=Scope.FIXED_SIZE,
    control={"factor": sympy.Rational(1, 2)},
)
def tangent_tangent(factor: sympy.Expr = sympy.S.One) -> Iterator[tuple[str, Any]]:
    """Solve ∇L(γ) = 0 for the curve γ = sa + ½s²n that stays in Γ: n = II(a, a).

    Φ(γ) = γ then gives the block; it is also what the flow from sa gives.
    """
    s = sympy.Symbol("s")
    a, n = _vector("a", TANGENT), _vector("n", NORMAL)
    curve = s * a + s**2 * n / 2
    along = gradient(germ(), X).subs(dict(zip(X, curve, strict=True)))
    bending = [sympy.expand(along[i]).coeff(s, 2) for i in range(4)]
    solved = n.subs(sympy.solve(bending, [n[i] for i in NORMAL], dict=True)[0])
    closed = -factor * pseudo_inverse(trilinear(germ(), a * a.T))
    yield "II(a, a) = −H⁺D³L[a, a]", solved - closed
    yield "∂²Φ[a, a] = II(a, a)", _second_derivative(a * a.T) - solved


@statement(
    "li2021/closed-form-projection",
    title="The three blocks on a loss whose limit map is known",
    claim=r"L = \tfrac12(u^2 - v^2 - 1)^2,\ u > 0: \quad \Phi(u, v) = (U, uv/U), \quad "
    r"U^2 = \tfrac12\bigl(1 + \sqrt{1 + 4u^2v^2}\bigr)",
    hypotheses=(CONSTANT_RANK,),
    reference="theory notes 2.2 and 3.2",
    scope=Scope.FIXED_SIZE,
    control={"blocks": (1, 1, 1)},
)
def closed_form_projection(
    blocks: tuple[sympy.Expr, ...] = (sympy.Rational(1, 2), 1, 1),
) -> Iterator[tuple[str, Any]]:
    """Differentiate Φ twice at the point u = (p + 1/p)/2, v = (p − 1/p)/2 of Γ.

    The flow conserves uv, and uv with u² − v² = 1 determines the limit.  Compare with
    the blocks, in which D³L and the one curvature come from the loss.
    """
    u, v, p = sympy.symbols("u v p", positive=True)
    loss = (u**2 - v**2 - 1) ** 2 / 2
    root = sympy.sqrt((1 + sympy.sqrt(1 + 4 * u**2 * v**2)) / 2)
    phi = sympy.Matrix([root, u * v / root])
    on_curve = {u: (p + 1 / p) / 2, v: (p - 1 / p) / 2}

    def at_point(expression: Any, point: Any = on_curve) -> Any:
        placed = expression.subs(point).replace(
            lambda e: e.is_Pow and e.exp.is_Rational and e.exp.q == 2,
            lambda e: sympy.factor(e.base) ** e.exp,
        )
        return placed.applyfunc(sympy.cancel)

    anywhere = {v: (p**2 - 1 / p**2) / (4 * u)}
    conserved = at_point(phi.jacobian([u, v]) * gradient(loss, (u, v)), anywhere)
    yield "∂Φ∇L = 0", conserved
    yield "Φ = id on Γ", at_point(phi) - at_point(sympy.Matrix([u, v]))
    hessians = [at_point(sympy.hessian(f, (u, v))) for f in phi]
    cubes = [at_point(sympy.hessian(loss.diff(x), (u, v))) for x in (u, v)]
    normal, tangent = at_point(sympy.Matrix([u, -v])), at_point(sympy.Matrix([v, u]))
    square = sympy.cancel(normal.dot(normal))
    bent = normal.dot(at_point(sympy.hessian(loss, (u, v))) * normal)
    curvature = sympy.cancel(bent / square)
    for name, a, b, onto, factor in (
        ("normal-normal", normal, normal, tangent, blocks[0]),
        ("tangent-normal", tangent, normal, tangent, blocks[1]),
        ("tangent-tangent", tangent, tangent, normal, blocks[2]),
    ):
        pushed = onto.dot(sympy.Matrix([a.dot(cube * b) for cube in cubes]))
        weight = sympy.cancel(factor * pushed / (curvature * square))
        moved = sympy.Matrix([a.dot(h * b) for h in hessians]) + weight * onto
        yield name, moved.applyfunc(sympy.cancel)
