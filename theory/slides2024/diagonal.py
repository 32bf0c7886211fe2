r"""Sharpness of the diagonal linear network, and of a rescaled ReLU network.

The diagonal network is :math:`f_i = ⟨u^2 - v^2, z_i⟩` with w = u² − v² and :math:`c_k =
\tfrac1n\sum_i z_{ik}^2`; losses are :math:`L = \tfrac1{2n}\sum_i(f_i - y_i)^2` at f =
y.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.statement import Hypothesis, Scope, statement

INTERPOLATION = Hypothesis("interpolation", "f_i = y_i for all i")

U, V = sympy.symbols("u_1:3", real=True), sympy.symbols("v_1:3", real=True)
Z = sympy.Matrix(2, 2, sympy.symbols("z_1:5", real=True))


def loss_hessian(models: list[sympy.Expr], weights: Any) -> sympy.Matrix:
    """Return ∇²(1/2n)Σ(f_i − y_i)² where y_i = f_i."""
    targets = sympy.symbols(f"y_1:{len(models) + 1}", real=True)
    squares = [(f - y) ** 2 for f, y in zip(models, targets, strict=True)]
    hessian = sympy.hessian(sum(squares) / (2 * len(models)), weights)
    return hessian.subs(dict(zip(targets, models, strict=True)))


def _outputs(data: sympy.Matrix) -> list[sympy.Expr]:
    """Return the outputs of the diagonal network."""
    w = sympy.Matrix([u**2 - v**2 for u, v in zip(U, V, strict=True)])
    return list(data * w)


@statement(
    "slides2024/diagonal-trace",
    title="The trace of the diagonal network weighs by the data",
    claim=r"\operatorname{Tr}\nabla^2L = 4\sum_kc_k(u_k^2 + v_k^2), \quad "
    r"\text{which is } 4(\|u\|^2 + \|v\|^2) \text{ if } z_{ik} = \pm1",
    reference="Slides, label noise on u² − v²; theory notes 3.1 and 12.2",
    scope=Scope.FIXED_SIZE,
    control={"weighted": False},
)
def diagonal_trace(weighted: bool = True) -> Iterator[tuple[str, Any]]:
    """Differentiate the loss twice, for two generic samples of two features.

    The targets stay free: u² − v² is harmonic, so the residuals drop out of the trace
    and the formula holds off Γ too.  The control forgets the c_k.
    """
    targets = sympy.symbols("y_1:3", real=True)

    def trace(data: sympy.Matrix) -> sympy.Expr:
        squares = [(f - y) ** 2 for f, y in zip(_outputs(data), targets, strict=True)]
        return sympy.hessian(sum(squares) / 4, (*U, *V)).trace()

    c = [(Z[0, k] ** 2 + Z[1, k] ** 2) / 2 if weighted else 1 for k in range(2)]
    closed = 4 * sum(c[k] * (U[k] ** 2 + V[k] ** 2) for k in range(2))
    yield "Tr ∇²L", sympy.expand(trace(Z) - closed)
    signs = trace(sympy.Matrix([[1, 1], [1, -1]]))
    yield "±1 data", sympy.expand(signs - 4 * sum(x**2 for x in (*U, *V)))


@statement(
    "slides2024/diagonal-l1-bound",
    title="The flattest diagonal network has the least weighted ℓ1 norm",
    claim=r"\tfrac14\operatorname{Tr}\nabla^2L \ge \sum_kc_k|w_k|, \quad "
    r"\text{equality} \iff u_kv_k = 0 \ \forall k: c_k \ne 0",
    hypotheses=(INTERPOLATION,),
    reference="Slides, label noise on u² − v²; theory notes 3.3",
    scope=Scope.FIXED_SIZE,
    control={"excess": 1},
)
def diagonal_l1_bound(excess: int = 2) -> Iterator[tuple[str, Any]]:
    """Take (u² + v²)² − w² = (2uv)² feature by feature.

    So u² + v² ≥ |w|, with equality exactly where uv = 0.  Every w is reached with
    equality, by (√w, 0) or (0, √−w).
    """
    trace = loss_hessian(_outputs(Z), (*U, *V)).trace()
    shares = [(Z[0, k] ** 2 + Z[1, k] ** 2) / 2 for k in range(2)]
    sizes = [U[k] ** 2 + V[k] ** 2 for k in range(2)]
    total = sum(c * size for c, size in zip(shares, sizes, strict=True))
    yield "¼Tr ∇²L = Σc(u² + v²)", sympy.expand(trace / 4 - total)
    u, v, w = U[0], V[0], U[0] ** 2 - V[0] ** 2
    certificate = (u**2 + v**2) ** 2 - w**2 - (excess * u * v) ** 2
    yield "(u² + v²)² − w² = (2uv)²", sympy.expand(certificate)
    for name, place in (("w ≥ 0", {v: 0}), ("w ≤ 0", {u: 0})):
        yield f"equality, {name}", (u**2 + v**2 - abs(w)).subs(place)


@statement(
    "slides2024/dinh-rescaling",
    title="Rescaled ReLU networks are arbitrarily sharp and never arbitrarily flat",
    claim=r"(a_j, w_j) \to (a_j/c_j, c_jw_j): \quad \operatorname{Tr}\nabla^2L = "
    r"\sum_j(c_j^2R_j + A_j/c_j^2) \text{ takes all values of } "
    r"\bigl[2\textstyle\sum_j\sqrt{R_jA_j}, \infty\bigr)",
    hypotheses=(INTERPOLATION,),
    reference="Dinh et al. 2017; theory notes 11",
    scope=Scope.FIXED_SIZE,
    control={"least": 3},
)
def dinh_rescaling(least: int = 2) -> Iterator[tuple[str, Any]]:
    """Differentiate the loss at the rescaled weights, within one activation pattern.

    Rescaling by c > 0 changes no pattern, and within one the network is bilinear.
    c²R + A/c² exceeds 2√(RA) by a square that is 0 at c² = √(A/R), and has no upper
    bound; it is continuous, so it takes every value between.  R_j and A_j are the
    means of relu(w_jᵀx)² and a_j²1{w_jᵀx > 0}‖x‖².
    """
    c = sympy.symbols("c_1:3", positive=True)
    a = sympy.symbols("a_1:3", real=True)
    w = [sympy.Matrix(sympy.symbols(f"w_{j}_1:3", real=True)) for j in range(2)]
    x = [sympy.Matrix(sympy.symbols(f"x_{i}_1:3", real=True)) for i in range(2)]
    active = [[1, 1], [1, 0]]  # of neuron j on sample i: both, and the first only
    weights = (*a, *w[0], *w[1])
    models = [
        sum(active[j][i] * a[j] * w[j].dot(x[i]) for j in range(2)) for i in range(2)
    ]
    place = {a[j]: a[j] / c[j] for j in range(2)}
    place |= {w[j][k]: c[j] * w[j][k] for j in range(2) for k in range(2)}
    for i, f in enumerate(models):
        yield f"f(x_{i + 1}) stays", f.subs(place, simultaneous=True) - f
    trace = loss_hessian(models, weights).trace().subs(place, simultaneous=True)
    R = [
        sum(active[j][i] * w[j].dot(x[i]) ** 2 for i in range(2)) / 2 for j in range(2)
    ]
    A = [
        a[j] ** 2 * sum(active[j][i] * x[i].dot(x[i]) for i in range(2)) / 2
        for j in range(2)
    ]
    closed = sum(c[j] ** 2 * R[j] + A[j] / c[j] ** 2 for j in range(2))
    yield "Tr ∇²L = Σ(c²R + A/c²)", sympy.expand(trace - closed)
    r, q = sympy.symbols("r q", positive=True)  # √R, √A
    one = c[0] ** 2 * r**2 + q**2 / c[0] ** 2
    yield "2√(RA) plus a square", one - least * r * q - (c[0] * r - q / c[0]) ** 2
    yield "equality", one.subs(c[0], sympy.sqrt(q / r)) - least * r * q
    yield "no upper bound", sympy.limit(one, c[0], sympy.oo) == sympy.oo
