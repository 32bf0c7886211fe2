"""The squared loss: its normalisation, and the clock that follows from it.

Every factor 1/2, 1/n and batch size of the project is decided here
(theory notes §0.2-0.4); no other file converts between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real
from manifold_flow.errors import DataError, ShapeError, UnknownNameError

if TYPE_CHECKING:
    from manifold_flow.batches import Batches

__all__ = ["SquaredLoss"]

#: scale times n: "half_mean" is 1/(2n) Σ r², "mean" is 1/n Σ r², "sum" is Σ r².
PER_SAMPLE_SCALE: Mapping[str, float] = MappingProxyType(
    {"half_mean": 0.5, "mean": 1.0}
)
FORMULAS: Mapping[str, str] = MappingProxyType(
    {
        "half_mean": "1/(2n) sum q_i r_i^2",
        "mean": "1/n sum q_i r_i^2",
        "sum": "sum q_i r_i^2",
    }
)

#: relative spread of k_i = N_ii / c_i that is rounding
MATCHED = 1e-12


@dataclass(frozen=True, eq=False)
class SquaredLoss:
    r"""The loss :math:`L = s \sum_i q_i r_i^2` of n residuals.

    On the zero-loss manifold its Hessian is :math:`J^T \mathrm{diag}(c) J` with the
    *curvatures* :math:`c_i = 2 s q_i`, because the term with second derivatives is
    multiplied by a residual that vanishes there.

    Parameters
    ----------
    normalization : {"half_mean", "mean", "sum"}
        s = 1/(2n), 1/n or 1.
    n_residuals : int
        Number n of residuals.
    sample_weights : array, shape (n,), optional
        Positive weights q; ones by default.

    Raises
    ------
    UnknownNameError
        For any other normalisation.
    DataError
        If a weight is not positive and finite.

    References
    ----------
    theory notes §0.2 (normalisations) and §0.4 (clocks).

    Examples
    --------
    >>> SquaredLoss("half_mean", 4).value([2.0, 0.0, 0.0, 0.0])
    0.5
    >>> SquaredLoss("sum", 4).curvatures
    array([2., 2., 2., 2.])
    """

    normalization: str
    n_residuals: int
    sample_weights: NDArray[np.float64]

    def __init__(
        self,
        normalization: str = "half_mean",
        n_residuals: int = 1,
        sample_weights: ArrayLike | None = None,
    ) -> None:
        name = str(normalization).replace("-", "_")
        if name not in FORMULAS:
            raise UnknownNameError("loss", normalization, FORMULAS)
        weights = np.ones(n_residuals) if sample_weights is None else sample_weights
        weights = as_real("sample_weights", weights).copy()
        if weights.shape != (n_residuals,):
            raise ShapeError(
                "sample_weights", (n_residuals,), weights.shape, "One weight a sample."
            )
        if not (np.isfinite(weights).all() and (weights > 0).all()):
            worst = int(np.argmin(np.where(np.isfinite(weights), weights, -np.inf)))
            raise DataError(
                f"sample_weights[{worst}] = {weights[worst]}: weights must be positive "
                "and finite, or the sample is no constraint. Drop the sample instead."
            )
        weights.setflags(write=False)
        object.__setattr__(self, "normalization", name)
        object.__setattr__(self, "n_residuals", n_residuals)
        object.__setattr__(self, "sample_weights", weights)

    @property
    def scale(self) -> float:
        """The factor s in L = s Σ q_i r_i²."""
        if self.normalization == "sum":
            return 1.0
        return PER_SAMPLE_SCALE[self.normalization] / self.n_residuals

    @cached_property
    def curvatures(self) -> NDArray[np.float64]:
        """The n numbers c_i = 2 s q_i, second derivatives of L by residual."""
        curvatures = 2.0 * self.scale * self.sample_weights
        curvatures.setflags(write=False)
        return curvatures

    @property
    def formula(self) -> str:
        """The loss in words, printed beside every number that depends on it."""
        return f"{self.normalization}: {FORMULAS[self.normalization]}"

    @property
    def has_equal_weights(self) -> bool:
        """Whether all samples weigh the same."""
        return bool(np.ptp(self.sample_weights) == 0.0)

    def value(self, residual: ArrayLike) -> Any:
        """Return L for residuals of shape (..., n)."""
        squares = self.sample_weights * np.square(np.asarray(residual, dtype=float))
        total = self.scale * squares.sum(axis=-1)
        return float(total) if total.ndim == 0 else total

    def slopes(
        self, residual: NDArray[np.float64], drawn: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        r"""Return the derivatives of an unbiased estimate of L by the drawn residuals.

        With k of the n residuals drawn, :math:`\tfrac{n}{k}\, c_i r_i`.

        Parameters
        ----------
        residual : array, shape (k,) or (k, R)
            The drawn residuals, label noise subtracted, of R replicas.
        drawn : int array, shape (k,) or (k, R), optional
            Which ones they are; all n in order by default.

        Returns
        -------
        array, shape (k,) or (k, R)
            What the gradients of the residuals are multiplied by.

        Examples
        --------
        >>> SquaredLoss("sum", 4).slopes(np.array([3.0]), np.array([2]))
        array([24.])
        """
        if drawn is None:
            return (self.curvatures * residual.T).T
        return self.n_residuals / len(drawn) * self.curvatures[drawn] * residual

    def label_noise_covariance(
        self, noise_std: ArrayLike, batches: Batches, shared: bool = False
    ) -> NDArray[np.float64]:
        r"""Return the diagonal of N in Σ = Jᵀ N J, the gradient noise on M.

        .. math:: N_{ii} = \frac{n}{B}\, \Bigl(1 + \frac{B-1}{n}\Bigr)\, c_i^2
           \sigma_i^2

        The middle factor is there only where draws of one sample in one batch (with
        replacement) share their ε: then a sample drawn k times counts k² times.

        Parameters
        ----------
        noise_std : float or array, shape (n,)
            Standard deviations σ of the label noise, in units of the targets.
        batches : Batches
            How samples are drawn.
        shared : bool
            Whether repeated draws of a sample in a batch share one ε.

        Returns
        -------
        array, shape (n,)
            The diagonal, in the order of the residuals.

        References
        ----------
        theory notes §0.4.

        Examples
        --------
        >>> from manifold_flow.batches import Batches
        >>> SquaredLoss("sum", 4).label_noise_covariance(0.5, Batches(4, size=2))
        array([2., 2., 2., 2.])
        """
        repeat = 1.0
        if batches.replacement and shared:
            repeat += (batches.size - 1) / batches.n_samples
        noise: NDArray[np.float64] = self.curvatures * np.asarray(noise_std, float)
        return batches.scale * repeat * noise**2

    def matching(self, noise: NDArray[np.float64]) -> float | None:
        r"""Return k where Σ = k ∇²L on M, that is N = k diag(c); None if it is not so.

        Then :math:`dY/dT = -\tfrac{k}{4}\, \mathrm{grad}_M \mathrm{Tr}\,\nabla^2 L`,
        :math:`T = \eta^2 \times` steps (theory notes §0.3).

        Parameters
        ----------
        noise : array, shape (n,)
            The diagonal of N.

        Returns
        -------
        float or None
            The constant.

        Examples
        --------
        Batch 1 and the half-mean loss give the σ² of Li, Wang and Arora:

        >>> from manifold_flow.batches import Batches
        >>> loss = SquaredLoss("half_mean", 10)
        >>> loss.matching(loss.label_noise_covariance(0.5, Batches(10, size=1)))
        0.25
        """
        ratios = noise / self.curvatures
        matched = np.ptp(ratios) <= MATCHED * np.abs(ratios).max()
        return float(ratios.mean()) if matched else None

    def __repr__(self) -> str:
        """Return the constructor call."""
        return f"SquaredLoss({self.normalization!r}, n_residuals={self.n_residuals})"
