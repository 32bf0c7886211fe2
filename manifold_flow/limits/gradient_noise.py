"""Noise in the gradient, Σ(θ) = B(θ) B(θ)ᵀ, as a limiting diffusion needs it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite
from manifold_flow.checks import LARGEST, number, representable
from manifold_flow.errors import CallbackError, DataError, ManifoldFlowError, ShapeError
from manifold_flow.linearization import Linearization

__all__ = [
    "FactorNoise",
    "GradientNoise",
    "IsotropicNoise",
    "gradient_noise",
    "square_root",
]

Array = NDArray[np.float64]
#: σ of σ I, a matrix, or a function of the point
Given = float | ArrayLike | Callable[[Array], ArrayLike]

#: relative step of the central differences of a factor
STEP = 1e-5


class GradientNoise(ABC):
    """The factor B of shape (p, k), and its split at a point of M.

    Columns are b_k = Jᵀβ_k + a_k with a_k tangent.
    """

    @abstractmethod
    def columns(self, point: Array) -> Array:
        """Return B, shape (p, k)."""

    @abstractmethod
    def n_sources(self, point: Array) -> int:
        """Return the number k of independent Brownian motions."""

    @abstractmethod
    def kick(self, point: Array, increment: Array) -> Array:
        """Return B dW for dW of shape (k,), shape (p,)."""

    @abstractmethod
    def split(self, here: Linearization, point: Array) -> tuple[Array, Array]:
        """Return N = Σ_k β_k β_kᵀ, (n, n), and Σ_k Σ_i β_ki D²r_i a_k, (p,)."""

    @abstractmethod
    def bend(self, here: Linearization, point: Array) -> Array:
        """Return Σ_k D²r(a_k, a_k), shape (n,)."""

    @abstractmethod
    def variation(self, here: Linearization, point: Array) -> Array:
        """Return Σ_k Db_k[a_k], how the factor changes along itself, shape (p,)."""


class IsotropicNoise(GradientNoise):
    """B = σ I, a number instead of a matrix.

    Parameters
    ----------
    scale : float
        σ >= 0.
    n_params : int
        p.
    """

    def __init__(self, scale: float, n_params: int) -> None:
        self.scale, self.n_params = scale, n_params

    def columns(self, point: Array) -> Array:
        return self.scale * np.eye(self.n_params)

    def n_sources(self, point: Array) -> int:
        return self.n_params

    def kick(self, point: Array, increment: Array) -> Array:
        if increment.shape != (self.n_params,):
            raise ShapeError("increment", (self.n_params,), increment.shape)
        return self.scale * increment

    def split(self, here: Linearization, point: Array) -> tuple[Array, Array]:
        units = np.eye(len(here.residual))
        inverse_gram = np.stack([here.multipliers(here.normal_solve(e)) for e in units])
        # the mixed sum is Σ_i D²r_i P_T Jᵀ G⁻¹ e_i, and P_T Jᵀ = 0
        return self.scale**2 * inverse_gram, np.zeros(self.n_params)

    def bend(self, here: Linearization, point: Array) -> Array:
        # a unit vector at a time: p products instead of p² numbers
        total = np.zeros(len(here.residual))
        unit = np.zeros(self.n_params)
        for i in range(self.n_params):
            unit[i] = 1.0
            total += here.bend(here.tangent_part(unit))
            unit[i] = 0.0
        return self.scale**2 * total

    def variation(self, here: Linearization, point: Array) -> Array:
        return np.zeros(self.n_params)

    def __repr__(self) -> str:
        """Return σ."""
        return f"isotropic, σ={self.scale:g}"


class FactorNoise(GradientNoise):
    """A factor given as a matrix, constant or a function of the point.

    Parameters
    ----------
    factor : callable
        ``point (p,) -> B (p, k)``.
    constant : bool
        Whether B is the same everywhere.
    name : str
        What it is called.
    """

    def __init__(
        self, factor: Callable[[Array], Array], constant: bool, name: str
    ) -> None:
        self._factor, self._constant, self._name = factor, constant, name

    def columns(self, point: Array) -> Array:
        return self._factor(point)

    def n_sources(self, point: Array) -> int:
        return self._factor(point).shape[1]

    def kick(self, point: Array, increment: Array) -> Array:
        return self._of_sources(point, len(increment)) @ increment

    def _of_sources(self, point: Array, n_sources: int) -> Array:
        """Return B, after checking its number of columns."""
        columns = self._factor(point)
        if columns.shape[1] != n_sources:
            raise ShapeError(
                "factor",
                (len(point), n_sources),
                columns.shape,
                "Every column is a source of noise, and their number is the same at "
                "every point. Fill up with columns of zeros.",
            )
        return columns

    def split(self, here: Linearization, point: Array) -> tuple[Array, Array]:
        columns = self._factor(point).T
        multipliers = np.stack([here.multipliers(b) for b in columns])
        pairs = zip(multipliers, columns, strict=True)
        mixed = [here.curvature(beta, here.tangent_part(b)) for beta, b in pairs]
        return multipliers.T @ multipliers, np.sum(mixed, axis=0)

    def bend(self, here: Linearization, point: Array) -> Array:
        columns = self._factor(point).T
        return np.sum([here.bend(here.tangent_part(b)) for b in columns], axis=0)

    def variation(self, here: Linearization, point: Array) -> Array:
        total = np.zeros_like(point)
        if self._constant:
            return total
        step = STEP * max(1.0, float(np.abs(point).max()))
        columns = self._factor(point)
        for k, column in enumerate(columns.T):
            tangent = here.tangent_part(column)
            length = float(np.linalg.norm(tangent))
            if length > 0.0:
                shift = step / length * tangent
                ahead, behind = (
                    self._of_sources(beside, columns.shape[1])
                    for beside in (point + shift, point - shift)
                )
                total += (ahead - behind)[:, k] * length / (2.0 * step)
        return total

    def __repr__(self) -> str:
        """Return the name."""
        return self._name


def gradient_noise(factor: Given, n_params: int) -> GradientNoise:
    """Return the noise that a user's factor means.

    Parameters
    ----------
    factor : float, array of shape (p, k), or callable
        σ of σ I; B; or ``point (p,) -> B (p, k)``.
    n_params : int
        p.

    Returns
    -------
    GradientNoise
        The noise.

    Raises
    ------
    DataError, ShapeError
        For a negative σ, or a matrix that has not p rows or is not finite.
    """
    if callable(factor):
        name = f"factor {getattr(factor, '__name__', type(factor).__name__)}"
        return FactorNoise(partial(_checked, factor, n_params), False, name)
    if np.ndim(factor) > 0:
        matrix = _matrix(factor, n_params)
        name = f"constant factor of {matrix.shape[1]} columns"
        return FactorNoise(partial(_given, matrix), True, name)
    scale = number("factor", factor, "Pass σ of σI, B of shape (p, k), or a function.")
    if scale < 0.0:
        raise DataError(f"factor = {scale}: the standard deviation σ is 0 or more.")
    if scale > 0.0:
        representable("factor", scale)
    return IsotropicNoise(scale, n_params)


def square_root(covariance: ArrayLike, n_params: int) -> Array:
    """Return the symmetric square root of a covariance, shape (p, p).

    Parameters
    ----------
    covariance : array, shape (p, p)
        Symmetric and positive semidefinite, to rounding.
    n_params : int
        p.

    Returns
    -------
    array, shape (p, p)
        B with B B = Σ; eigenvalues that are rounding count as 0.

    Raises
    ------
    DataError
        If Σ is not symmetric, or has a negative eigenvalue; names it.
    ShapeError
        If it has another shape.
    """
    matrix = as_finite("covariance", covariance, 2)
    if matrix.shape != (n_params, n_params):
        raise ShapeError("covariance", (n_params, n_params), matrix.shape)
    rounding = n_params * np.finfo(float).eps * np.abs(matrix).max()
    asymmetry = float(np.abs(matrix - matrix.T).max())
    if asymmetry > 10.0 * rounding:
        raise DataError(
            f"the covariance differs from its transpose by {asymmetry:.3g}: no noise "
            "has it. Pass 0.5 * (S + S.T), or the factor B of S = B B^T."
        )
    values, vectors = np.linalg.eigh(matrix)
    floor = n_params * rounding  # |Σ| <= p max |Σ_ij|
    if values[0] < -floor:
        raise DataError(
            f"the covariance has the eigenvalue {values[0]:.6g}: a variance below 0. "
            "Check its construction, or pass the factor B of S = B B^T."
        )
    # the root of rounding, 1e-8, would be noise of a size that is seen
    roots = np.sqrt(np.where(values > floor, values, 0.0))
    return (vectors * roots) @ vectors.T


def _given(matrix: Array, point: Array) -> Array:
    return matrix


def _checked(
    factor: Callable[[Array], ArrayLike], n_params: int, point: Array
) -> Array:
    """Call a user's factor, say what it raised, and check what it returned."""
    try:
        value = factor(point.copy())
    except ManifoldFlowError:
        raise
    except Exception as error:
        raise CallbackError(
            f"the factor raised {type(error).__name__} at a point of norm "
            f"{np.linalg.norm(point):.6g}: {error}"
        ) from error
    return _matrix(value, n_params)


def _matrix(value: ArrayLike, n_params: int) -> Array:
    matrix = as_finite("factor", value, 2)
    if len(matrix) != n_params:
        raise ShapeError("factor", f"({n_params}, k)", matrix.shape)
    if np.abs(matrix).max() > LARGEST:
        raise DataError(
            f"factor has an entry of size {np.abs(matrix).max():.3g}: its square, a "
            "variance, is no float64. Choose other units."
        )
    return matrix
