"""Three ways to decide a sign, from exact to general; none of them guesses."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from manifold_flow.errors import DataError
from manifold_flow.intervals.arithmetic import Interval, UndefinedError, enclosure
from manifold_flow.intervals.patience import within
from manifold_flow.intervals.roots import everywhere_smooth, sign_by_roots

__all__ = ["SignDecision", "decide_sign"]

Sign = Literal[
    "positive",
    "negative",
    "zero",
    "nonnegative",
    "nonpositive",
    "changes",
    "undecided",
]

BRACKET = 1e-6  # width of the bracket of a sign change
SMALLEST_BOX = 1e-7  # relative; a box this small that stays undecided is the witness
LARGEST_POINT = 2.0**40  # a half-line that starts here is not split further
SIMPLIFIED = 60  # operations in an expression that SymPy simplifies in good time


@dataclass(frozen=True)
class SignDecision:
    """What is known of the sign of a function on [low, high].

    Attributes
    ----------
    sign : str
        "positive" and "negative" are strict and hold everywhere on the interval;
        "nonnegative" and "nonpositive" touch zero; "zero" is identically zero;
        "changes" has been seen at two points; "undecided" is no claim at all.
    low, high : float
        The interval, finite or not.
    witness : tuple of float or None
        Where: a bracket of a sign change, or the box that could not be decided (a kink,
        a pole, or where the budget ran out).
    reason : str
        How it was decided, in words.
    """

    sign: Sign
    low: float
    high: float
    witness: Interval | None = None
    reason: str = ""


def decide_sign(
    expression: Any,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    max_boxes: int = 4000,
    time_limit: float = 2.0,
) -> SignDecision:
    """Decide the sign of a SymPy expression of one real symbol on [low, high].

    Tried in turn: enclosures at some points, which settle most sign changes; counting
    real roots of a polynomial in z or exp(g z); SymPy's assumptions (only their "yes"
    counts); interval arithmetic with bisection.

    Parameters
    ----------
    expression : sympy.Expr
        As :func:`theory.expressions.parse` builds it, or a derivative of that.
    low, high : float
        Ends of the closed interval; an infinite end stands for the whole half-line.
    max_boxes : int
        Largest number of intervals the bisection examines.
    time_limit : float
        Seconds after which each of the last three gives up.

    Returns
    -------
    SignDecision

    Raises
    ------
    DataError
        If low > high, or the expression has more than one symbol.

    Examples
    --------
    >>> from theory.expressions import parse
    >>> decide_sign(parse("3*z**2 + 1")).sign
    'positive'
    >>> decide_sign(parse("z*exp(z) + cos(z)"), 0, 5).sign
    'positive'
    >>> decide_sign(parse("tanh(z)").diff().diff().diff(), -3, 0).sign
    'changes'
    """
    low, high = float(low), float(high)
    if not low <= high or math.inf in (low, -high):
        raise DataError(f"the interval [{low}, {high}] is empty; give low <= high.")
    if len(expression.free_symbols) > 1:
        names = ", ".join(sorted(map(str, expression.free_symbols)))
        raise DataError(f"a sign needs one variable, and this depends on {names}.")
    bisection = _Bisection(expression, low, high)
    return (
        bisection.at_points()
        or within(time_limit, _counted, expression, low, high)
        or within(time_limit, _assumed, expression, low, high)
        or bisection.decide(max_boxes, time_limit)
    )


def _counted(expression: Any, low: float, high: float) -> SignDecision | None:
    exact = sign_by_roots(expression, low, high)
    if exact is None:
        return None
    sign, witness = exact
    if witness is not None:
        witness = max(low, witness[0]), min(high, witness[1])
    return SignDecision(sign, low, high, witness, "real roots counted exactly")


def _assumed(expression: Any, low: float, high: float) -> SignDecision | None:
    """Use what SymPy knows of the sign on the whole line; its None is not a "no"."""
    if not everywhere_smooth(expression):
        return None
    forms = [expression]
    if expression.count_ops() <= SIMPLIFIED:
        forms.append(expression.simplify())
    for form in forms:
        reason = f"{form} has this sign for every real z"
        if form.is_positive:
            return SignDecision("positive", low, high, None, reason)
        if form.is_negative:
            return SignDecision("negative", low, high, None, reason)
    return None


class _Bisection:
    """Breadth-first bisection; a sign seen at a point counts only if it is proved."""

    def __init__(self, expression: Any, low: float, high: float) -> None:
        self.enclose = enclosure(expression)
        self.low, self.high = low, high
        self.seen: dict[int, float] = {}  # sign -> a point where it is proved

    def at_points(self) -> SignDecision | None:
        """Decide where points are enough: opposite signs, or an interval of one."""
        for point in _grid(self.low, self.high):
            self.look(point)
        if self.changes():
            return self.answer("changes", "opposite signs proved", self.bracket())
        if self.low == self.high and self.seen:
            return self.answer(self.common_sign(), "enclosed at this point")
        return None

    def decide(self, max_boxes: int, time_limit: float) -> SignDecision:
        deadline = time.thread_time() + time_limit
        boxes = deque([(self.low, self.high)])
        examined = 0
        while boxes and not self.changes():
            box = boxes.popleft()
            examined += 1
            sign = self.sign(box)
            if sign is not None:
                self.seen.setdefault(sign, _finite_point(box))
                continue
            if examined > max_boxes or time.thread_time() > deadline:
                return self.answer("undecided", f"gave up after {examined} boxes", box)
            if _is_smallest(box):
                return self.answer("undecided", "kink, pole, or too close to zero", box)
            middle = _middle(box)
            self.look(middle)
            boxes += [(box[0], middle), (middle, box[1])]
        if self.changes():
            return self.answer("changes", "opposite signs proved", self.bracket())
        return self.answer(self.common_sign(), f"interval arithmetic, {examined} boxes")

    def answer(
        self, sign: Sign, reason: str, witness: Interval | None = None
    ) -> SignDecision:
        return SignDecision(sign, self.low, self.high, witness, reason)

    def sign(self, box: Interval) -> int | None:
        """Return the sign on a whole box when it is proved there."""
        try:
            low, high = self.enclose(box)
        except UndefinedError:
            return None
        if low > 0 or high < 0:
            return 1 if low > 0 else -1
        return 0 if low == high == 0 else None

    def look(self, point: float) -> None:
        sign = self.sign((point, point))
        if sign is not None:
            self.seen.setdefault(sign, point)

    def changes(self) -> bool:
        return {-1, 1} <= self.seen.keys()

    def common_sign(self) -> Sign:
        if self.seen.keys() == {0}:
            return "zero"
        touches = 0 in self.seen
        if 1 in self.seen:
            return "nonnegative" if touches else "positive"
        return "nonpositive" if touches else "negative"

    def bracket(self) -> Interval:
        """Narrow the two points of opposite sign as far as signs can be proved."""
        (left, sign), (right, _) = sorted((x, s) for s, x in self.seen.items() if s)
        while right - left > BRACKET:
            for part in (0.5, 0.45, 0.6):
                point = left + part * (right - left)
                found = self.sign((point, point))
                if found and left < point < right:
                    break
            else:
                break
            left, right = (point, right) if found == sign else (left, point)
        return left, right


def _grid(low: float, high: float) -> Iterator[float]:
    """Yield points that are dense near 0 and reach far."""
    first = low if math.isfinite(low) else min(-64.0, high - 64.0)
    last = high if math.isfinite(high) else max(64.0, low + 64.0)
    start, stop = math.asinh(first), math.asinh(last)
    for k in range(42):
        yield min(last, max(first, math.sinh(start + (stop - start) * k / 41)))


def _finite_point(box: Interval) -> float:
    return next((end for end in box if math.isfinite(end)), 0.0)


def _middle(box: Interval) -> float:
    low, high = box
    if math.isinf(low) and math.isinf(high):
        return 0.0
    if math.isinf(high):
        return max(1.0, 2 * low)
    if math.isinf(low):
        return min(-1.0, 2 * high)
    return low + (high - low) / 2


def _is_smallest(box: Interval) -> bool:
    low, high = box
    if math.isinf(low) or math.isinf(high):
        return low >= LARGEST_POINT or high <= -LARGEST_POINT
    return high - low <= SMALLEST_BOX * max(1.0, abs(low))
