"""What a flow is: down a steepness, on a manifold or to one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.sharpness import Sharpness
from manifold_flow.structure import ImplicitFlow, StructuredFlow

__all__ = ["Flow"]

Array = NDArray[np.float64]


class Flow(ABC):
    """What moves continuously, on a zero-loss manifold or down to one.

    Attributes
    ----------
    manifold : ZeroLossManifold
        Where it moves; where it ends, if it is free.
    sharpness : Sharpness
        What is watched along it.
    rate : float
        Factor of the velocity.
    descends : bool
        Whether it goes down the sharpness, or down the loss if it is free, by theorem.
    free : bool
        Whether nothing keeps it on the manifold.
    """

    manifold: ZeroLossManifold
    sharpness: Sharpness
    rate: float
    descends: ClassVar[bool]
    free: ClassVar[bool] = False

    @property
    def clock(self) -> str:
        """What its time is called."""
        return "time" if self.free else "slow time"

    @property
    @abstractmethod
    def moves(self) -> bool:
        """Whether there is any motion; False for a rate, or a noise, of 0."""

    def velocity(self, point: Array) -> Array:
        """Return the time derivative of the point, −rate · P_T steepness, shape (p,).

        A free flow is not projected.
        """
        here = self.manifold.linearize(point)
        uphill = self.steepness(here)
        return -self.rate * (uphill if self.free else here.tangent_part(uphill))

    @abstractmethod
    def steepness(self, here: Linearization) -> Array:
        """Return the vector (p,) whose tangent part vanishes where the flow rests.

        For a gradient flow it is ∇S, whatever the rate.
        """

    def structured(self) -> StructuredFlow | None:
        """Return the flow in its model's own structure, for the fast solvers."""
        return None

    def implicit(self) -> ImplicitFlow | None:
        """Return the flow with Newton matrices by Hessian-vector products."""
        return None

    @abstractmethod
    def on(self, manifold: ZeroLossManifold) -> Flow:
        """Return the same flow on another manifold (the reduced one)."""
