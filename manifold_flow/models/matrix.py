r"""MatrixSensing: linear measurements of a matrix given by its factors."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite, as_real, refuse_too_large
from manifold_flow.checks import count
from manifold_flow.errors import ShapeError, suggest_keywords
from manifold_flow.linearization import DenseLinearization
from manifold_flow.loss import SquaredLoss
from manifold_flow.models.model import (
    Indices,
    Model,
    Reduction,
    dense,
    over_parametrised,
    refuse_duplicate_rows,
)

__all__ = ["MatrixSensing"]

Array = NDArray[np.float64]


class MatrixSensing(Model):
    r"""Measurements :math:`f_i(U, V) = \langle A_i, UV^T \rangle` of a factored matrix.

    With ``symmetric=True``, :math:`f_i(U) = \langle A_i, U U^T \rangle`.  Parameters
    are ``[U, V]`` (or U), flattened by rows.

    Parameters
    ----------
    matrices : array, shape (n, d1, d2)
        Measurement matrices A_i; equal ones are refused.
    targets : array, shape (n,)
        Measured values b.
    rank : int
        Inner dimension k of the factors.
    symmetric : bool
        Use U Uᵀ; needs d1 = d2.
    sample_weights : array, shape (n,), optional
        Positive weights of the loss.
    loss : {"half_mean", "mean", "sum"}
        Normalisation.

    References
    ----------
    Ding et al. (2022), arXiv:2203.03756; theory notes §4.

    Examples
    --------
    >>> model = MatrixSensing([[[1.0, 0.0], [0.0, 1.0]]], [2.0], rank=1)
    >>> model.residual(np.ones(4))  # the trace of a matrix of ones is 2
    array([0.])
    """

    @suggest_keywords
    def __init__(
        self,
        matrices: ArrayLike,
        targets: ArrayLike,
        rank: int,
        symmetric: bool = False,
        sample_weights: ArrayLike | None = None,
        loss: str = "half_mean",
    ) -> None:
        self.matrices = as_finite("matrices", matrices, 3)
        self.targets = as_finite("targets", targets, 1)
        self.n_residuals, self.n_rows, self.n_columns = self.matrices.shape
        if self.targets.shape != (self.n_residuals,):
            raise ShapeError("targets", (self.n_residuals,), self.targets.shape)
        if symmetric and self.n_rows != self.n_columns:
            raise ShapeError("matrices", "(n, d, d) if symmetric", self.matrices.shape)
        self.rank = count("rank", rank, advice="It is the factors' number of columns.")
        self.symmetric = bool(symmetric)
        rows = self.n_rows if symmetric else self.n_rows + self.n_columns
        self.n_params = rows * self.rank
        self.loss = SquaredLoss(loss, self.n_residuals, sample_weights)
        over_parametrised(self.n_params, self.n_residuals)
        refuse_too_large("the Jacobian", self.n_residuals, self.n_params)
        refuse_duplicate_rows(self.matrices, "matrices")
        self._forms = self._quadratic_forms()

    def _quadratic_forms(self) -> Array:
        """Symmetric S_i with f_i = ½⟨S_i W, W⟩ on the stacked factors W, (n, q, q)."""
        transposed = self.matrices.swapaxes(1, 2)
        if self.symmetric:
            return self.matrices + transposed
        side = self.n_rows + self.n_columns
        forms = np.zeros((self.n_residuals, side, side))
        forms[:, : self.n_rows, self.n_rows :] = self.matrices
        forms[:, self.n_rows :, : self.n_rows] = transposed
        return forms

    def _stacked(self, params: Array) -> Array:
        params = self._checked(params)
        return params.reshape(*params.shape[:-1], -1, self.rank)

    def unflatten(self, params: Array) -> Mapping[str, Array]:
        factors = self._stacked(params)
        if self.symmetric:
            return {"U": factors}
        return {
            "U": factors[..., : self.n_rows, :],
            "V": factors[..., self.n_rows :, :],
        }

    def matrix(self, params: Array) -> Array:
        """Return U Vᵀ (or U Uᵀ), shape (..., d1, d2)."""
        factors = self.unflatten(params)
        right = factors["U"] if self.symmetric else factors["V"]
        return factors["U"] @ right.swapaxes(-1, -2)

    def residual(self, params: Array) -> Array:
        return self.predict(params, self.matrices) - self.targets

    def jacobian(self, params: Array) -> Array:
        rows = self._forms @ self._stacked(params)[..., None, :, :]
        return rows.reshape(*rows.shape[:-2], self.n_params)

    def contracted_hessian(self, params: Array, directions: Array) -> Array:
        moved = directions.reshape(self.n_residuals, -1, self.rank)
        return (self._forms @ moved).sum(axis=0).ravel()

    def contracted_third(
        self, params: Array, directions: Array, vector: Array
    ) -> Array:
        return np.zeros(self.n_params)

    def sample_gradient(
        self,
        params: Array,
        drawn: Indices | None = None,
        noise: Array | None = None,
    ) -> Array:
        columns = None if drawn is None else drawn.T
        factors = params.T.reshape(-1, self.rank, len(params))
        forms = self._forms.reshape(self.n_residuals, -1)
        outer = np.einsum("akr,bkr->abr", factors, factors)
        products = outer.reshape(-1, len(params))
        if columns is None:
            errors = 0.5 * (forms @ products) - self.targets[:, None]
        else:
            rows = forms.T.take(columns, axis=1)
            values = 0.5 * np.einsum("qkr,qr->kr", rows, products)
            errors = values - self.targets[columns]
        if noise is not None:
            errors -= noise.T
        pulls = self.loss.slopes(errors, columns)
        if columns is None:
            combined = forms.T @ pulls
        else:
            combined = np.einsum("qkr,kr->qr", rows, pulls)
        gradient = np.einsum("abr,bkr->akr", combined.reshape(outer.shape), factors)
        return gradient.reshape(params.T.shape).T

    def predict(self, params: Array, inputs: ArrayLike) -> Array:
        """Return ⟨A, U Vᵀ⟩ for other measurement matrices A, shape (..., k)."""
        matrices = as_real("inputs", inputs)
        if matrices.shape[1:] != (self.n_rows, self.n_columns):
            raise ShapeError(
                "inputs", ("k", self.n_rows, self.n_columns), matrices.shape
            )
        product = self.matrix(params)
        flat = product.reshape(*product.shape[:-2], -1)
        return flat @ matrices.reshape(len(matrices), -1).T

    def linearize(self, params: Array) -> DenseLinearization:
        return dense(self, params)

    def reduction(self) -> Reduction:
        return Reduction(self)

    def __repr__(self) -> str:
        """Return the sizes and the loss."""
        kind = "UUᵀ" if self.symmetric else "UVᵀ"
        return (
            f"MatrixSensing({kind}, n={self.n_residuals}, "
            f"{self.n_rows}x{self.n_columns}, rank={self.rank}, "
            f"loss={self.loss.normalization!r})"
        )
