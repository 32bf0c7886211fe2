"""What a sharpness is: a value, its slope by the Gram matrix, and how that changes."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
from numpy.typing import NDArray

from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model
from manifold_flow.structure import StructuredFlow

__all__ = ["Sharpness"]

Array = NDArray[np.float64]


class Sharpness(ABC):
    """A function S of the non-zero eigenvalues of the Hessian on M.

    A subclass states its value, its slope ∂S/∂G and the derivative of that slope;
    gradient and Hessian-vector product are written once, here.
    """

    @abstractmethod
    def value(self, linearization: Linearization) -> float:
        """Return S at the point of the linearization."""

    @abstractmethod
    def slope(self, linearization: Linearization) -> Array:
        """Return A = ∂S/∂G, symmetric, shape (n, n)."""

    @abstractmethod
    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        """Return the derivative of A along v, shape (n, n)."""

    def structured(self, model: Model, rate: float) -> StructuredFlow | None:
        """Return the flow of rate · S in the model's own structure, if it has one."""
        return None

    def gradient(self, linearization: Linearization) -> Array:
        """Return the Euclidean gradient ∇S = ∇⟨A, G⟩, shape (p,)."""
        return linearization.gram_gradient(self.slope(linearization))

    def hessian_vector(self, linearization: Linearization, vector: Array) -> Array:
        """Return ∇²S v, the Euclidean Hessian times a vector, shape (p,)."""
        moved = linearization.gram_hessian(self.slope(linearization), vector)
        return moved + linearization.gram_gradient(
            self.slope_change(linearization, vector)
        )

    def __repr__(self) -> str:
        """Return the constructor call."""
        return f"{type(self).__name__}()"
