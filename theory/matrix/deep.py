r"""Deep matrix factorisation: depth turns the trace into a power of the nuclear norm.

.. math::
    f_i = \langle A_i, W_L \cdots W_1\rangle, \quad L = \frac1n \sum_i (f_i - b_i)^2,
    \quad G = \sum_k \|W_L \cdots W_{k+1}\|_F^2\, \|W_{k-1} \cdots W_1\|_F^2,

an empty product being the identity of size d_0 or d_L.  The design is isotropic when
(1/n) Σ vec(A_i)vec(A_i)ᵀ = I, and has rank-one RIP with constant δ when
|(1/n) Σ ⟨A_i, pqᵀ⟩² − 1| ≤ δ for all unit p, q.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.closed_forms import least_deep_trace
from theory.matrices import (
    hessian_trace,
    lagrange_squares,
    matrix_of,
    rotation,
    square_norm,
)
from theory.statement import Hypothesis, Scope, statement

ISOTROPIC = Hypothesis("isotropic-design", "(1/n) Σ vec(A_i)vec(A_i)ᵀ = I")
RANK_ONE_RIP = Hypothesis(
    "rank-one-rip", "|(1/n) Σ ⟨A_i, pqᵀ⟩² − 1| ≤ δ < 1 for all unit p, q"
)
WIDE = Hypothesis("wide-layers", "the hidden widths are at least rank M")
Layers = list[sympy.Matrix]


def _product(layers: Layers, size: int = 2) -> sympy.Matrix:
    """Return the last layer times ... times the first; the identity of no layers."""
    whole = sympy.eye(size)
    for layer in layers:
        whole = layer * whole
    return whole


def _around(layers: Layers) -> Iterator[tuple[sympy.Matrix, sympy.Matrix]]:
    """Yield what stands to the left and to the right of each layer in the product."""
    for k in range(len(layers)):
        yield _product(layers[k + 1 :]), _product(layers[:k])


def _trace(measurements: list[sympy.Matrix], layers: Layers) -> sympy.Expr:
    """Return Tr ∇²L, differentiated from the loss, whose targets are symbols."""
    n = len(measurements)
    targets = sympy.symbols(f"b_:{n}", real=True)
    whole = _product(layers)
    loss = sum(
        ((a.T * whole).trace() - b) ** 2
        for a, b in zip(measurements, targets, strict=True)
    )
    entries = [entry for layer in layers for entry in layer]
    return hessian_trace(loss / n, entries)


def _g(layers: Layers) -> sympy.Expr:
    """Return G."""
    pairs = _around(layers)
    return sum((square_norm(p) * square_norm(q) for p, q in pairs), sympy.S.Zero)


@statement(
    "matrix/deep-trace",
    title="Trace of the Hessian of a deep factorisation",
    claim=r"\operatorname{Tr}\nabla^2 L = \tfrac2n \sum_{i,k} "
    r"\|(W_L \cdots W_{k+1})^\top A_i (W_{k-1} \cdots W_1)^\top\|_F^2",
    reference="Gatmiry et al. 2023; theory notes 5",
    scope=Scope.FIXED_SIZE,
    control={"factor": 1},
)
def deep_trace(factor: int = 2) -> Iterator[tuple[str, Any]]:
    """f_i is linear in each layer, so Tr ∇²L = (2/n) Σ ‖∇f_i‖²; depth 3, one A_i.

    More measurements only add terms.
    """
    layers = [matrix_of(name, 2, 2) for name in "uvw"]
    a = matrix_of("A", 2, 2)
    claimed = sum(square_norm(p.T * a * q.T) for p, q in _around(layers))
    yield "trace", _trace([a], layers) - factor * claimed


@statement(
    "matrix/deep-isotropic",
    title="Isotropic measurements: the trace forgets the measurements",
    claim=r"\tfrac1n \sum_i \operatorname{vec}(A_i)\operatorname{vec}(A_i)^\top = I "
    r"\implies \operatorname{Tr}\nabla^2 L = 2G",
    hypotheses=(ISOTROPIC,),
    reference="theory notes 5.1",
    scope=Scope.FIXED_SIZE,
    control={"stretch": 3},
)
def deep_isotropic(stretch: int = 2) -> Iterator[tuple[str, Any]]:
    """Only the second moments of the A_i enter: measure every entry, scaled by √n = 2.

    The control stretches one entry, so that the design is not isotropic.
    """
    layers = [matrix_of(name, 2, 2) for name in "uvw"]
    measurements = []
    for place in range(4):
        unit = sympy.zeros(2, 2)
        unit[place] = 2 if place else stretch
        measurements.append(unit)
    yield "trace", _trace(measurements, layers) - 2 * _g(layers)


@statement(
    "matrix/deep-bound",
    title="Lower bound of the trace of a depth-3 factorisation",
    claim=r"G \ge 3 (d_0 d_3)^{1/3} \|M\|_*^{4/3}",
    hypotheses=(ISOTROPIC,),
    reference="Gatmiry et al. 2023; theory notes 5.1",
    scope=Scope.FIXED_SIZE,
    control={"factor": 4},
)
def deep_bound(factor: int = 3) -> Iterator[tuple[str, Any]]:
    """AM-GM over the three terms, then ⟨O, PQ⟩² ≤ ‖P‖²‖Q‖² for every orthogonal O.

    Both are given as sums of squares; ‖M‖_* is the largest ⟨O, M⟩.
    """
    x, y, z = sympy.symbols("x y z", nonnegative=True)
    rest = (x + y + z) * ((x - y) ** 2 + (y - z) ** 2 + (z - x) ** 2) / 2
    yield "AM-GM of x³, y³, z³", x**3 + y**3 + z**3 - factor * x * y * z - rest
    tau = sympy.Symbol("tau", real=True)
    layers = [matrix_of(name, 2, 2) for name in "uvw"]
    terms = [square_norm(p) * square_norm(q) for p, q in _around(layers)]
    yield "the terms are those of G", sum(terms) - _g(layers)
    splits = [(_product(layers[k:]), _product(layers[:k])) for k in (1, 2)]
    product = 2 * 2 * sympy.prod(square_norm(p) * square_norm(q) for p, q in splits)
    yield "their product", sympy.prod(terms) - product
    p, q = matrix_of("p", 2, 2), matrix_of("q", 2, 2)
    for orthogonal in (rotation(tau), rotation(tau) * sympy.diag(1, -1)):
        turned = orthogonal * q.T
        pairing = (orthogonal.T * p * q).trace()
        gap = square_norm(p) * square_norm(q) - pairing**2
        yield "Cauchy-Schwarz", gap - lagrange_squares(p, turned)


@statement(
    "matrix/deep-minimum",
    title="The least trace of a deep factorisation, attained",
    claim=r"\min_{W_L \cdots W_1 = M} G = L (d_0 d_L)^{1/L} \|M\|_*^{2(L-1)/L}",
    hypotheses=(ISOTROPIC, WIDE),
    reference="Gatmiry et al. 2023; theory notes 5.1",
    scope=Scope.FIXED_SIZE,
    control={"power": 1},
)
def deep_minimum(power: int = 2) -> Iterator[tuple[str, Any]]:
    """M = aSbᵀ: W_1 = c_1 S^½bᵀ, W_L = c_L aS^½, all others multiples of I.

    c_1² = d_0‖M‖_*/T, c_L² = d_L‖M‖_*/T, the others ‖M‖_*²/T with the geometric mean T
    of the terms of G.  Depths 2, 3 and 4; the bound is `matrix/deep-bound`.
    """
    s = sympy.symbols("s_:2", positive=True)
    half, nuclear = sympy.diag(*map(sympy.sqrt, s)), sum(s)
    a, b = (rotation(tau) for tau in sympy.symbols("tau_:2", real=True))
    matrix = a * sympy.diag(*s) * b.T
    for depth in (2, 3, 4):
        share = sympy.Rational(1, depth)
        mean = 4**share * nuclear ** (2 - 2 * share)
        outer, inner = sympy.sqrt(2 * nuclear / mean), sympy.sqrt(nuclear**2 / mean)
        layers = [outer * half * b.T]
        layers += [inner * sympy.eye(2)] * (depth - 2)
        layers += [outer * a * half]
        difference = (_product(layers) - matrix).applyfunc(sympy.powsimp)
        yield f"L = {depth}: the product is M", difference
        terms = [square_norm(p) * square_norm(q) for p, q in _around(layers)]
        reached = sum(sympy.simplify(term) for term in terms)
        claimed = depth * 4**share * nuclear ** (power * (1 - share))
        yield f"L = {depth}: G", sympy.simplify(reached - claimed)
        oracle = least_deep_trace(nuclear, 2, 2, depth)
        yield f"L = {depth}: the closed form", sympy.simplify(2 * reached - oracle)


@statement(
    "matrix/rip-sandwich",
    title="Rank-one RIP suffices for the trace to follow the nuclear norm",
    claim=r"(1-\delta)\, 2G \le \operatorname{Tr}\nabla^2 L \le (1+\delta)\, 2G, \quad "
    r"\|\hat M\|_* \le \left(\tfrac{1+\delta}{1-\delta}\right)^{L/(2(L-1))} "
    r"\min \|M\|_*",
    hypotheses=(RANK_ONE_RIP, WIDE),
    reference="Gatmiry et al. 2023; theory notes 5.2",
    scope=Scope.FIXED_SIZE,
    control={"halves": 1},
)
def rip_sandwich(halves: int = 2) -> Iterator[tuple[str, Any]]:
    """Both Tr ∇²L and 2G are sums over columns p and rows q of the same rank-one terms.

    Tr ∇²L = 2ΣΣ (1/n)Σ_i⟨A_i, pqᵀ⟩² and 2G = 2ΣΣ |p|²|q|²: compare term by term.  Then
    chain the minimum at M̂ with the one at the interpolator of least norm.
    """
    layers = [matrix_of(name, 2, 2) for name in "uvw"]
    a = matrix_of("A", 2, 2)
    measured, ideal = sympy.S.Zero, sympy.S.Zero
    for left, right in _around(layers):
        for i in range(2):
            for j in range(2):
                p, q = left[:, i], right[j, :]
                measured += 2 * (p.T * a * q.T)[0] ** 2
                ideal += 2 * square_norm(p) * square_norm(q)
    yield "the trace, term by term", _trace([a], layers) - measured
    yield "2G, term by term", ideal - 2 * _g(layers)
    ratio, least = sympy.symbols("rho nu", positive=True)
    delta = ratio / (1 + ratio)  # any 0 < δ < 1
    for depth in (2, 3, 4):
        exponent = sympy.Rational(depth, halves * (depth - 1))
        worst = ((1 + delta) / (1 - delta)) ** exponent * least
        low = (1 - delta) * least_deep_trace(worst, 2, 2, depth)
        high = (1 + delta) * least_deep_trace(least, 2, 2, depth)
        yield f"L = {depth}: the exponent", sympy.simplify(low - high)
