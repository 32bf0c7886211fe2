"""The top eigenvalue of the Hessian and its logarithm."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifold_flow.checks import number
from manifold_flow.errors import DataError, DegenerateEigenvalueError
from manifold_flow.linearization import Linearization
from manifold_flow.sharpness.abstract import Sharpness

__all__ = ["HessianLogTopEigenvalue", "HessianTopEigenvalue"]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class HessianTopEigenvalue(Sharpness):
    r"""λ₁(∇²L): the sharpness that full-batch SAM decreases.

    :math:`S = \lambda_1(\hat G)`, so :math:`A = C^{1/2} q q^T C^{1/2}` with the top
    eigenvector q.  Not differentiable where λ₁ = λ₂: there it raises.

    Parameters
    ----------
    min_gap : float
        Smallest relative gap (λ₁ − λ₂)/λ₁ at which a gradient is returned.

    Raises
    ------
    DegenerateEigenvalueError
        From ``slope`` and ``gradient``, below that gap; carries both eigenvalues.
    """

    min_gap: float = 1e-6

    def __post_init__(self) -> None:
        if number("min_gap", self.min_gap) < 0.0:
            raise DataError(f"min_gap = {self.min_gap}: must be 0 or more.")

    def value(self, linearization: Linearization) -> float:
        return float(linearization.hessian_eigenvalues[0])

    def gap(self, linearization: Linearization) -> float:
        """Return λ₁ − λ₂; infinity where n = 1."""
        eigenvalues = linearization.hessian_eigenvalues
        return (
            float(eigenvalues[0] - eigenvalues[1]) if len(eigenvalues) > 1 else np.inf
        )

    def slope(self, linearization: Linearization) -> Array:
        values, vectors = linearization.hessian_eigensystem
        if self.gap(linearization) <= self.min_gap * values[0]:
            raise DegenerateEigenvalueError(float(values[0]), float(values[1]))
        top = np.sqrt(linearization.curvatures) * vectors[:, 0]
        return np.outer(top, top)

    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        values, vectors = linearization.hessian_eigensystem
        weighted = np.sqrt(linearization.curvatures)[:, None] * vectors
        top, others = weighted[:, 0], weighted[:, 1:]
        # first-order perturbation: dq = Σ_k (q_kᵀ dĜ q)/(λ₁ − λ_k) q_k
        pulled = others.T @ (linearization.gram_derivative(vector) @ top)
        turned = others @ (pulled / (values[0] - values[1:]))
        return np.outer(top, turned) + np.outer(turned, top)


@dataclass(frozen=True)
class HessianLogTopEigenvalue(Sharpness):
    r"""log λ₁(∇²L): the sharpness that normalised gradient descent decreases.

    Its gradient is :math:`\nabla\lambda_1/\lambda_1`, so that the unit of the loss
    does not matter (Arora, Li, Panigrahi 2022).

    Parameters
    ----------
    min_gap : float
        Smallest relative gap (λ₁ − λ₂)/λ₁ at which a gradient is returned.

    Raises
    ------
    DegenerateEigenvalueError
        From ``slope`` and ``gradient``, below that gap; carries both eigenvalues.
    """

    min_gap: float = 1e-6

    def __post_init__(self) -> None:
        HessianTopEigenvalue(self.min_gap)  # checks the gap

    @property
    def top_eigenvalue(self) -> HessianTopEigenvalue:
        """The sharpness λ₁ whose logarithm this is."""
        return HessianTopEigenvalue(self.min_gap)

    def value(self, linearization: Linearization) -> float:
        return float(np.log(self.top_eigenvalue.value(linearization)))

    def slope(self, linearization: Linearization) -> Array:
        top = self.top_eigenvalue
        return top.slope(linearization) / top.value(linearization)

    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        top, change = self.top_eigenvalue, linearization.gram_derivative(vector)
        value, slope = top.value(linearization), top.slope(linearization)
        relative = np.sum(slope * change) / value
        return (top.slope_change(linearization, vector) - relative * slope) / value
