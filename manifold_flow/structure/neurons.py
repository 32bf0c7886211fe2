"""The arithmetic of a two-layer network's trace flow: O(n²m + n³), no parameters."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from manifold_flow.activations import Activation
from manifold_flow.errors import NonFiniteError, RankDeficientJacobianError
from manifold_flow.linearization.abstract import rank_message

__all__ = ["Neurons", "Snapshot"]

Array = NDArray[np.float64]

#: preactivations that are worked on at once: their dozen arrays stay in the cache
BLOCK = 16_384
#: an averaged slope of the force is at least this share of its mean absolute value
SMALLEST_SLOPE = 0.1


@dataclass(frozen=True, eq=False)
class Snapshot:
    r"""The flow at preactivations Z: everything of one evaluation.

    A and B are valid until the next evaluation, which overwrites them.

    With :math:`A_{ij} = a_j \varphi'(z_{ij})` the gradients are
    :math:`\nabla r_i = (A_{ij} x_i)_j`, and

    .. math:: \dot\theta_j = -\sum_i B_{ij} x_i, \qquad B = A \circ (Q - \alpha 1^T),
       \quad Q_{ij} = 2 \rho w_i a_j \varphi''(z_{ij}), \quad w_i = c_i \|x_i\|^2.

    Attributes
    ----------
    features, weighted_slopes, force : array, shape (n, m)
        Z, A and B.
    multipliers, correction, residual : array, shape (n,)
        α; the coordinates of the shortest way to M, :math:`G^{-1} r`; and r.
    gram : array, shape (n, n)
        G = K ∘ AAᵀ.
    """

    features: Array
    weighted_slopes: Array
    force: Array
    multipliers: Array
    correction: Array
    residual: Array
    gram: Array


class Neurons:
    """A two-layer network's trace flow as a function of its preactivations.

    Parameters
    ----------
    inputs : array, shape (n, r)
        Data, in coordinates of their span.
    targets, curvatures : array, shape (n,)
        Targets y and curvatures c of the loss.
    activation : Activation
        φ.
    output_weights : array, shape (m,)
        Fixed second layer a.
    rate : float
        The clock ρ > 0 of the flow.
    """

    def __init__(
        self,
        inputs: Array,
        targets: Array,
        curvatures: Array,
        activation: Activation,
        output_weights: Array,
        rate: float,
    ) -> None:
        self.inputs, self.targets, self.activation = inputs, targets, activation
        self.curvatures, self.rate = curvatures, rate
        self.output_weights = output_weights
        self.inputs_gram = inputs @ inputs.T
        self.has_equal_weights = bool(np.ptp(output_weights) == 0.0)
        # a scalar broadcasts faster than a row
        self.scale: Array = (
            output_weights[:1] if self.has_equal_weights else output_weights
        )
        weights = 2.0 * rate * curvatures * np.diag(self.inputs_gram)
        self.pull = weights[:, None] * self.scale
        shape = len(targets), len(output_weights)
        self.work = 2 * shape[0] ** 2 * shape[1]
        self._weighted, self._force = np.empty(shape), np.empty(shape)
        rows = max(1, BLOCK // shape[1])
        self._blocks = [slice(k, k + rows) for k in range(0, shape[0], rows)]

    @cached_property
    def collapse(self) -> bool:
        """Whether all neurons provably end alike, and then have one slope a sample.

        That is Theorem 1 of Gatmiry et al., for equal output weights.
        """
        rank = self.inputs.shape[1]
        independent = rank >= len(self.targets)
        if not (self.has_equal_weights and independent):
            return False
        return self.activation.satisfies_hypotheses() is True

    def features(self, point: Array) -> Array:
        """Return Z, shape (n, m), at parameters of shape (p,)."""
        return self.inputs @ point.reshape(len(self.output_weights), -1).T

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def residual(self, features: Array) -> Array:
        """Return r, shape (n,)."""
        residual = np.empty(len(features))
        for rows in self._blocks:
            (value,) = self.activation.leading(features[rows], 1)
            residual[rows] = value @ self.output_weights - self.targets[rows]
        return residual

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def residual_and_slopes(self, features: Array) -> tuple[Array, Array]:
        """Return r, shape (n,), and A, shape (n, m)."""
        residual, weighted = np.empty(len(features)), np.empty_like(features)
        for rows in self._blocks:
            value, slope = self.activation.leading(features[rows], 2)
            np.multiply(slope, self.scale, out=weighted[rows])
            residual[rows] = value @ self.output_weights - self.targets[rows]
        return residual, weighted

    def evaluate(self, features: Array) -> Snapshot:
        """Return the flow at Z: AAᵀ, one more n × m × n product, one Cholesky factor.

        Raises
        ------
        NonFiniteError
            If the activation overflows; names the sample.
        RankDeficientJacobianError
            If the Gram matrix is not positive definite.
        """
        size = len(features)
        weighted, force = self._weighted, self._force
        residual, shift = np.empty(size), np.empty(size)
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            for rows in self._blocks:
                residual[rows], shift[rows] = self._fill(
                    features[rows], rows, weighted[rows], force[rows]
                )
            gram = weighted @ weighted.T  # symmetric: NumPy computes half of it
            gram *= self.inputs_gram
            crossed = weighted @ force.T
        right = np.empty((size, 2), order="F")
        right[:, 0] = np.einsum("ij,ij->i", self.inputs_gram, crossed)
        right[:, 1] = residual
        solved = self.solve(gram, right)
        for rows in self._blocks:
            force[rows] -= solved[rows, :1] * weighted[rows]
        return Snapshot(
            features=features,
            weighted_slopes=weighted,
            force=force,
            multipliers=shift + solved[:, 0],
            correction=solved[:, 1],
            residual=residual,
            gram=gram,
        )

    def _fill(
        self, features: Array, rows: slice, weighted: Array, force: Array
    ) -> tuple[Array, Array]:
        """Write A and A ∘ (Q − shift) of some samples; return r and shift.

        The shift is the α of a diagonal K.  What is left is small near the limit, so
        that solving for the rest of α does not cancel: gradients far below rounding of
        ∇S are seen.
        """
        value, slope, second = self.activation.leading(features, 3)
        np.multiply(slope, self.scale, out=weighted)
        excess = second * self.pull[rows]
        np.multiply(weighted, excess, out=force)
        squares = np.einsum("ij,ij->i", weighted, weighted)
        shift: Array = np.einsum("ij,ij->i", weighted, force) / squares
        excess -= shift[:, None]
        np.multiply(weighted, excess, out=force)
        return value @ self.output_weights - self.targets[rows], shift

    @staticmethod
    def solve(gram: Array, right: Array) -> Array:
        """Return G⁻¹ b for a matrix of the form (positive semidefinite) ∘ AAᵀ.

        Raises
        ------
        NonFiniteError
            If the activation overflowed; names the sample.
        RankDeficientJacobianError
            If the matrix is not positive definite.
        """
        finite = np.isfinite(gram.diagonal()) & np.isfinite(right).T
        if not finite.all():
            sample = int(np.argmin(np.atleast_2d(finite).all(axis=0)))
            raise NonFiniteError(
                f"the activation overflowed on sample {sample}: its preactivations are "
                "too large for float64. Use smaller targets or inputs."
            )
        factor, failed = lapack.dpotrf(gram, lower=1)
        if failed:
            values = singular_values(gram)
            raise RankDeficientJacobianError(rank_message(values, gram), values)
        solved, _ = lapack.dpotrs(factor, right, lower=1)
        return solved

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def slopes(self, here: Snapshot) -> Array:
        """Return D = ∂B_ij/∂z_ij with α held fixed, shape (n, m)."""
        slopes = np.empty_like(here.features)
        for rows in self._blocks:
            _, _, second, third = self.activation.leading(here.features[rows], 4)
            block = np.multiply(second, self.pull[rows], out=slopes[rows])
            block -= here.multipliers[rows, None]
            block *= second * self.scale
            third = third * self.pull[rows]
            third *= here.weighted_slopes[rows]
            block += third
        return slopes

    @staticmethod
    def shared_slopes(slopes: Array) -> Array:
        """Return E > 0, one slope for all neurons of a sample, shape (n,)."""
        shared = np.maximum(
            slopes.mean(axis=1), SMALLEST_SLOPE * np.abs(slopes).mean(axis=1)
        )
        largest = float(shared.max())
        return np.maximum(shared, 1e-8 * largest) if largest > 0 else shared + 1.0


def singular_values(gram: Array) -> Array:
    """Return the singular values of J from G, descending."""
    eigenvalues = np.linalg.eigvalsh(gram)[::-1]
    return np.sqrt(np.maximum(eigenvalues, 0.0))
