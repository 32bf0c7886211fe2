"""Euler-Heun steps on the zero-loss manifold, and paths while they are followed."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import (
    IntegrationError,
    Interrupted,
    RankDeficientJacobianError,
)
from manifold_flow.limits.diffusion import LimitingDiffusion
from manifold_flow.linearization import REGULAR_MARGIN
from manifold_flow.solvers.progress import Report
from manifold_flow.trajectory import Status, Trajectory

__all__ = ["Paths", "euler_heun", "intervals"]

Array = NDArray[np.float64]

#: share of the steps, root mean square, that the projection takes back where M bends
#: too much for them; it falls at least as dt
LONG_STEP = 0.1


def intervals(times: Array, longest: float) -> Iterator[tuple[float, float, int]]:
    """Yield (start, end, number of steps) between requested times.

    Parameters
    ----------
    times : array, shape (T,)
        Increasing, not negative.
    longest : float
        Longest step.

    Yields
    ------
    (float, float, int)
        The intervals, of which the first starts at 0.
    """
    for start, end in pairwise([0.0, *times.tolist()]):
        # a hair above a whole number is rounding
        yield start, end, int(np.ceil((end - start) / longest * (1.0 - 1e-12)))


def euler_heun(
    diffusion: LimitingDiffusion, point: Array, dt: float, increment: Array
) -> Array:
    r"""Return one Euler-Heun step from a point of M, not yet projected.

    .. math:: \theta + a(\theta)\, dt + \tfrac12 \bigl(\sigma(\theta)
       + \sigma(\theta + \sigma(\theta)\, dW)\bigr)\, dW

    with the Stratonovich drift a and σ = P_T B.

    Parameters
    ----------
    diffusion : LimitingDiffusion
        What to follow.
    point : array, shape (p,)
        θ.
    dt : float
        Step in slow time.
    increment : array, shape (k,)
        dW, Gaussian with variance dt.

    Returns
    -------
    array, shape (p,)
        Beside M by O(dt^(3/2)).
    """
    kick = diffusion.kick(point, increment)
    kick_ahead = diffusion.kick(point + kick, increment)
    drift = diffusion.stratonovich_drift(point)
    return point + dt * drift + 0.5 * (kick + kick_ahead)


@dataclass(eq=False)
class Paths:
    """Paths while they are being followed.

    A step replaces ``points`` only when every replica has made it.

    Attributes
    ----------
    diffusion : LimitingDiffusion
        What they follow.
    points : array, shape (R, p)
        Where they are.
    draws : Generator
        Parent of the streams of the replicas.
    time : float
        Slow time of ``points``.
    n_steps : int
        Steps of one path.
    drift : float
        Largest residual before projection.
    kept : list
        Requested times, and points there.
    status, message, cause : Status, str, BaseException or None
        Why the paths ended.
    moved, returned : float
        Sums of squares of the steps, and of what the projection took back of them.
    """

    diffusion: LimitingDiffusion
    points: Array
    draws: np.random.Generator
    time: float = 0.0
    n_steps: int = 0
    drift: float = 0.0
    kept: list[tuple[float, Array]] = field(default_factory=list)
    status: Status = Status.COMPLETED
    message: str = "reached the last requested time"
    cause: BaseException | None = None
    moved: float = 0.0
    returned: float = 0.0

    def __post_init__(self) -> None:
        self.began = clock.monotonic()
        self.streams = self.draws.spawn(len(self.points))
        self.n_sources = self.diffusion.noise.n_sources(self.points[0])
        first = self.diffusion.manifold.linearize(self.points[0])
        self.steepest = float(first.singular_values[0])

    def follow(
        self, times: Array, longest: float, time_limit: float | None, report: Report
    ) -> None:
        """Step through all times; raises where a path breaks down."""
        deadline = self.began + (np.inf if time_limit is None else time_limit)
        for start, end, n_steps in intervals(times, longest):
            for step in range(n_steps):
                if clock.monotonic() > deadline:
                    why = f"time_limit = {time_limit:g} s is used up"
                    return self.stop(Status.OUT_OF_BUDGET, why)
                self._step((end - start) / n_steps)
                self.time = start + (end - start) * (step + 1) / n_steps
                report(f"slow time {self.time:.6g} of {times[-1]:.6g}")
            self.kept.append((end, self.points))

    def _step(self, dt: float) -> None:
        manifold = self.diffusion.manifold
        ends = []
        for point, stream in zip(self.points, self.streams, strict=True):
            increment = np.sqrt(dt) * stream.standard_normal(self.n_sources)
            beside = euler_heun(self.diffusion, point, dt, increment)
            violation = float(np.abs(manifold.model.residual(beside)).max())
            self.drift = max(self.drift, violation)
            ends.append(self._regular(manifold.projection(beside)))
            self.moved += float(((beside - point) ** 2).sum())
            self.returned += float(((ends[-1] - beside) ** 2).sum())
        self.points, self.n_steps = np.array(ends), self.n_steps + 1

    def _regular(self, point: Array) -> Array:
        """Return the point, unless the smooth part of M ends there."""
        values = self.diffusion.manifold.linearize(point).singular_values
        # where all gradients vanish together, only their size tells
        margin = float(values[-1] / max(values[0], self.steepest))
        if margin < REGULAR_MARGIN:
            raise RankDeficientJacobianError(
                f"a replica is at the edge of the smooth part of M, where sigma_min / "
                f"sigma_max = {margin:.1e}",
                values,
            )
        return point

    @property
    def caveats(self) -> list[str]:
        """What a reader of the result should know: steps too long for M."""
        rounding = 1e-16 * float((self.points**2).sum())
        if self.returned <= max(LONG_STEP**2 * self.moved, rounding):
            return []
        share = np.sqrt(self.returned / self.moved)
        return [
            f"the projection took back {share:.0%} of the steps: dt is too long for "
            "the curvature of M, use a shorter one"
        ]

    def stop(
        self, status: Status, why: str, cause: BaseException | None = None
    ) -> None:
        """Note what ended the paths early, and where they are."""
        if not self.kept or self.kept[-1][0] < self.time:
            self.kept.append((self.time, self.points))
        self.status, self.cause = status, cause
        self.message = f"stopped at slow time {self.time:.6g}: {why}"

    def answer(self, single: bool, details: dict[str, Any]) -> Trajectory:
        """Return the trajectory, or raise the error that carries it.

        Parameters
        ----------
        single : bool
            Whether the dimension of the replicas is left out.
        details : mapping
            Configuration, for the trajectory.

        Returns
        -------
        Trajectory
            All that was kept.

        Raises
        ------
        IntegrationError
            If the paths did not reach an answer.
        """
        residual = self.diffusion.manifold.submersion
        points = np.array([rows for _, rows in self.kept])
        trajectory = Trajectory(
            times=np.array([time for time, _ in self.kept]),
            status=self.status,
            message=self.message,
            reduced_points=points[:, 0] if single else points,
            n_evaluations=self.n_steps * len(self.points),
            n_steps=self.n_steps,
            drift=self.drift,
            seconds=clock.monotonic() - self.began,
            details=details | {"caveats": details["caveats"] + self.caveats},
            residual=np.array([np.abs(residual(rows)).max() for rows in points]),
        )
        if self.status.success:
            return trajectory
        if isinstance(self.cause, KeyboardInterrupt):
            raise Interrupted(self.message, trajectory) from self.cause
        raise IntegrationError(self.message, trajectory) from self.cause
