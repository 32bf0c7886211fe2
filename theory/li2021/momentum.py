"""The clock of heavy-ball momentum: that of SGD with learning rate η/(1 − β)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.germs import (
    CURVATURES,
    X,
    at_origin,
    germ,
    gradient,
    tangent_part,
    trilinear,
)
from theory.li2021.definitions import CONSTANT_RANK, MATCHED
from theory.statement import Hypothesis, Scope, statement

beta, c, eta = sympy.symbols("beta c eta", positive=True)
STABLE_MEAN = Hypothesis("stable-mean", "0 ≤ β < 1 and η λ_max(∇²L) < 2(1 + β)")


def _stationary(noise: sympy.Matrix) -> dict[sympy.Symbol, sympy.Expr]:
    """Return the second moments of (δ, v) that a step beside Γ reproduces.

    In the frame of the eigenvectors of H, one displacement and one velocity for each of
    the two normal directions; noise is the covariance of ξ.
    """
    H, one = sympy.diag(*CURVATURES[2:]), sympy.eye(2)
    velocity = sympy.Matrix.hstack(H, beta * one)
    position = sympy.Matrix.hstack(one, 0 * one) - eta * velocity
    step = sympy.Matrix.vstack(position, velocity)
    kick = sympy.Matrix.vstack(-eta * one, one)
    moments = sympy.Matrix(4, 4, lambda i, j: _moment(min(i, j), max(i, j)))
    change = step * moments * step.T + kick * noise * kick.T - moments
    (solution,) = sympy.solve(
        list(change), sorted(moments.free_symbols, key=str), dict=True
    )
    return solution


def _moment(i: int, j: int) -> sympy.Symbol:
    return sympy.Symbol(f"M_{i}{j}", real=True)


@statement(
    "li2021/clock-momentum",
    title="The clock of heavy-ball momentum",
    claim=r"v^+ = \beta v + \nabla L + \xi, \ \theta^+ = \theta - \eta v^+: \quad "
    r"E\,\delta\delta^T = \frac{\eta c\,(1 + \beta)}{1 - \beta}"
    r"\bigl(2(1 + \beta) - \eta H\bigr)^{-1} P_N, \quad "
    r"\Delta\theta = -\Bigl(\frac{\eta}{1 - \beta}\Bigr)^2 \tfrac c4 "
    r"\operatorname{grad}_\Gamma \operatorname{Tr}\nabla^2L + O(\eta^3)",
    hypotheses=(CONSTANT_RANK, MATCHED, STABLE_MEAN),
    reference="theory notes 0.3, with momentum",
    scope=Scope.FIXED_SIZE,
    control={"power": 1},
)
def clock_momentum(power: int = 2) -> Iterator[tuple[str, Any]]:
    """Solve for the second moments of displacement and velocity that a step reproduces.

    On the tangent space the velocity has the mean m = βm + ½P_T D³L[E δδᵀ], and a step
    moves Γ's point by −ηm; the leading order in η is the claim.
    """
    h = CURVATURES[2:]
    solution = _stationary(c * sympy.diag(*h))
    spread = sympy.zeros(4)
    spread[2:, 2:] = sympy.Matrix(
        2, 2, lambda i, j: solution[_moment(min(i, j), max(i, j))]
    )
    closed = [eta * c * (1 + beta) / (1 - beta) / (2 * (1 + beta) - eta * k) for k in h]
    yield "the covariance is the closed form", spread[2:, 2:] - sympy.diag(*closed)
    mean = tangent_part(trilinear(germ(), spread)) / 2 / (1 - beta)
    leading = (-mean / eta).applyfunc(
        lambda x: sympy.cancel(sympy.together(x)).subs(eta, 0)
    )
    slope = tangent_part(at_origin(gradient(sympy.hessian(germ(), X).trace(), X)))
    yield (
        "Δθ/η² → −(c/4) grad Tr ∇²L/(1 − β)²",
        leading + c / 4 * slope / (1 - beta) ** power,
    )
