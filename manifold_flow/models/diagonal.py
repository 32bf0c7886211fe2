r"""DiagonalLinearNetwork: the quadratically over-parametrised linear model."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite
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

__all__ = ["DiagonalLinearNetwork"]

Array = NDArray[np.float64]


class DiagonalLinearNetwork(Model):
    r"""The model :math:`f_i(u, v) = \langle u \circ u - v \circ v, x_i \rangle`.

    Parameters are ``[u, v]``, 2d numbers.  On its zero-loss manifold
    :math:`\mathrm{Tr}\,\nabla^2 L = 4 \sum_k \kappa_k (u_k^2 + v_k^2)` with
    :math:`\kappa_k = \sum_i c_i x_{ik}^2`, whose minimum is a weighted ℓ1 problem.

    Parameters
    ----------
    inputs : array, shape (n, d)
        Data; equal rows are refused.
    targets : array, shape (n,)
        Targets y.
    sample_weights : array, shape (n,), optional
        Positive weights of the loss.
    loss : {"half_mean", "mean", "sum"}
        Normalisation.

    References
    ----------
    Woodworth et al. (2020); Li, Wang, Arora (2021); theory notes §3.

    Examples
    --------
    >>> model = DiagonalLinearNetwork([[1.0, 2.0]], [1.0])
    >>> model.residual(np.array([1.0, 1.0, 0.0, 1.0]))
    array([0.])
    """

    @suggest_keywords
    def __init__(
        self,
        inputs: ArrayLike,
        targets: ArrayLike,
        sample_weights: ArrayLike | None = None,
        loss: str = "half_mean",
    ) -> None:
        self.inputs = as_finite("inputs", inputs, 2)
        self.targets = as_finite("targets", targets, 1)
        self.n_residuals, self.n_features = self.inputs.shape
        if self.targets.shape != (self.n_residuals,):
            raise ShapeError("targets", (self.n_residuals,), self.targets.shape)
        self.n_params = 2 * self.n_features
        self.loss = SquaredLoss(loss, self.n_residuals, sample_weights)
        over_parametrised(self.n_params, self.n_residuals)
        refuse_duplicate_rows(self.inputs)

    def unflatten(self, params: Array) -> Mapping[str, Array]:
        u, v = np.split(self._checked(params), 2, axis=-1)
        return {"u": u, "v": v}

    def weights(self, params: Array) -> Array:
        """Return the linear predictor w = u∘u − v∘v, shape (..., d)."""
        parts = self.unflatten(params)
        return parts["u"] ** 2 - parts["v"] ** 2

    @property
    def feature_curvatures(self) -> Array:
        """κ_k = Σ_i c_i x_ik², the weights of the ℓ1 norm, shape (d,)."""
        return self.loss.curvatures @ self.inputs**2

    def residual(self, params: Array) -> Array:
        return self.weights(params) @ self.inputs.T - self.targets

    def jacobian(self, params: Array) -> Array:
        return 2.0 * np.tile(self.inputs, 2) * self._signed(params)[..., None, :]

    def _signed(self, params: Array) -> Array:
        u, v = np.split(self._checked(params), 2, axis=-1)
        return np.concatenate([u, -v], axis=-1)

    def contracted_hessian(self, params: Array, directions: Array) -> Array:
        # D²r_i = 2 diag(x_i, −x_i), whatever the point
        return 2.0 * self._signed((np.tile(self.inputs, 2) * directions).sum(axis=0))

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
        u, v = params.T[: self.n_features], params.T[self.n_features :]
        weights = u * u - v * v
        if columns is None:
            errors = self.inputs @ weights - self.targets[:, None]
        else:
            rows = self.inputs.T.take(columns, axis=1)
            errors = np.einsum("dkr,dr->kr", rows, weights) - self.targets[columns]
        if noise is not None:
            errors -= noise.T
        pulls = 2.0 * self.loss.slopes(errors, columns)
        if columns is None:
            by_feature = self.inputs.T @ pulls
        else:
            by_feature = np.einsum("dkr,kr->dr", rows, pulls)
        return np.concatenate([by_feature * u, -by_feature * v]).T

    def predict(self, params: Array, inputs: ArrayLike) -> Array:
        return self.weights(params) @ as_finite("inputs", inputs, 2).T

    def linearize(self, params: Array) -> DenseLinearization:
        return dense(self, params)

    def reduction(self) -> Reduction:
        return Reduction(self)

    def __repr__(self) -> str:
        """Return the sizes and the loss."""
        return (
            f"DiagonalLinearNetwork(n={self.n_residuals}, d={self.n_features}, "
            f"loss={self.loss.normalization!r})"
        )
