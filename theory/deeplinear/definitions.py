r"""The setting of deep linear regression, as symbols.

.. math::
    w = (W_L \cdots W_1)^\top, \quad
    R = \tfrac1n \|y - X w\|^2 = (w - w^*)^\top \hatΣ (w - w^*) + R_{\min}, \quad
    \hatΣ = X^\top X / n, \quad w^* = \hatΣ^{-1} X^\top y / n,

with W_1, ..., W_{L−1} hidden layers and W_L one row.  S = λ_max(∇²R), S_min is its
least value over the global minimisers, a = w*ᵀΣ̂w*/‖w*‖², and

.. math::
    q_k = (W_L \cdots W_{k+1})^\top, \quad
    B = \sum_k \|q_k\|^2 \, (W_{k-1} \cdots W_1)^\top (W_{k-1} \cdots W_1).

Inputs and hidden layers are two wide, and covariances are taken as Σ̂ = λI + bbᵀ, which
is every 2 × 2 covariance: λ is the smaller eigenvalue.
"""

from __future__ import annotations

from collections.abc import Sequence

import sympy

from theory.matrices import matrix_of, square_norm
from theory.statement import Hypothesis

__all__ = ["Layers", "covariance", "curvature", "layers_of", "product", "risk", "rows"]

MINIMISER = Hypothesis("minimiser", "the layers are a global minimiser: w = w*")
FULL_RANK = Hypothesis("full-rank-inputs", "Σ̂ is positive definite")

Layers = Sequence[sympy.Matrix]


def layers_of(depth: int, outputs: int = 1) -> list[sympy.Matrix]:
    """Return layers of symbols: hidden ones 2 × 2, the last with so many rows."""
    hidden = [matrix_of(f"W{k}", 2, 2) for k in range(1, depth)]
    return [*hidden, matrix_of(f"W{depth}", outputs, 2)]


def product(layers: Layers, size: int = 2) -> sympy.Matrix:
    """Return the last layer times ... times the first; the identity of no layers."""
    whole = sympy.eye(size)
    for layer in layers:
        whole = layer * whole
    return whole


def rows(layers: Layers) -> list[sympy.Matrix]:
    """Return q_1ᵀ, ..., q_Lᵀ for a last layer of one row."""
    found = [sympy.eye(1)]
    for layer in reversed(layers[1:]):
        found.append(found[-1] * layer)
    return found[::-1]


def curvature(layers: Layers) -> sympy.Matrix:
    """Return B."""
    whole = sympy.zeros(2, 2)
    for k, row in enumerate(rows(layers)):
        below = product(layers[:k])
        whole += square_norm(row) * below.T * below
    return whole


def covariance() -> tuple[sympy.Matrix, sympy.Symbol, sympy.Matrix]:
    """Return Σ̂ = λI + bbᵀ, with λ and b."""
    low, b = sympy.Symbol("lambda", positive=True), matrix_of("b", 2, 1)
    return low * sympy.eye(2) + b * b.T, low, b


def risk(layers: Layers, sigma: sympy.Matrix, target: sympy.Matrix) -> sympy.Expr:
    """Return R − R_min."""
    error = product(layers).T - target
    return (error.T * sigma * error)[0]
