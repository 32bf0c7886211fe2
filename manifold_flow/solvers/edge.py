"""Where the smooth part of the zero-loss set ends, seen from points that lie on it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import (
    ConvergenceError,
    ManifoldFlowError,
    NonFiniteError,
    ProjectionError,
    RankDeficientJacobianError,
)
from manifold_flow.solvers.path import Constraint, Observation

__all__ = ["BREAKDOWN", "Edge"]

Array = NDArray[np.float64]

#: what a velocity or a projection raises where it is not defined
BREAKDOWN = (ManifoldFlowError, np.linalg.LinAlgError)
#: of these, what a Jacobian that loses rank can cause
RANK_TROUBLE = (
    ConvergenceError,
    NonFiniteError,
    ProjectionError,
    RankDeficientJacobianError,
    np.linalg.LinAlgError,
)
#: times the margin of the edge: closer than this, every step is looked at on M
NEAR = 1e3
#: of max_drift, allowed at the edge itself
SMALLEST_SHARE = 1e-3
#: halvings of the last step in search of its last regular time
HALVINGS = 40
#: so many steps in a row, each this small a part of the time, are a collapsed step
COLLAPSED_STEPS, COLLAPSED = 200, 1e-9


class Edge:
    """Tells whether a path has reached the edge of the smooth part of M.

    The margin is σ_min(J)/σ_max(J), or σ_max(J)/σ_max(J(start)) where that is smaller:
    the first is blind where all gradients vanish together, as at a cusp or for n = 1.
    Near the edge a tiny residual is a large distance, because it is divided by σ_min,
    so that a point is projected before it is judged.
    """

    def __init__(self, constraint: Constraint, start: Observation) -> None:
        self.constraint, self.start = constraint, start
        self.collapsed_steps = 0

    def margin(self, seen: Observation) -> float:
        """Return the smaller of the two margins."""
        first = self.start.sigma_max
        return min(seen.rank_margin, seen.sigma_max / first) if first > 0.0 else 0.0

    def is_near(self, seen: Observation) -> bool:
        """Whether a point seen from beside M may be past the edge."""
        return self.margin(seen) < NEAR * self.constraint.min_rank_margin

    def largest_drift(self, seen: Observation) -> float:
        """Return the residual at which a solver's state is put back on M.

        The distance to M is the residual over σ_min, so less is allowed near the edge,
        or a path comes there at another time; not so little that every step is.
        """
        margin = min(max(self.margin(seen), SMALLEST_SHARE), 1.0)
        return self.constraint.max_drift * margin

    def is_past(self, point: Array) -> bool:
        """Whether the point of M below this one is not regular, or there is none."""
        try:
            seen = self.constraint.observe(self.constraint.project(point))
        except RANK_TROUBLE:
            return True
        return self.margin(seen) < self.constraint.min_rank_margin

    def last_regular(
        self, between: Callable[[float], Array], before: float, after: float
    ) -> float:
        """Return the last time of a step whose point on M is regular, by bisection."""
        if self.is_past(between(before)):
            return before
        for _ in range(HALVINGS):
            middle = 0.5 * (before + after)
            if self.is_past(between(middle)):
                after = middle
            else:
                before = middle
        return before

    def explains(self, error: BaseException | None, seen: Observation) -> bool:
        """Whether a solver or velocity broke down because rank is being lost."""
        if not (error is None or isinstance(error, RANK_TROUBLE)):
            return False
        falling = self.margin(seen) < 0.1 * self.margin(self.start)
        return falling and self.is_near(seen)

    def reached(self, seen: Observation) -> str:
        """Say why the path ends at its last regular point."""
        edge, first = self.constraint.min_rank_margin, self.start.sigma_max
        end = "the path reached the edge of the smooth part of the zero-loss set"
        if self.margin(seen) > 2.0 * edge:
            return (
                f"the Jacobian is losing rank (margin {self.margin(seen):.1e}) and the "
                f"next points have no regular point of M below them: {end}"
            )
        if seen.rank_margin * first <= seen.sigma_max:
            return f"sigma_min/sigma_max of the Jacobian fell below {edge:g}: {end}"
        return (
            f"sigma_max of the Jacobian fell below {edge:g} of what it was at the "
            f"start ({first:.3g}): {end}, or the start was that much sharper; then "
            "integrate on from path.end"
        )

    def has_stalled(self, time: float, step: float, seen: Observation) -> bool:
        """Take note of a step; whether near the edge steps have shrunk to nothing."""
        tiny = step < COLLAPSED * time and self.explains(None, seen)
        self.collapsed_steps = self.collapsed_steps + 1 if tiny else 0
        return self.collapsed_steps >= COLLAPSED_STEPS

    def blocked(self, seen: Observation, error: object) -> str:
        """Say why the path ends short of the margin that is called the edge."""
        return (
            f"the Jacobian is losing rank (margin {self.margin(seen):.1e}) and no "
            "solver step comes closer to the edge of the smooth part of the zero-loss "
            f"set ({error})"
        )
