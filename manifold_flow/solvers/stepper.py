"""SciPy's steps, restarted where the velocity breaks down or the path has left M."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.integrate as ode
from numpy.typing import NDArray

from manifold_flow.errors import (
    ConvergenceError,
    DegenerateEigenvalueError,
    NonFiniteError,
)
from manifold_flow.solvers.edge import BREAKDOWN
from manifold_flow.solvers.path import Limits

__all__ = ["Stepper"]

Array = NDArray[np.float64]

#: after so many eightfold smaller restarts at one time the velocity is given up
MAX_RESTARTS = 30
#: solvers that iterate with a Jacobian of the velocity in Python
NEWTON = (ode.Radau, ode.BDF)


class Stepper:
    """One of SciPy's solvers, as often as it has to be started.

    Parameters
    ----------
    velocity : callable
        ``point (p,) -> (p,)``.
    start : array, shape (p,)
        Where the path is at time 0.
    bound : float
        Time beyond which no step goes; may be infinite.
    method : OdeSolver subclass
        The stepper, or what makes one.
    limits : Limits
        Tolerances and bounds on the steps.
    project : callable
        ``point -> point`` on M.
    """

    def __init__(
        self,
        velocity: Callable[[Array], Array],
        start: Array,
        bound: float,
        method: Callable[..., ode.OdeSolver],
        limits: Limits,
        project: Callable[[Array], Array],
    ) -> None:
        self.velocity, self.bound = velocity, bound
        self.method, self.limits, self.project = method, limits, project
        self.time, self.point = 0.0, start
        self.n_evaluations = 0
        self.solver: ode.OdeSolver | None = None
        self.trouble_since, self.restarts = -np.inf, 0

    def step(self) -> ode.OdeSolver:
        """Return the solver after one accepted step.

        It is started again, eight times smaller, where the velocity breaks down; what
        that raises is raised here where it does not help.
        """
        solver = self.solver
        width = self.limits.first_step if solver is None else solver.step_size
        while True:
            try:
                # an overflow on the way is told by NonFiniteError, not by a warning
                with np.errstate(all="ignore"):
                    solver = self._started(width) if solver is None else solver
                    message = solver.step()
                if solver.status == "failed":
                    raise ConvergenceError(str(message))
                break
            except ConvergenceError as error:
                if self._is_final(error):
                    raise
                # what the solver stumbles on is often its own distance from M
                self.point = self.project(self.point)
                width, solver = None, None
            except BREAKDOWN as error:
                if self._is_final(error):
                    raise
                width, solver = (width or 1e-3) / 8.0, None
        self.solver, self.time, self.point = solver, solver.t, solver.y.copy()
        return solver

    def restart_on_manifold(self) -> None:
        """Go on from the point of M below the last one."""
        width = None if self.solver is None else self.solver.step_size
        self.point = self.project(self.point)
        self.solver = self._started(width)

    def _started(self, first_step: float | None) -> ode.OdeSolver:
        options: dict[str, Any] = {"max_step": self.limits.max_step}
        if self.method in NEWTON:
            options["jac"] = self._differences
        if first_step is not None:
            options["first_step"] = min(first_step, self.bound - self.time)
        return self.method(
            self._guarded,
            self.time,
            self.point,
            self.bound,
            rtol=self.limits.rtol,
            atol=self.limits.atol,
            **options,
        )

    def _guarded(self, time: float, point: Array) -> Array:
        self.n_evaluations += 1
        value = self.velocity(point)
        if not np.isfinite(value).all():
            raise NonFiniteError(
                f"the velocity is not finite at slow time {time:.6g} "
                f"(|point| = {np.linalg.norm(point):.3g})"
            )
        return value

    def _differences(self, time: float, point: Array) -> Array:
        """Return the velocity's Jacobian by forward differences of one size.

        SciPy's own enlarges a difference for ever where a column looks like rounding,
        which near the edge of M ends in Newton matrices that do not converge.
        """
        here, step = self._guarded(time, point), np.sqrt(np.finfo(float).eps)
        widths = step * np.maximum(np.abs(point), np.abs(point).mean())
        columns = [
            (self._guarded(time, point + shift) - here) / width
            for shift, width in zip(np.diag(widths), widths, strict=True)
        ]
        return np.stack(columns, axis=1)

    def _is_final(self, error: Exception) -> bool:
        """Whether breaking down so often without getting on means this is the end."""
        if self.time > 1.01 * self.trouble_since:
            self.trouble_since, self.restarts = self.time, 0
        self.restarts += 1
        # an eigenvalue crossing attracts the path; smaller steps would only chatter
        crossing = isinstance(error, DegenerateEigenvalueError)
        return crossing or self.restarts > MAX_RESTARTS
