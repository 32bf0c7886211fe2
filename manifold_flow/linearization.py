r"""A model seen from one point: one factorisation, all the geometry.

Write :math:`J` (n, p) for the Jacobian of the residuals, :math:`G = J J^T` for its
Gram matrix and :math:`c` for the curvatures of the loss.  On the zero-loss manifold M

* the Hessian of the loss is :math:`J^T \mathrm{diag}(c) J`, so its non-zero spectrum is
  that of :math:`\mathrm{diag}(\sqrt c)\, G\, \mathrm{diag}(\sqrt c)`;
* the tangent space is :math:`\ker J` and the normal space is the row space of J;
* every sharpness is a function of G, so that its gradient is
  :math:`\nabla \langle A, G(\theta) \rangle` with a symmetric A held fixed.

This is the only place where dense and structured models differ.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from manifold_flow.errors import NonFiniteError, RankDeficientJacobianError

__all__ = ["DenseLinearization", "Linearization", "NeuronwiseLinearization"]

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
    def gram_gradient(self, slope: Array) -> Array:
        """Return ∇⟨A, G(θ)⟩ for a fixed symmetric A of shape (n, n), shape (p,)."""

    @abstractmethod
    def gram_hessian(self, slope: Array, vector: Array) -> Array:
        """Return the derivative of ``gram_gradient`` along v, A fixed, shape (p,)."""

    # --- what follows for every model ----------------------------------------------

    @property
    def rank_margin(self) -> float:
        """σ_min(J) / σ_max(J); 0 where the manifold has no tangent space."""
        values = self.singular_values
        return float(values[-1] / values[0]) if values[0] > 0 else 0.0

    @cached_property
    def hessian_eigensystem(self) -> tuple[Array, Array]:
        """Eigenvalues (descending) and eigenvectors of diag(√c) G diag(√c)."""
        root = np.sqrt(self.curvatures)
        values, vectors = np.linalg.eigh(root[:, None] * self.gram * root)
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


class DenseLinearization(Linearization):
    """One thin SVD of the Jacobian; for any model.

    Parameters
    ----------
    residual, curvatures : array, shape (n,)
        See :class:`Linearization`.
    jacobian : array, shape (n, p)
        The Jacobian J.
    contracted : callable
        ``directions (n, p) -> Σ_i D²r_i directions_i``, shape (p,).
    third : callable
        ``(directions (n, p), v) -> Σ_i D³r_i[v, directions_i]``, shape (p,).
    """

    def __init__(
        self,
        residual: Array,
        curvatures: Array,
        jacobian: Array,
        contracted: Callable[[Array], Array],
        third: Callable[[Array, Array], Array],
    ) -> None:
        super().__init__(residual, curvatures)
        if not np.isfinite(jacobian).all():
            row = int(np.argmax(~np.isfinite(jacobian).all(axis=1)))
            raise NonFiniteError(
                f"the Jacobian row of residual {row} is not finite: the model "
                "overflowed or is not differentiable here. Start closer, or use "
                "smaller targets."
            )
        self.jacobian = jacobian
        self._contracted = contracted
        self._third = third

    @cached_property
    def _svd(self) -> tuple[Array, Array, Array]:
        return np.linalg.svd(self.jacobian, full_matrices=False)

    @cached_property
    def _inverse_singular_values(self) -> Array:
        values = self.singular_values
        if values[-1] <= np.finfo(float).eps * max(self.jacobian.shape) * values[0]:
            raise RankDeficientJacobianError(_rank_message(values, self.gram), values)
        return 1.0 / values

    @property
    def singular_values(self) -> Array:
        return self._svd[1]

    @cached_property
    def gram(self) -> Array:
        return self.jacobian @ self.jacobian.T

    def apply(self, vector: Array) -> Array:
        return self.jacobian @ vector

    def apply_transpose(self, weights: Array) -> Array:
        return weights @ self.jacobian

    def multipliers(self, vector: Array) -> Array:
        left, _, right = self._svd
        return left @ (self._inverse_singular_values * (right @ vector))

    def normal_solve(self, right_hand_side: Array) -> Array:
        left, _, right = self._svd
        return (self._inverse_singular_values * (right_hand_side @ left)) @ right

    def tangent_part(self, vector: Array) -> Array:
        right = self._svd[2]
        assert self._inverse_singular_values is not None  # raises where rank is lost
        return vector - (right @ vector) @ right

    def curvature(self, weights: Array, vector: Array) -> Array:
        return self._contracted(np.outer(weights, vector))

    def gram_gradient(self, slope: Array) -> Array:
        # ⟨A, JJᵀ⟩ has the differential 2 Σ_i (AJ)_i · D²r_i dθ for a symmetric A.
        return 2.0 * self._contracted(slope @ self.jacobian)

    def gram_hessian(self, slope: Array, vector: Array) -> Array:
        directions = slope @ self.jacobian
        moved = np.stack([self.curvature(row, vector) for row in np.eye(len(slope))])
        return 2.0 * (self._third(directions, vector) + self._contracted(slope @ moved))


class NeuronwiseLinearization(Linearization):
    r"""Two-layer network: the Gram matrix by a Hadamard product, J never formed.

    With :math:`P = \phi'(Z)` and output weights a, Lemma 1 of Gatmiry et al. gives
    :math:`G = K \circ (P\,\mathrm{diag}(a^2)\,P^T)`, :math:`K = X X^T`.  One product of
    cost n²m and one Cholesky factorisation of cost n³/3 are the whole geometry.

    Parameters
    ----------
    residual, curvatures : array, shape (n,)
        See :class:`Linearization`.
    inputs : array, shape (n, d)
        Data X.
    inputs_gram : array, shape (n, n)
        K = X Xᵀ.
    output_weights : array, shape (m,)
        Fixed second layer a.
    slopes, second, third : array, shape (n, m)
        φ', φ'' and φ''' at the preactivations.

    References
    ----------
    theory.md §1.2-1.4.
    """

    def __init__(
        self,
        residual: Array,
        curvatures: Array,
        inputs: Array,
        inputs_gram: Array,
        output_weights: Array,
        slopes: Array,
        second: Array,
        third: Array,
    ) -> None:
        super().__init__(residual, curvatures)
        if not (np.isfinite(residual).all() and np.isfinite(slopes).all()):
            finite = np.isfinite(residual) & np.isfinite(slopes).all(axis=1)
            raise NonFiniteError(
                f"the activation overflowed on sample {int(np.argmin(finite))}: its "
                "preactivations are too large for float64. Use smaller targets or "
                "inputs."
            )
        self.inputs, self.inputs_gram = inputs, inputs_gram
        self.output_weights = output_weights
        self.slopes, self.second, self.third = slopes, second, third

    @cached_property
    def gram(self) -> Array:
        weighted = self.slopes * self.output_weights
        return self.inputs_gram * (weighted @ weighted.T)

    @cached_property
    def _cholesky(self) -> tuple[Array, bool]:
        try:
            factor, lower = scipy.linalg.cho_factor(
                self.gram, lower=True, check_finite=False
            )
        except scipy.linalg.LinAlgError:
            values = self.singular_values
            raise RankDeficientJacobianError(
                _rank_message(values, self.gram), values
            ) from None
        return factor, bool(lower)

    @cached_property
    def singular_values(self) -> Array:
        eigenvalues = np.linalg.eigvalsh(self.gram)[::-1]
        return np.sqrt(np.maximum(eigenvalues, 0.0))

    def _preactivation_change(self, vector: Array) -> Array:
        """x_iᵀ v_j, shape (n, m)."""
        return self.inputs @ vector.reshape(len(self.output_weights), -1).T

    def _pull_back(self, change: Array) -> Array:
        """Transpose of ``_preactivation_change``: (n, m) to (p,)."""
        return (change.T @ self.inputs).ravel()

    def _solve(self, right_hand_side: Array) -> Array:
        solution: Array = scipy.linalg.cho_solve(
            self._cholesky, right_hand_side, check_finite=False
        )
        return solution

    def apply(self, vector: Array) -> Array:
        return (self.slopes * self._preactivation_change(vector)) @ self.output_weights

    def apply_transpose(self, weights: Array) -> Array:
        return self._pull_back(weights[:, None] * self.slopes * self.output_weights)

    def multipliers(self, vector: Array) -> Array:
        first = self._solve(self.apply(vector))
        # The Gram matrix squares the condition of J; one refinement wins it back.
        remainder = self.apply(vector - self.apply_transpose(first))
        return first + self._solve(remainder)

    def normal_solve(self, right_hand_side: Array) -> Array:
        return self.apply_transpose(self._solve(right_hand_side))

    def tangent_part(self, vector: Array) -> Array:
        return vector - self.apply_transpose(self.multipliers(vector))

    def curvature(self, weights: Array, vector: Array) -> Array:
        change = self._preactivation_change(vector)
        return self._pull_back(
            weights[:, None] * self.output_weights * self.second * change
        )

    def gram_gradient(self, slope: Array) -> Array:
        mixed = (slope * self.inputs_gram) @ self.slopes
        return self._pull_back(2.0 * self.output_weights**2 * self.second * mixed)

    def gram_hessian(self, slope: Array, vector: Array) -> Array:
        change = self._preactivation_change(vector)
        coupling = slope * self.inputs_gram
        own = self.third * change * (coupling @ self.slopes)
        others = self.second * (coupling @ (self.second * change))
        return self._pull_back(2.0 * self.output_weights**2 * (own + others))


def _rank_message(values: Array, gram: Array) -> str:
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
