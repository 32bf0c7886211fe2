"""What an optimizer is: a step, and its length in slow time."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model

__all__ = ["Optimizer"]

Array = NDArray[np.float64]


class Optimizer(ABC):
    """What moves in steps.

    Attributes
    ----------
    model : Model
        What is trained.
    """

    model: Model
    learning_rate: float

    @property
    @abstractmethod
    def time_per_step(self) -> float:
        """Slow time of one step, so that runs and flows share a clock."""

    @abstractmethod
    def step(self, params: Array, rng: np.random.Generator) -> Array:
        """Return the next parameters of each replica, shape (R, p); changes nothing."""

    @abstractmethod
    def on(self, model: Model) -> Optimizer:
        """Return the same optimizer on another model (the reduced one)."""

    @abstractmethod
    def with_learning_rate(self, learning_rate: float) -> Optimizer:
        """Return the same optimizer with another step."""

    @abstractmethod
    def stability(self, here: Linearization) -> float:
        """Return the largest stable learning rate at a point of M."""
