r"""RKC: Runge-Kutta-Chebyshev steps, explicit and stable along the negative axis.

The Jacobian of a gradient flow is symmetric, so its spectrum is real, and on the real
axis s evaluations can be stable for :math:`h\lambda = O(s^2)`: the stages follow the
recurrence of the Chebyshev polynomials, shifted and damped,

.. math:: P_s(z) = a_s + b_s T_s(w_0 + w_1 z), \quad
   w_0 = 1 + \frac{\varepsilon}{s^2}, \quad w_1 = \frac{T_s'(w_0)}{T_s''(w_0)}, \quad
   b_s = \frac{T_s''(w_0)}{T_s'(w_0)^2},

which is :math:`e^z` to second order.  A run to stationarity therefore takes about the
square root of the evaluations of other explicit methods, as conjugate gradients do, and
no second derivative of S.  The damping is stronger than usual, at half of the length
that is stable otherwise: a step of five stages and more leaves a quarter of a stiff
mode, one of three stages half of it, one of two three quarters.

References
----------
B. P. Sommeijer, L. F. Shampine, J. G. Verwer (1998), Journal of Computational and
Applied Mathematics 88, 315-326.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import scipy.integrate as ode
from numpy.typing import NDArray
from scipy.interpolate import CubicHermiteSpline

from manifold_flow.errors import NonFiniteError, RankDeficientJacobianError
from manifold_flow.structure import ImplicitFlow

__all__ = ["RKC", "stages"]

Array = NDArray[np.float64]

#: ε above; 2/13 is usual, with which stiff modes lose a twentieth a step
DAMPING = 12.0
MAX_STAGES = 200
#: bounds on the change of the step, and its safety factor
SHRINK, GROW, SAFETY = 0.1, 10.0, 0.8
#: of the fastest rate: the rate of attraction to M, where damping is best
ATTRACTION = 0.5
#: the fastest rate is looked for until it changes by less, and then enlarged
RATE_CHANGE, RATE_SAFETY, RATE_ITERATIONS = 0.05, 1.2, 50
#: steps after which the fastest rate is looked for again
RATE_STEPS = 8
#: a step that leaves less than this of the velocity has damped what it can
DAMPED = 0.25
#: what a stage raises that went too far
TOO_FAR = (NonFiniteError, RankDeficientJacobianError)


@lru_cache(maxsize=MAX_STAGES)
def stages(count: int) -> tuple[float, Array]:
    """Return the largest stable h·λ of s stages, and their coefficients.

    Parameters
    ----------
    count : int
        Number s of stages, at least 2.

    Returns
    -------
    tuple of float and array, shape (s + 1, 4)
        Row j has μ, ν, μ̃ and γ̃ of stage j; of the first only μ̃ counts.

    Examples
    --------
    >>> [round(stages(s)[0] / s**2, 2) for s in (2, 10, 100)]  # 2/3 without damping
    [0.31, 0.33, 0.32]
    """
    w0 = 1.0 + DAMPING / count**2
    value, slope, second = np.zeros((3, count + 1))
    value[:2], slope[1] = (1.0, w0), 1.0
    for j in range(2, count + 1):
        value[j] = 2.0 * w0 * value[j - 1] - value[j - 2]
        slope[j] = 2.0 * value[j - 1] + 2.0 * w0 * slope[j - 1] - slope[j - 2]
        second[j] = 4.0 * slope[j - 1] + 2.0 * w0 * second[j - 1] - second[j - 2]
    w1 = slope[-1] / second[-1]
    b = np.full(count + 1, second[2] / slope[2] ** 2)
    b[2:] = second[2:] / slope[2:] ** 2
    table = np.zeros((count + 1, 4))
    table[1, 2] = b[1] * w1
    table[2:, 0] = 2.0 * w0 * b[2:] / b[1:-1]
    table[2:, 1] = -b[2:] / b[:-2]
    table[2:, 2] = 2.0 * w1 * b[2:] / b[1:-1]
    table[2:, 3] = -(1.0 - b[1:-1] * value[1:-1]) * table[2:, 2]
    return float((w0 + 1.0) / w1), table


class RKC(ode.OdeSolver):  # type: ignore[misc]  # SciPy is untyped
    """The stabilised explicit method of order two, error control and dense output.

    Off M the velocity attracts to it, within the stable interval.  The error of a step
    is held to rtol, that of a path at a given time falls like rtol to the power 2/3.

    Parameters
    ----------
    fun, t0, y0, t_bound
        As for every ``OdeSolver``; ``fun`` is not evaluated.
    structure : ImplicitFlow
        The flow; only its velocity is asked for.
    max_step, first_step, rtol, atol : float
        As in SciPy; the error is measured in the root mean square over parameters.
    """

    t: float
    y: Array

    def __init__(  # noqa: PLR0913  # OdeSolver's signature
        self,
        fun: Any,
        t0: float,
        y0: Array,
        t_bound: float,
        *,
        structure: ImplicitFlow,
        max_step: float = np.inf,
        first_step: float | None = None,
        rtol: float = 1e-3,
        atol: float = 1e-6,
    ) -> None:
        super().__init__(fun, t0, y0, t_bound, vectorized=False)
        self.structure = structure
        self.max_step, self.rtol, self.atol = max_step, rtol, atol
        self.fastest = structure.velocity(self.y)
        self._look_for_rate()
        self.h = self._initial_step() if first_step is None else first_step
        self.previous: tuple[float, Array, Array] | None = None

    def _at(self, point: Array) -> Array:
        return self.structure.velocity(point, self.pull)

    def _look_for_rate(self) -> None:
        """Set the fastest rate, by power iterations on differences of the velocity."""
        here = self.structure.velocity(self.y)
        to_manifold = self.structure.velocity(self.y, 1.0) - here
        size, found = float(np.linalg.norm(self.y)), 0.0
        width = np.sqrt(np.finfo(float).eps) * (size if size > 0.0 else 1.0)
        vector = self.fastest
        for _ in range(RATE_ITERATIONS):
            length = float(np.linalg.norm(vector))
            if length == 0.0:
                break
            ahead = self.structure.velocity(self.y + (width / length) * vector)
            vector, before = (here - ahead) / width, found
            found = float(np.linalg.norm(vector))
            if abs(found - before) <= RATE_CHANGE * found:
                break
        # where the velocity is constant, the next search begins with it anew
        self.fastest = vector if found > 0.0 else here
        self.steps_left = RATE_STEPS
        self.rate = RATE_SAFETY * found
        self.pull = ATTRACTION * self.rate
        self.slope = here + self.pull * to_manifold

    def _tolerance(self, *points: Array) -> float:
        size = max(float(np.linalg.norm(point)) for point in points)
        return self.atol * self.n**0.5 + self.rtol * size

    def _initial_step(self) -> float:
        """Return the step whose Euler error is within the tolerance, at that rate."""
        speed = float(np.linalg.norm(self.slope)) * self.rate
        return (self._tolerance(self.y) / speed) ** 0.5 if speed > 0.0 else 1.0

    def _step_impl(self) -> tuple[bool, str | None]:
        smallest = 10.0 * (np.nextafter(self.t, np.inf) - self.t)
        if self.steps_left == 0:
            self._look_for_rate()
        while True:
            if self.h < smallest:
                return False, self.TOO_SMALL_STEP
            h = min(self.h, self.max_step, self.t_bound - self.t)
            h, count = self._fitted(h)
            try:
                point = self._stepped(h, count)
                slope = self._at(point)
            except TOO_FAR:
                if h / 8.0 < smallest:
                    raise
                self.h = h / 8.0
                continue
            defect = 0.8 * (self.y - point) + 0.4 * h * (self.slope + slope)
            error = float(np.linalg.norm(defect)) / self._tolerance(self.y, point)
            factor = SAFETY * max(error, 1e-10) ** (-1.0 / 3.0)
            if error <= 1.0:
                break
            self.h = h * max(SHRINK, factor)
            self._look_for_rate()
        self._accept(h, point, slope, min(factor, GROW))
        return True, None

    def _accept(self, h: float, point: Array, slope: Array, factor: float) -> None:
        damped = np.linalg.norm(slope) <= DAMPED * np.linalg.norm(self.slope)
        # what a longer step would damp better is less than what it would cost
        self.h = h * (min(factor, 1.0) if damped else factor)
        self.previous = self.t, self.y, self.slope
        self.t, self.y, self.slope = self.t + h, point, slope
        self.steps_left -= 1

    def _fitted(self, h: float) -> tuple[float, int]:
        """Return a step and its stages, as few as are stable."""
        for count in range(2, MAX_STAGES):
            if stages(count)[0] >= h * self.rate:
                return h, count
        return stages(MAX_STAGES)[0] / self.rate, MAX_STAGES

    def _stepped(self, h: float, count: int) -> Array:
        start, slope, table = self.y, self.slope, stages(count)[1]
        before, point = start, start + table[1, 2] * h * slope
        for mu, nu, step, first in table[2:]:
            moved = (1.0 - mu - nu) * start + mu * point + nu * before
            moved += h * (step * self._at(point) + first * slope)
            before, point = point, moved
        return point

    def _dense_output_impl(self) -> ode.DenseOutput:
        assert self.previous is not None
        return _Hermite(self.previous, (self.t, self.y, self.slope))


class _Hermite(ode.DenseOutput):  # type: ignore[misc]
    """The cubic through both ends of a step, with their velocities."""

    def __init__(
        self, before: tuple[float, Array, Array], after: tuple[float, Array, Array]
    ) -> None:
        super().__init__(before[0], after[0])
        self.cubic = CubicHermiteSpline(*map(np.array, zip(before, after, strict=True)))

    def _call_impl(self, t: Array) -> Array:
        values: Array = self.cubic(t).T
        return values
