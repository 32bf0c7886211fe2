"""Hidden convexity: F is convex in the coordinates u = aφ(z)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.gatmiry2024.definitions import NONZERO_WEIGHTS, SIGNS, Z, phi
from theory.statement import Scope, statement


@statement(
    "gatmiry2024/hidden-convexity",
    title="The trace is convex in the outputs of the neurons",
    claim=r"g(u) = a^2 \varphi'(\varphi^{-1}(u/a))^2 \implies "
    r"g' = 2a\varphi'', \quad g'' = 2\varphi'''/\varphi' > 0",
    hypotheses=(*SIGNS, NONZERO_WEIGHTS),
    reference="Gatmiry et al. 2024, proof of Theorem 1; theory notes 1.5",
    scope=Scope.ALL_SIZES,
    control={"factor": 3},
)
def hidden_convexity(
    factor: int = 2, activation: sympy.Expr | None = None
) -> Iterator[tuple[str, Any]]:
    """With u = aφ(z), d/du = (1/aφ') d/dz: differentiate a²φ'(z)² twice.

    The sign of a does not matter: g'' contains none.
    """
    a = sympy.Symbol("a", real=True, nonzero=True)
    f = phi(Z) if activation is None else activation
    first, second, third = (f.diff(Z, order) for order in (1, 2, 3))

    def d_du(expression: sympy.Expr) -> sympy.Expr:
        return expression.diff(Z) / (a * first)

    g = a**2 * first**2
    yield "g' = 2aφ''", d_du(g) - 2 * a * second
    yield "g'' = 2φ'''/φ'", d_du(d_du(g)) - factor * third / first
