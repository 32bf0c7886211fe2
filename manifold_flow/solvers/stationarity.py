"""When a run to stationarity is at its end, or comes no nearer to it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manifold_flow.solvers.path import Observation, Path
from manifold_flow.solvers.status import Status

__all__ = ["Floor", "Stationarity"]

#: the share of |∇S| at the start that counts where ∇S itself vanishes
START_SHARE = 1e-2
#: of |∇S|: a tangential part this small is the rounding of the projection
ROUNDING = 4 * np.finfo(float).eps
#: steps, at least, without a smaller gradient or sharpness that count as a floor
STALL_STEPS = 1000


@dataclass(frozen=True)
class Stationarity:
    """The rule |grad_M S| <= gtol · max(|∇S|, 1e-2·|∇S(start)|).

    Attributes
    ----------
    start : Observation
        What was seen at the start.
    gtol : float
        The tolerance.
    """

    start: Observation
    gtol: float

    def reference(self, seen: Observation) -> float:
        """Return what the Riemannian gradient is compared with."""
        from_start = START_SHARE * self.start.full_gradient_norm
        return max(seen.full_gradient_norm, from_start)

    def holds(self, seen: Observation) -> bool:
        """Whether a point is stationary."""
        return seen.gradient_norm <= self.gtol * self.reference(seen)

    def is_at_rest(self, seen: Observation) -> bool:
        """Whether float64 cannot tell the velocity from 0.

        A solver that goes on there integrates rounding, and where its steps have grown
        by orders of magnitude its Newton iteration cannot converge.
        """
        return bool(seen.gradient_norm <= ROUNDING * seen.full_gradient_norm)

    def words(self, seen: Observation) -> str:
        """Name both sides of the rule, and which |∇S| is the reference."""
        here, reference = seen.full_gradient_norm, self.reference(seen)
        rule = f"|grad_M S| = {seen.gradient_norm:.2e} is at most gtol={self.gtol:g} "
        if reference <= here:
            return f"{rule}times |grad S| = {reference:.3g} here"
        rule += f"times 1e-2 |grad S(start)| = {reference:.3g}"
        if reference <= 10.0 * here:
            return rule
        return (
            f"{rule}; |grad S| here is only {here:.3g}, because the start was far "
            "sharper: integrate on from path.end, or pass a smaller gtol"
        )


class Floor:
    """Tells when a gradient has stopped falling above its threshold."""

    def __init__(self, seen: Observation, rtol: float, *, hovers: bool) -> None:
        self.hovers = hovers
        self.best, self.sharpness, self.since = seen.gradient_norm, seen.sharpness, 0
        # off M the sharpness of a drifting path falls too, by as much as the tolerance
        self.smallest_fall = 100.0 * rtol

    def reached(self, seen: Observation, path: Path) -> bool:
        """Take note of an accepted step; end the path where nothing falls any more."""
        self.since += 1
        fall = self.smallest_fall * abs(self.sharpness)
        if (
            seen.gradient_norm < 0.99 * self.best
            or seen.sharpness < self.sharpness - fall
        ):
            self.best = min(self.best, seen.gradient_norm)
            self.sharpness, self.since = seen.sharpness, 0
        # half the run: an explicit method may need many small steps a per cent
        if self.since < max(STALL_STEPS, path.n_steps // 2):
            return False
        path.end(
            Status.OUT_OF_BUDGET,
            f"the gradient norm stopped falling at its floor {self.best:.3g} for "
            f"{self.since} steps, above the stationarity threshold. {self._advice()}",
        )
        return True

    def _advice(self) -> str:
        if self.hovers:
            return (
                "Explicit methods hover there, limited by stability, and exponential "
                "ones where neurons do not collapse: use an implicit one, "
                "method='LSODA' or 'StructuredBDF', or a larger gtol"
            )
        return (
            "Rounding decides there, or S has a kink: use a smaller rtol, or a larger "
            "gtol if this floor is low enough for you"
        )
