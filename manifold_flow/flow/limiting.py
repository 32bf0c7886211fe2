"""LimitingFlow: down the gradient of a sharpness, on the zero-loss manifold."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from manifold_flow.checks import number, representable
from manifold_flow.errors import require, suggests_keywords
from manifold_flow.flow.abstract import Flow
from manifold_flow.linearization import Linearization
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
        Factor that sets the clock; :func:`manifold_flow.limiting_flow` derives it from
        an optimizer.  0 says that there is no motion at this time scale.

    Raises
    ------
    DataError
        If the rate is negative or not finite.

    References
    ----------
    Li, Wang, Arora (2021); theory notes §0.3, §2.
    """

    manifold: ZeroLossManifold
    sharpness: Sharpness
    rate: float = 1.0
    descends: ClassVar[bool] = True

    def __post_init__(self) -> None:
        require("manifold", self.manifold, ZeroLossManifold)
        require("sharpness", self.sharpness, Sharpness, "Pass mf.HessianTrace().")
        if number("rate", self.rate) != 0.0:
            advice = "A rate below 0 moves uphill; 0 is no motion."
            representable("rate", self.rate, advice)

    @property
    def moves(self) -> bool:
        return self.rate > 0.0

    def structured(self) -> StructuredFlow | None:
        if not self.moves:
            return None
        return self.sharpness.structured(self.manifold.model, self.rate)

    def implicit(self) -> KrylovFlow | None:
        if not self.moves:
            return None
        return KrylovFlow(self.manifold, self.sharpness, self.rate)

    def steepness(self, here: Linearization) -> Array:
        return self.sharpness.gradient(here)

    def on(self, manifold: ZeroLossManifold) -> LimitingFlow:
        return replace(self, manifold=manifold)

    def __repr__(self) -> str:
        """Return sharpness and rate."""
        still = "" if self.moves else ": no motion at this time scale"
        return f"LimitingFlow({self.sharpness!r}, rate={self.rate:g}){still}"
