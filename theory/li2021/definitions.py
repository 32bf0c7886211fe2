r"""The setting of the limiting flow, as symbols.

SGD is :math:`x^+ = x - η(∇L + ξ)` with noise of covariance Σ; Γ is a manifold of
minimisers of L on which ∇²L has constant rank, and

.. math:: Φ(x) = \lim_{t→∞} \text{(gradient flow of L from x)}.

After 1/η² steps the iterates follow, in law,
:math:`dY = ∂Φ Σ^{1/2} dW + \tfrac12 ∂^2Φ[Σ]\,dT`.  The statements are about this drift;
that the limit exists is the theorem of the paper and is not judged here.

Tangent and normal are those of Γ, P_T and P_N the projections, H = ∇²L on Γ,
𝓛_H S = HS + SH, and losses near a point of Γ are the germs of `theory.germs`.
"""

from __future__ import annotations

import sympy

from theory.germs import CURVATURES, X, third
from theory.statement import Hypothesis

__all__ = ["CONSTANT_RANK", "INDEPENDENT_NOISE", "MATCHED", "Phi"]

CONSTANT_RANK = Hypothesis(
    "constant-rank", "Γ is a manifold of minimisers and ∇²L has rank codim Γ on it"
)
MATCHED = Hypothesis("matched-noise", "on Γ the noise covariance is Σ = c∇²L")
INDEPENDENT_NOISE = Hypothesis(
    "independent-noise", "label noise is independent at each use, E ε = 0, E ε² = σ²"
)


def Phi() -> tuple[list[sympy.Expr], list[sympy.Expr]]:
    """Return the first- and second-order terms of Φ(x) by solving the gradient flow.

    Order by order the flow from x is x₁' = −Hx₁, x₂' = −Hx₂ − ½D³L[x₁, x₁]; both are
    sums of exponentials, and their limits are read off the Laplace transform at s → 0.
    """
    s = sympy.Symbol("s", positive=True)

    def limit(transform: sympy.Expr) -> sympy.Expr:
        return sympy.cancel(s * transform).subs(s, 0)

    h, size = CURVATURES, range(len(X))
    first = [limit(X[i] / (s + h[i])) for i in size]
    second = [
        sum(
            limit(-third(i, j, k) * X[j] * X[k] / ((s + h[i]) * (s + h[j] + h[k]))) / 2
            for j in size
            for k in size
        )
        for i in size
    ]
    return first, second
