"""What a model's structure decides, and what follows from it for every model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import NonFiniteError

__all__ = ["Linearization", "rank_message"]

Array = NDArray[np.float64]


class Linearization(ABC):
    """Residual, Jacobian and second derivatives of a model at one point.

    Parameters
    ----------
    residual : array, shape (n,)
        Residuals at the point.
    curvatures : array, shape (n,)
        Second derivatives c of the loss by residual.
    """

    def __init__(self, residual: Array, curvatures: Array) -> None:
        self.residual = residual
        self.curvatures = curvatures

    # --- what a model's structure decides ------------------------------------------

    @abstractmethod
    def apply(self, vector: Array) -> Array:
        """Return J v, shape (n,)."""

    @abstractmethod
    def apply_transpose(self, weights: Array) -> Array:
        """Return Jᵀ w, shape (p,)."""

    @property
    @abstractmethod
    def gram(self) -> Array:
        """The Gram matrix G = J Jᵀ, shape (n, n)."""

    @property
    @abstractmethod
    def singular_values(self) -> Array:
        """Singular values of J, shape (n,), descending."""

    @abstractmethod
    def multipliers(self, vector: Array) -> Array:
        """Return α = G⁻¹ J v, the coordinates of v's normal part, shape (n,)."""

    @abstractmethod
    def normal_solve(self, right_hand_side: Array) -> Array:
        """Return the shortest v with J v = b, that is Jᵀ G⁻¹ b, shape (p,)."""

    @abstractmethod
    def tangent_part(self, vector: Array) -> Array:
        """Return the orthogonal projection of v on ker J, shape (p,)."""

    @abstractmethod
    def curvature(self, weights: Array, vector: Array) -> Array:
        """Return Σ_i α_i D²r_i v, shape (p,)."""

    @abstractmethod
    def bend(self, vector: Array) -> Array:
        """Return D²r(v, v), how residuals curve along v, shape (n,)."""

    @abstractmethod
    def couple(self, weights: Array) -> Array:
        """Return Σ_ij A_ij D²r_i ∇r_j for any A of shape (n, n), shape (p,)."""

    @abstractmethod
    def gram_hessian(self, slope: Array, vector: Array) -> Array:
        """Return the derivative of ``gram_gradient`` along v, A fixed, shape (p,)."""

    # --- what follows for every model ----------------------------------------------

    def gram_gradient(self, slope: Array) -> Array:
        """Return ∇⟨A, G(θ)⟩ for a fixed symmetric A of shape (n, n), shape (p,)."""
        return 2.0 * self.couple(slope)

    @property
    def rank_margin(self) -> float:
        """σ_min(J) / σ_max(J); 0 where the manifold has no tangent space."""
        values = self.singular_values
        return float(values[-1] / values[0]) if values[0] > 0 else 0.0

    @cached_property
    def hessian_eigensystem(self) -> tuple[Array, Array]:
        """Eigenvalues (descending) and eigenvectors of diag(√c) G diag(√c)."""
        root = np.sqrt(self.curvatures)
        hessian = root[:, None] * self.gram * root
        if not np.isfinite(hessian).all():
            raise NonFiniteError(
                "the Hessian of the loss overflows here, because the square of a "
                "residual's gradient is no float64. Start closer, or use smaller "
                "targets."
            )
        values, vectors = np.linalg.eigh(hessian)
        return values[::-1], vectors[:, ::-1]

    @property
    def hessian_eigenvalues(self) -> Array:
        """The n non-zero eigenvalues of the loss Hessian on M, descending."""
        return self.hessian_eigensystem[0]

    def gram_derivative(self, vector: Array) -> Array:
        """Return DG(θ)[v], shape (n, n), by n products with second derivatives."""
        one_sided = np.stack(
            [
                self.apply(self.curvature(row, vector))
                for row in np.eye(len(self.residual))
            ]
        )
        return one_sided + one_sided.T

    def loss_gradient(self) -> Array:
        """Return ∇L = Jᵀ (c ∘ r), shape (p,)."""
        return self.apply_transpose(self.curvatures * self.residual)

    def loss_hessian_vector(self, vector: Array) -> Array:
        """Return ∇²L v, residual term included, so that it also holds off M."""
        gauss_newton = self.apply_transpose(self.curvatures * self.apply(vector))
        return gauss_newton + self.curvature(self.curvatures * self.residual, vector)


def rank_message(values: Array, gram: Array) -> str:
    """Name the pair of residuals whose gradients are most nearly parallel."""
    lengths = np.sqrt(np.maximum(np.diag(gram), 0.0))
    head = (
        f"rank J < n: the {len(values)} residual gradients are linearly dependent "
        f"(sigma_min {values[-1]:.1e}, sigma_max {values[0]:.1e}), so the zero-loss "
        "set is not a smooth manifold here. "
    )
    if (lengths == 0).any():
        i = int(np.argmin(lengths))
        return head + f"Residual {i} does not react to any parameter (a dead sample)."
    cosine = np.abs(gram / np.outer(lengths, lengths))
    np.fill_diagonal(cosine, 0.0)
    i, j = sorted(map(int, np.unravel_index(int(np.argmax(cosine)), cosine.shape)))
    if cosine[i, j] > 1.0 - 1e-10:
        return head + f"Rows {i} and {j} of J are parallel: remove duplicate samples."
    return head + "Start elsewhere, or remove dependent samples."
