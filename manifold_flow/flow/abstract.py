"""What a flow is: a velocity on a manifold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.sharpness import Sharpness

__all__ = ["Flow"]

Array = NDArray[np.float64]


class Flow(ABC):
    """What moves continuously on a zero-loss manifold.

    Attributes
    ----------
    manifold : ZeroLossManifold
        Where it moves.
    sharpness : Sharpness
        What is watched along it.
    rate : float
        The velocity is −rate times the tangent part of ``steepness``.
    descends : bool
        Whether that sharpness decreases along it, by theorem.
    """

    manifold: ZeroLossManifold
    sharpness: Sharpness
    rate: float
    descends: ClassVar[bool]

    @property
    @abstractmethod
    def moves(self) -> bool:
        """Whether there is any motion; False for a rate, or a noise, of 0."""

    @abstractmethod
    def velocity(self, point: Array) -> Array:
        """Return dθ/dτ, a tangent vector of shape (p,), τ the slow time."""

    @abstractmethod
    def steepness(self, here: Linearization) -> Array:
        """Return the vector (p,) whose tangent part vanishes where the flow rests.

        For a gradient flow it is ∇S, whatever the rate.
        """

    @abstractmethod
    def on(self, manifold: ZeroLossManifold) -> Flow:
        """Return the same flow on another manifold (the reduced one)."""
