r"""Sharpness of the diagonal linear network, and of a rescaled ReLU network.

The diagonal network is :math:`f_i = ⟨u^2 - v^2, z_i⟩` with w = u² − v²; losses are
:math:`L = \tfrac1{2n}\sum_i(f_i - y_i)^2`.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import sympy

from theory.germs import INTERPOLATION
from theory.statement import Hypothesis, Scope, statement

LIVE = Hypothesis(
    "live-neurons", "R_j A_j > 0: a_j ≠ 0, and neuron j is on at a sample"
)
U, V = sympy.symbols("u_1:3", real=True), sympy.symbols("v_1:3", real=True)


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
    title="For ±1 data the trace of the diagonal network is the plain norm",
    claim=r"z_{ik} = \pm1: \quad \operatorname{Tr}\nabla^2L = "
    r"\tfrac1n\sum_i\|\nabla f_i\|^2 = 4(\|u\|^2 + \|v\|^2) \ge 4\|w\|_1",
    reference="Slides, label noise on u² − v², print (4/n)Σ‖∇f‖²; theory notes 12.2",
    scope=Scope.FIXED_SIZE,
    control={"middle": 4},
)
def diagonal_trace(middle: int = 1) -> Iterator[tuple[str, Any]]:
    """Run over every ±1 design of two samples and two features.

    All c_k are 1, so the penalty is that of the slides; other data weigh by c_k
    (diagonal/trace).  The middle expression as printed, the control, is four times
    too large.  4(u² + v²) exceeds ±4(u² − v²) by 8v² or 8u².
    """
    targets = sympy.symbols("y_1:3", real=True)
    plain = 4 * sum(x**2 for x in (*U, *V))
    for entries in product((1, -1), repeat=4):
        models = _outputs(sympy.Matrix(2, 2, entries))
        squares = [(f - y) ** 2 for f, y in zip(models, targets, strict=True)]
        trace = sympy.hessian(sum(squares) / 4, (*U, *V)).trace()
        yield f"Tr ∇²L for Z = {entries}", sympy.expand(trace - plain)
        slopes = [f.diff(x) for f in models for x in (*U, *V)]
        mean = middle * sum(g**2 for g in slopes) / 2
        yield f"mean of ‖∇f‖² for Z = {entries}", sympy.expand(trace - mean)
    for signs in product((1, -1), repeat=2):
        norm = sum(s * (u**2 - v**2) for s, u, v in zip(signs, U, V, strict=True))
        rest = [v if s > 0 else u for s, u, v in zip(signs, U, V, strict=True)]
        gap = plain - 4 * norm - 8 * sum(x**2 for x in rest)
        yield f"gap to 4‖w‖₁ at signs {signs}", sympy.expand(gap)


@statement(
    "slides2024/dinh-rescaling",
    title="Rescaled ReLU networks are arbitrarily sharp and never arbitrarily flat",
    claim=r"(a_j, w_j) \to (a_j/c_j, c_jw_j): \quad \operatorname{Tr}\nabla^2L = "
    r"\sum_j(c_j^2R_j + A_j/c_j^2) \text{ takes all values of } "
    r"\bigl[2\textstyle\sum_j\sqrt{R_jA_j}, \infty\bigr)",
    hypotheses=(INTERPOLATION, LIVE),
    reference="Dinh et al. 2017; theory notes 11",
    scope=Scope.FIXED_SIZE,
    control={"least": 3},
)
def dinh_rescaling(least: int = 2) -> Iterator[tuple[str, Any]]:
    """Differentiate the loss at the rescaled weights, within one activation pattern.

    Rescaling by c > 0 changes no pattern, and within one the network is bilinear.
    c²R + A/c² exceeds 2√(RA) by a square that is 0 at c² = √(A/R), and has no upper
    bound; it is continuous, so it takes every value between.  A neuron with R_j A_j = 0
    would only come near the lower end.  R_j and A_j are the means of relu(w_jᵀx)² and
    a_j²1{w_jᵀx > 0}‖x‖².
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
