"""Why a trajectory ended, in words."""

from __future__ import annotations

from enum import Enum

__all__ = ["Status"]


class Status(Enum):
    """Why a trajectory ended; the value is the sentence to print.

    ``STATIONARY``, ``COMPLETED`` and ``RANK_LOSS`` are answers and are returned;
    the others are raised as an IntegrationError that carries the path so far.
    """

    STATIONARY = "stationary: the Riemannian gradient is below gtol"
    COMPLETED = "completed: reached the last requested time"
    RANK_LOSS = "rank loss: reached the edge of the smooth part of the zero-loss set"
    SPURIOUS = "spurious: the gradient of the loss vanishes where there is loss"
    OUT_OF_BUDGET = "out of budget: stopped before the end"
    FAILED = "failed: the velocity or the solver broke down"

    @property
    def success(self) -> bool:
        """Whether the trajectory is an answer."""
        return self in (Status.STATIONARY, Status.COMPLETED, Status.RANK_LOSS)
