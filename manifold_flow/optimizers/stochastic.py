"""Stochastic gradient descent: with label noise, and on minibatches alone."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real
from manifold_flow.batches import Batches
from manifold_flow.checks import number, representable
from manifold_flow.errors import DataError, UnknownNameError, suggests_keywords
from manifold_flow.fluctuations import stability_threshold
from manifold_flow.linearization import Linearization
from manifold_flow.optimizers.abstract import Draw, Optimizer
from manifold_flow.optimizers.descent import check_step, heavy_ball_threshold
from manifold_flow.optimizers.noise import LAWS, LabelNoise

__all__ = ["LabelNoiseSGD", "MinibatchSGD"]

Array = NDArray[np.float64]


class StochasticGradient(Optimizer):
    r"""What steps along an unbiased estimate of ∇L from a batch.

    Heavy-ball momentum β only changes the clock: beside M, in a mode of curvature h
    with gradient noise of variance s², :math:`v^+ = \beta v + h\delta + \xi`,
    :math:`\delta^+ = \delta - \eta v^+` has the stationary variance

    .. math:: E\,\delta^2 = \frac{\eta s^2}{h\,(1-\beta)}\,
       \frac{1+\beta}{2(1+\beta) - \eta h}
       = \frac{\gamma s^2}{2h}\,(1 + O(\eta)), \qquad \gamma = \frac{\eta}{1-\beta},

    that of SGD with learning rate γ, and a constant force moves θ by γ a step.  So
    momentum follows the flow of SGD on the clock γ² a step.
    """

    batch_size: int
    replacement: bool

    @property
    def time_per_step(self) -> float:
        return (self.learning_rate / (1.0 - self.momentum)) ** 2

    @property
    def batches(self) -> Batches:
        return Batches(self.model.n_samples, self.batch_size, self.replacement)

    @property
    @abstractmethod
    def noise_covariance(self) -> Array:
        """The diagonal of N in Σ = Jᵀ N J, the gradient noise on M, shape (n,)."""

    def direction(self, params: Array, draw: Draw) -> Array:
        return self.model.sample_gradient(params, *draw)

    def stability(self, here: Linearization) -> float:
        """Return the mean-square threshold; with momentum, only a bound above it.

        Mean-square stability of SGD with momentum has no closed form; the mean must
        be stable, which needs η < 2(1+β)/λ_max.
        """
        if self.momentum:
            return heavy_ball_threshold(here, self.momentum)
        together = self.model.residuals_per_sample
        return stability_threshold(here, self.batches.overlap, together)


@suggests_keywords
@dataclass(frozen=True, eq=False, repr=False)
class MinibatchSGD(StochasticGradient):
    r"""SGD on minibatches, whose only noise is the choice of samples.

    .. math:: v^+ = \beta v + \frac{n}{B} \sum_{s \in \text{batch}} \nabla L_s(\theta),
       \qquad \theta^+ = \theta - \eta\, v^+

    with the shares L_s of the samples in L.  On M every ∇L_s vanishes and so does the
    noise: nothing moves on the clock :math:`(\eta/(1-\beta))^2` of label noise.

    Parameters
    ----------
    model : Model
        What is trained.
    learning_rate : float
        Step size η > 0.
    batch_size : int
        Number B of samples a step; from 1 to n without replacement.
    replacement : bool
        Whether a batch may hold a sample twice.
    momentum : float
        β, at least 0 and below 1.

    Raises
    ------
    DataError
        For a hyperparameter out of bounds.

    References
    ----------
    theory notes §0.4, §8.2 and §9.2.
    """

    batch_size: int = 1
    replacement: bool = False
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_step(self.model, self.learning_rate, self.momentum)
        _ = self.batches  # refuses a batch that cannot be drawn

    @property
    def noise_covariance(self) -> Array:
        return np.zeros(self.model.n_residuals)


@suggests_keywords
@dataclass(frozen=True, eq=False, repr=False)
class LabelNoiseSGD(StochasticGradient):
    r"""SGD whose labels are perturbed afresh at every use.

    .. math:: v^+ = \beta v + \frac{n}{B} \sum_{b=1}^{B}
       c_{s_b}\,(r_{s_b}(\theta) - \varepsilon_b)\, \nabla r_{s_b}(\theta),
       \qquad \theta^+ = \theta - \eta\, v^+

    with independent noise ε of mean 0 and variance σ², and the curvatures c of the
    loss: an unbiased estimate of ∇L.  Its slow time is :math:`(\eta/(1-\beta))^2` per
    step.

    Parameters
    ----------
    model : Model
        What is trained.
    learning_rate : float
        Step size η > 0.
    noise_std : float or array, shape (n,)
        Standard deviations σ >= 0 of the label noise, in units of the targets: one, or
        one for every residual.
    batch_size : int
        Number B of samples a step; from 1 to n without replacement.
    noise : {"rademacher", "gaussian", "uniform"}
        Law of ε; only its variance matters in the limit.
    replacement : bool
        Whether a batch may hold a sample twice.
    shared_noise : bool
        Whether repeated draws of a sample in one batch share their ε.
    momentum : float
        β, at least 0 and below 1.

    Raises
    ------
    DataError
        For a hyperparameter out of bounds.

    References
    ----------
    Blanc et al. (2020); Li, Wang, Arora (2021); theory notes §0.4.

    Examples
    --------
    >>> import manifold_flow as mf
    >>> model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    >>> mf.LabelNoiseSGD(model, learning_rate=0.1, noise_std=0.5).noise_covariance
    array([0.25])
    """

    noise_std: float | Array
    batch_size: int = 1
    noise: str = "rademacher"
    replacement: bool = False
    shared_noise: bool = False
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_step(self.model, self.learning_rate, self.momentum)
        _ = self.batches  # refuses a batch that cannot be drawn
        std = _checked_std(self.noise_std, self.model.n_residuals)
        object.__setattr__(self, "noise_std", std)
        if self.noise not in tuple(LAWS):
            raise UnknownNameError("noise", self.noise, LAWS)

    @property
    def label_noise(self) -> LabelNoise | None:
        """Law and size of ε; None where noise_std is 0."""
        if not np.any(self.noise_std):
            return None
        return LabelNoise(self.noise_std, self.noise, self.shared_noise)

    @property
    def noise_covariance(self) -> Array:
        return self.model.loss.label_noise_covariance(
            self.noise_std, self.batches, self.shared_noise
        )


def _checked_std(noise_std: ArrayLike, n_residuals: int) -> float | Array:
    """Return standard deviations as a float, or as a read-only array (n,)."""
    if np.shape(noise_std) != (n_residuals,):
        advice = f"Or an array of {n_residuals}, one for every residual."
        std: float | Array = number("noise_std", noise_std, advice)
    else:
        std = as_real("noise_std", noise_std).copy()
        std.setflags(write=False)
    if not (np.isfinite(std).all() and np.min(std) >= 0.0):
        raise DataError(f"noise_std = {noise_std!r}: must be finite and 0 or more.")
    for size in np.ravel(std)[np.ravel(std) > 0.0]:
        representable("noise_std", float(size), "0 is no noise.")
    return std
