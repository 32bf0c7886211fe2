"""The drift of the limiting flow, and what it is for three kinds of noise."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, product
from typing import Any

import sympy

from theory.germs import (
    CURVATURES,
    INTERPOLATION,
    NORMAL,
    TANGENT,
    X,
    at_origin,
    germ,
    gradient,
    inverse_lyapunov,
    on_zero_loss,
    pseudo_inverse,
    residuals,
    tangent_part,
    trilinear,
)
from theory.li2021.definitions import (
    CONSTANT_RANK,
    MATCHED,
    Phi,
)
from theory.statement import Scope, statement

HALF, QUARTER = sympy.Rational(1, 2), sympy.Rational(1, 4)
H = sympy.diag(*CURVATURES)
P_T = sympy.diag(1, 1, 0, 0)
P_N = sympy.diag(0, 0, 1, 1)
c, sigma, eta = sympy.symbols("c sigma eta", positive=True)


def _ito(covariance: sympy.Matrix) -> sympy.Matrix:
    """Return ½∂²Φ[Σ], with Φ from its gradient flow."""
    return sympy.Matrix(
        [
            sum(sympy.hessian(term, X).multiply_elementwise(covariance)) / 2
            for term in Phi()[1]
        ]
    )


def _trace_gradient() -> sympy.Matrix:
    return tangent_part(at_origin(gradient(sympy.hessian(germ(), X).trace(), X)))


@statement(
    "li2021/drift",
    title="The drift of the limiting flow for any noise",
    claim=r"\tfrac12\partial^2\Phi[\Sigma] = -\tfrac12\bigl(H^+D^3L[\Sigma_{TT}] "
    r"+ 2P_TD^3L[H^+\Sigma_{NT}] + P_TD^3L[\mathcal{L}_H^{-1}\Sigma_{NN}]\bigr)",
    hypotheses=(CONSTANT_RANK,),
    reference="Li, Wang, Arora 2021, Theorem on the limiting flow; theory notes 2.2",
    scope=Scope.FIXED_SIZE,
    control={"mixed": 1},
)
def drift(mixed: int = 2) -> Iterator[tuple[str, Any]]:
    """Contract the second derivative of the solved gradient flow with a generic Σ.

    The mixed block comes twice, as Σ_NT and as its transpose.
    """
    covariance = sympy.Matrix(
        4, 4, lambda i, j: sympy.Symbol(f"S_{min(i, j)}{max(i, j)}", real=True)
    )
    scaled = sympy.Matrix.hstack(
        *(pseudo_inverse((covariance * P_T)[:, j]) for j in range(4))
    )
    closed = (
        pseudo_inverse(trilinear(germ(), P_T * covariance * P_T))
        + mixed * tangent_part(trilinear(germ(), scaled))
        + tangent_part(trilinear(germ(), inverse_lyapunov(P_N * covariance * P_N)))
    )
    yield "½∂²Φ[Σ]", _ito(covariance) + closed / 2


@statement(
    "li2021/matched-noise",
    title="Matched noise follows the gradient of the trace",
    claim=r"\Sigma = c\nabla^2L \implies \tfrac12\partial^2\Phi[\Sigma] = "
    r"-\tfrac{c}{4}\operatorname{grad}_\Gamma \operatorname{Tr}\nabla^2L",
    hypotheses=(CONSTANT_RANK, MATCHED),
    reference="Li, Wang, Arora 2021, corollary on label noise; theory notes 2.3(a)",
    scope=Scope.FIXED_SIZE,
    control={"rate": HALF},
)
def matched_noise(rate: sympy.Expr = QUARTER) -> Iterator[tuple[str, Any]]:
    """𝓛_H⁻¹(cH) = (c/2)P_N, and tangent directions add nothing to the trace's slope.

    Here neither is used: Φ is that of the solved flow and the trace that of ∇²L.
    """
    yield "−(c/4) grad Tr ∇²L", _ito(c * H) + rate * c * _trace_gradient()


@statement(
    "li2021/general-law",
    title="SGD with matched noise moves along Γ by −η²(c/4) grad Tr ∇²L per step",
    claim=r"\Sigma = c\nabla^2L \implies C = \tfrac{\eta c}{2}P_N + O(\eta^2), \quad "
    r"\mathbb{E}\,\Delta\theta = "
    r"-\eta^2\tfrac{c}{4}\operatorname{grad}_\Gamma\operatorname{Tr}\nabla^2L "
    r"+ O(\eta^3)",
    hypotheses=(CONSTANT_RANK, MATCHED),
    reference="Blanc et al. 2020, Li, Wang, Arora 2021; theory notes 0.3",
    scope=Scope.FIXED_SIZE,
    control={"rate": HALF},
)
def general_law(rate: sympy.Expr = QUARTER) -> Iterator[tuple[str, Any]]:
    """Solve for the stationary covariance C of the fluctuations δ⁺ = (I − ηH)δ − ηξ.

    It is of order η.  Average the tangent part of the actual step −η∇L(δ) over it:
    the average of the quadratic part of ∇L is ½D³L[C].
    """
    names = sympy.symbols("C_22 C_23 C_33", real=True)
    unknown = sympy.Matrix([[names[0], names[1]], [names[1], names[2]]])
    normal = H[2:, 2:]
    contraction = sympy.eye(2) - eta * normal
    after = contraction * unknown * contraction + eta**2 * c * normal
    solution = sympy.solve(list(after - unknown), names, dict=True)[0]
    per_rate = (unknown.subs(solution) / eta).applyfunc(sympy.cancel)
    yield "C = (ηc/2)P_N + O(η²)", per_rate.subs(eta, 0) - c / 2 * sympy.eye(2)
    step = -eta * gradient(germ(), X)
    moved = sympy.Matrix(
        [
            sum(
                sympy.hessian(step[i], X)[j, k] * eta * per_rate[j - 2, k - 2] / 2
                for j, k in product(NORMAL, repeat=2)
            )
            for i in range(4)
        ]
    )
    leading = (
        tangent_part(at_origin(moved) / eta**2).applyfunc(sympy.cancel).subs(eta, 0)
    )
    yield "EΔθ/η² = −(c/4) grad Tr ∇²L", leading + rate * c * _trace_gradient()


@statement(
    "li2021/isotropic-noise",
    title="Isotropic normal noise follows the gradient of the log pseudo-determinant",
    claim=r"\Sigma = \sigma^2P_N \implies \tfrac12\partial^2\Phi[\Sigma] = "
    r"-\tfrac{\sigma^2}{4}\operatorname{grad}_\Gamma \log|\nabla^2L|_+",
    hypotheses=(CONSTANT_RANK,),
    reference="Li, Wang, Arora 2021, corollary on isotropic noise; theory notes 2.3(b)",
    scope=Scope.FIXED_SIZE,
    control={"rate": HALF},
)
def isotropic_noise(
    rate: sympy.Expr = QUARTER,
) -> Iterator[tuple[str, Any]]:
    """On Γ the pseudo-determinant is the coefficient of λ^dim Γ in det(λ + ∇²L).

    That coefficient, the sum of the principal minors of size codim Γ, is smooth:
    differentiate its logarithm.  The drift of label noise is another one.  Noise along
    Γ would add −½H⁺D³L[Σ_TT] (li2021/drift), which keeps the walk on Γ.
    """
    hessian = sympy.hessian(germ(), X)
    minors = sum(
        hessian.extract(list(rows), list(rows)).det()
        for rows in combinations(range(4), len(NORMAL))
    )
    slope = at_origin(gradient(minors, X)) / at_origin(minors)
    pushed = _ito(sigma**2 * P_N)
    yield "−(σ²/4) grad log|∇²L|₊", pushed + rate * sigma**2 * tangent_part(slope)
    difference = slope[TANGENT[0]] - _trace_gradient()[TANGENT[0]]
    yield "it is not the slope of the trace", sympy.cancel(difference) != 0


@statement(
    "li2021/vanishing-noise",
    title="On Γ there is no sampling noise",
    claim=r"f_i = y_i\ \forall i \implies \operatorname{Cov}(\nabla L_B) = 0",
    hypotheses=(INTERPOLATION,),
    reference="theory notes 2.3(c)",
    scope=Scope.FIXED_SIZE,
    control={"residual": 1},
)
def vanishing_noise(residual: int = 0) -> Iterator[tuple[str, Any]]:
    """Take the covariance of the minibatch gradient from its definition.

    It is quadratic in the residuals, here three undefined ones of two parameters, in
    batches of two; with residuals 1 it is that of the gradients themselves.  The drift
    is linear in Σ (li2021/drift), so sampling alone does not move along Γ.
    """
    variables = sympy.symbols("theta_1:3", real=True)
    slopes = [gradient(r**2 / 2, variables) for r in residuals(3, variables)]
    batches = [(slopes[i] + slopes[j]) / 2 for i, j in combinations(range(3), 2)]
    mean = sum(slopes, sympy.zeros(2, 1)) / 3
    yield "batches are unbiased", sum(batches, sympy.zeros(2, 1)) / 3 - mean
    covariance = sum(
        ((batch - mean) * (batch - mean).T for batch in batches), sympy.zeros(2, 2)
    )
    yield "Σ = 0 on Γ", on_zero_loss(covariance / 3, residual)
    slope = on_zero_loss(
        sympy.hessian(sum(r**2 for r in residuals(3, variables)), variables)
    )
    yield "while ∇²L is not 0", slope != sympy.zeros(2, 2)
