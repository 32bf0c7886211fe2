"""Errors with Monte-Carlo noise: their order, their limit, and the rate of a flow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import t as student

from manifold_flow.arrays import as_finite
from manifold_flow.errors import DataError, ShapeError

__all__ = [
    "Estimate",
    "Order",
    "convergence_order",
    "extrapolated",
    "fitted_rate",
    "mean_of",
]

Array = NDArray[np.float64]

#: standard errors of a normal law that hold 95 %
NORMAL_95 = 1.96
#: simulated repetitions of the measurement that give an order its interval
REPETITIONS = 4000
GAUSS_NEWTON_STEPS = 20


@dataclass(frozen=True)
class Estimate:
    """A measured number.

    Attributes
    ----------
    value : float
        The number.
    standard_error : float
        Standard deviation of its Monte-Carlo noise.
    """

    value: float
    standard_error: float

    @property
    def half_width(self) -> float:
        """Half the length of the 95 % confidence interval."""
        return NORMAL_95 * self.standard_error

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % confidence interval."""
        return self.value - self.half_width, self.value + self.half_width

    def __str__(self) -> str:
        """Return the value and half the 95 % interval."""
        return f"{self.value:.4g} +/- {self.half_width:.2g}"


@dataclass(frozen=True)
class Order:
    """A fitted order of convergence.

    Attributes
    ----------
    value : float
        Slope of log |error| against log step size.
    interval : (float, float)
        Its 95 % confidence interval, of the Monte-Carlo noise alone.
    """

    value: float
    interval: tuple[float, float]

    @property
    def half_width(self) -> float:
        """Half the length of the interval."""
        return (self.interval[1] - self.interval[0]) / 2.0

    def __str__(self) -> str:
        """Return the value and its interval."""
        low, high = self.interval
        return f"{self.value:.3f} (95 %: {low:.3f} to {high:.3f})"


def mean_of(samples: Array) -> Estimate:
    """Return the mean of independent samples, shape (R,), with its standard error.

    For few samples the standard error is widened to Student's law, so that 1.96 of
    them hold 95 %.
    """
    size = len(samples)
    widening = float(student.ppf(0.975, size - 1)) / NORMAL_95
    spread = float(samples.std(ddof=1)) / np.sqrt(size)
    return Estimate(float(samples.mean()), float(widening * spread))


def convergence_order(
    step_sizes: ArrayLike, errors: ArrayLike, standard_errors: ArrayLike
) -> Order:
    r"""Fit the order p of :math:`|e(\eta)| \approx C \eta^p` to noisy errors.

    A line through :math:`\log |e|` against :math:`\log \eta`, every point weighted with
    its signal-to-noise ratio squared.  The interval comes from repeating the fit on
    errors drawn anew around the measured ones; it knows nothing of higher orders in η,
    which bend the line.

    Parameters
    ----------
    step_sizes : array, shape (K,)
        η, at least two different ones.
    errors : array, shape (K,)
        Signed errors e(η), none of them 0.
    standard_errors : array, shape (K,)
        Of the errors, positive.

    Returns
    -------
    Order
        With its 95 % confidence interval.

    Raises
    ------
    DataError
        If a step size or standard error is not positive, an error is 0, or there is
        only one step size.

    Examples
    --------
    >>> print(convergence_order([0.4, 0.2, 0.1], [0.8, 0.4, 0.2], [0.01, 0.01, 0.01]))
    1.000 (95 %: 0.944 to 1.058)
    """
    steps = as_finite("step_sizes", step_sizes, 1)
    signed = as_finite("errors", errors, 1)
    noise = as_finite("standard_errors", standard_errors, 1)
    for name, array in (("errors", signed), ("standard_errors", noise)):
        if array.shape != steps.shape:
            raise ShapeError(name, steps.shape, array.shape, "One per step size.")
    _check_positive("step_sizes", steps)
    _check_positive("standard_errors", noise)
    _check_positive("|errors|", np.abs(signed))
    if len(np.unique(steps)) < 2:
        raise DataError(
            f"step_sizes = {steps.tolist()}: an order needs two different ones, to see "
            "how the error shrinks. Halve one."
        )
    slope = _weighted_slope(np.log(steps), (signed / noise) ** 2)
    again = signed + noise * np.random.default_rng(0).standard_normal(
        (REPETITIONS, len(steps))
    )
    low, high = np.quantile(np.log(np.abs(again)) @ slope, [0.025, 0.975])
    return Order(float(np.log(np.abs(signed)) @ slope), (float(low), float(high)))


def _weighted_slope(abscissae: Array, weights: Array) -> Array:
    """Return the row whose product with ordinates is the slope of their line."""
    share = weights / weights.sum()
    centred = abscissae - share @ abscissae
    row: Array = share * centred / (share @ centred**2)
    return row


def _check_positive(name: str, values: Array) -> None:
    if (values <= 0.0).any():
        place = int(np.argmin(values))
        raise DataError(
            f"{name}[{place}] = {values[place]:.6g}: must be positive, because its "
            "logarithm is fitted or weighs the fit. Leave that point out."
        )


def extrapolated(step_sizes: Array, values: list[Estimate], order: int = 1) -> Estimate:
    r"""Return what an error of order p leaves at step size 0 (Richardson).

    :math:`(a^p v(b) - b^p v(a)) / (a^p - b^p)` with the two smallest step sizes a > b,
    which is :math:`2 v(\eta/2) - v(\eta)` for halvings and p = 1.

    Parameters
    ----------
    step_sizes : array, shape (K,)
        Descending.
    values : list of Estimate
        One per step size, independent of each other.
    order : int
        p.

    Returns
    -------
    Estimate
        The limit, and its Monte-Carlo noise.
    """
    (a, b), (coarse, fine) = step_sizes[-2:] ** order, values[-2:]
    share_fine, share_coarse = a / (a - b), b / (a - b)
    noise = np.hypot(
        share_fine * fine.standard_error, share_coarse * coarse.standard_error
    )
    value = share_fine * fine.value - share_coarse * coarse.value
    return Estimate(float(value), float(noise))


def fitted_rate(
    times: Array, values: Array, curve: Callable[..., Array], guesses: Array
) -> Estimate:
    r"""Return the rate κ at which a curve S(κ t) fits the mean of replicas best.

    Least squares over the times; the noise of all times together enters through every
    replica's own projection on the direction :math:`\partial_\kappa S(\kappa t)`.

    Parameters
    ----------
    times : array, shape (K,)
        Slow times.
    values : array, shape (K, R)
        What every replica has at these times.
    curve : callable
        ``curve(s)`` and, with 1 as second argument, its derivative.
    guesses : array, shape (G,)
        Rates from which the best is refined.

    Returns
    -------
    Estimate
        The rate; not a number where the curve is flat.
    """
    mean = values.mean(axis=1)
    misfits = [np.sum((mean - curve(rate * times)) ** 2) for rate in guesses]
    rate = float(guesses[int(np.argmin(misfits))])
    for _ in range(GAUSS_NEWTON_STEPS):
        direction = times * curve(rate * times, 1)
        change = (mean - curve(rate * times)) @ direction / (direction @ direction)
        rate += float(change)
        if abs(change) <= 1e-12 * abs(rate):
            break
    own = direction @ values / (direction @ direction)
    return Estimate(rate, mean_of(own).standard_error)
