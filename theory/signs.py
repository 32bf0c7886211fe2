"""Is an expression positive on the whole real line?  Exact answers only.

Polynomials, and rational functions of exp(z), are settled by Sturm sequences; one free
parameter by sampling the cells between its critical values.  For everything else a
point where the sign is wrong refutes, and SymPy's assumptions prove.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

import sympy

from theory.statement import Decision

__all__ = ["positive_everywhere"]

#: where a wrong sign is looked for, in this order
PROBES = tuple(
    sympy.Rational(k, 4) for k in sorted(range(-80, 81), key=lambda k: (abs(k), -k))
)
BRACKET = Fraction(1, 10**6)  # width of the interval that is shown for a sign change
DIGITS = 30


def positive_everywhere(
    name: str, expression: sympy.Expr, variable: sympy.Symbol
) -> Decision:
    r"""Decide whether an expression is positive for all real values of a variable.

    Parameters
    ----------
    name : str
        What the expression is called in the reason.
    expression : sympy.Expr
        A function of the variable, and of real parameters.
    variable : sympy.Symbol
        Ranges over the reals.

    Returns
    -------
    Decision
        With a bracket of the sign change where it fails, and a condition on the
        parameter where there is one.

    Examples
    --------
    >>> from sympy.abc import a, z
    >>> from sympy import Symbol, tanh
    >>> z, a = Symbol("z", real=True), Symbol("a", real=True)
    >>> positive_everywhere("φ'", 3*z**2 + a, z).condition
    a > 0
    >>> print(positive_everywhere("φ'''", tanh(z).diff(z, 3), z).reason)
    φ''' = -2 at z = 0, and changes sign between z = 0.6584787 and z = 0.6584795
    """
    expression = sympy.simplify(expression)
    parameters = expression.free_symbols - {variable}
    polynomial = _as_polynomial(expression, variable)
    if len(parameters) == 1 and polynomial is not None:
        return _by_cells(name, *polynomial, parameters.pop())
    if parameters and polynomial is not None and polynomial[0].degree() == 2:
        return _by_discriminant(name, *polynomial)
    if parameters:
        return _by_assumptions(name, expression)
    wrong = _wrong_point(expression, variable)
    if wrong is not None:
        return Decision(False, _describe(name, expression, variable, wrong))
    if polynomial is not None:
        return _by_sturm(name, *polynomial)
    return _by_assumptions(name, expression)


# --- polynomials, also in exp(z) ------------------------------------------------------


def _as_polynomial(
    expression: sympy.Expr, variable: sympy.Symbol
) -> tuple[sympy.Poly, bool] | None:
    """Return a polynomial of the same sign, and whether its variable is exp(z) > 0."""
    for candidate, new, positive in _substitutions(expression, variable):
        numerator, denominator = sympy.fraction(sympy.cancel(sympy.together(candidate)))
        product = sympy.expand(numerator * denominator)  # of the same sign
        symbols = sorted(product.free_symbols | {new}, key=str)
        if not product.is_polynomial(*symbols) or variable in {*symbols} - {new}:
            continue
        # Sturm sequences and resultants need exact rational numbers
        if sympy.Poly(product, *symbols).domain in (sympy.ZZ, sympy.QQ):
            return sympy.Poly(product, new), positive
    return None


def _substitutions(
    expression: sympy.Expr, variable: sympy.Symbol
) -> Iterator[tuple[sympy.Expr, sympy.Symbol, bool]]:
    yield expression, variable, False
    rewritten = sympy.powsimp(sympy.expand(expression.rewrite(sympy.exp)))
    exponents = [term.args[0] / variable for term in rewritten.atoms(sympy.exp)]
    if exponents and all(exponent.is_Rational for exponent in exponents):
        unit = sympy.Rational(
            math.gcd(*(e.p for e in exponents)), math.lcm(*(e.q for e in exponents))
        )
        t = sympy.Dummy("t", positive=True)
        powers = {
            sympy.exp(exponent * variable): t ** (exponent / unit)
            for exponent in exponents
        }
        yield rewritten.xreplace(powers), t, True


def _by_sturm(name: str, polynomial: sympy.Poly, positive: bool) -> Decision:
    """Count roots: no probe was wrong, so no root in the range means positive."""
    if _positive_on_range(polynomial, positive):
        return Decision(True, f"{name} > 0 on the real line: no real root (Sturm)")
    root = next(r for r in polynomial.real_roots() if not positive or r > 0)
    where = sympy.log(root) if positive else root
    return Decision(False, f"{name} is not positive at {where.evalf(7)}")


def _positive_on_range(polynomial: sympy.Poly, positive: bool) -> bool:
    """Whether a polynomial is positive for all real, or all positive, arguments."""
    if polynomial.is_zero:
        return False
    if polynomial.degree() == 0:
        return bool(polynomial.LC() > 0)
    return not _has_root(polynomial, positive) and bool(polynomial.eval(1) > 0)


def _has_root(polynomial: sympy.Poly, positive: bool) -> bool:
    """Whether there is a real root, or a positive one."""
    # a root at the end 0 of the open range (0, oo) is none
    while positive and polynomial.eval(0) == 0:
        polynomial = polynomial.quo(sympy.Poly(polynomial.gen, polynomial.gen))
    start = 0 if positive else None
    return polynomial.degree() > 0 and polynomial.count_roots(start, None) > 0


def _by_cells(
    name: str, polynomial: sympy.Poly, positive: bool, parameter: sympy.Symbol
) -> Decision:
    """Settle one parameter: the answer changes at critical values only.

    Those are the roots of the coefficients and of the discriminant, where roots in z
    leave the range, appear, or meet.
    """
    reduced = sympy.Poly(sympy.sqf_part(polynomial.as_expr()), polynomial.gen)
    values = _critical_values(reduced, parameter)

    def positive_at(value: Any) -> bool:
        instance = polynomial.as_expr().subs(parameter, value)
        return _positive_on_range(sympy.Poly(instance, polynomial.gen), positive)

    between = [positive_at(sample) for sample in _samples(values)]
    holds, unsettled = sympy.S.EmptySet, []
    for answer, ends in zip(
        between, pairwise([-sympy.oo, *values, sympy.oo]), strict=True
    ):
        if answer:
            holds |= sympy.Interval.open(*ends)
    for value, neighbours in zip(values, pairwise(between), strict=True):
        if value.is_Rational and positive_at(value):
            holds |= sympy.FiniteSet(value)
        # positivity is open, so a point beside a failing cell fails
        open_here = reduced.LC().subs(parameter, value) != 0
        if not value.is_Rational and (all(neighbours) or not open_here):
            unsettled.append(f"{parameter} = {value}")
    condition = (
        sympy.true
        if holds == sympy.S.Reals
        else holds.as_relational(parameter).simplify()
    )
    return _on_condition(name, condition, ", ".join(unsettled))


def _by_discriminant(name: str, polynomial: sympy.Poly, positive: bool) -> Decision:
    """Settle a quadratic in z with several parameters."""
    a, b, c = polynomial.all_coeffs()
    if positive:
        return Decision(None, f"the sign of {name} could not be settled")
    curved = sympy.And(a > 0, sympy.discriminant(polynomial) < 0)
    constant = sympy.And(sympy.Eq(a, 0), sympy.Eq(b, 0), c > 0)
    return _on_condition(name, sympy.Or(curved, constant).simplify())


def _on_condition(name: str, condition: sympy.Basic, unsettled: str = "") -> Decision:
    """Return the decision that a condition on the parameters amounts to."""
    if condition is sympy.true and not unsettled:
        return Decision(True, f"{name} > 0 whatever the parameters are")
    if condition is sympy.false and not unsettled:
        return Decision(False, f"{name} > 0 for no value of the parameters")
    if condition is sympy.false:
        return Decision(None, f"{name} > 0 is unsettled at {unsettled}")
    text = f"{name} > 0 if {condition}"
    return Decision(
        None, f"{text}, unsettled at {unsettled}" if unsettled else text, condition
    )


def _critical_values(polynomial: sympy.Poly, parameter: sympy.Symbol) -> list[Any]:
    critical: set[Any] = set()
    for boundary in (*polynomial.all_coeffs(), sympy.discriminant(polynomial)):
        factor = sympy.Poly(boundary, parameter)
        if factor.degree() > 0:
            critical |= set(factor.real_roots())
    return sorted(critical)


def _samples(values: list[Any]) -> list[sympy.Rational]:
    """Return a rational number in each of the intervals between sorted values."""
    if not values:
        return [sympy.S.Zero]
    middles = [_between(left, right) for left, right in pairwise(values)]
    return [sympy.floor(values[0]) - 1, *middles, sympy.ceiling(values[-1]) + 1]


def _between(left: Any, right: Any) -> sympy.Rational:
    """Return a rational number strictly between two real ones."""
    digits = DIGITS
    while True:
        middle = sympy.Rational(str(((left + right) / 2).evalf(digits)))
        if left < middle < right:
            return middle
        digits *= 2


# --- everything else ------------------------------------------------------------------


def _by_assumptions(name: str, expression: sympy.Expr) -> Decision:
    for form in (expression, sympy.factor(expression)):
        if form.is_positive:
            return Decision(True, f"{name} = {form} is positive term by term")
    return Decision(None, f"the sign of {name} = {expression} could not be settled")


def _sign(expression: sympy.Expr, variable: sympy.Symbol, point: Any) -> int | None:
    value = expression.subs(variable, point)
    if not value.is_Rational:
        value = value.evalf(DIGITS)
    if not (value.is_Number and value.is_finite):
        return None
    if value.is_Float and abs(value) < sympy.Float("1e-20"):
        return None
    return int(sympy.sign(value))


def _wrong_point(expression: sympy.Expr, variable: sympy.Symbol) -> Any:
    """Return a probe where the expression is negative, or else 0, or None."""
    zero = None
    for probe in PROBES:
        sign = _sign(expression, variable, probe)
        if sign == -1:
            return probe
        if sign == 0 and zero is None:
            zero = probe
    return zero


def _describe(
    name: str, expression: sympy.Expr, variable: sympy.Symbol, wrong: Any
) -> str:
    """Name the value at the wrong point, and bracket a change of sign."""
    value = expression.subs(variable, wrong)
    shown = value if value.is_Rational else value.evalf(6)
    text = f"{name} = {shown} at {variable} = {wrong}"
    if expression == 0:
        return f"{text}, and everywhere"
    right = next((p for p in PROBES if (_sign(expression, variable, p) or 0) > 0), None)
    if right is None:
        return f"{text}, and is nowhere seen positive"
    if value == 0:
        return text
    low, high = Fraction(str(wrong)), Fraction(str(right))
    while abs(high - low) > BRACKET:
        middle = (low + high) / 2
        if (_sign(expression, variable, sympy.Rational(middle)) or 0) > 0:
            high = middle
        else:
            low = middle
    ends = [
        abs(expression.subs(variable, sympy.Rational(e)).evalf(6)) for e in (low, high)
    ]
    if not all(end.is_finite and end <= 1 + abs(value) for end in ends):
        return text  # a pole, or a jump, and no root
    first, last = sorted((float(low), float(high)))
    return (
        f"{text}, and changes sign between {variable} = {first:.7f} and "
        f"{variable} = {last:.7f}"
    )
