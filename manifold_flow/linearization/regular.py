"""How regular the zero-loss set is at a point."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from manifold_flow.linearization.abstract import Linearization

__all__ = ["REGULAR_MARGIN", "RegularPoint"]

#: below this sigma_min/sigma_max a point is no longer counted as regular
REGULAR_MARGIN = 1e-6


@dataclass(frozen=True)
class RegularPoint:
    """How regular the zero-loss set is at a point.

    Attributes
    ----------
    rank : int
        Numerical rank of the Jacobian.
    n_residuals : int
        Number n of constraints.
    sigma_min, sigma_max : float
        Extreme singular values of the Jacobian.
    """

    rank: int
    n_residuals: int
    sigma_min: float
    sigma_max: float

    @classmethod
    def of(cls, here: Linearization) -> RegularPoint:
        """Read rank and singular values off a linearization."""
        values = here.singular_values
        cutoff = np.finfo(float).eps * len(values) * values[0]
        return cls(
            rank=int((values > cutoff).sum()),
            n_residuals=len(values),
            sigma_min=float(values[-1]),
            sigma_max=float(values[0]),
        )

    @property
    def condition(self) -> float:
        """σ_max/σ_min; infinity where rank is lost."""
        return self.sigma_max / self.sigma_min if self.sigma_min > 0 else np.inf

    @property
    def is_regular(self) -> bool:
        """Whether M is a smooth manifold around the point, numerically."""
        return self.sigma_min > REGULAR_MARGIN * self.sigma_max

    def __str__(self) -> str:
        """Return one line."""
        word = "regular" if self.is_regular else "NOT regular"
        return (
            f"{word}: rank {self.rank} of {self.n_residuals}, sigma_min "
            f"{self.sigma_min:.3g}, condition {self.condition:.3g}"
        )
