"""Interval arithmetic: enclosures of all values a formula takes on an interval.

Sums, products and quotients are IEEE operations moved outward by one float.  Elementary
functions come from mpmath with 106 bits and are then rounded outward to floats: the
enclosure is right as long as mpmath is right to 60 of its 106 bits.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

__all__ = ["Interval", "UndefinedError", "enclosure"]

Interval = tuple[float, float]
Operation = Callable[..., Interval]

ZERO: Interval = (0.0, 0.0)


class UndefinedError(ArithmeticError):
    """The interval contains a pole, a kink, or points where a value is not real."""


def enclosure(expression: Any) -> Callable[[Interval], Interval]:
    """Return the function that encloses an expression's values on an interval.

    Ends may be infinite.  An exact zero stays exact; every other end is moved outward.

    Parameters
    ----------
    expression : sympy.Expr
        Of at most one symbol.

    Returns
    -------
    callable
        Takes (low, high), returns (low, high); raises UndefinedError.

    Examples
    --------
    >>> from theory.expressions import parse
    >>> low, high = enclosure(parse("exp(z) - 1"))((0.0, 1.0))
    >>> low <= 0 and 1.718281828 < high < 1.718281829
    True
    """
    places: dict[Any, int] = {}
    program: list[tuple[Operation, tuple[int, ...]]] = []

    def place(node: Any) -> int:
        if node.is_Symbol:
            return 0
        if node not in places:
            operation, arguments = _operation(node)
            where = tuple(map(place, arguments))
            program.append((operation, where))
            places[node] = len(program)
        return places[node]

    last = place(expression)

    def enclose(interval: Interval) -> Interval:
        values = [interval]
        for operation, where in program:
            values.append(operation(*(values[i] for i in where)))
        return values[last]

    return enclose


def _operation(node: Any) -> tuple[Operation, tuple[Any, ...]]:
    """Return what to do at a node, and the subexpressions to do it with."""
    name = type(node).__name__
    if node.is_number:
        return functools.partial(_same, _constant(node)), ()
    if name == "Pow":
        return functools.partial(_power, node.exp), (node.base,)
    if name in INCREASING:
        return functools.partial(_increasing, name), node.args
    # Heaviside and DiracDelta carry conventions beside their argument.
    arguments = node.args if name in {"Add", "Mul", "Max"} else node.args[:1]
    return OTHERS.get(name, _unknown), arguments


@functools.cache
def _mp() -> Any:
    """Return mpmath with 106 bits, twice a float's, apart from the global context."""
    import mpmath  # type: ignore[import-untyped]  # SymPy's own, without stubs

    context = mpmath.MPContext()
    context.prec = 106
    return context


def _constant(node: Any) -> Interval:
    value = _outward(_mp().mpf(node.evalf(40)))
    exact = node.is_Rational and math.isfinite(float(node)) and node == float(node)
    return (float(node), float(node)) if exact else value


def _down(x: float) -> float:
    return math.nextafter(x, -math.inf)


def _up(x: float) -> float:
    return math.nextafter(x, math.inf)


def _outward(value: Any) -> Interval:
    """Enclose a 106-bit value between floats; zero is never the result of rounding."""
    if value == 0:
        return ZERO
    return _down(float(value)), _up(float(value))


def _same(constant: Interval) -> Interval:
    return constant


def _fold(combine: Operation, *intervals: Interval) -> Interval:
    return functools.reduce(combine, intervals)


def _larger(x: Interval, y: Interval) -> Interval:
    return max(x[0], y[0]), max(x[1], y[1])


def _add(x: Interval, y: Interval) -> Interval:
    if ZERO in (x, y):
        return y if x == ZERO else x
    return _down(x[0] + y[0]), _up(x[1] + y[1])


def _multiply(x: Interval, y: Interval) -> Interval:
    if ZERO in (x, y):
        return ZERO
    # 0 times infinity is 0: an infinite end bounds finite values only.
    products = [0.0 if 0.0 in (a, b) else a * b for a in x for b in y]
    return _down(min(products)), _up(max(products))


def _invert(x: Interval) -> Interval:
    if x[0] <= 0 <= x[1]:
        raise UndefinedError
    return _down(1 / x[1]), _up(1 / x[0])


def _absolute(x: Interval) -> Interval:
    low, high = sorted((abs(x[0]), abs(x[1])))
    return (0.0 if x[0] <= 0 <= x[1] else low), high


def _ends(function: Callable[[Any], Any], x: Interval) -> Interval:
    """Enclose an increasing function."""
    mpf = _mp().mpf
    return _outward(function(mpf(x[0])))[0], _outward(function(mpf(x[1])))[1]


#: Increasing functions: where they are real, and between which values they stay.
INCREASING: Mapping[str, tuple[float, Interval]] = MappingProxyType(
    {
        "exp": (-math.inf, (0.0, math.inf)),
        "sinh": (-math.inf, (-math.inf, math.inf)),
        "asinh": (-math.inf, (-math.inf, math.inf)),
        "tanh": (-math.inf, (-1.0, 1.0)),
        "erf": (-math.inf, (-1.0, 1.0)),
        "atan": (-math.inf, (-2.0, 2.0)),
        "log": (0.0, (-math.inf, math.inf)),
    }
)


def _increasing(name: str, x: Interval) -> Interval:
    left, (low, high) = INCREASING[name]
    if x[0] < left or (name == "log" and x[0] == 0):
        raise UndefinedError
    below, above = _ends(getattr(_mp(), name), x)
    return max(low, below), min(high, above)


def _power(exponent: Any, x: Interval) -> Interval:
    if exponent < 0:
        return _invert(_power(-exponent, x))
    odd = bool(exponent.is_Integer and exponent % 2)
    if exponent.is_Integer and not odd:
        x = _absolute(x)
    elif not exponent.is_Integer and x[0] < 0:
        raise UndefinedError
    power = int(exponent) if exponent.is_Integer else _mp().mpf(exponent.p) / exponent.q
    low, high = _ends(lambda v: v**power, x)
    return (low if odd else max(0.0, low)), high


def _cosh(x: Interval) -> Interval:
    low, high = _ends(_mp().cosh, _absolute(x))
    return max(1.0, low), high


def _lipschitz(name: str, x: Interval) -> Interval:
    """Enclose sin or cos by the middle value and their slope, at most 1."""
    radius = _up(_up(x[1] - x[0]) / 2)
    if not radius < 2:
        return -1.0, 1.0
    middle = _outward(getattr(_mp(), name)(_mp().mpf((x[0] + x[1]) / 2)))
    # The middle itself is rounded, by less than 2e-16 of its size.
    radius = _up(radius + 2.3e-16 * max(abs(x[0]), abs(x[1])))
    return max(-1.0, _down(middle[0] - radius)), min(1.0, _up(middle[1] + radius))


def _tan(x: Interval) -> Interval:
    return _multiply(_lipschitz("sin", x), _invert(_lipschitz("cos", x)))


def _step(below: float, above: float, x: Interval) -> Interval:
    """Enclose a function that jumps at 0, where it has no value."""
    if x[0] <= 0 <= x[1]:
        raise UndefinedError
    value = above if x[0] > 0 else below
    return value, value


def _unknown(*_: Interval) -> Interval:
    raise UndefinedError


OTHERS: Mapping[str, Operation] = MappingProxyType(
    {
        "Add": functools.partial(_fold, _add),
        "Mul": functools.partial(_fold, _multiply),
        "Max": functools.partial(_fold, _larger),
        "Abs": _absolute,
        "cosh": _cosh,
        "sin": functools.partial(_lipschitz, "sin"),
        "cos": functools.partial(_lipschitz, "cos"),
        "tan": _tan,
        "sign": functools.partial(_step, -1.0, 1.0),
        "Heaviside": functools.partial(_step, 0.0, 1.0),
        "DiracDelta": functools.partial(_step, 0.0, 0.0),
    }
)
