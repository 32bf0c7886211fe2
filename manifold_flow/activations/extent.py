"""Which values a formula takes, and where it has none: guessed, then proved."""

from __future__ import annotations

import functools
import math
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.activations import formula
from manifold_flow.intervals import decide_sign
from manifold_flow.intervals.arithmetic import UndefinedError, enclosure

__all__ = ["Extent", "extent", "gap"]

Array = NDArray[np.float64]

POWERS_OF_TEN = np.array([10.0**k for k in range(17)])
SAMPLES = np.concatenate([-POWERS_OF_TEN[::-1], formula.GRID, POWERS_OF_TEN])
SAMPLES.sort()
CONVERGED = 1e-6  # fall from 10^8 to 10^16 below which a value has a limit
DIGITS = 12  # of an end; more of the least value seen are rounding
MARGINS = (0.0, 1e-12, 1e-6)  # how far below that a bound is tried, relative
TRY = 0.3  # seconds for one method of deciding a sign
PATIENCE = 1.0  # seconds for one end

POLE = "has a pole where it divides by"
TOUCHES = frozenset({"changes", "zero", "nonnegative", "nonpositive"})
NEGATIVE = frozenset({"changes", "negative", "nonpositive"})


@dataclass(frozen=True)
class Extent:
    """An interval that holds all values, and whether its ends are among them.

    Attributes
    ----------
    low, high : float
        The ends; infinite where none is known.
    has_low, has_high : bool
        Whether an end is a value itself.

    Examples
    --------
    >>> print(Extent(0.0, 1.0, has_high=True).summed([1.0, -2.0]))
    (-2, 1)
    """

    low: float = -math.inf
    high: float = math.inf
    has_low: bool = False
    has_high: bool = False

    def summed(self, weights: ArrayLike) -> Extent:
        """Return what the sum of weights times independent values can be."""
        weights = np.asarray(weights, dtype=float)
        up = weights > 0
        return Extent(
            float((weights * np.where(up, self.low, self.high)).sum()),
            float((weights * np.where(up, self.high, self.low)).sum()),
            bool(np.where(up, self.has_low, self.has_high).all()),
            bool(np.where(up, self.has_high, self.has_low).all()),
        )

    def excludes(self, values: Array) -> NDArray[np.bool_]:
        """Tell which values are outside."""
        below = values < self.low if self.has_low else values <= self.low
        above = values > self.high if self.has_high else values >= self.high
        return np.asarray(below | above)

    def __str__(self) -> str:
        """Return the interval, with a square bracket at an end that is a value."""
        left, right = "(["[self.has_low], ")]"[self.has_high]
        return f"{left}{self.low:.6g}, {self.high:.6g}{right}"


@functools.lru_cache(formula.MEMORY)
def extent(text: str) -> Extent:
    """Return an interval that holds all values of the formula.

    The least and the largest value of a sample are candidates for the ends.  An end is
    given only if no value of the formula is proved to lie beyond it; otherwise it is
    infinite, "not known".
    """
    if gap(text) is not None:
        return Extent()
    expression = formula.symbolic(text, 0)
    low, has_low = _infimum(text, expression, 1)
    high, has_high = _infimum(text, -expression, -1)
    slope = formula.sign(text, 1, -math.inf, math.inf).sign
    monotone = slope in {"positive", "negative"}  # then no end is a value
    return Extent(low, 0.0 - high, has_low and not monotone, has_high and not monotone)


def _infimum(text: str, expression: Any, sign: int) -> tuple[float, bool]:
    """Return a proved lower bound of ± the formula, and whether it is a value.

    Where it is not proved that it is no value, it counts as one.
    """
    least, inside = _least(text, sign)
    if not math.isfinite(least):
        return -math.inf, False
    deadline = time.thread_time() + PATIENCE
    size = max(1.0, abs(least))
    rounded = round(least, DIGITS - math.ceil(math.log10(size))) + 0.0
    for margin in MARGINS:
        bound = rounded - max(margin * size, rounded - least)
        touched = _stays_above(expression, bound)
        if touched is not None:
            return bound, (touched if bound == least else inside)
        if not margin and _enclosed_above(expression, bound):
            return bound, True
        if time.thread_time() > deadline:
            break
    return -math.inf, False


def _enclosed_above(expression: Any, bound: float) -> bool:
    """Whether the enclosure of all values ends at the bound, to rounding."""
    try:
        low, _ = enclosure(expression)((-math.inf, math.inf))
    except UndefinedError:
        return False
    return low >= bound - 1e-15 * max(1.0, abs(bound))


def _least(text: str, sign: int) -> tuple[float, bool]:
    """Return the least value of ± the formula on samples, and whether it is inside.

    -inf where it still falls at the last of them.
    """

    def values(z: Array) -> Array:
        with np.errstate(all="ignore"):
            found = sign * formula.compiled_jet(text, z)[0]
        return np.where(np.isnan(found), math.inf, found)

    points, seen = SAMPLES, values(SAMPLES)
    best = int(np.argmin(seen))
    inside = bool(abs(points[best]) <= formula.GRID[-1])
    least = float(seen[best])
    if best in {0, len(points) - 1}:
        middle = float(values(points[best : best + 1] * 1e-8)[0])
        if least == -math.inf or middle - least > CONVERGED * max(1.0, abs(middle)):
            return -math.inf, False
    while inside and points[-1] - points[0] > 1e-9:
        k = int(np.clip(np.argmin(seen), 1, len(points) - 2))
        points = np.linspace(points[k - 1], points[k + 1], 41)
        seen = values(points)
        least = min(least, float(seen.min()))
    return least, inside


def _stays_above(expression: Any, bound: float) -> bool | None:
    """Whether a formula that is proved never below the bound touches it; else None.

    Each half-line is looked at on its own: there abs(z) and relu(z) have no kink.
    """
    import sympy

    (z,) = expression.free_symbols
    excess = expression - sympy.Rational(bound)
    at_zero = excess.subs(z, 0)
    if not at_zero.is_nonnegative:
        return None
    touched = bool(at_zero.is_zero)
    t = sympy.Dummy("t", positive=True)
    for half in (excess.subs(z, t), excess.subs(z, -t)):
        sign = _sign_beyond_zero(half)
        if sign not in {"positive", "nonnegative", "zero"}:
            return None
        touched |= sign != "positive"
    return touched


def _sign_beyond_zero(half: Any) -> str:
    """Return the sign of a formula for every t > 0."""
    if half.is_number:
        if half.is_zero:
            return "zero"
        return "positive" if half.is_positive else "undecided"
    return decide_sign(half, 0.0, math.inf, max_boxes=1000, time_limit=TRY).sign


@functools.lru_cache(formula.MEMORY)
def gap(text: str) -> str | None:
    """Say where the formula has no real value, in words; None if nothing is found."""
    import sympy

    for node in sympy.postorder_traversal(formula.symbolic(text, 0)):
        if node.is_Pow and node.exp.is_negative:
            act, inner, wrong = POLE, node.base, TOUCHES
        elif node.is_Pow and not node.exp.is_integer:
            act, inner, wrong = "takes a root of", node.base, NEGATIVE
        elif isinstance(node, sympy.log):
            act, inner = "takes the logarithm of", node.args[0]
            wrong = TOUCHES | NEGATIVE
        elif isinstance(node, sympy.tan):
            act, inner, wrong = POLE, sympy.cos(node.args[0]), TOUCHES
        else:
            continue
        fact = _wrong_sign(inner, wrong)
        if fact is not None:
            return f"it {act} {inner}, which {fact}"
    return None


def _wrong_sign(inner: Any, wrong: frozenset[str]) -> str | None:
    """Say in words that the sign of a subexpression is a wrong one, or None."""
    if inner.is_number or inner.is_positive:
        return None
    decision = decide_sign(inner, time_limit=TRY)
    if decision.sign not in wrong:
        return None
    if decision.witness is None:
        return f"is {decision.sign}, not positive"
    where = round(sum(decision.witness) / 2, 5) + 0.0
    return f"changes sign near z = {where:g}"
