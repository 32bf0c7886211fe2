"""Which samples a step sees."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifold_flow.checks import count
from manifold_flow.errors import DataError, suggests_keywords

__all__ = ["Batches"]

Indices = NDArray[np.int64]


@suggests_keywords
@dataclass(frozen=True)
class Batches:
    r"""Batches of B samples out of n, drawn uniformly and afresh for every step.

    Parameters
    ----------
    n_samples : int
        Number n of samples.
    size : int
        Number B of samples in a batch; at most n without replacement.
    replacement : bool
        Whether a batch may hold a sample twice.

    Raises
    ------
    DataError
        If there are too many or too few.

    References
    ----------
    theory notes §0.4 and §8.2.

    Examples
    --------
    >>> batches = Batches(n_samples=5, size=2)
    >>> batches.scale, batches.overlap
    (2.5, 0.375)
    >>> batches.draw(replicas=3, n_steps=4, rng=np.random.default_rng(0)).shape
    (4, 3, 2)
    """

    n_samples: int
    size: int
    replacement: bool = False

    def __post_init__(self) -> None:
        count("n_samples", self.n_samples)
        size = count("batch_size", self.size)
        if size > self.n_samples and not self.replacement:
            raise DataError(
                f"batch_size = {size}: without replacement there are only "
                f"{self.n_samples} samples to draw. Use at most {self.n_samples}, or "
                "replacement=True."
            )

    @classmethod
    def full(cls, n_samples: int) -> Batches:
        """Return the batches that hold every sample once."""
        return cls(n_samples, n_samples)

    @property
    def are_full(self) -> bool:
        """Whether every batch holds every sample once, so that nothing is random."""
        return self.size == self.n_samples and (
            not self.replacement or self.n_samples == 1
        )

    @property
    def scale(self) -> float:
        """The factor n/B, which makes a sum over a batch unbiased."""
        return self.n_samples / self.size

    @property
    def overlap(self) -> float:
        r"""The weight p of single samples in the second moment of a batch's Hessian.

        :math:`E[H_B S H_B] = (1-p)\, HSH + p\, n \sum_s H_s S H_s`, where the shares
        :math:`H_s` of the samples sum to H.
        """
        if self.replacement:
            return 1.0 / self.size
        others = self.n_samples - 1
        return (self.n_samples - self.size) / (self.size * others) if others else 0.0

    def draw(self, replicas: int, n_steps: int, rng: np.random.Generator) -> Indices:
        """Return the samples of every step and replica, shape (n_steps, replicas, B).

        Drawing k steps and then l more gives the same samples as k + l at once.
        """
        shape = (n_steps, replicas, self.size)
        if self.are_full:
            return np.broadcast_to(np.arange(self.n_samples), shape)
        if self.replacement or self.size == 1:
            return rng.integers(self.n_samples, size=shape)
        return _distinct(self.n_samples, rng.random(shape))


def _distinct(n_samples: int, chances: NDArray[np.float64]) -> Indices:
    """Floyd's subsets: every B-subset of the samples is equally likely.

    The b-th draw is from the first n - B + b + 1 samples, or the last of these if it is
    there already (Bentley and Floyd 1987).  Its B²/2 comparisons are always fewer than
    the multiplications of the gradient, since B <= n < p.
    """
    size = chances.shape[-1]
    last = np.arange(n_samples - size, n_samples)
    drawn = (chances * (last + 1)).astype(np.int64)
    for b in range(1, size):
        taken = (drawn[..., :b] == drawn[..., b, None]).any(axis=-1)
        drawn[..., b] = np.where(taken, last[b], drawn[..., b])
    return drawn
