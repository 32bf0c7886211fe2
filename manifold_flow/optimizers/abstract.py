"""What an optimizer is: a direction, a draw, and the clock of its limit."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from typing import Self

import numpy as np
from numpy.typing import NDArray

from manifold_flow.batches import Batches
from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model
from manifold_flow.optimizers.noise import LabelNoise

__all__ = ["Draw", "Optimizer", "stretched"]

Array = NDArray[np.float64]
Indices = NDArray[np.int64]

#: the drawn residuals and their label noise, each (replicas, drawn); None: all, none
Draw = tuple[Indices | None, Array | None]

#: numbers drawn at a time: enough to hide the calls, few enough for the cache
BLOCK = 2**16

#: squares of shorter gradients are no float64, so that they have no direction
SHORTEST = 1e-150


@dataclass(frozen=True, eq=False, repr=False)
class Optimizer(ABC):
    r"""What moves in steps, many replicas at once.

    .. math:: v^+ = \beta v - \eta\, g(\theta), \qquad \theta^+ = \theta + v^+

    with the direction g, which distinguishes the optimizers, the learning rate η and
    the momentum β.  An optimizer is a value, and so a subclass is a frozen dataclass: v
    is carried by whoever steps.

    Attributes
    ----------
    model : Model
        What is trained.
    learning_rate : float
        Step size η.
    """

    model: Model
    learning_rate: float

    @property
    def momentum(self) -> float:
        """Factor β; 0 where there is none."""
        return 0.0

    @property
    def label_noise(self) -> LabelNoise | None:
        """What is added to the targets of every draw; None where nothing is."""
        return None

    @property
    def needs_gradient(self) -> bool:
        """Whether there is no step where the gradient vanishes, as it does on M."""
        return False

    @property
    @abstractmethod
    def time_per_step(self) -> float:
        """Slow time of one step, so that runs and flows share a clock."""

    @property
    @abstractmethod
    def batches(self) -> Batches:
        """How the samples of a step are drawn."""

    @abstractmethod
    def direction(self, params: Array, draw: Draw) -> Array:
        """Return g at every replica, shape (R, p), as an array of its own."""

    @abstractmethod
    def stability(self, here: Linearization) -> float:
        """Return the largest stable learning rate at a point of M."""

    def on(self, model: Model) -> Self:
        """Return the same optimizer on another model (the reduced one)."""
        return replace(self, model=model)

    def with_learning_rate(self, learning_rate: float) -> Self:
        """Return the same optimizer with another learning rate, for its limit η → 0."""
        return replace(self, learning_rate=learning_rate)

    def step(
        self, params: Array, velocity: Array, draw: Draw = (None, None)
    ) -> tuple[Array, Array]:
        """Return the next (params, velocity), each (R, p); changes neither.

        Parameters
        ----------
        params : array, shape (R, p)
            One row a replica.
        velocity : array, shape (R, p)
            v, zero before the first step.
        draw : pair
            The drawn residuals and their label noise, from :meth:`draws`.

        Returns
        -------
        tuple of array
            θ⁺ and v⁺.
        """
        change = self.direction(params, draw)
        change *= -self.learning_rate
        if self.momentum:
            change += self.momentum * velocity
        return params + change, change

    def draws(
        self, replicas: int, n_steps: int, rng: np.random.Generator
    ) -> Iterator[Draw]:
        """Yield what chance decides, step by step.

        Samples and noise come from two children of the generator, in blocks of steps,
        so that neither the other nor the size of a block changes any bit of either.

        Parameters
        ----------
        replicas : int
            Number R of independent runs.
        n_steps : int
            Number of steps.
        rng : Generator
            The parent.

        Yields
        ------
        tuple
            Indices of residuals (R, drawn), or None for all of them in order, and label
            noise (R, drawn), or None.
        """
        samples, noise = rng.spawn(2)
        numbers = self.batches.size * self.model.residuals_per_sample
        if self.label_noise is not None and self.label_noise.shared:
            numbers = self.model.n_residuals
        length = max(1, BLOCK // (replicas * numbers))
        for first in range(0, n_steps, length):
            steps = min(length, n_steps - first)
            drawn, added = self._block(replicas, steps, samples, noise)
            yield from zip(
                repeat(None, steps) if drawn is None else drawn,
                repeat(None, steps) if added is None else added,
                strict=True,
            )

    def _block(
        self,
        replicas: int,
        n_steps: int,
        samples: np.random.Generator,
        noise: np.random.Generator,
    ) -> Draw:
        drawn = None
        if not self.batches.are_full:
            together = self.model.residuals_per_sample
            batch = self.batches.draw(replicas, n_steps, samples)
            residuals = together * batch[..., None] + np.arange(together)
            drawn = residuals.reshape(n_steps, replicas, -1)
        if self.label_noise is None:
            return drawn, None
        shape = (n_steps, replicas, self.model.n_residuals)
        return drawn, self.label_noise.draw(shape, drawn, noise)

    def __repr__(self) -> str:
        """Return the hyperparameters."""
        settings = (
            f"{name}={_in_short(value)}"
            for name, value in vars(self).items()
            if name != "model"
        )
        return f"{type(self).__name__}({', '.join(settings)})"


def _in_short(value: object) -> str:
    """Return numbers without digits that are zero, and few of many, on one line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, np.ndarray):
        with np.printoptions(precision=4, threshold=6, edgeitems=2, linewidth=1000):
            return str(value)
    return repr(value)


def stretched(vectors: Array, length: float) -> Array:
    """Return v·length/|v| for every row; about zero for a row too short to have one.

    Parameters
    ----------
    vectors : array, shape (R, p)
        Written over.
    length : float
        The length wanted.

    Returns
    -------
    array, shape (R, p)
        The same array.
    """
    norms = np.sqrt(np.einsum("rp,rp->r", vectors, vectors))
    vectors *= (length / np.maximum(norms, SHORTEST))[:, None]
    return vectors
