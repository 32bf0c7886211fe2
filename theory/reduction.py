"""Does an expression vanish?  Refuted at exact points, proved by rewriting.

Random rational points refute; only a chain of rewritings to 0 proves.  What neither
settles is None, never False.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from typing import Any

import sympy
from sympy.core.evalf import PrecisionExhausted
from sympy.core.function import AppliedUndef, Derivative, Subs

__all__ = ["holds", "jets", "random_rationals", "vanishes"]

POINTS = 3  # of exact evaluation before a proof is tried
DIGITS = 30
FLOAT_NOISE = 1e-9  # floating-point numbers refute beyond this, and prove nothing


def holds(value: Any) -> bool | None:
    """Return whether a defect vanishes, or a condition is true; None if unsettled.

    Parameters
    ----------
    value : sympy.Expr, sympy.Matrix, sympy.Boolean or bool
        What a check yields.

    Examples
    --------
    >>> x = sympy.Symbol("x", real=True)
    >>> holds(sympy.cos(x)**2 + sympy.sin(x)**2 - 1), holds(x**2 >= 0), holds(x - 1)
    (True, True, False)
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, sympy.logic.boolalg.Boolean):
        settled = value if value in (sympy.true, sympy.false) else value.simplify()
        return {sympy.true: True, sympy.false: False}.get(settled)
    if isinstance(value, sympy.MatrixBase):
        answers = {vanishes(entry) for entry in value} or {None}
        return False if False in answers else (None if None in answers else True)
    return vanishes(sympy.sympify(value))


def vanishes(expression: sympy.Expr) -> bool | None:
    """Return whether an expression is 0 for all values of its symbols.

    Undefined functions and their derivatives count as independent symbols.

    Parameters
    ----------
    expression : sympy.Expr
        In real symbols.

    Returns
    -------
    bool or None
        False is shown by a point, True by rewriting, None is unsettled.

    Examples
    --------
    >>> f, x = sympy.Function("f"), sympy.Symbol("x", real=True)
    >>> vanishes((f(x)**2).diff(x) - 2*f(x)*f(x).diff(x))
    True
    >>> vanishes(f(x).diff(x) - f(x))
    False
    """
    if expression.has(sympy.nan, sympy.zoo, sympy.oo, -sympy.oo):
        return None
    if expression.has(sympy.Float):
        return False if abs(expression.evalf()) > FLOAT_NOISE else None
    if expression.is_Number:
        return bool(expression == 0)
    expression = jets(expression)
    if any(value != 0 for value in _values(expression)):
        return False
    for rewrite in _rewritings():
        if rewrite(expression) == 0:
            return True
    return None


def jets(expression: sympy.Expr) -> sympy.Expr:
    """Replace undefined functions and their derivatives by real symbols."""
    expression = expression.replace(
        lambda term: isinstance(term, AppliedUndef),
        lambda term: term.func(*map(sympy.expand, term.args)),
    )
    for kind in (Subs, Derivative, AppliedUndef):
        found = sorted(expression.atoms(kind), key=sympy.default_sort_key)
        expression = expression.xreplace(
            {term: sympy.Dummy(str(term), real=True) for term in found}
        )
    return expression


def random_rationals(
    symbols: Any, seed: int | str, largest: int = 9
) -> dict[sympy.Symbol, sympy.Rational]:
    """Return small exact values for symbols, within their assumptions.

    Parameters
    ----------
    symbols : iterable of sympy.Symbol
        To be given values; positive, negative and integer ones stay so.
    seed : int or str
        Same seed, same values.
    largest : int
        Bound on numerators and denominators.

    Examples
    --------
    >>> p = sympy.Symbol("p", positive=True)
    >>> random_rationals([p], seed=0)[p] > 0
    True
    """
    rng = random.Random(seed)
    values = {}
    for symbol in sorted(symbols, key=lambda symbol: (symbol.name, str(symbol))):
        denominator = 1 if symbol.is_integer else rng.randint(2, largest)
        numerator = rng.randint(1, largest) * rng.choice((-1, 1))
        if symbol.is_nonnegative:
            numerator = abs(numerator)
        if symbol.is_nonpositive:
            numerator = -abs(numerator)
        values[symbol] = sympy.Rational(numerator, denominator)
    return values


def _values(expression: sympy.Expr) -> Iterator[sympy.Expr]:
    """Evaluate at points where the expression is a finite real number.

    What cannot be told from 0 is left out, because that alone does not refute.
    """
    for seed in range(POINTS):
        point = random_rationals(expression.free_symbols, seed)
        value = expression.xreplace(point)
        if not value.is_Rational:
            try:
                value = value.evalf(DIGITS, strict=True)
            except PrecisionExhausted:
                continue  # not told from 0: that does not refute
        if value.is_real and value.is_finite:
            yield value


def _rewritings() -> tuple[Callable[[sympy.Expr], sympy.Expr], ...]:
    """Return what is tried, the cheapest first."""
    return (
        sympy.expand,
        lambda e: sympy.expand(sympy.fraction(sympy.together(e))[0]),
        lambda e: sympy.cancel(sympy.together(e)),
        lambda e: sympy.cancel(sympy.together(sympy.expand(e.rewrite(sympy.exp)))),
        lambda e: sympy.expand(sympy.radsimp(sympy.together(e))),
        sympy.simplify,
    )
