"""Any model, through the Gram matrix of its Jacobian, or a thin SVD.

Everything asked of J is a solution of G α = J v.  Where σ_max/σ_min <= 1e3, G itself is
solved with, and the residual J (v − Jᵀα) once more, which is as accurate as a
factorisation of J (corrected seminormal equations) at a tenth of the cost: J is read a
few times and not rotated.  Elsewhere squaring J would lose its small singular values.

References
----------
Å. Björck (1987), Linear Algebra and its Applications 88/89, 31-48.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import NonFiniteError, RankDeficientJacobianError
from manifold_flow.linearization.abstract import Linearization, rank_message

__all__ = ["DenseLinearization"]

Array = NDArray[np.float64]

#: σ_max/σ_min up to which G gives singular values to 1e-10
LARGEST_CONDITION = 1e3
#: σ² below which squares have lost digits to underflow
SMALLEST_SQUARE = np.finfo(float).tiny / np.finfo(float).eps


class DenseLinearization(Linearization):
    """One Jacobian and its Gram matrix; for any model.

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
    along : callable, optional
        ``v -> D²r v``, the derivative of J, shape (n, p); by default n products.
    """

    def __init__(
        self,
        residual: Array,
        curvatures: Array,
        jacobian: Array,
        contracted: Callable[[Array], Array],
        third: Callable[[Array, Array], Array],
        along: Callable[[Array], Array] | None = None,
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
        self._along = along or self._row_by_row

    @cached_property
    def _eigensystem(self) -> tuple[Array, Array] | None:
        """σ, descending, and the eigenvectors of G where they are accurate enough."""
        if not np.isfinite(self.gram).all():
            return None
        squares, vectors = np.linalg.eigh(self.gram)
        if squares[0] < max(squares[-1] / LARGEST_CONDITION**2, SMALLEST_SQUARE):
            return None
        return np.sqrt(squares[::-1]), vectors[:, ::-1]

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
        return self._svd[1] if self._eigensystem is None else self._eigensystem[0]

    def _solve(self, right_hand_side: Array) -> Array:
        """Return G⁻¹ b, to the square of the condition number."""
        assert self._eigensystem is not None
        values, vectors = self._eigensystem
        return vectors @ ((right_hand_side @ vectors) / values**2)

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
        if self._eigensystem is not None:
            found = self._solve(self.jacobian @ vector)
            missed = vector - found @ self.jacobian
            return found + self._solve(self.jacobian @ missed)
        left, _, right = self._svd
        return left @ (self._inverse_singular_values * (right @ vector))

    def normal_solve(self, right_hand_side: Array) -> Array:
        if self._eigensystem is not None:
            found = self._solve(right_hand_side) @ self.jacobian
            missed = right_hand_side - self.jacobian @ found
            return found + self._solve(missed) @ self.jacobian
        left, _, right = self._svd
        return (self._inverse_singular_values * (right_hand_side @ left)) @ right

    def tangent_part(self, vector: Array) -> Array:
        if self._eigensystem is not None:
            for _ in range(2):
                vector = vector - self._solve(self.jacobian @ vector) @ self.jacobian
            return vector
        right = self._svd[2]
        assert self._inverse_singular_values is not None  # raises where rank is lost
        return vector - (right @ vector) @ right

    def curvature(self, weights: Array, vector: Array) -> Array:
        return self._contracted(np.outer(weights, vector))

    def bend(self, vector: Array) -> Array:
        return self._along(vector) @ vector

    def couple(self, weights: Array) -> Array:
        diagonal = np.diag(weights)
        if np.count_nonzero(weights) == np.count_nonzero(diagonal):  # of Tr ∇²L
            return self._contracted(diagonal[:, None] * self.jacobian)
        return self._contracted(weights @ self.jacobian)

    def gram_derivative(self, vector: Array) -> Array:
        one_sided = self._along(vector) @ self.jacobian.T
        return one_sided + one_sided.T

    def gram_hessian(self, slope: Array, vector: Array) -> Array:
        directions = slope @ self.jacobian
        moved = self._contracted(slope @ self._along(vector))
        return 2.0 * (self._third(directions, vector) + moved)

    def _row_by_row(self, vector: Array) -> Array:
        units = np.eye(len(self.residual))
        return np.stack([self.curvature(unit, vector) for unit in units])
