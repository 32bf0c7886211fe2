"""Whether a path that became stationary still runs off to infinity."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Growth"]

Array = NDArray[np.float64]

DOUBLINGS = 3  # of slow time, at the end of the path, that are compared
STEADY = 0.9  # of the growth in one doubling that the next one keeps, or it levels off
NOTABLE = 1e-3  # growth in one doubling, relative to the norm, that is no rounding


@dataclass(eq=False)
class Growth:
    r"""The norm of the parameters at every step.

    Near a minimum the growth in one doubling of time goes to zero, exponentially or
    like a power :math:`2^{-a}`.  Where S has no minimum but only an infimum at
    infinity, the gradient falls below any threshold while :math:`\|\theta\|` grows like
    :math:`\log\tau` or faster: by the same amount, or more, in every doubling.

    Examples
    --------
    >>> away, home = Growth(), Growth()
    >>> for time in np.logspace(-2, 6, 400):
    ...     away.record(time, np.array([np.log1p(time)]))
    ...     home.record(time, np.array([2.0 - 1 / np.sqrt(1.0 + time)]))
    >>> home.note() is None, away.note().partition(":")[0]
    (True, 'as far as followed, the parameters run off to infinity')
    """

    times: list[float] = field(default_factory=list)
    norms: list[float] = field(default_factory=list)

    def record(self, time: float, point: Array) -> None:
        """Take note of one step."""
        self.times.append(time)
        self.norms.append(float(np.linalg.norm(point)))

    def note(self) -> str | None:
        """Say with numbers that the end is no minimum; None where it may be one."""
        moved = [(t, norm) for t, norm in zip(self.times, self.norms, strict=True) if t]
        if len(moved) < 2 or moved[0][0] > moved[-1][0] / 2**DOUBLINGS:
            return None
        times, norms = np.array(moved).T
        ends = np.log(times[-1] / 2.0 ** np.arange(DOUBLINGS, -1, -1))
        growth = np.diff(np.interp(ends, np.log(times), norms))
        first, last = self.norms[0], self.norms[-1]
        steady = (growth[1:] >= STEADY * growth[:-1]).all()
        if not (steady and last > first and growth.min() > NOTABLE * last):
            return None
        return (
            "as far as followed, the parameters run off to infinity: their norm went "
            f"from {first:.3g} to {last:.3g}, and by {growth[-2]:.2g} and "
            f"{growth[-1]:.2g} in the last two doublings of time; the end is then "
            "no minimum but where the gradient became small"
        )
