"""One loop over SciPy's OdeSolver classes: budgets, events, guards, partial results.

``solve_ivp`` has no budget of steps and can hang for ever at a singular point or on
NaN, and an exception in the right-hand side throws the path away.  The step-by-step
classes it is built on have neither problem.  A method of our own is a subclass of
``OdeSolver`` and runs in the same loop.
"""

from __future__ import annotations

import time as clock
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import scipy.integrate as ode
from numpy.typing import NDArray

from manifold_flow.solvers.edge import BREAKDOWN, Edge
from manifold_flow.solvers.path import Constraint, Limits, Observation, Path
from manifold_flow.solvers.progress import Report
from manifold_flow.solvers.stationarity import Floor, Goal
from manifold_flow.solvers.status import Status
from manifold_flow.solvers.stepper import Stepper
from manifold_flow.solvers.threads import small_problem_on_one_thread

__all__ = ["follow"]

Array = NDArray[np.float64]

#: requested times inside one step whose points are computed at once
TOGETHER = 16


def follow(  # noqa: PLR0913  # all but two are given by name
    velocity: Callable[[Array], Array],
    start: Array,
    *,
    times: Array | None,
    method: Callable[..., ode.OdeSolver],
    limits: Limits,
    constraint: Constraint,
    goal: Goal,
    hovers: bool = False,
    work: int | None = None,
    keep_steps: bool = False,
    callback: Callable[[float, Array], object] | None = None,
    report: Report = lambda text: None,
) -> Path:
    """Follow an autonomous velocity from a point.

    Parameters
    ----------
    velocity : callable
        ``point (p,) -> (p,)``.
    start : array, shape (p,)
        Where the path is at time 0.
    times : array, shape (T,), or None
        Increasing times to return; None means to the goal.
    method : OdeSolver subclass
        The stepper, or what makes one.
    limits : Limits
        Tolerances and budgets.
    constraint : Constraint
        Observation and projection.
    goal : Goal
        Where the path ends.
    hovers : bool
        Whether the stepper hovers above the threshold of stationarity.
    work : int, optional
        Multiply-adds of one velocity; p² by default.
    keep_steps : bool
        Also keep every accepted step.
    callback : callable, optional
        ``callback(time, point)`` after every accepted step.
    report : callable
        Receives one line of progress a step.

    Returns
    -------
    Path
        Complete or partial; never raises for what happens on the way.
    """
    began = clock.monotonic()
    run = _Run(velocity, start, times, method, limits, constraint, goal, hovers)
    path = run.path
    with small_problem_on_one_thread(work or start.size**2), warnings.catch_warnings():
        # LSODA warns and fails; the failure is met below, with its time and margin
        warnings.filterwarnings("ignore", "lsoda: ", UserWarning)
        try:
            for time, point, seen in run.steps():
                if keep_steps and time not in path.times[-1:]:
                    path.keep(time, point, constraint)
                if callback is not None:
                    callback(time, point.copy())
                report(_progress_line(time, path.n_steps, seen, times))
                if _out_of_time(limits, began):
                    path.end(
                        Status.OUT_OF_BUDGET,
                        f"time_limit={limits.time_limit} s passed at time "
                        f"{time:.6g} with gradient norm {seen.gradient_norm:.3g}",
                    )
                    break
        except BREAKDOWN as error:
            run.give_up(error)
        except KeyboardInterrupt as interrupt:
            path.cause = interrupt
            path.end(Status.OUT_OF_BUDGET, "interrupted")
        finally:
            report("")
    run.keep_last()
    path.n_evaluations = run.stepper.n_evaluations
    path.seconds = clock.monotonic() - began
    return path


class _Run:
    """What is looked at after every step: what to keep, and when to end."""

    def __init__(
        self,
        velocity: Callable[[Array], Array],
        start: Array,
        times: Array | None,
        method: Callable[..., ode.OdeSolver],
        limits: Limits,
        constraint: Constraint,
        goal: Goal,
        hovers: bool,
    ) -> None:
        self.limits, self.constraint, self.goal = limits, constraint, goal
        self.path, self.times = Path(), times
        self.pending = [] if times is None else list(times)
        self.time, self.point = 0.0, start
        self.seen = constraint.observe(start)
        self.edge = Edge(constraint, self.seen)
        self.floor = Floor(
            self.seen, limits.rtol, hovers=hovers, descends=constraint.descends
        )
        bound = np.inf if times is None else float(times[-1])
        self.stepper = Stepper(
            velocity, start, bound, method, limits, constraint.project
        )

    def steps(self) -> Iterator[tuple[float, Array, Observation]]:
        """Yield (time, point, observation) after every accepted step."""
        self._keep_start()
        if self._arrived():
            return
        while self.path.n_steps < self.limits.max_steps:
            before, solver = self.time, self.stepper.step()
            self._look(solver)
            if self.edge.is_near(self.seen) and self.edge.is_past(self.point):
                self._stop_at_rank_loss(solver, before)
                return
            if self.edge.has_stalled(self.time, self.time - before, self.seen):
                step = f"steps of {self.time - before:.1e}"
                self.path.end(Status.RANK_LOSS, self.edge.blocked(self.seen, step))
                return
            self._keep_requested(solver)
            if self.pending and self.goal.is_at_rest(self.seen):
                self._rest()
            yield self.time, self.point, self.seen
            if self._arrived():
                return
            if self.times is None and self.floor.reached(self.seen, self.path):
                return
            if self.seen.residual > self.edge.largest_drift(self.seen):
                self.stepper.restart_on_manifold()
        self.path.end(
            Status.OUT_OF_BUDGET,
            f"max_steps={self.limits.max_steps} reached at time {self.time:.6g} "
            f"with gradient norm {self.seen.gradient_norm:.3g}",
        )

    def give_up(self, error: Exception) -> None:
        """End a path whose velocity, or whose manifold, is not defined any further."""
        if self.edge.explains(error, self.seen):
            self.path.end(Status.RANK_LOSS, self.edge.blocked(self.seen, error))
            return
        self.path.cause = error
        self.path.end(
            Status.FAILED,
            f"the flow is undefined just after time {self.time:.6g} (rank margin "
            f"{self.seen.rank_margin:.1e}): {error}",
        )

    def keep_last(self) -> None:
        """Keep the last point reached, unless only requested times are wanted."""
        path = self.path
        if path.status is Status.COMPLETED or self.time in path.times[-1:]:
            return
        try:
            path.keep(self.time, self.point, self.constraint)
        except BREAKDOWN:
            # at the edge of where S is defined: the point as the solver left it
            path.times.append(self.time)
            path.points.append(self.point)
            path.observations.append(self.seen)

    # --- beginning and end ------------------------------------------------------------

    def _keep_start(self) -> None:
        if self.times is None or (self.pending and self.pending[0] == 0.0):
            self.path.keep(0.0, self.point, self.constraint)
            self.pending = self.pending[1:]

    def _arrived(self) -> bool:
        if self.times is not None and not self.pending:
            self.path.end(Status.COMPLETED, Status.COMPLETED.value)
            return True
        return self._is_stationary()

    def _is_stationary(self) -> bool:
        if self.times is not None:
            return False
        if (verdict := self.goal.verdict(self.seen)) is None:
            return False
        if self.time > 0.0 and self.edge.is_past(self.point):
            # only on M is it seen that the gradient vanishes because J does
            self.path.end(Status.RANK_LOSS, self.edge.reached(self.seen))
        else:
            self._settle(*verdict)
        return True

    def _settle(self, status: Status, message: str) -> None:
        """End at the limit of the path, where it has one."""
        if status.success:
            self.path.drift = max(self.path.drift, self.seen.residual)
            self.path.forget_last(self.time)
            self.point = self.goal.settle(self.point)
        self.path.end(status, message)

    def _rest(self) -> None:
        """Keep this point at all times that are still asked for."""
        for time in self.pending:
            self.path.keep(time, self.point, self.constraint)
        self.time, self.pending = self.pending[-1], []

    def _stop_at_rank_loss(self, solver: ode.OdeSolver, before: float) -> None:
        """Go back to the last regular point of the last step."""
        between = solver.dense_output()
        crossed = self.edge.last_regular(between, before, solver.t)
        self._keep_requested(solver, until=crossed)
        self.time, self.point = crossed, between(crossed)
        seen = self.constraint.observe(self.constraint.project(self.point))
        self.path.end(Status.RANK_LOSS, self.edge.reached(seen))

    def _look(self, solver: ode.OdeSolver) -> None:
        """Move to the accepted step."""
        self.seen = self.constraint.observe(solver.y)
        self.time, self.point = solver.t, solver.y.copy()
        self.path.n_steps += 1
        if not self.constraint.free:
            self.path.drift = max(self.path.drift, self.seen.residual)

    def _keep_requested(
        self, solver: ode.OdeSolver, until: float | None = None
    ) -> None:
        until = solver.t if until is None else until
        if not (self.pending and self.pending[0] <= until):
            return
        between = solver.dense_output()
        while due := [time for time in self.pending[:TOGETHER] if time <= until]:
            self.pending = self.pending[len(due) :]
            for time, column in zip(due, between(np.array(due)).T, strict=True):
                point = solver.y if time == solver.t else np.ascontiguousarray(column)
                self.path.drift = max(self.path.drift, self.constraint.drift(point))
                self.path.keep(time, point, self.constraint)


def _out_of_time(limits: Limits, began: float) -> bool:
    return (
        limits.time_limit is not None and clock.monotonic() - began > limits.time_limit
    )


def _progress_line(
    time: float, steps: int, seen: Observation, times: Array | None
) -> str:
    goal = "" if times is None else f" of {times[-1]:.4g}"
    return (
        f"time {time:.4g}{goal}, step {steps}, {_objective(seen)}, "
        f"gradient {seen.gradient_norm:.2e}"
    )


def _objective(seen: Observation) -> str:
    if seen.loss is None:
        return f"sharpness {seen.sharpness:.8g}"
    return f"loss {seen.loss:.6g}"
