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
from itertools import pairwise, product
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
def deep_isotropic(stretch: int = 1) -> Iterator[tuple[str, Any]]:
    """Only the second moments of the A_i enter, linearly; depth 3.

    The loss of two measurements has the mean of the two traces, and that of one is
    quadratic in A: put the moments of an isotropic design for the products of entries.
    The control stretches one entry, so that the design is not isotropic.
    """
    layers = [matrix_of(name, 2, 2) for name in "uvw"]
    a, b = matrix_of("A", 2, 2), matrix_of("B", 2, 2)
    one, other = _trace([a], layers), _trace([b], layers)
    yield "the mean over the measurements", _trace([a, b], layers) - (one + other) / 2
    moments = dict.fromkeys(a, sympy.S.One) | {a[0]: stretch**2}
    quadratic = sympy.Poly(one, *a)
    yield "quadratic in A", bool(quadratic.is_homogeneous and quadratic.degree() == 2)
    mean = sum(quadratic.coeff_monomial(e**2) * moments[e] for e in a)
    yield "trace", mean - 2 * _g(layers)


@statement(
    "matrix/deep-bound",
    title="Lower bound of the trace of a deep factorisation",
    claim=r"W_L \cdots W_1 = M \implies G \ge L (d_0 d_L)^{1/L} \|M\|_*^{2(L-1)/L},"
    r"\quad L = 2, 3, 4",
    reference="Gatmiry et al. 2023; theory notes 5.1",
    scope=Scope.FIXED_SIZE,
    control={"factor": 2},
)
def deep_bound(factor: int = 1) -> Iterator[tuple[str, Any]]:
    """AM-GM over the L terms of G, then ‖M‖_* ≤ ‖P‖‖Q‖ for every split M = PQ.

    The terms have the product d_0 d_L Π‖P‖²‖Q‖² over the L − 1 splits.  ‖M‖_* is the
    largest ⟨O, M⟩ with O orthogonal, and ⟨O, PQ⟩² ≤ ‖P‖²‖Q‖².  Both inequalities are
    given as sums of squares.  Identity layers give equality: no larger factor would do.
    """
    yield from _means()
    for depth in (2, 3, 4):
        layers = [matrix_of(name, 2, 2) for name in "uvwx"[:depth]]
        around, whole = list(_around(layers)), _product(layers)
        yield f"L = {depth}: the upper end, d_L", square_norm(around[-1][0]) - 2
        yield f"L = {depth}: the lower end, d_0", square_norm(around[0][1]) - 2
        for (left, _), (_, right) in pairwise(around):  # of layers k and k + 1
            yield f"L = {depth}: a split", left * right - whole
        units = [sympy.eye(2)] * depth
        bound = factor * depth * sympy.Integer(4) ** sympy.Rational(1, depth)
        bound *= sympy.Integer(2) ** sympy.Rational(2 * depth - 2, depth)
        yield f"L = {depth}: equality", bool(_g(units) >= sympy.powsimp(bound))
    tau = sympy.Symbol("tau", real=True)
    p, q = matrix_of("p", 2, 2), matrix_of("q", 2, 2)
    for orthogonal in (rotation(tau), rotation(tau) * sympy.diag(1, -1)):
        turned = orthogonal * q.T
        pairing = (orthogonal.T * p * q).trace()
        gap = square_norm(p) * square_norm(q) - pairing**2
        yield "Cauchy-Schwarz", gap - lagrange_squares(p, turned)


def _means() -> Iterator[tuple[str, Any]]:
    """Yield the defects of AM-GM for two, three and four numbers, as squares."""
    x, y, z, w = sympy.symbols("x y z w", nonnegative=True)
    yield "AM-GM of x², y²", x**2 + y**2 - 2 * x * y - (x - y) ** 2
    rest = (x + y + z) * ((x - y) ** 2 + (y - z) ** 2 + (z - x) ** 2) / 2
    yield "AM-GM of x³, y³, z³", x**3 + y**3 + z**3 - 3 * x * y * z - rest
    rest = (x**2 - y**2) ** 2 + (z**2 - w**2) ** 2 + 2 * (x * y - z * w) ** 2
    four = x**4 + y**4 + z**4 + w**4 - 4 * x * y * z * w
    yield "AM-GM of x⁴, y⁴, z⁴, w⁴", four - rest


@statement(
    "matrix/deep-minimum",
    title="The least trace of a deep factorisation, attained",
    claim=r"\min_{W_L \cdots W_1 = M} G = L (d_0 d_L)^{1/L} \|M\|_*^{2(L-1)/L}, "
    r"\quad L = 2, 3, 4",
    hypotheses=(WIDE,),
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

    So Tr ∇²L − 2(1 − δ)G is twice the sum of (1/n)Σ_i⟨A_i, pqᵀ⟩² − (1 − δ)|p|²|q|²,
    each at least 0 by RIP, and 2(1 + δ)G likewise; two measurements, depth 3.  Then
    chain the minimum at M̂ with the one at the interpolator of least norm (depths 2, 3
    and 4).
    """
    layers = [matrix_of(name, 2, 2) for name in "uvw"]
    measurements = [matrix_of(name, 2, 2) for name in "AB"]
    radius = sympy.Symbol("delta", positive=True)
    above, below = sympy.S.Zero, sympy.S.Zero  # what RIP leaves at either side
    for left, right in _around(layers):
        for i, j in product(range(2), repeat=2):
            p, q = left[:, i], right[j, :]
            energy = sum((p.T * a * q.T)[0] ** 2 for a in measurements) / 2
            ideal = square_norm(p) * square_norm(q)
            above += energy - (1 - radius) * ideal
            below += (1 + radius) * ideal - energy
    traced, twice = _trace(measurements, layers), 2 * _g(layers)
    yield "Tr − (1 − δ)2G, term by term", traced - (1 - radius) * twice - 2 * above
    yield "(1 + δ)2G − Tr, term by term", (1 + radius) * twice - traced - 2 * below
    ratio, least = sympy.symbols("rho nu", positive=True)
    delta = ratio / (1 + ratio)  # any 0 < δ < 1
    for depth in (2, 3, 4):
        exponent = sympy.Rational(depth, halves * (depth - 1))
        worst = ((1 + delta) / (1 - delta)) ** exponent * least
        low = (1 - delta) * least_deep_trace(worst, 2, 2, depth)
        high = (1 + delta) * least_deep_trace(least, 2, 2, depth)
        yield f"L = {depth}: the exponent", sympy.simplify(low - high)
