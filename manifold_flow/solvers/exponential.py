r"""ETDRK4: exponential Runge-Kutta steps for a flow that declares its stiff part.

In the coordinates of a :class:`~manifold_flow.structure.Splitting` the flow is
:math:`\dot V = -\Lambda V - G(V)`, Λ diagonal.  Krogstad's method of order four solves
the first part exactly through

.. math:: \varphi_k(-h\Lambda), \qquad \varphi_0 = e^z, \quad
   \varphi_{k+1}(z) = \frac{\varphi_k(z) - 1/k!}{z},

so that steps are limited by how fast G changes and not by Λ.  Its stiff order is three
for a bounded G (Hochbruck and Ostermann 2005), and two, measured, where G holds a stiff
remainder because the neurons still differ.

References
----------
S. Krogstad (2005), Journal of Computational Physics 203, 72-88.
M. Hochbruck, A. Ostermann (2010), Acta Numerica 19, 209-286.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any

import numpy as np
import scipy.integrate as ode
from numpy.typing import NDArray

from manifold_flow.errors import NonFiniteError, RankDeficientJacobianError
from manifold_flow.structure import Splitting, StructuredFlow

__all__ = ["ETDRK4", "exponential_functions"]

Array = NDArray[np.float64]

#: Taylor coefficients of φ₃
TAYLOR = np.array([1.0 / math.factorial(k + 3) for k in range(18)])
#: bounds on the change of the step, and its safety factor
SHRINK, GROW, SAFETY = 0.2, 10.0, 0.9
#: share of itself by which θ may move in the first step, at a tolerance of 1
FIRST_SHARE = 0.4
#: the trend of the steps is followed up to this factor, where errors are below this
#: share of the tolerance and no step was refused among so many before
TREND, CLEARLY, CALM = 2.0, 0.1, 10
#: what a stage raises that went too far
TOO_FAR = (NonFiniteError, RankDeficientJacobianError)


def exponential_functions(x: Array) -> tuple[Array, Array, Array]:
    """Return φ₁, φ₂ and φ₃ at −x for x >= 0, to rounding.

    Parameters
    ----------
    x : array
        Not negative.

    Returns
    -------
    tuple of array
        Three arrays of the shape of x.

    Examples
    --------
    >>> [float(p[0]) for p in exponential_functions(np.zeros(1))]
    [1.0, 0.5, 0.16666666666666666]
    """
    low, high = np.minimum(x, 1.0), np.maximum(x, 1.0)
    # upwards in k each quotient cancels for small x, downwards for large x
    powers = np.vander(-low.ravel(), len(TAYLOR), increasing=True)
    third = (powers @ TAYLOR).reshape(x.shape)
    second = 0.5 - low * third
    first = 1.0 - low * second
    far_first = -np.expm1(-high) / high
    far_second = (1.0 - far_first) / high
    far_third = (0.5 - far_second) / high
    is_low = x <= 1.0
    return (
        np.where(is_low, first, far_first),
        np.where(is_low, second, far_second),
        np.where(is_low, third, far_third),
    )


class ETDRK4(ode.OdeSolver):  # type: ignore[misc]  # SciPy is untyped
    """Krogstad's exponential Runge-Kutta method with error control and dense output.

    Every step is projected to M once; its error estimate comes with the first stage of
    the next step and is of order three.

    Parameters
    ----------
    fun, t0, y0, t_bound
        As for every ``OdeSolver``; ``fun`` is not evaluated.
    structure : StructuredFlow
        The flow.
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
        structure: StructuredFlow,
        max_step: float = np.inf,
        first_step: float | None = None,
        rtol: float = 1e-3,
        atol: float = 1e-6,
    ) -> None:
        super().__init__(fun, t0, y0, t_bound, vectorized=False)
        self.max_step, self.rtol, self.atol = max_step, rtol, atol
        self.splitting = structure.splitting(self.y)
        self.h = self._initial_step() if first_step is None else first_step
        self.last: _Step | None = None
        self.fitting, self.accepted = math.inf, CALM

    def _tolerance(self, point: Array) -> float:
        size = float(np.linalg.norm(point))
        return self.atol * math.sqrt(point.size) + self.rtol * size

    def _initial_step(self) -> float:
        allowed = max(self._tolerance(self.y), 1e-300)
        # a start at θ = 0 has the size that atol gives it
        speed = self.splitting.length(self.splitting.at_base) * self.rtol / allowed
        fastest = max(float(self.splitting.rates.max()), speed / FIRST_SHARE)
        share = min(allowed / max(float(np.linalg.norm(self.y)), 1e-300), 1.0)
        return share**0.25 / fastest if fastest > 0 else 1.0

    def _step_impl(self) -> tuple[bool, str | None]:
        smallest = 10.0 * (np.nextafter(self.t, np.inf) - self.t)
        allowed = self._tolerance(self.y)
        while True:
            h = min(self.h, self.max_step, self.t_bound - self.t)
            if self.h < smallest:
                return False, self.TOO_SMALL_STEP
            if not self.t + h < np.inf:
                return False, "the time overflows"
            try:
                step = _Step(self.splitting, self.y, h)
            except TOO_FAR:
                if h / 8.0 < smallest:
                    raise
                self.h, self.accepted = h / 8.0, 0
                continue
            error = self.splitting.length(step.error) / allowed
            if not error <= 1.0:  # NaN is too large
                self.h = h * (max(SHRINK, SAFETY * error**-0.25) if error > 1 else 0.1)
                self.accepted = 0
                continue
            return self._accept(step, h, max(error, 1e-16))

    def _accept(self, step: _Step, h: float, error: float) -> tuple[bool, None]:
        point = self.y + self.splitting.displacement(step.modes)
        self.splitting = self.splitting.moved(step.modes, step.force, point)
        self.t = self.t_bound if h == self.t_bound - self.t else self.t + h
        self.y, self.last = point, step
        # a step cut short by a bound says nothing against the one that was meant
        self.h = max(self._next_step(h, error), self.h if h < self.h else 0)
        return True, None

    def _next_step(self, h: float, error: float) -> float:
        """Return the step after an accepted one, for an error of order three.

        A flow that smooths out allows longer steps every time: the step that would have
        fitted grows, and is extrapolated.
        """
        before, self.fitting = self.fitting, h * error**-0.25
        trend = 1.0
        if error < CLEARLY and self.accepted >= CALM:
            trend = min(max(self.fitting / before, 1.0), TREND)
        self.accepted += 1
        return min(GROW * h, SAFETY * trend * self.fitting)

    def _dense_output_impl(self) -> ode.DenseOutput:
        assert self.last is not None
        return _Between(self.t_old, self.t, self.last)


class _Step:
    r"""One step of length h from the base of a splitting: four stages and an end.

    What the stages see, the mild part :math:`f = \Lambda V - H(V)`, is kept in one
    array of shape (k, 5, l), so that every combination of them is one batched product
    with weights (k, 1, stages) that depend on the mode.
    """

    def __init__(self, splitting: Splitting, begin: Array, h: float) -> None:
        self.splitting, self.begin, self.h = splitting, begin, h
        self.rates = splitting.rates[:, 0]
        modes, columns = splitting.at_base.shape
        self.mild = np.empty((modes, 5, columns))
        np.negative(splitting.at_base, out=self.mild[:, 0])
        (a1, b1), (a2, b2), (_, b3) = exponential_functions(
            h * np.stack([0.5 * self.rates, self.rates])
        )
        zero = np.zeros_like(b1)

        self._look(1, self._moved(0.5 * a1))
        self._look(2, self._moved(0.5 * a1 - a2, a2))
        self._look(3, self._moved(b1 - 2.0 * b2, zero, 2.0 * b2))
        first, middle, last = _parabola(b1, b2, b3)
        free = self._moved(first, 0.5 * middle, 0.5 * middle, last)
        self.modes = splitting.projected(free, h)
        self.force = self._look(4, self.modes)
        self.error = self._moved(zero, zero, zero, last, -last)

    def _moved(self, *weights: Array) -> Array:
        """Return h times the weighted sum of the first stages, shape (k, l)."""
        rows = self.h * np.stack(weights, axis=1)[:, None, :]
        return np.matmul(rows, self.mild[:, : len(weights)])[:, 0]

    def _look(self, stage: int, modes: Array) -> Array:
        """Write f(V) as a stage; return H(V)."""
        force = self.splitting.force(modes)
        mild = self.mild[:, stage]
        np.multiply(self.splitting.rates, modes, out=mild)
        mild -= force
        return force

    def between(self, shares: Array) -> Array:
        """Return V at the times share · h of the step, shape (k, T, l).

        It is the parabola through the mild part at begin, middle and end, integrated
        exactly, and a share of what the projection to M added.
        """
        return self._collocated(shares) + shares[:, None] * self._missed

    @cached_property
    def _missed(self) -> Array:
        return self.modes[:, None, :] - self._collocated(np.ones(1))

    def _collocated(self, shares: Array) -> Array:
        times = self.h * shares
        b1, b2, b3 = exponential_functions(self.rates[:, None] * times)
        first, middle, last = _parabola(b1, shares * b2, shares**2 * b3)
        half = 0.5 * middle
        rows = np.stack([first, half, half, np.zeros_like(half), last], axis=2)
        return np.matmul(times[:, None] * rows, self.mild)


def _parabola(b1: Array, b2: Array, b3: Array) -> tuple[Array, Array, Array]:
    """Return the weights of f at 0, 1/2 and 1 in the integral of their parabola."""
    return b1 - 3.0 * b2 + 4.0 * b3, 4.0 * b2 - 8.0 * b3, 4.0 * b3 - b2


class _Between(ode.DenseOutput):  # type: ignore[misc]  # SciPy is untyped
    """The collocation polynomial of a step, order three uniformly."""

    def __init__(self, t_old: float, t: float, step: _Step) -> None:
        super().__init__(t_old, t)
        self.step = step

    def _call_impl(self, t: Array) -> Array:
        shares = (np.atleast_1d(t) - self.t_old) / (self.t - self.t_old)
        modes = self.step.between(shares)
        moved = self.step.splitting.displacement
        points = [self.step.begin + moved(modes[:, k]) for k in range(len(shares))]
        return points[0] if np.ndim(t) == 0 else np.stack(points, axis=1)
