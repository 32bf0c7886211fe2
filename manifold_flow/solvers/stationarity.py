"""When a run to stationarity is at its end, and against what that is measured."""

from __future__ import annotations

from dataclasses import dataclass

from manifold_flow.solvers.path import Observation

__all__ = ["Stationarity"]

#: the share of |∇S| at the start that counts where ∇S itself vanishes
START_SHARE = 1e-2


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
