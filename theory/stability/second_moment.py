r"""Linear stability of SGD: the map of second moments and what it forbids.

At a minimum with f_i = y_i of :math:`L = \tfrac1{2n}\sum_i(f_i - y_i)^2`, with a_i =
∇f_i, SGD with batches of B samples drawn without replacement is, to first order,
:math:`δ^+ = (I - ηH_B)δ`, :math:`H_B = \tfrac1B\sum_{i∈B}a_ia_i^⊤`, of mean :math:`H =
\tfrac1n\sum_i a_ia_i^⊤ = ∇^2L`.  Second moments S = E δδᵀ follow

.. math::
    T(S) = S - η(HS + SH) + η^2\Bigl[(1 - p)HSH
        + \frac pn\sum_i(a_i^⊤Sa_i)a_ia_i^⊤\Bigr], \quad p = \frac{n - B}{B(n - 1)},

and stable means that they stay bounded.  T is self-adjoint and maps positive S to
positive S, so its spectral radius is its largest eigenvalue and stable ⟺ ⟨S, TS⟩ ≤ ⟨S,
S⟩ for all S. Here n = 3 samples and 2 parameters, with generic a_i.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations
from typing import Any

import sympy

from theory.germs import INTERPOLATION
from theory.statement import Hypothesis, Scope, statement

STABLE = Hypothesis("stable", "the second moments of the linearised SGD stay bounded")
SINGLE = Hypothesis("single-sample", "batches of one sample, B = 1")

n = 3
eta = sympy.Symbol("eta", positive=True)
A = [sympy.Matrix(sympy.symbols(f"a_{i}_1:3", real=True)) for i in range(n)]
H = sum((a * a.T for a in A), sympy.zeros(2)) / n
I2 = sympy.eye(2)


def _symmetric(name: str) -> sympy.Matrix:
    x, y, z = sympy.symbols(f"{name}_11 {name}_12 {name}_22", real=True)
    return sympy.Matrix([[x, y], [y, z]])


def _moved(S: sympy.Matrix, size: int) -> sympy.Matrix:
    """Return E (I − ηH_B)S(I − ηH_B) over all batches of a size."""
    batches = list(combinations(A, size))
    total = sympy.zeros(2)
    for batch in batches:
        step = I2 - eta * sum((a * a.T for a in batch), sympy.zeros(2)) / size
        total += step * S * step
    return total / len(batches)


def _second_order(S: sympy.Matrix, share: Any) -> sympy.Matrix:
    """Return the bracket of T(S)."""
    own = sum(((a.T * S * a)[0] * a * a.T for a in A), sympy.zeros(2)) / n
    return (1 - share) * H * S * H + share * own


def _p(size: int) -> sympy.Rational:
    return sympy.Rational(n - size, size * (n - 1))


@statement(
    "stability/second-moment-map",
    title="The second moments of linearised SGD",
    claim=r"\mathbb{E}(I - \eta H_B)S(I - \eta H_B) = S - \eta(HS + SH) + "
    r"\eta^2\bigl[(1 - p)HSH + \tfrac pn\sum_i(a_i^\top Sa_i)a_ia_i^\top\bigr]",
    hypotheses=(INTERPOLATION,),
    reference="Wu, Su 2023; theory notes 9.2",
    scope=Scope.FIXED_SIZE,
    control={"spread": 0},
)
def second_moment_map(spread: int = 1) -> Iterator[tuple[str, Any]]:
    """Average over all batches of one, two and three out of three samples.

    Two samples are in a batch together with probability B(B − 1)/(n(n − 1)), which
    makes the share p; full batches have p = 0, single samples p = 1.
    """
    S = _symmetric("S")
    for size in range(1, n + 1):
        bracket = _second_order(S, spread * _p(size))
        closed = S - eta * (H * S + S * H) + eta**2 * bracket
        yield f"B = {size}", (_moved(S, size) - closed).applyfunc(sympy.expand)


@statement(
    "stability/criterion",
    title="SGD is stable where a quadratic form is not positive",
    claim=r"\langle S', TS\rangle = \langle S, TS'\rangle, \quad "
    r"\langle S, TS\rangle \le \langle S, S\rangle \iff \eta\bigl[(1 - p)"
    r"\operatorname{tr}HSHS + \tfrac pn\sum_i(a_i^\top Sa_i)^2\bigr] "
    r"\le 2\operatorname{tr}HS^2",
    hypotheses=(INTERPOLATION, STABLE),
    reference="Wu, Su 2023; theory notes 9.2",
    scope=Scope.FIXED_SIZE,
    control={"right": 1},
)
def criterion(right: int = 2) -> Iterator[tuple[str, Any]]:
    """Pair the averaged map with two generic symmetric matrices.

    The difference ⟨S, TS⟩ − ⟨S, S⟩ is η times the difference of the two sides.
    """
    S, R = _symmetric("S"), _symmetric("R")
    for size in (1, 2):
        crossed = (R * _moved(S, size)).trace() - (S * _moved(R, size)).trace()
        yield f"self-adjoint, B = {size}", sympy.expand(crossed)
        share = _p(size)
        own = sum((a.T * S * a)[0] ** 2 for a in A) / n
        sides = eta * ((1 - share) * (H * S * H * S).trace() + share * own)
        sides -= right * (H * S * S).trace()
        growth = (S * _moved(S, size)).trace() - (S * S).trace()
        yield f"criterion, B = {size}", sympy.expand(growth - eta * sides)


@statement(
    "stability/trace-bound",
    title="A stable minimum of single-sample SGD has trace at most 2/η",
    claim=r"\eta\bigl[(1 - p)\|H\|_F^2 + \tfrac pn\sum_i\|a_i\|^4\bigr] \le "
    r"2\operatorname{Tr}H; \quad B = 1: \ \operatorname{Tr}H \le 2/\eta",
    hypotheses=(INTERPOLATION, STABLE),
    reference="Wu, Su 2023; theory notes 9.2",
    scope=Scope.FIXED_SIZE,
    control={"size": 3},
)
def trace_bound(size: int = 1) -> Iterator[tuple[str, Any]]:
    """Put S = I in the criterion; for B = 1 use Jensen's inequality.

    The mean of ‖a_i‖⁴ exceeds (Tr H)² by a variance, so ⟨I, TI⟩ − ⟨I, I⟩ is
    η Tr H(η Tr H − 2) plus η² times that variance: it grows if Tr H > 2/η.  Equal
    ‖a_i‖ give equality.  Full batches (the control) have no such bound.
    """
    trace = H.trace()
    spread = sum((a.dot(a) - trace) ** 2 for a in A) / n
    share = _p(2)
    norms = sum(a.dot(a) ** 2 for a in A) / n
    growth = (_moved(I2, 2)).trace() - 2
    bracket = (1 - share) * (H * H).trace() + share * norms
    yield "S = I, B = 2", sympy.expand(growth - eta * (eta * bracket - 2 * trace))
    growth = _moved(I2, size).trace() - 2
    certified = eta * trace * (eta * trace - 2) + eta**2 * spread
    yield "B = 1, with Jensen's variance", sympy.expand(growth - certified)
    equal = {A[i][j]: value for i in range(n) for j, value in ((0, 3), (1, 4))}
    yield "equality", spread.subs(equal)


@statement(
    "stability/top-eigenvalue-bound",
    title="A stable minimum of SGD has top eigenvalue at most 2/η",
    claim=r"v^\top Hv \le \tfrac2\eta\|v\|^2 \text{ for all } v, "
    r"\text{ for every batch size}",
    hypotheses=(INTERPOLATION, STABLE),
    reference="theory notes 9.2",
    scope=Scope.FIXED_SIZE,
    control={"threshold": 1},
)
def top_eigenvalue_bound(threshold: int = 2) -> Iterator[tuple[str, Any]]:
    """Put S = vvᵀ in the criterion, for a generic vector v and q = vᵀHv.

    The growth is ηq(ηq − 2‖v‖²) plus η²p times the variance of (a_iᵀv)², for every p:
    it is positive if q > (2/η)‖v‖².  Equal a_i with η‖a‖² = 2 reach the bound: there
    I − ηH_B is a reflection, so the moments have period two and stay bounded.
    """
    v = sympy.Matrix(sympy.symbols("v_1:3", real=True))
    S, q, square = v * v.T, v.dot(H * v), v.dot(v)
    variance = sum((a.dot(v) ** 2 - q) ** 2 for a in A) / n
    for size in range(1, n + 1):
        growth = (S * _moved(S, size)).trace() - (S * S).trace()
        certified = eta * q * (eta * q - 2 * square)
        certified += eta**2 * _p(size) * variance
        yield f"B = {size}", sympy.expand(growth - certified)
    bounded = _symmetric("S")
    equal = {A[i][j]: (1, 0)[j] for i in range(n) for j in range(2)} | {eta: 2}
    for size in range(1, n + 1):
        twice = _moved(_moved(bounded, size), size).subs(equal)
        yield f"B = {size}: stable at η‖a‖² = 2", twice - bounded
    along = {v[0]: 1, v[1]: 0}
    reached, norm = (x.subs(equal | along) for x in (q, square))
    yield "the bound there", reached <= sympy.Rational(threshold, 2) * norm
