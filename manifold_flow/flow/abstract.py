"""What a flow is: a velocity on a manifold."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.sharpness import Sharpness
from manifold_flow.structure import ImplicitFlow, StructuredFlow

__all__ = ["Flow"]

Array = NDArray[np.float64]


class Flow(ABC):
    """What moves continuously on a zero-loss manifold.

    Attributes
    ----------
    manifold : ZeroLossManifold
        Where it moves.
    sharpness : Sharpness
        What decreases along it.
    """

    manifold: ZeroLossManifold
    sharpness: Sharpness

    @abstractmethod
    def velocity(self, point: Array) -> Array:
        """Return dθ/dτ, a tangent vector of shape (p,), τ the slow time."""

    def structured(self) -> StructuredFlow | None:
        """Return the flow in its model's own structure, for the fast solvers."""
        return None

    def implicit(self) -> ImplicitFlow | None:
        """Return the flow with Newton matrices by Hessian-vector products."""
        return None

    @abstractmethod
    def on(self, manifold: ZeroLossManifold) -> Flow:
        """Return the same flow on another manifold (the reduced one)."""
