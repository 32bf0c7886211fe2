"""Inverting an increasing function by a Newton iteration that cannot escape."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.errors import ActivationError

__all__ = ["monotone_inverse"]

Array = NDArray[np.float64]
ValueAndSlope = Callable[[Array], tuple[Array, Array]]

MAX_ITERATIONS = 300
LARGEST_REACH = 709.0  # arcsinh of the largest float, nearly
NEGLIGIBLE = 4e-16  # relative size of a Newton step that only moves rounding errors
PROGRESS = 0.25  # a Newton step must shrink the residual this much, or bisection helps


def monotone_inverse(
    function_with_derivative: ValueAndSlope, targets: ArrayLike, guess: ArrayLike = 0.0
) -> Array:
    r"""Solve :math:`f(z) = u` for every target u, f increasing, to rounding level.

    Newton's method inside a bracket.  The bracket is searched outward from the guess in
    steps that double in arcsinh(z), so that ten of them span the floats; bisection, in
    the same scale, takes over whenever Newton leaves the bracket or is slow.

    Parameters
    ----------
    function_with_derivative : callable
        Maps an array z to (f(z), f'(z)) of the same shape.
    targets : array_like
        Values u.
    guess : array_like
        Where to start, broadcast against the targets.

    Returns
    -------
    array, shape of targets

    Raises
    ------
    ActivationError
        If a target is not between two values of f; names the first one.

    Examples
    --------
    >>> monotone_inverse(lambda z: (z**3 + z, 3 * z**2 + 1), [2.0, 10.0, -2.0])
    array([ 1.,  2., -1.])
    """
    goals = np.asarray(targets, dtype=float)
    if not np.isfinite(goals).all():
        raise ActivationError(
            f"cannot invert at {first_wrong(goals, ~np.isfinite(goals))}."
        )
    search = _Search(function_with_derivative, goals, guess)
    for _ in range(MAX_ITERATIONS):
        if search.advance():
            break
    if search.lost.any():
        raise ActivationError(
            f"no z reaches {first_wrong(goals, search.lost)}: the function stays on "
            "one side of it. Ask for values inside its range."
        )
    return search.best


def first_wrong(values: Array, wrong: NDArray[np.bool_]) -> str:
    """Name the first wrong entry by its index and value, such as ``u[2] = 5``."""
    where = tuple(int(i) for i in np.argwhere(wrong)[0])
    index = "".join(f"[{', '.join(map(str, where))}]" if where else "")
    return f"u{index} = {float(values[where]):.6g}"


class _Search:
    """Brackets and best points of all targets at once."""

    def __init__(self, function: ValueAndSlope, goals: Array, guess: ArrayLike) -> None:
        self.function, self.goals = function, goals
        self.point = np.array(np.broadcast_to(np.asarray(guess, float), goals.shape))
        self.low = np.full(goals.shape, -np.inf)
        self.high = np.full(goals.shape, np.inf)
        self.best = self.point.copy()
        self.error = np.full(goals.shape, np.inf)
        self.previous = np.full(goals.shape, np.inf)
        self.reached = np.zeros(goals.shape, dtype=bool)
        self.stride = 1.0

    @property
    def lost(self) -> NDArray[np.bool_]:
        """Targets that have not been reached nor bracketed."""
        bracketed = np.isfinite(self.low) & np.isfinite(self.high)
        return np.asarray(~(self.reached | bracketed))

    def advance(self) -> bool:
        """Take one step; return whether nothing is left to gain."""
        with np.errstate(all="ignore"):
            value, slope = self.function(self.point)
            residual = np.asarray(value - self.goals)
            # inf - inf, far out: beyond the target.
            outside = np.copysign(np.inf, self.point)
            residual = np.where(np.isnan(residual), outside, residual)
            newton = self.point - residual / slope
            size = np.abs(residual)
            trusted = size <= PROGRESS * self.previous
            small = np.abs(newton - self.point) <= NEGLIGIBLE * np.abs(self.point)
        self.reached |= (residual == 0) | (small & np.isfinite(slope))
        self._record(residual, size)
        trusted &= (newton > self.low) & (newton < self.high)
        proposal = np.where(trusted, newton, self._safe_step())
        exhausted = np.nextafter(self.low, np.inf) >= self.high
        done = self.reached | exhausted | (proposal == self.point)
        self.point = np.where(done, self.point, proposal)
        return bool(done.all())

    def _record(self, residual: Array, size: Array) -> None:
        self.best = np.where(size < self.error, self.point, self.best)
        self.error = np.minimum(self.error, size)
        self.low = np.where(residual < 0, self.point, self.low)
        self.high = np.where(residual > 0, self.point, self.high)
        self.previous = size

    def _safe_step(self) -> Array:
        """Return the middle of the bracket, or a stride towards its open end."""
        here, low, high = map(np.arcsinh, (self.point, self.low, self.high))
        up = np.minimum(here + self.stride, LARGEST_REACH)
        down = np.maximum(here - self.stride, -LARGEST_REACH)
        self.stride *= 2
        with np.errstate(all="ignore"):
            middle = np.sinh((low + high) / 2)
            average = self.low / 2 + self.high / 2
        inside = (middle > self.low) & (middle < self.high)
        middle = np.where(inside, middle, average)
        middle = np.where(np.isposinf(high), np.sinh(up), middle)
        return np.where(np.isneginf(low), np.sinh(down), middle)
