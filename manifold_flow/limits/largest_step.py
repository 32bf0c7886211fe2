"""How large a learning rate may be and still track the limiting flow."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import brentq

from manifold_flow.arrays import as_finite
from manifold_flow.checks import Rng, generator, positive
from manifold_flow.errors import (
    ConvergenceError,
    DataError,
    IntegrationError,
    StabilityError,
    require,
    suggest_keywords,
)
from manifold_flow.flow import integrate
from manifold_flow.limits.finite_step import finite_step_flow
from manifold_flow.limits.theorems import limiting_flow
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.models.model import Model
from manifold_flow.optimizers import LabelNoiseSGD
from manifold_flow.sharpness import HessianTrace
from manifold_flow.trajectory import Trajectory

__all__ = ["TrackingStep", "largest_tracking_step"]

Array = NDArray[np.float64]

#: of the threshold of stability: the largest learning rate that is tried
NEARLY = 0.999
#: accuracy of the logarithm of the learning rate
ACCURACY = 1e-3
#: of the tolerance: the relative error of the paths that are compared
INTEGRATION = 1e-5
#: where a path ends: S is then at its end to the square of this
GRADIENT = 1e-5
#: how often a path is looked at, in equal numbers of its own steps
LOOKS = 100
#: of the learning rate, in search of one that is small enough
HALVINGS = 30
#: a smaller tolerance is not resolved by the integration
SMALLEST_TOLERANCE = 1e-6
#: times the tolerance: deviations above it are as good as infinite
FAR = 1e3


@dataclass(frozen=True)
class TrackingStep:
    """The largest learning rate that tracks the limiting flow.

    Attributes
    ----------
    learning_rate : float
        η.
    deviation : float
        Largest |S(finite-step flow) − S(limiting flow)| along the path, as a part of
        the fall of S = Tr ∇²L.
    tolerance : float
        What was allowed.
    stability_threshold : float
        Smallest mean-square stable learning rate along the path.
    limited_by : str
        "tolerance", or "stability" where even the threshold deviates less.
    slow_time : float
        Length of the path.
    """

    learning_rate: float
    deviation: float
    tolerance: float
    stability_threshold: float
    limited_by: str
    slow_time: float

    @property
    def n_steps(self) -> int:
        """Number of steps that the path takes at this learning rate."""
        return int(np.ceil(self.slow_time / self.learning_rate**2))

    def __str__(self) -> str:
        """Say what the step is, what limits it, and what it costs."""
        words = {
            "tolerance": f"the {self.tolerance:.3g} allowed; SGD is stable up to "
            f"{self.stability_threshold:.3g}",
            "stability": f"stability, which ends at {self.stability_threshold:.3g}",
        }
        return (
            f"learning_rate = {self.learning_rate:.3g}\n"
            "Tr ∇²L deviates from that of the limiting flow by "
            f"{self.deviation:.3g} of its fall.\n"
            f"Limited by {words[self.limited_by]}.\n"
            f"Slow time {self.slow_time:.3g} takes {self.n_steps:.3g} steps."
        )


@suggest_keywords
def largest_tracking_step(
    model: Model,
    tolerance: float = 0.05,
    *,
    noise_std: float = 1.0,
    batch_size: int | None = None,
    start: ArrayLike | None = None,
    slow_time: float | None = None,
    rng: Rng = None,
) -> TrackingStep:
    r"""Return the largest η whose label-noise SGD still tracks the limiting flow.

    An answer for one instance to the question how large a learning rate may be: the
    largest η with

    .. math:: \sup_\tau |S(\theta_\eta(\tau)) - S(\theta_0(\tau))| \le
       \text{tolerance} \cdot (S(\text{start}) - S(\text{end}))

    for S = Tr ∇²L, the limiting flow θ₀ and :func:`manifold_flow.finite_step_flow` θ_η,
    such that SGD is mean-square stable all along θ₀.  The deviation is proportional to
    η for small η.  What θ_η itself misses is not counted: it grows with the noise.

    Parameters
    ----------
    model : Model
        What is trained.
    tolerance : float
        Allowed deviation, as a part of the fall of S.
    noise_std : float
        Standard deviation σ of the label noise; it sets the clock and, as long as what
        is missed is small, not the answer.
    batch_size : int, optional
        Number of samples a step; all of them by default.
    start : array, shape (p,), optional
        Point of M; a random one by default.
    slow_time : float, optional
        Length of the path; to stationarity by default.
    rng : None, int, Generator or SeedSequence
        Source of a random start.

    Returns
    -------
    TrackingStep
        η, the deviation there, the threshold of stability, and which of them limits.

    Raises
    ------
    DataError
        If the flow does not lower S from this start, or an argument is out of bounds.
    IntegrationError
        If the limiting flow cannot be followed.
    ConvergenceError
        If the fall is too small a part of S to be resolved.

    References
    ----------
    theory notes §8 (finite steps), §9.2 (stability).

    Examples
    --------
    >>> import manifold_flow as mf
    >>> model = mf.DiagonalLinearNetwork([[1.0, 0.5]], [1.0])
    >>> print(mf.largest_tracking_step(model, 0.05, start=[1.25, 1.0, 0.75, 1.0]))
    learning_rate = 0.0375
    Tr ∇²L deviates from that of the limiting flow by 0.05 of its fall.
    Limited by the 0.05 allowed; SGD is stable up to 0.19.
    Slow time 12.9 takes 9.19e+03 steps.
    """
    require("model", model, Model)
    if positive("tolerance", tolerance) < SMALLEST_TOLERANCE:
        raise DataError(
            f"tolerance = {tolerance:g}: deviations below {SMALLEST_TOLERANCE:g} of "
            "the fall are not resolved. 0.05 is a twentieth of the fall."
        )
    positive("noise_std", noise_std, "Without noise there is no flow to track.")
    manifold = ZeroLossManifold(model)
    size = model.n_samples if batch_size is None else batch_size
    sgd = LabelNoiseSGD(model, 1.0, noise_std, size)
    begin = (
        manifold.random_point(rng=generator(rng))
        if start is None
        else as_finite("start", start, 1)
    )
    if slow_time is not None:
        positive("slow_time", slow_time)
    rtol = INTEGRATION * min(tolerance, 1.0)
    path = _limiting_path(sgd, manifold, begin, slow_time, rtol)
    threshold = min(sgd.stability(manifold.linearize(point)) for point in path.points)
    deviation = _deviation_from(path, sgd, manifold, rtol)
    rate, limited_by = _largest(deviation, tolerance, threshold)
    return TrackingStep(
        learning_rate=rate,
        deviation=deviation(rate),
        tolerance=tolerance,
        stability_threshold=threshold,
        limited_by=limited_by,
        slow_time=float(path.times[-1]),
    )


def _limiting_path(
    sgd: LabelNoiseSGD,
    manifold: ZeroLossManifold,
    start: Array,
    slow_time: float | None,
    rtol: float,
) -> Trajectory:
    """Follow the limiting flow, to stationarity if no time is given."""
    flow, times = limiting_flow(sgd, manifold), slow_time and [0.0, slow_time]
    return integrate(flow, start, times, rtol=rtol, gtol=GRADIENT, keep_steps=True)


def _deviation_from(
    path: Trajectory, sgd: LabelNoiseSGD, manifold: ZeroLossManifold, rtol: float
) -> Callable[[float], float]:
    """Return the relative deviation of the finite-step flow, by learning rate."""
    looks = np.unique(np.linspace(0, len(path) - 1, LOOKS).astype(int))
    times, points = path.times[looks], path.points[looks]
    exact, start = _trace_along(points, manifold), points[0]
    fall = float(exact[0] - exact[-1])
    if not fall > 1e-9 * abs(exact[0]):
        raise DataError(
            f"Tr ∇²L goes from {exact[0]:.10g} to {exact[-1]:.10g} along the path: "
            "there is no fall that a deviation could be compared with. Start elsewhere."
        )

    @functools.cache
    def deviation(learning_rate: float) -> float:
        flow = finite_step_flow(sgd.with_learning_rate(learning_rate), manifold)
        try:
            found = integrate(flow, start, times, rtol=rtol)
        except StabilityError:
            return np.inf
        except IntegrationError as error:
            if isinstance(error.__cause__, StabilityError):
                return np.inf
            raise
        values = _trace_along(found.points, manifold)
        # one that came to the edge of M stays there
        values = np.pad(values, (0, len(exact) - len(values)), mode="edge")
        return float(np.abs(values - exact).max() / fall)

    return deviation


def _trace_along(points: Array, manifold: ZeroLossManifold) -> Array:
    """Return Tr ∇²L at every point: a flow may watch another sharpness."""
    trace = HessianTrace()
    return np.array([trace.value(manifold.linearize(x)) for x in points])


def _largest(
    deviation: Callable[[float], float], tolerance: float, threshold: float
) -> tuple[float, str]:
    """Return the largest learning rate within the tolerance, and what limits it."""

    def excess(log_rate: float) -> float:
        return float(np.log(min(deviation(np.exp(log_rate)) / tolerance, FAR)))

    upper = float(np.log(NEARLY * threshold))
    above = excess(upper)
    if above <= 0.0:
        return NEARLY * threshold, "stability"
    # the deviation grows at least like η, so it is within the tolerance here
    lower = upper - above
    for _ in range(HALVINGS):
        if excess(lower) <= 0.0:
            rate = np.exp(brentq(excess, lower, upper, xtol=ACCURACY))
            return float(rate), "tolerance"
        upper, lower = lower, lower - np.log(2.0)
    raise ConvergenceError(
        f"the flows still deviate by more than {tolerance:.3g} of the fall at "
        f"learning_rate = {np.exp(lower):.3g}: the fall is too small a part of Tr ∇²L "
        "to be resolved. Start further from the end, or allow more."
    )
