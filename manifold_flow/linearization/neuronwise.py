"""Two-layer networks, without ever forming the Jacobian."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from manifold_flow.errors import NonFiniteError, RankDeficientJacobianError
from manifold_flow.linearization.abstract import Linearization, rank_message

__all__ = ["NeuronwiseLinearization"]

Array = NDArray[np.float64]


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
    theory notes §1.2-1.4.
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
        # an overflow is told by its infinities, where they matter
        with np.errstate(over="ignore", invalid="ignore"):
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
                rank_message(values, self.gram), values
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

    def bend(self, vector: Array) -> Array:
        change = self._preactivation_change(vector)
        return (self.second * change**2) @ self.output_weights

    def couple(self, weights: Array) -> Array:
        mixed = (weights * self.inputs_gram) @ self.slopes
        return self._pull_back(self.output_weights**2 * self.second * mixed)

    def gram_hessian(self, slope: Array, vector: Array) -> Array:
        change = self._preactivation_change(vector)
        coupling = slope * self.inputs_gram
        own = self.third * change * (coupling @ self.slopes)
        others = self.second * (coupling @ (self.second * change))
        return self._pull_back(2.0 * self.output_weights**2 * (own + others))
