"""Exact signs: counting the real roots of polynomials in z, or in exp(g z)."""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator
from typing import Any, Literal

__all__ = ["everywhere_smooth", "sign_by_roots"]

ExactSign = Literal[
    "positive", "negative", "zero", "nonnegative", "nonpositive", "changes"
]
Ends = tuple[Any, Any]  # exact numbers; None is infinite

BRACKET = 1e-6
LARGEST = 400  # operations in an expression that SymPy can still factor quickly


def sign_by_roots(
    expression: Any, low: float, high: float
) -> tuple[ExactSign, tuple[float, float] | None] | None:
    r"""Return the exact sign of an expression on [low, high], and where it changes.

    Factors that are positive on the whole line are dropped; what remains must be
    rational in z, or rational in :math:`t = e^{gz}` with rational g (so ``tanh``,
    ``softplus`` and their derivatives are), and its roots are counted by Sturm's
    theorem.

    Parameters
    ----------
    expression : sympy.Expr
        Of at most one symbol.
    low, high : float
        Ends of the interval, possibly infinite.

    Returns
    -------
    tuple or None
        The sign, and for "changes" a bracket of width 1e-6 (else None); None when this
        method does not apply.

    Examples
    --------
    >>> from theory.expressions import parse
    >>> sign_by_roots(parse("z**2 - 2*z + 1"), -2.0, 2.0)
    ('nonnegative', None)
    >>> sign_by_roots(parse("sinh(z)"), 1.0, 2.0)
    ('positive', None)
    """
    parts = _numerator_and_denominator(expression)
    if parts is None:
        return None
    top, bottom = parts
    symbols = (top * bottom).free_symbols
    z = symbols.pop() if symbols else _sympy().Symbol("z", real=True)
    rate = _exponential_rate(top * bottom)
    if rate is not None:
        top, bottom, z = _in_exponential(top, bottom, z, rate)
    scale = 0 if rate is None else rate
    if not (
        top.is_polynomial(z)
        and bottom.is_polynomial(z)
        and all(_representable(end, scale) for end in (low, high))
    ):
        return None
    product, poles = (_sympy().Poly(part, z) for part in (top * bottom, bottom))
    ends = _exact_end(low, rate), _exact_end(high, rate)
    # exp(g z) is rational for z = 0 only (Lindemann), so other ends are rounded.
    rounded = [e for x, e in zip((low, high), ends, strict=True) if scale * x and e]
    if not _countable(product, poles, ends, rounded):
        return None
    return _decide(product, ends, rate)


def everywhere_smooth(expression: Any) -> bool:
    """Whether no pole, kink or complex value can hide: SymPy assumes them away.

    Examples
    --------
    >>> from theory.expressions import parse
    >>> everywhere_smooth(parse("1/(1 + z**2)")), everywhere_smooth(parse("1/z"))
    (True, False)
    """
    sympy = _sympy()
    names = ("exp", "sin", "cos", "sinh", "cosh", "tanh", "asinh", "atan", "erf")
    smooth = tuple(getattr(sympy, name) for name in names)
    for node in sympy.preorder_traversal(expression):
        if node.is_Pow and not (node.exp.is_Integer and node.exp > 0):
            if not node.base.is_positive:
                return False
        elif node.is_Function and not isinstance(node, smooth):
            return False
    return True


def _sympy() -> Any:
    """Return SymPy, imported on first use because that takes half a second."""
    import sympy

    return sympy


def _numerator_and_denominator(expression: Any) -> tuple[Any, Any] | None:
    sympy = _sympy()
    if expression.count_ops() > LARGEST:
        return None
    hyperbolic = (sympy.sinh, sympy.cosh, sympy.tanh)
    quotient = sympy.together(expression.rewrite(hyperbolic, sympy.exp))
    top, bottom = sympy.fraction(quotient)
    if not (everywhere_smooth(top) and everywhere_smooth(bottom)):
        return None
    return _without_positive_factors(top), _without_positive_factors(bottom)


def _without_positive_factors(expression: Any) -> Any:
    sympy = _sympy()
    kept = sympy.S.One
    for factor in sympy.Mul.make_args(sympy.factor(expression)):
        if factor.is_negative:
            kept = -kept
        elif not factor.is_positive:
            kept *= factor
    return kept


def _exponential_rate(expression: Any) -> Any:
    """Return g when every exponential is a power of exp(g z), g rational, else None."""
    sympy = _sympy()
    exponents = [e.args[0].as_coeff_Mul() for e in expression.atoms(sympy.exp)]
    if not exponents or not all(c.is_Rational and z.is_Symbol for c, z in exponents):
        return None
    return functools.reduce(sympy.gcd, (abs(c) for c, _ in exponents))


def _in_exponential(top: Any, bottom: Any, z: Any, rate: Any) -> tuple[Any, Any, Any]:
    sympy = _sympy()
    t = sympy.Dummy("t", positive=True)
    found = (top * bottom).atoms(sympy.exp)
    powers = {e: t ** (e.args[0] / (rate * z)) for e in found}
    return top.xreplace(powers), bottom.xreplace(powers), t


def _representable(end: float, rate: Any) -> bool:
    """Whether 40 digits of exp(rate * end) tell it from 1 and are not too long."""
    exponent = abs(rate * end) if math.isfinite(end) else 0
    return bool(exponent == 0 or 1e-9 < exponent < 1e4)


def _exact_end(end: float, rate: Any) -> Any:
    """Return the end as an exact number in the variable that has the roots."""
    sympy = _sympy()
    if rate is not None and end == -math.inf:
        return sympy.S.Zero
    if math.isinf(end):
        return None
    exact = sympy.Rational(end)
    return exact if rate is None else sympy.Rational(sympy.exp(rate * exact).evalf(40))


def _countable(product: Any, poles: Any, ends: Ends, rounded: list[Any]) -> bool:
    """Whether counting roots decides: rational coefficients, no pole, no doubt.

    A root within the rounding error of an end is a doubt.
    """
    if not (product.domain.is_QQ or product.domain.is_ZZ) or poles.count_roots(*ends):
        return False
    margin = 1 + _sympy().Rational(1, 10**30)
    return not any(product.count_roots(e / margin, e * margin) for e in rounded)


def _decide(
    polynomial: Any, ends: Ends, rate: Any
) -> tuple[ExactSign, tuple[float, float] | None]:
    if polynomial.is_zero:
        return "zero", None
    factors = polynomial.sqf_list()[1]
    for factor, multiplicity in factors:
        at_ends = sum(factor.eval(end) == 0 for end in set(ends) - {None})
        if multiplicity % 2 and factor.count_roots(*ends) > at_ends:
            return "changes", _root_bracket(factor, ends, rate)
    touches = any(factor.count_roots(*ends) for factor, _ in factors)
    sample = next((v for v in map(polynomial.eval, _inside(*ends)) if v != 0), 0)
    if sample > 0:
        return ("nonnegative" if touches else "positive"), None
    if sample < 0:
        return ("nonpositive" if touches else "negative"), None
    return "zero", None  # the interval is one point, a root


def _inside(low: Any, high: Any) -> Iterator[Any]:
    """Yield more points between the ends than a polynomial has roots."""
    for k in range(1, 1000):
        if low is not None and high is not None:
            yield low + (high - low) * _sympy().Rational(k, k + 1)
        elif high is not None:
            yield high - k
        else:
            yield k + (0 if low is None else low)


def _root_bracket(factor: Any, ends: Ends, rate: Any) -> tuple[float, float]:
    """Return a bracket, in z, of the first root that is not an end."""
    zeros = [end for end in set(ends) - {None} if factor.eval(end) == 0]
    isolated = (pair for pair, _ in factor.intervals(inf=ends[0], sup=ends[1]))
    left, right = next(
        (a, b) for a, b in isolated if not any(a <= end <= b for end in zeros)
    )
    while right - left > BRACKET / 2 * (1 if rate is None else rate * left):
        left, right = factor.refine_root(left, right, steps=4)
    if rate is not None:
        left, right = (_sympy().log(root) / rate for root in (left, right))
    return float(left) - BRACKET / 5, float(right) + BRACKET / 5
