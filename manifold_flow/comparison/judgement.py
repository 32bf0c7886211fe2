"""From measured numbers to a verdict, and the sentence that says why.

The claim is asymptotic: the error goes to 0, in proportion to the learning rate or
faster.  So no error at a single learning rate decides anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from manifold_flow.comparison.statistics import Estimate, Order
from theory.statement import Verdict

__all__ = ["Evidence", "judge", "leading_order"]

#: a fitted order in this interval is the first order of the theorem
FIRST_ORDER = (0.7, 1.3)
#: half of an order's interval: wider ones do not tell order 1 from order 0 or 2
RESOLVED = 0.3
#: what an order's interval must exclude, with all below: the error of order 1/2
TOO_SLOW = 0.5
#: what Richardson's value may keep of the last error, and a rate of the predicted one
LEFT_OF_ERROR, LEFT_OF_RATE = 0.2, 0.05


@dataclass(frozen=True)
class Evidence:
    """The numbers that a verdict rests on.

    Attributes
    ----------
    order : Order
        Of the weak errors.
    last_error : Estimate
        At the smallest learning rate.
    richardson : Estimate
        The error extrapolated to learning rate 0.
    predicted : float
        Rate of the flow; 0 where it says that nothing moves.
    measured : Estimate
        Rate of the ensembles, extrapolated to learning rate 0.
    drift : float
        How far the extrapolated rate moved at the last refinement.
    replicas : int
        Number of replicas.
    """

    order: Order
    last_error: Estimate
    richardson: Estimate
    predicted: float
    measured: Estimate
    drift: float
    replicas: int

    @property
    def tolerance(self) -> float:
        """Of Richardson's value: 3 s.e. or a fifth of the last error."""
        noise = 3.0 * self.richardson.standard_error
        return max(noise, LEFT_OF_ERROR * abs(self.last_error.value))

    @property
    def error_vanishes(self) -> bool:
        """Whether Richardson's value is 0 within its tolerance; at rest, any order."""
        if self.predicted == 0.0:
            return self.order.interval[0] >= FIRST_ORDER[0]
        return abs(self.richardson.value) <= self.tolerance

    @property
    def order_suffices(self) -> bool:
        """Whether the order is 0.7 or higher and its interval excludes 1/2."""
        return self.order.value >= FIRST_ORDER[0] and self.order.interval[0] > TOO_SLOW

    @property
    def rate_agrees(self) -> bool:
        """Whether the measured rate's interval, plus 5 %, holds the predicted one."""
        if self.predicted == 0.0:  # no rate to take 5 % of; Richardson's value decides
            return self.error_vanishes
        away = abs(self.measured.value - self.predicted)
        return away <= self.measured.half_width + LEFT_OF_RATE * abs(self.predicted)

    @property
    def rate_is_refuted(self) -> bool:
        """Whether the rates differ by more than noise, 5 % and what still moves."""
        if self.predicted == 0.0:
            return abs(self.measured.value) > self.measured.half_width + self.drift
        away = abs(self.measured.value - self.predicted)
        allowed = LEFT_OF_RATE * abs(self.predicted)
        return away > self.measured.half_width + allowed + self.drift

    @property
    def replicas_needed(self) -> int:
        """How many replicas would resolve order and rate, no fewer than there are."""
        wanted = [self.order.half_width / RESOLVED]
        if self.predicted != 0.0:
            wanted.append(
                self.measured.half_width / (LEFT_OF_RATE * abs(self.predicted))
            )
        return ceil(self.replicas * max(1.0, *wanted) ** 2)


def leading_order(order: Order) -> int:
    """Return the integer p of the leading term η^p: 1 unless the order is above 1.3.

    Parameters
    ----------
    order : Order
        As fitted; all of its interval must be above.

    Returns
    -------
    int
        The next integer, which is what an expansion in η has.

    Examples
    --------
    >>> leading_order(Order(1.9, (1.8, 2.0))), leading_order(Order(1.4, (1.2, 1.6)))
    (2, 1)
    """
    return max(2, round(order.value)) if order.interval[0] > FIRST_ORDER[1] else 1


def judge(found: Evidence) -> tuple[Verdict, str]:
    """Return the verdict and its reason.

    Parameters
    ----------
    found : Evidence
        The numbers.

    Returns
    -------
    (Verdict, str)
        ``VIOLATED`` only if Richardson's value is beyond its tolerance and the measured
        rate excludes the predicted one beyond noise, 5 % and its own drift.  An error
        that falls faster than in proportion is no violation: it is extrapolated with
        its own order.
    """
    rates = f"measured rate {found.measured}, predicted {found.predicted:.4g}"
    limit = (
        f"error extrapolated to learning rate 0 {found.richardson}, tolerance "
        f"{found.tolerance:.2g}"
    )
    if not found.error_vanishes and found.rate_is_refuted:
        return Verdict.VIOLATED, f"the error does not go to 0: {limit}; {rates}"
    if found.replicas_needed > found.replicas:
        return Verdict.NOT_REACHED, (
            f"Monte-Carlo noise hides the order, {found.order}, or the rate: {rates}. "
            f"About {found.replicas_needed} replicas would resolve them (without "
            "randomness there are at most 16), or larger learning rates, whose error "
            "is larger"
        )
    if found.error_vanishes and found.order_suffices and found.rate_agrees:
        fast = leading_order(found.order) > 1
        faster = ", faster than in proportion to the learning rate" if fast else ""
        return Verdict.HOLDS, (
            f"the error vanishes with order {found.order}{faster}; {limit}; {rates}"
        )
    return Verdict.UNDECIDED, (
        f"the order is {found.order}; {limit}; {rates}: {_what_is_missing(found)}"
    )


def _what_is_missing(found: Evidence) -> str:
    """Say why resolved evidence neither holds nor violates, and what to do."""
    low, high = found.order.interval
    if found.error_vanishes and found.order_suffices:
        return (
            "the error vanishes, but the measured rate is not yet the predicted one. "
            "Use smaller learning rates"
        )
    if low <= TOO_SLOW <= FIRST_ORDER[0] <= high:
        return (
            "the order's interval does not exclude 1/2, which would be no first order. "
            "Use more replicas"
        )
    if low > FIRST_ORDER[1]:
        return (
            "the error falls faster than in proportion to the learning rates, and by "
            "no integer order to 0, so they are too large. Use smaller ones"
        )
    return (
        "at these learning rates the error is not yet in proportion to them. Use "
        "smaller ones"
    )
