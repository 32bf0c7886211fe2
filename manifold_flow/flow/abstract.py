"""What a flow is: a velocity, on a manifold or down to one."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.sharpness import Sharpness

__all__ = ["Flow"]

Array = NDArray[np.float64]


class Flow(ABC):
    """What moves continuously, on a zero-loss manifold or down to one.

    Attributes
    ----------
    manifold : ZeroLossManifold
        Where it moves; where it ends, if it is free.
    sharpness : Sharpness
        What is seen of the Hessian along it; decreases on the manifold.
    free : bool
        Whether nothing keeps it on the manifold.
    clock : str
        What its time is called.
    """

    manifold: ZeroLossManifold
    sharpness: Sharpness
    free: bool = False
    clock: str = "slow time"

    @abstractmethod
    def velocity(self, point: Array) -> Array:
        """Return the time derivative of the point, shape (p,)."""

    @abstractmethod
    def on(self, manifold: ZeroLossManifold) -> Flow:
        """Return the same flow on another manifold (the reduced one)."""
