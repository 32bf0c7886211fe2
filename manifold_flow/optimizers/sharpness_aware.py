"""SAM: the gradient is taken a little uphill."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from manifold_flow.batches import Batches
from manifold_flow.checks import representable
from manifold_flow.errors import suggests_keywords
from manifold_flow.fluctuations import stability_threshold
from manifold_flow.linearization import Linearization
from manifold_flow.optimizers.abstract import Draw, Optimizer, stretched
from manifold_flow.optimizers.descent import check_step

__all__ = ["SAM"]

Array = NDArray[np.float64]


@suggests_keywords
@dataclass(frozen=True, eq=False, repr=False)
class SAM(Optimizer):
    r"""Sharpness-aware minimisation.

    .. math:: \theta^+ = \theta - \eta\, \nabla L_B\Bigl(\theta + \rho\,
       \frac{\nabla L_B(\theta)}{|\nabla L_B(\theta)|}\Bigr)

    with the unbiased estimate :math:`L_B` of L on one batch for both gradients, or
    :math:`\theta + \rho \nabla L_B(\theta)` if not normalised.  Its slow time is
    :math:`\eta\rho^2` per step; where it is not normalised nothing moves on that clock,
    and it has the clock η of the gradient flow.  A batch whose gradient is exactly zero
    has no direction: there the step is zero too.

    Parameters
    ----------
    model : Model
        What is trained.
    learning_rate : float
        Step size η > 0.
    radius : float
        Length ρ > 0 of the ascent, or its factor if not normalised.
    batch_size : int, optional
        Number of samples a step; None is the full batch, 1 is per-sample SAM.
    normalized : bool
        Whether the ascent has length ρ.

    Raises
    ------
    DataError
        For a hyperparameter out of bounds.

    References
    ----------
    Foret et al. (2021); Wen, Ma, Li (2022); theory notes §7.
    """

    radius: float
    batch_size: int | None = None
    normalized: bool = True

    def __post_init__(self) -> None:
        check_step(self.model, self.learning_rate)
        representable("radius", self.radius)
        _ = self.batches  # refuses a batch that cannot be drawn

    @property
    def needs_gradient(self) -> bool:
        """Whether there is no step where the gradient vanishes."""
        return self.normalized

    @property
    def time_per_step(self) -> float:
        squared = self.radius**2 if self.normalized else 1.0
        return self.learning_rate * squared

    @property
    def batches(self) -> Batches:
        full = Batches.full(self.model.n_samples)
        return full if self.batch_size is None else replace(full, size=self.batch_size)

    def direction(self, params: Array, draw: Draw) -> Array:
        uphill = self.model.sample_gradient(params, *draw)
        if self.normalized:
            stretched(uphill, self.radius)
        else:
            uphill *= self.radius
        uphill += params
        return self.model.sample_gradient(uphill, *draw)

    def stability(self, here: Linearization) -> float:
        r"""Return where the displacement from M stays bounded.

        A normalised ascent adds a bounded force to SGD, whose mean-square threshold
        remains.  Otherwise the mean step is at least that with the Hessian
        :math:`H (I + \rho H)`, which gives the threshold of the full batch and a bound
        above it for smaller ones.
        """
        if self.normalized:
            together = self.model.residuals_per_sample
            return stability_threshold(here, self.batches.overlap, together)
        top = here.hessian_eigenvalues[0]
        return float(2.0 / (top * (1.0 + self.radius * top))) if top > 0.0 else np.inf

    def with_learning_rate(self, learning_rate: float) -> Self:
        """Return SAM with another η and the radius in the same ratio to it."""
        wanted = representable("learning_rate", learning_rate)
        radius = self.radius * (wanted / self.learning_rate)
        return replace(self, learning_rate=learning_rate, radius=radius)
