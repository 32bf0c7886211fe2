"""Label noise: what is added to the targets of every draw."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

__all__ = ["LAWS", "LabelNoise"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]
SIGNS = np.array([-1.0, 1.0])
Law = Callable[[np.random.Generator, tuple[int, ...]], Array]


def _rademacher(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return SIGNS.take(rng.integers(2, size=shape))


def _gaussian(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return rng.standard_normal(shape)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    return np.sqrt(12.0) * (rng.random(shape) - 0.5)


#: laws of mean 0 and variance 1
LAWS: Mapping[str, Law] = MappingProxyType(
    {"rademacher": _rademacher, "gaussian": _gaussian, "uniform": _uniform}
)


@dataclass(frozen=True, eq=False)
class LabelNoise:
    """Independent ε of mean 0.

    Attributes
    ----------
    std : float or array, shape (n,)
        Standard deviations σ, of all residuals or of each.
    law : str
        One of ``LAWS``.
    shared : bool
        Whether repeated draws of a residual in a batch share one ε.
    """

    std: float | Array
    law: str
    shared: bool

    def draw(
        self,
        shape: tuple[int, int, int],
        drawn: Indices | None,
        rng: np.random.Generator,
    ) -> Array:
        """Return ε for the drawn residuals of a block of steps.

        Parameters
        ----------
        shape : tuple of int
            (T, R, n), the shape of noise for all residuals.
        drawn : int array, shape (T, R, k), or None
            The drawn residuals; None for all in order.
        rng : Generator
            Source of randomness.

        Returns
        -------
        array, shape (T, R, k) or (T, R, n)
            The noise.
        """
        law = LAWS[self.law]
        if drawn is None:
            return self.std * law(rng, shape)
        if self.shared:
            return np.take_along_axis(self.std * law(rng, shape), drawn, axis=-1)
        return self._of(drawn) * law(rng, drawn.shape)

    def _of(self, drawn: Indices) -> float | Array:
        """Return the standard deviations of the drawn residuals."""
        return np.asarray(self.std)[drawn] if np.ndim(self.std) else self.std
