"""When a run to stationarity is at its end, or comes no nearer to it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifold_flow.solvers.path import Observation, Path
from manifold_flow.solvers.status import Status

__all__ = ["Arrival", "Floor", "Goal", "Stationarity"]

Array = NDArray[np.float64]

#: the share of |∇S| at the start that counts where ∇S itself vanishes
START_SHARE = 1e-2
#: of |∇S|: a tangential part this small is the rounding of the projection
ROUNDING = 4 * np.finfo(float).eps
#: steps, at least, without a smaller gradient or objective that count as a floor
STALL_STEPS = 1000
#: of |θ|: a gradient flow this close to M is on its way there, however flat the loss
NEAR_MANIFOLD = 1e-4
#: of the scale of its rounding: a residual that Gauss-Newton would accept as zero
VANISHED = 1e-12


class Goal(ABC):
    """Where a run without requested times ends."""

    @abstractmethod
    def verdict(self, seen: Observation) -> tuple[Status, str] | None:
        """Return why the path ends here; None where it goes on."""

    @abstractmethod
    def is_at_rest(self, seen: Observation) -> bool:
        """Whether float64 cannot tell the velocity from 0.

        A solver that goes on there integrates rounding, and where its steps have grown
        by orders of magnitude its Newton iteration cannot converge.
        """

    @abstractmethod
    def settle(self, point: Array) -> Array:
        """Return the limit of the path from a point where the goal is reached."""


@dataclass(frozen=True)
class Stationarity(Goal):
    """The rule |grad_M S| <= gtol · max(|∇S|, 1e-2·|∇S(start)|).

    Where the flow is no gradient flow: velocity and drift in place of the gradients.

    Attributes
    ----------
    start : Observation
        What was seen at the start.
    gtol : float
        The tolerance.
    descends : bool
        Whether the flow is a gradient flow.
    """

    start: Observation
    gtol: float
    descends: bool = True

    def reference(self, seen: Observation) -> float:
        """Return what the Riemannian gradient is compared with."""
        from_start = START_SHARE * self.start.full_gradient_norm
        return max(seen.full_gradient_norm, from_start)

    def holds(self, seen: Observation) -> bool:
        """Whether a point is stationary."""
        return seen.gradient_norm <= self.gtol * self.reference(seen)

    def verdict(self, seen: Observation) -> tuple[Status, str] | None:
        return (Status.STATIONARY, self.words(seen)) if self.holds(seen) else None

    def settle(self, point: Array) -> Array:
        return point

    def is_at_rest(self, seen: Observation) -> bool:
        return bool(seen.gradient_norm <= ROUNDING * seen.full_gradient_norm)

    def words(self, seen: Observation) -> str:
        """Name both sides of the rule, and which |∇S| is the reference."""
        here, reference = seen.full_gradient_norm, self.reference(seen)
        small, full = (
            ("grad_M S", "grad S") if self.descends else ("velocity", "full drift")
        )
        rule = f"|{small}| = {seen.gradient_norm:.2e} is at most gtol={self.gtol:g} "
        if reference <= here:
            return f"{rule}times |{full}| = {reference:.3g} here"
        rule += f"times 1e-2 |{full}(start)| = {reference:.3g}"
        if reference <= 10.0 * here:
            return rule
        return (
            f"{rule}; |{full}| here is only {here:.3g}, because the start was far "
            "sharper: integrate on from path.end, or pass a smaller gtol"
        )


@dataclass(frozen=True)
class Arrival(Goal):
    r"""The rule |r|/σ_min <= reach · |θ|: from there one projection leads to the limit.

    Elsewhere a path is at rest where ∇L = Jᵀ(c∘r) vanishes by cancellation, or because
    J does while the loss stays, or where r vanishes with J and no zero is near.

    Attributes
    ----------
    start : Observation
        What was seen at the start.
    gtol : float
        The share of a gradient that counts as none.
    reach : float
        The relative distance.
    project : callable
        ``point -> point`` on M.
    """

    start: Observation
    gtol: float
    reach: float
    project: Callable[[Array], Array]

    def verdict(self, seen: Observation) -> tuple[Status, str] | None:
        if seen.distance <= self.reach:
            return Status.STATIONARY, (
                f"on the zero-loss manifold, projected from |r|/sigma_min = "
                f"{seen.distance:.1e} |theta|"
            )
        if seen.distance > NEAR_MANIFOLD and self._rests(seen):
            return Status.SPURIOUS, (
                f"|grad L| = {seen.gradient_norm:.2e} vanishes at loss "
                f"{seen.loss:.6g}, off the zero-loss manifold, where the Jacobian has "
                f"sigma_min/sigma_max {seen.rank_margin:.1e}: a critical point with "
                "loss, a degenerate zero, or an infimum that is not attained. Start "
                "elsewhere"
            )
        return None

    def is_at_rest(self, seen: Observation) -> bool:
        cancels = seen.gradient_norm <= ROUNDING * seen.full_gradient_norm
        return bool(cancels or seen.residual <= ROUNDING * seen.residual_scale)

    def settle(self, point: Array) -> Array:
        return self.project(point)

    def _rests(self, seen: Observation) -> bool:
        cancels = seen.gradient_norm <= self.gtol * seen.full_gradient_norm
        vanished = seen.residual <= VANISHED * seen.residual_scale
        return cancels or vanished or self._is_dead(seen)

    def _is_dead(self, seen: Observation) -> bool:
        """Whether the gradient has vanished, and the loss by far less.

        Next to M the loss falls like the square of the gradient, and from a steep start
        about as fast as the gradient; only a Jacobian that vanishes leaves it behind.
        """
        if not (seen.loss and self.start.loss and self.start.gradient_norm):
            return False
        gradient = seen.gradient_norm / self.start.gradient_norm
        stayed = seen.loss >= np.sqrt(gradient) * self.start.loss
        return gradient <= self.gtol and bool(stayed)


class Floor:
    """Tells when a gradient has stopped falling above its threshold."""

    def __init__(
        self, seen: Observation, rtol: float, *, hovers: bool, descends: bool = True
    ) -> None:
        self.hovers, self.descends = hovers, descends
        self.best, self.objective, self.since = seen.gradient_norm, seen.objective, 0
        # off M the sharpness of a drifting path falls too, by as much as the tolerance
        self.smallest_fall = 100.0 * rtol

    def reached(self, seen: Observation, path: Path) -> bool:
        """Take note of an accepted step; end the path where nothing falls any more."""
        self.since += 1
        fall = self.smallest_fall * abs(self.objective)
        lower = self.descends and seen.objective < self.objective - fall
        if seen.gradient_norm < 0.99 * self.best or lower:
            self.best = min(self.best, seen.gradient_norm)
            self.objective, self.since = seen.objective, 0
        # half the run: an explicit method may need many small steps a per cent
        if self.since < max(STALL_STEPS, path.n_steps // 2):
            return False
        path.end(
            Status.OUT_OF_BUDGET,
            f"the {'gradient norm' if self.descends else 'speed'} stopped falling at "
            f"its floor {self.best:.3g} for {self.since} steps, above the stationarity "
            f"threshold. {self._advice()}",
        )
        return True

    def _advice(self) -> str:
        if self.hovers:
            return (
                "Explicit methods hover there, limited by stability, and exponential "
                "ones where neurons do not collapse: use an implicit one, "
                "method='LSODA' or 'StructuredBDF', or a larger gtol"
            )
        if not self.descends:
            return (
                "A drift that is no gradient need not come to rest: look at the path, "
                "or ask for times"
            )
        return (
            "Rounding decides there, or S has a kink: use a smaller rtol, or a larger "
            "gtol if this floor is low enough for you"
        )
