"""All real critical points of the trace on M for polynomial activations, exactly.

This route knows nothing of the proof of Theorem 1.  With independent inputs the
critical points of F on M are, sample by sample, the points where for some α

    ∂F/∂z_j − α ∂r/∂z_j = 0 for all neurons j,  and  r(z) = y:

polynomial equations.  A Gröbner basis of them describes the complex solutions; if they
are finitely many, the signature of the trace form h(p, q) = Tr(multiplication by pq) on
the quotient ring counts the real ones (Hermite), without any rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import product
from typing import Any

import sympy
from sympy.polys.groebnertools import groebner
from sympy.polys.monomials import monomial_div, monomial_divides, monomial_mul
from sympy.polys.orderings import grevlex
from sympy.polys.rings import PolyElement, xring

from theory.activations import Z

__all__ = ["count_real_points", "lagrange_system", "real_critical_points"]

Exponents = tuple[int, ...]

MAX_DIMENSION = 150  # of the quotient ring


class InfinitelyManyError(ValueError):
    """The equations have infinitely many complex solutions."""


class TooManyError(ValueError):
    """The equations have more complex solutions than are counted here."""


def lagrange_system(
    activation: sympy.Expr, target: sympy.Expr, m: int
) -> tuple[list[sympy.Expr], list[sympy.Symbol]]:
    """Return the equations of the critical points for one sample, and their unknowns.

    Parameters
    ----------
    activation : sympy.Expr
        A polynomial in z with rational coefficients.
    target : sympy.Rational
        y of the sample.
    m : int
        Number of neurons.
    """
    z = sympy.symbols(f"z0:{m}", real=True)
    alpha = sympy.Symbol("alpha", real=True)
    first = activation.diff(Z)
    trace = sum(2 * first.subs(Z, zj) ** 2 for zj in z)
    output = sum(activation.subs(Z, zj) for zj in z)
    equations = [sympy.expand((trace - alpha * output).diff(zj)) for zj in z]
    return [*equations, output - target], [alpha, *z]


def real_critical_points(
    activation: sympy.Expr, target: sympy.Expr, m: int
) -> tuple[int, int]:
    """Count the real critical points of F on M for one sample, and the collapsed ones.

    They are counted with their multiplier α, as pairs.

    Parameters
    ----------
    activation : sympy.Expr
        A polynomial in z with rational coefficients.
    target : sympy.Rational
        y of the sample.
    m : int
        Number of neurons.

    Returns
    -------
    tuple of int
        All real critical points, and those with equal neurons.

    Raises
    ------
    InfinitelyManyError
        If there are infinitely many, also complex ones.

    Examples
    --------
    >>> real_critical_points(Z**3/6 + Z, sympy.Rational(5, 2), m=3)
    (1, 1)
    """
    equations, unknowns = lagrange_system(activation, target, m)
    z = unknowns[1:]
    collapsed = [*equations, *(zj - z[0] for zj in z[1:])]
    return (
        count_real_points(equations, unknowns),
        count_real_points(collapsed, unknowns),
    )


def count_real_points(
    equations: Sequence[sympy.Expr], unknowns: Sequence[sympy.Symbol]
) -> int:
    """Count the distinct real solutions of polynomial equations.

    Parameters
    ----------
    equations : sequence of sympy.Expr
        With rational coefficients and finitely many complex solutions.
    unknowns : sequence of sympy.Symbol
        All their symbols.

    Raises
    ------
    InfinitelyManyError
        If the solutions are infinitely many.

    Examples
    --------
    >>> x, y = sympy.symbols("x y")
    >>> count_real_points([x**2 + y**2 - 5, x*y - 2], [x, y])
    4
    >>> count_real_points([x**2 + 1, y], [x, y])
    0
    """
    ring = xring(unknowns, sympy.QQ, grevlex)[0]
    system = [ring.from_expr(sympy.expand(e)) for e in equations]
    basis = groebner([element for element in system if element], ring)
    if not basis:
        raise InfinitelyManyError("no equation restricts the unknowns")
    if basis == [ring.one]:
        return 0
    monomials = _standard_monomials(basis)
    return _signature(_trace_form(basis, monomials))


def _standard_monomials(basis: list[PolyElement]) -> list[Exponents]:
    """Return the exponents not divisible by a leading one: a basis of the quotient."""
    ring, leading = basis[0].ring, [element.LM for element in basis]
    bounds = []
    for axis, unknown in enumerate(ring.symbols):
        pure = [e[axis] for e in leading if sum(e) == e[axis]]
        if not pure:
            raise InfinitelyManyError(f"{unknown} takes infinitely many values")
        bounds.append(min(pure))
    found = [
        exponents
        for exponents in product(*map(range, bounds))
        if not any(monomial_divides(divisor, exponents) for divisor in leading)
    ]
    if len(found) > MAX_DIMENSION:
        raise TooManyError(
            f"{len(found)} complex solutions; at most {MAX_DIMENSION} are counted"
        )
    return found


class _NormalForms:
    """Monomials modulo a reduced basis, as coordinates in the standard monomials."""

    def __init__(self, basis: list[PolyElement], standard: list[Exponents]) -> None:
        self.known: dict[Exponents, dict[Exponents, Any]] = {
            exponents: {exponents: sympy.QQ(1)} for exponents in standard
        }
        # of a reduced basis, all but the leading terms are standard
        for element in basis:
            head, lead = element.LM, element.LC
            self.known[head] = {e: -c / lead for e, c in element.items() if e != head}
        self.leading = [element.LM for element in basis]

    def of(self, exponents: Exponents) -> dict[Exponents, Any]:
        if exponents not in self.known:
            self.known[exponents] = self._reduced(exponents)
        return self.known[exponents]

    def _reduced(self, exponents: Exponents) -> dict[Exponents, Any]:
        """Multiply a normal form by one unknown: x NF(x⁻¹e) has terms below e only."""
        head = next(lm for lm in self.leading if monomial_divides(lm, exponents))
        axis = next(k for k, e in enumerate(exponents) if e > head[k])
        unit = tuple(int(k == axis) for k in range(len(exponents)))
        total: dict[Exponents, Any] = {}
        for key, factor in self.of(monomial_div(exponents, unit)).items():
            for place, value in self.of(monomial_mul(key, unit)).items():
                total[place] = total.get(place, sympy.QQ(0)) + factor * value
        return total


def _trace_form(basis: list[PolyElement], standard: list[Exponents]) -> list[list[Any]]:
    """Return Tr(multiplication by pq) for the standard monomials p and q."""
    forms, zero = _NormalForms(basis, standard), sympy.QQ(0)
    traces = {
        p: sum((forms.of(monomial_mul(p, q)).get(q, zero) for q in standard), zero)
        for p in standard
    }

    @cache  # many pairs share their product
    def trace(product_of_two: Exponents) -> Any:
        form = forms.of(product_of_two)
        return sum((c * traces[key] for key, c in form.items()), zero)

    return [[trace(monomial_mul(p, q)) for q in standard] for p in standard]


def _signature(form: list[list[Any]]) -> int:
    """Return the signature of a symmetric matrix, diagonalised by congruences.

    Column operations that mirror the row operations are left out, as they only clear
    what is not looked at again.
    """
    rows, signature = [list(row) for row in form], 0
    while rows:
        size = range(len(rows))
        pivot = next((i for i in size if rows[i][i] != 0), None)
        if pivot is None:
            pair = next(((i, k) for i in size for k in size if rows[i][k] != 0), None)
            if pair is None:
                break
            i, k = pair  # e_i + e_k has the square 2 rows[i][k]
            rows[i] = [x + y for x, y in zip(rows[i], rows[k], strict=True)]
            for row in rows:
                row[i] += row[k]
            pivot = i
        head = rows.pop(pivot)
        square = head.pop(pivot)
        signature += 1 if square > 0 else -1
        for row in rows:
            factor = row.pop(pivot) / square
            if factor:
                row[:] = [x - factor * y for x, y in zip(row, head, strict=True)]
    return signature
