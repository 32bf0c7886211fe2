"""Any model, through one thin SVD of its Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import NonFiniteError, RankDeficientJacobianError
from manifold_flow.linearization.abstract import Linearization, rank_message

__all__ = ["DenseLinearization"]

Array = NDArray[np.float64]


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
        finite = np.isfinite(jacobian).all(axis=1) & np.isfinite(residual)
        if not finite.all():
            raise NonFiniteError(
                f"residual {int(np.argmin(finite))} is not finite, or its gradient: "
                "the model overflowed or is not differentiable here. Start closer, or "
                "use smaller targets."
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
            raise RankDeficientJacobianError(rank_message(values, self.gram), values)
        return 1.0 / values

    @property
    def singular_values(self) -> Array:
        return self._svd[1]

    @cached_property
    def gram(self) -> Array:
        # an overflow is told by its infinities, where they matter
        with np.errstate(over="ignore", invalid="ignore"):
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

    def bend(self, vector: Array) -> Array:
        units = np.eye(len(self.residual))
        return np.array([self.curvature(unit, vector) @ vector for unit in units])

    def couple(self, weights: Array) -> Array:
        return self._contracted(weights @ self.jacobian)

    def gram_hessian(self, slope: Array, vector: Array) -> Array:
        directions = slope @ self.jacobian
        moved = np.stack([self.curvature(row, vector) for row in np.eye(len(slope))])
        return 2.0 * (self._third(directions, vector) + self._contracted(slope @ moved))
