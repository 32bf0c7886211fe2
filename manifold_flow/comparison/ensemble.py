"""What is measured at one learning rate: an ensemble beside the flow."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from manifold_flow.comparison.statistics import Estimate, mean_of

__all__ = ["Ensemble"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """Replicas of an optimizer at one learning rate, at the slow times of the flow.

    Attributes
    ----------
    learning_rate : float
        Step size η.
    times : array, shape (K,)
        Slow times after the start.
    sharpness : array, shape (K, R)
        Of the flow's own kind, of every replica after projection on M.
    reference : array, shape (K,)
        The same along the flow.
    distance : array, shape (K,)
        Between the replicas' mean projected parameters and the flow's point.
    rate : Estimate
        At which the flow fits the ensemble best.
    n_steps : int
        Steps of every replica.
    seconds : float
        Wall-clock time of the steps.
    """

    learning_rate: float
    times: Array
    sharpness: Array
    reference: Array
    distance: Array
    rate: Estimate
    n_steps: int
    seconds: float

    @property
    def replicas(self) -> int:
        """Number R of replicas."""
        return self.sharpness.shape[1]

    @cached_property
    def mean(self) -> Array:
        """Mean sharpness of the replicas, shape (K,)."""
        return self.sharpness.mean(axis=1)

    @cached_property
    def standard_error(self) -> Array:
        """Of that mean, shape (K,)."""
        return np.array([mean_of(row).standard_error for row in self.sharpness])

    @property
    def error(self) -> Array:
        """Mean sharpness minus that of the flow, with its sign, shape (K,)."""
        return self.mean - self.reference

    @property
    def sup_distance(self) -> Estimate:
        """The largest |error| over the times; noise can only make it larger."""
        worst = int(np.argmax(np.abs(self.error)))
        return Estimate(
            float(abs(self.error[worst])), float(self.standard_error[worst])
        )

    @cached_property
    def weak_error(self) -> Estimate:
        """The signed error averaged over the times: linear in data, so unbiased."""
        return mean_of((self.sharpness - self.reference[:, None]).mean(axis=0))
