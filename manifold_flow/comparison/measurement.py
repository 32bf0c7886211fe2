"""What is measured: projected ensembles, and the flow as a curve of its slow time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property, singledispatch

import numpy as np
from numpy.typing import NDArray
from scipy.interpolate import CubicSpline

from manifold_flow.comparison.ensemble import Ensemble
from manifold_flow.comparison.statistics import Estimate, fitted_rate
from manifold_flow.errors import DataError, IntegrationError
from manifold_flow.flow import Flow, LimitingFlow, integrate
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.sharpness import Sharpness
from manifold_flow.trajectory import Status, Trajectory

__all__ = ["Curve", "deviation", "measured", "sharpness_after_projection"]

Array = NDArray[np.float64]

#: points of a curve, and how much longer it becomes until the rate that fits is inside
CURVE_POINTS, LONGER = 100, np.array([4.0, 16.0, 64.0])
#: relative change of the sharpness below which a flow does not move
FLAT = 1e-9


def deviation(path: Trajectory, reference: Trajectory) -> Array:
    """Return how far the mean of a run is from a flow, at every time.

    Parameters
    ----------
    path : Trajectory
        Points (T, p) or (T, R, p), of which the mean over the replicas is taken.
    reference : Trajectory
        Points (T, p) at the same times.

    Returns
    -------
    array, shape (T,)
        Euclidean distances in parameters.  Noise of the mean can only enlarge them.

    Raises
    ------
    DataError
        If the times differ.
    """
    same = path.times.shape == reference.times.shape
    if not same or not np.allclose(path.times, reference.times, rtol=1e-9, atol=0.0):
        raise DataError(
            f"the two paths have {len(path)} and {len(reference)} times, which differ: "
            "distances are taken at equal slow times. Integrate the flow with "
            "times=run.times."
        )
    points = path.points
    mean = points.mean(axis=1) if points.ndim == 3 else points
    away: Array = np.linalg.norm(mean - reference.points, axis=-1)
    return away


def sharpness_after_projection(
    manifold: ZeroLossManifold, sharpness: Sharpness, run: Trajectory
) -> tuple[Trajectory, Array]:
    """Project the iterates of a run and evaluate their sharpness.

    Off M they carry the noise of the last steps, which has nothing to do with drift.

    Parameters
    ----------
    manifold : ZeroLossManifold
        Of the run's model.
    sharpness : Sharpness
        What to evaluate.
    run : Trajectory
        Points (T, R, p).

    Returns
    -------
    (Trajectory, array of shape (T, R))
        The same run on M, and the sharpness of every iterate.
    """
    reduction = manifold.model.reduction()
    inner = ZeroLossManifold(reduction.model)
    points = inner.projection(reduction.restrict(run.points))
    flat = points.reshape(-1, points.shape[-1])
    values = [sharpness.value(inner.linearize(point)) for point in flat]
    on_manifold = replace(run, reduced_points=points)
    return on_manifold, np.array(values).reshape(points.shape[:-1])


@singledispatch
def _at_unit_rate(flow: Flow) -> Flow:
    return flow


@_at_unit_rate.register
def _limiting_flow_at_unit_rate(flow: LimitingFlow) -> Flow:
    return replace(flow, rate=1.0)


@dataclass(frozen=True, eq=False)
class Curve:
    """Sharpness along a flow as a function of rate times slow time.

    Parameters
    ----------
    flow : Flow
        What is followed.
    start : array, shape (p,)
        Point of M.
    slow_time : float
        Where the runs end.

    Raises
    ------
    DataError
        If the flow does not move from the start, or leaves the smooth part of M before
        the slow time.
    IntegrationError
        If it breaks down before the slow time.
    """

    flow: Flow
    start: Array
    slow_time: float

    def __post_init__(self) -> None:
        self.reference(np.array([self.slow_time]))  # raises where it ends before
        first = self._first
        if np.ptp(first(first.x)) <= FLAT * abs(first(0.0)):
            raise DataError(
                "the start is stationary: along the flow its sharpness "
                f"{first(0.0):.6g} does not change, so there is no motion to compare. "
                "Start elsewhere."
            )

    @cached_property
    def _first(self) -> CubicSpline:
        return self._until(2.0 * (self.flow.rate or 1.0) * self.slow_time)

    def _until(self, end: float) -> CubicSpline:
        """Interpolate the flow at unit rate; to where it ends, if that is later."""
        times = np.concatenate([[0.0], np.geomspace(1e-4 * end, end, CURVE_POINTS)])
        unit = _at_unit_rate(self.flow)
        try:
            path = integrate(unit, self.start, times, progress=False)
        except IntegrationError as error:  # later than the runs end
            path = error.trajectory
        return CubicSpline(path.times, path.sharpness)

    def reference(self, times: Array) -> Trajectory:
        """Return the flow at slow times; all of them."""
        path = integrate(self.flow, self.start, times, progress=False)
        if path.status is Status.RANK_LOSS:
            raise DataError(
                f"the flow leaves the smooth part of the manifold at slow time "
                f"{path.times[-1]:.6g} (rank loss), so it is no limit up to "
                f"{times[-1]:.6g}. Use a smaller slow_time."
            )
        return path

    def rate_of(self, times: Array, values: Array) -> Estimate:
        """Return the rate at which the flow fits an ensemble, shape (K, R), best."""
        curve = self._first
        for length in LONGER * float(curve.x[-1]):
            end = float(curve.x[-1])
            guesses = np.linspace(0.0, end / times[-1], CURVE_POINTS)
            found = fitted_rate(times, values, curve, guesses)
            if found.value * times[-1] < 0.9 * end:
                break
            curve = self._until(length)
        return found


def measured(run: Trajectory, curve: Curve, learning_rate: float) -> Ensemble:
    """Return what an ensemble says beside its flow.

    Parameters
    ----------
    run : Trajectory
        Of ``simulate``, with replicas; the start and K times after it.
    curve : Curve
        The flow.
    learning_rate : float
        Of the run.

    Returns
    -------
    Ensemble
        Sharpness after projection, and everything that follows from it.
    """
    path = curve.reference(run.times)
    flow = curve.flow
    on_manifold, values = sharpness_after_projection(flow.manifold, flow.sharpness, run)
    assert path.sharpness is not None
    return Ensemble(
        learning_rate=learning_rate,
        times=run.times[1:],
        sharpness=values[1:],
        reference=path.sharpness[1:],
        distance=deviation(on_manifold, path)[1:],
        rate=curve.rate_of(run.times[1:], values[1:]),
        n_steps=run.n_steps,
        seconds=run.seconds,
    )
