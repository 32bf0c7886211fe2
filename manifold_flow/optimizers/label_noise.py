"""LabelNoiseSGD: the algorithm that follows the trace of the Hessian."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from manifold_flow.checks import count, number, representable
from manifold_flow.errors import DataError, UnknownNameError, require, suggests_keywords
from manifold_flow.fluctuations import stability_threshold
from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model
from manifold_flow.optimizers.abstract import Optimizer

__all__ = ["LabelNoiseSGD"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]

NOISES = ("rademacher", "gaussian", "uniform")


@suggests_keywords
@dataclass(frozen=True, eq=False)
class LabelNoiseSGD(Optimizer):
    r"""SGD whose labels are perturbed afresh at every use.

    .. math:: \theta^+ = \theta - \eta\, \frac{n}{B} \sum_{b=1}^{B}
       c_{s_b}\,(r_{s_b}(\theta) - \varepsilon_b)\, \nabla r_{s_b}(\theta)

    with samples s drawn without replacement within a batch, independent noise ε of
    mean 0 and variance σ², and the curvatures c of the loss: the unbiased estimate of
    ∇L.  Its slow time is :math:`\eta^2` per step.

    Parameters
    ----------
    model : Model
        What is trained.
    learning_rate : float
        Step size η > 0.
    noise_std : float
        Standard deviation σ >= 0 of the label noise, in units of the targets.
    batch_size : int
        Number B of samples a step, from 1 to n.
    noise : {"rademacher", "gaussian", "uniform"}
        Law of ε; only its variance matters in the limit.

    Raises
    ------
    DataError
        For a learning rate, noise or batch size out of bounds.

    References
    ----------
    Blanc et al. (2020); Li, Wang, Arora (2021); theory notes §0.4.
    """

    model: Model
    learning_rate: float
    noise_std: float
    batch_size: int = 1
    noise: str = "rademacher"

    def __post_init__(self) -> None:
        require("model", self.model, Model, "An optimizer trains a model, not its M.")
        # its square is the slow time of a step
        representable("learning_rate", self.learning_rate)
        if number("noise_std", self.noise_std) < 0.0:
            raise DataError(f"noise_std = {self.noise_std}: must be 0 or more.")
        if count("batch_size", self.batch_size) > self.model.n_residuals:
            raise DataError(
                f"batch_size = {self.batch_size}: must be from 1 to the "
                f"{self.model.n_residuals} samples."
            )
        if self.noise not in NOISES:
            raise UnknownNameError("noise", self.noise, NOISES)

    @property
    def time_per_step(self) -> float:
        return self.learning_rate**2

    def step(self, params: Array, rng: np.random.Generator) -> Array:
        samples = self._draw_samples(len(params), rng)
        noise = self.noise_std * self._draw_noise(samples.shape, rng)
        gradient = self.model.sample_gradient(params, samples, noise)
        scale = self.model.n_residuals / self.batch_size
        return params - self.learning_rate * scale * gradient

    def on(self, model: Model) -> LabelNoiseSGD:
        return replace(self, model=model)

    def with_learning_rate(self, learning_rate: float) -> LabelNoiseSGD:
        return replace(self, learning_rate=learning_rate)

    def stability(self, here: Linearization) -> float:
        n, size = self.model.n_residuals, self.batch_size
        overlap = (n - size) / (size * (n - 1)) if n > 1 else 0.0
        return stability_threshold(here, overlap)

    def _draw_samples(self, replicas: int, rng: np.random.Generator) -> Indices:
        n, size = self.model.n_residuals, (replicas, self.batch_size)
        if self.batch_size == n:
            return np.broadcast_to(np.arange(n), size)
        if self.batch_size == 1:
            return rng.integers(n, size=size)
        return np.argsort(rng.random((replicas, n)), axis=1)[:, : self.batch_size]

    def _draw_noise(self, size: tuple[int, ...], rng: np.random.Generator) -> Array:
        if self.noise == "gaussian":
            return rng.standard_normal(size)
        if self.noise == "uniform":
            return rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), size)
        return 2.0 * rng.integers(2, size=size).astype(float) - 1.0

    def __repr__(self) -> str:
        """Return the hyperparameters."""
        return (
            f"LabelNoiseSGD(learning_rate={self.learning_rate:g}, "
            f"noise_std={self.noise_std:g}, batch_size={self.batch_size}, "
            f"noise={self.noise!r})"
        )
