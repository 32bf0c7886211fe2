"""LimitingFlow: down the gradient of a sharpness, on the zero-loss manifold."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from manifold_flow.checks import representable
from manifold_flow.errors import require, suggests_keywords
from manifold_flow.flow.abstract import Flow
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.sharpness import Sharpness
from manifold_flow.solvers.krylov import KrylovFlow
from manifold_flow.structure import StructuredFlow

__all__ = ["LimitingFlow"]

Array = NDArray[np.float64]


@suggests_keywords
@dataclass(frozen=True, eq=False)
class LimitingFlow(Flow):
    r"""Riemannian gradient flow :math:`\dot\theta = -\text{rate}\,\mathrm{grad}_M S`.

    Parameters
    ----------
    manifold : ZeroLossManifold
        The manifold M.
    sharpness : Sharpness
        The function S, first of all ``HessianTrace()``.
    rate : float
        Positive factor that sets the clock; :func:`manifold_flow.limiting_flow` derives
        it from an optimizer.

    Raises
    ------
    DataError
        If the rate is not positive and finite.

    References
    ----------
    Li, Wang, Arora (2021); theory notes §0.3, §2.
    """

    manifold: ZeroLossManifold
    sharpness: Sharpness
    rate: float = 1.0

    def __post_init__(self) -> None:
        require("manifold", self.manifold, ZeroLossManifold)
        require("sharpness", self.sharpness, Sharpness, "Pass mf.HessianTrace().")
        representable(
            "rate",
            self.rate,
            "A limiting flow needs a positive rate, or it does not move downhill; "
            "label noise of standard deviation 0 has none.",
        )

    def velocity(self, point: Array) -> Array:
        return -self.rate * self.manifold.riemannian_gradient(self.sharpness, point)

    def structured(self) -> StructuredFlow | None:
        if self.rate == 0.0:
            return None
        return self.sharpness.structured(self.manifold.model, self.rate)

    def implicit(self) -> KrylovFlow | None:
        if self.rate == 0.0:
            return None
        return KrylovFlow(self.manifold, self.sharpness, self.rate)

    def on(self, manifold: ZeroLossManifold) -> LimitingFlow:
        return replace(self, manifold=manifold)

    def __repr__(self) -> str:
        """Return sharpness and rate."""
        return f"LimitingFlow({self.sharpness!r}, rate={self.rate:g})"
