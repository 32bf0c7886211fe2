"""Gradient descent on the full loss, plain and normalised."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from manifold_flow.batches import Batches
from manifold_flow.checks import number, representable
from manifold_flow.errors import DataError, require, suggests_keywords
from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model
from manifold_flow.optimizers.abstract import Draw, Optimizer, stretched

__all__ = ["GradientDescent", "NormalizedGD", "check_step", "heavy_ball_threshold"]

Array = NDArray[np.float64]


@suggests_keywords
@dataclass(frozen=True, eq=False, repr=False)
class GradientDescent(Optimizer):
    r"""Gradient descent, with heavy-ball momentum if wanted.

    .. math:: v^+ = \beta v + \nabla L(\theta), \qquad \theta^+ = \theta - \eta\, v^+

    A constant force moves θ by η/(1−β) a step: that is the clock of the gradient flow
    θ̇ = −∇L, on which the momentum is no more seen as η → 0.

    Parameters
    ----------
    model : Model
        What is trained.
    learning_rate : float
        Step size η > 0.
    momentum : float
        β, at least 0 and below 1.

    Raises
    ------
    DataError
        For a hyperparameter out of bounds.

    References
    ----------
    Polyak (1964); theory notes §9.1.
    """

    model: Model
    learning_rate: float
    momentum: float = 0.0

    def __post_init__(self) -> None:
        check_step(self.model, self.learning_rate, self.momentum)

    @property
    def time_per_step(self) -> float:
        return self.learning_rate / (1.0 - self.momentum)

    @property
    def batches(self) -> Batches:
        return Batches.full(self.model.n_samples)

    def direction(self, params: Array, draw: Draw) -> Array:
        return self.model.sample_gradient(params, *draw)

    def stability(self, here: Linearization) -> float:
        return heavy_ball_threshold(here, self.momentum)

    def on(self, model: Model) -> GradientDescent:
        return replace(self, model=model)

    def with_learning_rate(self, learning_rate: float) -> GradientDescent:
        return replace(self, learning_rate=learning_rate)


@suggests_keywords
@dataclass(frozen=True, eq=False, repr=False)
class NormalizedGD(Optimizer):
    r"""Gradient descent whose steps all have the length η.

    .. math:: \theta^+ = \theta - \eta\, \frac{\nabla L(\theta)}{|\nabla L(\theta)|}

    It never settles on M but jumps across it, along the top eigenvector of the Hessian;
    its slow time is :math:`\eta^2` per step.  It needs a start off M, where there is a
    direction.

    Parameters
    ----------
    model : Model
        What is trained.
    learning_rate : float
        Length η > 0 of a step.

    Raises
    ------
    DataError
        For a learning rate out of bounds.

    References
    ----------
    Arora, Li, Panigrahi (2022).
    """

    model: Model
    learning_rate: float
    needs_gradient = True

    def __post_init__(self) -> None:
        check_step(self.model, self.learning_rate)

    @property
    def time_per_step(self) -> float:
        return self.learning_rate**2

    @property
    def batches(self) -> Batches:
        return Batches.full(self.model.n_samples)

    def direction(self, params: Array, draw: Draw) -> Array:
        return stretched(self.model.sample_gradient(params, *draw), 1.0)

    def stability(self, here: Linearization) -> float:
        """Return infinity: a step has length η, however far M is."""
        return np.inf

    def on(self, model: Model) -> NormalizedGD:
        return replace(self, model=model)

    def with_learning_rate(self, learning_rate: float) -> NormalizedGD:
        return replace(self, learning_rate=learning_rate)


def check_step(model: object, learning_rate: float, momentum: float = 0.0) -> None:
    """Refuse what no optimizer can use.

    Parameters
    ----------
    model : object
        Must be a Model.
    learning_rate : float
        Must be positive; its square is the slow time of a step.
    momentum : float
        Must be at least 0 and below 1.

    Raises
    ------
    ArgumentError
        For a model that is none.
    DataError
        For a number out of bounds.
    """
    require("model", model, Model, "An optimizer trains a model, not its M.")
    representable("learning_rate", learning_rate)
    if not 0.0 <= number("momentum", momentum) < 1.0:
        raise DataError(
            f"momentum = {momentum}: must be at least 0 and below 1, or past gradients "
            "are never forgotten."
        )


def heavy_ball_threshold(here: Linearization, momentum: float) -> float:
    r"""Return :math:`2(1+\beta)/\lambda_{\max}`, where heavy-ball descent lets go.

    The roots of :math:`z^2 - (1 + \beta - \eta\lambda) z + \beta` are in the unit disc
    just for :math:`\eta\lambda < 2(1+\beta)`.

    Parameters
    ----------
    here : Linearization
        The model at a point of M.
    momentum : float
        β.

    Returns
    -------
    float
        The largest stable learning rate; infinite where the Hessian vanishes.
    """
    top = here.hessian_eigenvalues[0]
    return float(2.0 * (1.0 + momentum) / top) if top > 0.0 else np.inf
