"""What the loop is given and what it fills: limits, constraint, path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from manifold_flow.solvers.status import Status
from manifold_flow.structure import Observation

__all__ = ["Constraint", "Limits", "Observation", "Path"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Constraint:
    """How a path is kept on the manifold and seen from it.

    Attributes
    ----------
    observe : callable
        ``point -> Observation``.
    residual : callable
        ``point -> r``, for less than an observation.
    project : callable
        ``point -> point`` on M.
    max_drift : float
        Residual at which the solver's own state is projected; below it only the
        points that are kept are.
    min_rank_margin : float
        σ_min/σ_max of the Jacobian, or σ_max relative to the start, at which the smooth
        part of M ends.
    descends : bool
        Whether the sharpness decreases along the path, by theorem.
    free : bool
        Whether nothing is kept, so that a residual is no drift.
    """

    observe: Callable[[Array], Observation]
    residual: Callable[[Array], Array]
    project: Callable[[Array], Array]
    max_drift: float
    min_rank_margin: float
    descends: bool = True
    free: bool = False

    @classmethod
    def none(cls, observe: Callable[[Array], Observation]) -> Constraint:
        """Return what leaves every point where it is and sees no edge."""
        nothing = np.zeros(1)
        return cls(
            observe, lambda point: nothing, lambda point: point, np.inf, 0.0, free=True
        )

    def drift(self, point: Array) -> float:
        """Return the residual that a projection has to take away."""
        return float(np.abs(self.residual(point)).max())


@dataclass(frozen=True)
class Limits:
    """Tolerances and budgets of a run.

    Attributes
    ----------
    rtol, atol : float
        Error tolerances of the solver.
    gtol : float
        Stationary when |grad_M S| <= gtol · max(|∇S|, 1e-2·|∇S(start)|).
    max_step, first_step : float or None
        Bounds on the solver's step, in slow time.
    max_steps : int
        Budget of accepted steps.
    time_limit : float or None
        Budget of wall-clock seconds.
    """

    rtol: float = 1e-8
    atol: float = 1e-10
    gtol: float = 1e-10
    max_step: float = np.inf
    first_step: float | None = None
    max_steps: int = 1_000_000
    time_limit: float | None = None


@dataclass(eq=False)
class Path:
    """A path while it is being followed.

    Attributes
    ----------
    times, points, observations : list
        What is kept; points are projected.
    status, message : Status, str
        Why it ended.
    n_evaluations, n_steps : int
        Velocities evaluated and steps accepted.
    drift : float
        Largest residual met before projection.
    seconds : float
        Wall-clock time.
    cause : BaseException or None
        What broke a path that failed or was interrupted.
    """

    times: list[float] = field(default_factory=list)
    points: list[Array] = field(default_factory=list)
    observations: list[Observation] = field(default_factory=list)
    status: Status = Status.OUT_OF_BUDGET
    message: str = ""
    n_evaluations: int = 0
    n_steps: int = 0
    drift: float = 0.0
    seconds: float = 0.0
    cause: BaseException | None = None

    def keep(self, time: float, point: Array, constraint: Constraint) -> None:
        """Project a point, look at it and store all three."""
        point = constraint.project(point)
        seen = constraint.observe(point)  # may raise: then nothing is kept
        self.times.append(time)
        self.points.append(point)
        self.observations.append(seen)

    def forget_last(self, time: float) -> None:
        """Take the last point back if it is that of this time."""
        if time in self.times[-1:]:
            for kept in (self.times, self.points, self.observations):
                kept.pop()

    def end(self, status: Status, message: str) -> None:
        """Say why the path ended."""
        self.status, self.message = status, message
