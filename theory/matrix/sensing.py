r"""Depth-2 matrix sensing: the flattest interpolators solve a convex problem.

.. math::
    f_i = \langle A_i, U V^\top\rangle, \quad L = \frac1n \sum_i (f_i - b_i)^2, \quad
    D_1 = \frac1n \sum_i A_i A_i^\top, \quad D_2 = \frac1n \sum_i A_i^\top A_i.

In the positive semidefinite case V = U and D = (1/n) Σ (A_i + A_iᵀ)².  All matrices
are 2 × 2; orthogonal ones are rotations and reflections with a rational parameter.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import sympy

from theory.closed_forms import least_matrix_trace, nuclear_norm
from theory.germs import INTERPOLATION
from theory.matrices import (
    hessian_trace,
    matrix_of,
    rotation,
    square_norm,
    symmetric_of,
)
from theory.statement import Hypothesis, Scope, statement

WIDE = Hypothesis("wide-factors", "U and V have k ≥ rank M columns")
SPANNING = Hypothesis(
    "spanning-measurements", "D₁ and D₂ are invertible; else the least value is a limit"
)
INVERTIBLE = Hypothesis(
    "invertible-measurement", "A is invertible; else the least value 0 is a limit"
)
REFLECTION = sympy.diag(1, -1)


def _moments(
    measurements: list[sympy.Matrix],
) -> tuple[sympy.Matrix, sympy.Matrix]:
    """Return D₁ and D₂."""
    n = sympy.Integer(len(measurements))
    left, right = sympy.zeros(2, 2), sympy.zeros(2, 2)
    for a in measurements:
        left, right = left + a * a.T / n, right + a.T * a / n
    return left, right


def _loss(
    measurements: list[sympy.Matrix], product: sympy.Matrix, targets: Any
) -> sympy.Expr:
    """Return the mean square of ⟨A_i, product⟩ − b_i."""
    n = sympy.Integer(len(measurements))
    residuals = (
        (a.T * product).trace() - b for a, b in zip(measurements, targets, strict=True)
    )
    return sum((r**2 for r in residuals), sympy.S.Zero) / n


@statement(
    "matrix/trace",
    title="Trace of the Hessian of matrix sensing",
    claim=r"\operatorname{Tr}\nabla^2 L = 2(\operatorname{tr} U^\top D_1 U + "
    r"\operatorname{tr} V^\top D_2 V)",
    reference="Ding et al. 2022; theory notes 4.1",
    scope=Scope.FIXED_SIZE,
    control={"swapped": True},
)
def trace(swapped: bool = False) -> Iterator[tuple[str, Any]]:
    """f_i is linear in each entry, so only squares of first derivatives are left."""
    measurements = [matrix_of(name, 2, 2) for name in "AB"]
    u, v, b = matrix_of("u", 2, 2), matrix_of("v", 2, 2), matrix_of("b", 2, 1)
    left, right = _moments(measurements)
    if swapped:
        left, right = right, left
    claimed = 2 * (u.T * left * u).trace() + 2 * (v.T * right * v).trace()
    yield "trace", hessian_trace(_loss(measurements, u * v.T, b), [*u, *v]) - claimed


@statement(
    "matrix/nuclear-norm",
    title="Over all factorisations of M the least trace is a nuclear norm",
    claim=r"\min_{UV^\top = M} \operatorname{Tr}\nabla^2 L = "
    r"4 \|D_1^{1/2} M D_2^{1/2}\|_*",
    hypotheses=(WIDE, SPANNING),
    reference="Ding et al. 2022; theory notes 4.1",
    scope=Scope.FIXED_SIZE,
    control={"factor": 5},
)
def nuclear(factor: int = 4) -> Iterator[tuple[str, Any]]:
    """‖P‖² + ‖Q‖² − 2⟨O, PQᵀ⟩ = ‖P − OQ‖² for every orthogonal O; ‖·‖_* is the best O.

    P = D₁^½U, Q = D₂^½V.  Equality: with D₁^½MD₂^½ = aSbᵀ, P = aS^½ and Q = bS^½.
    """
    tau, sigma = sympy.symbols("tau sigma", real=True)
    u, v = matrix_of("u", 2, 2), matrix_of("v", 2, 2)
    roots = [symmetric_of(name) for name in "pq"]  # D is the square

    def least(u: sympy.Matrix, v: sympy.Matrix) -> sympy.Expr:
        return 2 * (square_norm(roots[0] * u) + square_norm(roots[1] * v))

    for orthogonal in (rotation(tau), rotation(tau) * REFLECTION):
        pairing = (orthogonal.T * roots[0] * u * v.T * roots[1]).trace()
        squares = 2 * square_norm(roots[0] * u - orthogonal * roots[1] * v)
        yield "gap is a square", least(u, v) - factor * pairing - squares
    s = sympy.symbols("s_:2", positive=True)
    half = sympy.diag(*(sympy.sqrt(value) for value in s))
    a, b = rotation(tau), rotation(sigma)
    balanced = least(roots[0].inv() * a * half, roots[1].inv() * b * half)
    yield "attained: 4 Σ singular values", balanced - factor * sum(s)


@statement(
    "matrix/nuclear-norm-measured",
    title="The nuclear norm bounds the trace of the loss itself",
    claim=r"\operatorname{Tr}\nabla^2 L \ge 4 \|D_1^{1/2} U V^\top D_2^{1/2}\|_*",
    reference="theory notes 4.1",
    scope=Scope.RANDOM_POINTS,
    control={"factor": 6},
)
def nuclear_measured(factor: int = 4) -> Iterator[tuple[str, Any]]:
    """Differentiate the loss of rational measurements; D₁ and D₂ come from those.

    The last point is balanced, U = V = I with orthogonal measurements: equality.
    """
    u, v, b = matrix_of("u", 2, 2), matrix_of("v", 2, 2), matrix_of("b", 2, 1)
    share = sympy.Rational(factor, 4)  # of the closed form
    draws = (((3, 1, 0, 2), (1, -1, 2, 1)), ((0, 1, 5, -2), (2, 2, -1, 0)))
    points = (((1, 2, 0, 1), (2, -1, 1, 1)), ((1, 0, 3, -1), (0, 1, 1, 4)))
    for entries in draws:
        measurements = [sympy.Matrix(2, 2, entry) for entry in entries]
        traced = hessian_trace(_loss(measurements, u * v.T, b), [*u, *v])
        for left, right in points:
            at = dict(zip([*u, *v], [*left, *right], strict=True))
            product = (u * v.T).subs(at)
            bound = share * least_matrix_trace(measurements, product)
            yield "the trace is not less", bool(traced.subs(at) >= bound)
    measurements = [rotation(sympy.Integer(2)), rotation(sympy.Integer(3))]
    traced = hessian_trace(_loss(measurements, u * v.T, b), [*u, *v])
    at = dict(zip([*u, *v], [1, 0, 0, 1] * 2, strict=True))
    bound = share * least_matrix_trace(measurements, sympy.eye(2))
    yield "balanced", traced.subs(at) - bound


@statement(
    "matrix/completion-is-weighted",
    title="Completion: the flattest matrix is not the one of least nuclear norm",
    claim=r"\begin{pmatrix}1&2\\2&x\end{pmatrix},\; x \text{ unobserved: flattest } "
    r"x = 2,\; \text{least } \|\cdot\|_* \text{ at } x = 1",
    reference="theory notes 4.1",
    scope=Scope.FIXED_SIZE,
    control={"corner": 1},
)
def completion_is_weighted(corner: int = 2) -> Iterator[tuple[str, Any]]:
    """Weight rows and columns by their frequencies, and complete both ways.

    For N = ((a, b), (c, x)) with a² ≤ bc the least norm is at x = a, because
    ‖N‖_*² = ‖N‖² + 2|ax − bc| ≥ (b + c)² + (x − a)² by |r| ≥ −r.

    The control has three equal entries, where both solutions are x = 1.
    """
    x = sympy.Symbol("x", real=True)
    seen = ((0, 0), (0, 1), (1, 0))
    units = [sympy.zeros(2, 2) for _ in seen]
    for unit, place in zip(units, seen, strict=True):
        unit[place] = 1
    left, right = _moments(units)
    matrix = sympy.Matrix(2, 2, [1, corner, corner, x])
    whole = left.applyfunc(sympy.sqrt) * matrix * right.applyfunc(sympy.sqrt)
    minima = []
    for n in (whole, matrix):
        a, b, c, corner_entry = n
        unfolded = square_norm(n) + 2 * (b * c - a * corner_entry)
        rest = unfolded - (b + c) ** 2 - (corner_entry - a) ** 2
        yield "gap is a square", rest
        yield "|det| opens so at the minimum", bool(a**2 <= b * c)
        minima.append(sympy.solve(corner_entry - a, x)[0])
    yield "flattest", minima[0] - 2
    yield "least nuclear norm", minima[1] - 1
    flat, plain = (matrix.subs(x, value) for value in minima)
    values = [least_matrix_trace(units, m) for m in (flat, plain)]
    yield "it is flatter", bool(values[0] < values[1])
    yield "its nuclear norm is larger", bool(nuclear_norm(flat) > nuclear_norm(plain))


@statement(
    "matrix/psd-trace",
    title="With a symmetric factorisation the trace is linear in M",
    claim=r"f_i = \langle A_i, UU^\top\rangle \implies \operatorname{Tr}\nabla^2 L = "
    r"2\langle D, UU^\top\rangle \text{ on } L = 0",
    hypotheses=(INTERPOLATION,),
    reference="Ding et al. 2022; theory notes 4.2",
    scope=Scope.FIXED_SIZE,
    control={"residual": 1},
)
def psd_trace(residual: int = 0) -> Iterator[tuple[str, Any]]:
    """∇f_i = (A_i + A_iᵀ)U; off L = 0 the residuals add terms, as the control shows."""
    measurements = [matrix_of(name, 2, 2) for name in "AB"]
    u, targets = matrix_of("u", 2, 2), matrix_of("b", 2, 1)
    traced = hessian_trace(_loss(measurements, u * u.T, targets), u)
    reached = [(a.T * u * u.T).trace() - residual for a in measurements]
    traced = traced.subs(dict(zip(targets, reached, strict=True)))
    d = sum(((a + a.T) ** 2 / 2 for a in measurements), sympy.zeros(2, 2))
    yield "trace", traced - 2 * (d * u * u.T).trace()


@statement(
    "matrix/quadratic-network",
    title="The network with quadratic activation",
    claim=r"f(x) = \sum_j (u_j^\top x)^2 \implies D = \tfrac4n \sum_i \|x_i\|^2 "
    r"x_i x_i^\top",
    hypotheses=(INTERPOLATION,),
    reference="Ding et al. 2022; theory notes 4.2",
    scope=Scope.FIXED_SIZE,
    control={"factor": 2},
)
def quadratic_network(factor: int = 4) -> Iterator[tuple[str, Any]]:
    """Take A_i = x_i x_iᵀ in the symmetric case; here from the network's loss."""
    inputs = [matrix_of(name, 2, 1) for name in "xy"]
    u, targets = matrix_of("u", 2, 2), sympy.symbols("b_:2", real=True)
    outputs = [square_norm(u.T * x) for x in inputs]
    loss = sum((f - b) ** 2 for f, b in zip(outputs, targets, strict=True)) / 2
    reached = dict(zip(targets, outputs, strict=True))
    traced = hessian_trace(loss, u).subs(reached)
    d = sum((square_norm(x) * x * x.T for x in inputs), sympy.zeros(2, 2))
    yield "trace", traced - 2 * (factor * d / 2 * u * u.T).trace()


@statement(
    "matrix/one-measurement",
    title="One measurement: the flattest matrix uses the least singular value",
    claim=r"n = 1: \quad \min_{L = 0} \operatorname{Tr}\nabla^2 L = 4 |b| "
    r"\sigma_{\min}(A)",
    hypotheses=(WIDE, INVERTIBLE),
    reference="theory notes 4.3",
    scope=Scope.FIXED_SIZE,
    control={"factor": 5},
)
def one_measurement(factor: int = 4) -> Iterator[tuple[str, Any]]:
    """In the singular coordinates of A the trace minus 4bσ_min is a sum of squares.

    A = PDQᵀ with D = diag(σ + δ, σ), σ > 0, δ ≥ 0, P a rotation and Q a rotation or a
    reflection, is every regular A; U = Pp, V = Qq.  b < 0 is b > 0 with −V.
    """
    u, v, a = matrix_of("u", 2, 2), matrix_of("v", 2, 2), matrix_of("A", 2, 2)
    low, b = sympy.symbols("sigma b", positive=True)
    more = sympy.Symbol("delta", nonnegative=True)
    d = sympy.diag(low + more, low)
    traced = hessian_trace(_loss([a], u * v.T, [b]), [*u, *v])
    norms = square_norm(a.T * u) + square_norm(a * v)
    yield "Tr ∇²L = 2(‖AᵀU‖² + ‖AV‖²)", traced - 2 * norms
    left, turn = (rotation(tau) for tau in sympy.symbols("tau_:2", real=True))
    p, q = u, v  # named anew
    for right in (turn, turn * REFLECTION):
        turned = left * d * right.T
        yield "AᵀU = QDp", turned.T * left - right * d
        yield "AV = PDq", turned * right - left * d
        yield "P keeps norms", left.T * left - sympy.eye(2)
        yield "Q keeps norms", right.T * right - sympy.eye(2)
        pairing = right.T * turned.T * left
        yield "⟨A, UVᵀ⟩ = tr D p qᵀ", pairing - d
    reached = (d * p * q.T).trace()
    traced = 2 * (square_norm(d * p) + square_norm(d * q))
    squares = 2 * low**2 * square_norm(p[1, :] - q[1, :])
    squares += 2 * (low + more) * low * square_norm(p[0, :] - q[0, :])
    squares += 2 * (low + more) * more * (square_norm(p[0, :]) + square_norm(q[0, :]))
    yield "gap is a sum of squares", traced - factor * low * reached - squares
    size = sympy.sqrt(b / low)
    at = dict(zip([*p, *q], [0, 0, 0, size] * 2, strict=True))
    yield "attained", traced.subs(at) - factor * b * low
    yield "on L = 0", reached.subs(at) - b
