"""DriftFlow: where noise that is not matched to the Hessian pushes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real
from manifold_flow.checks import LARGEST, number, representable
from manifold_flow.errors import DataError, ShapeError, require, suggests_keywords
from manifold_flow.flow.abstract import Flow
from manifold_flow.fluctuations import stationary_covariance
from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.sharpness import HessianTrace

__all__ = ["DriftFlow"]

Array = NDArray[np.float64]

#: relative asymmetry, or negative variance, that counts as rounding
ROUNDING = 1e-10


@suggests_keywords
@dataclass(frozen=True, eq=False)
class DriftFlow(Flow):
    r"""The mean drift along M of an optimizer that noise holds beside it.

    Gradient noise of covariance :math:`\Sigma = J^T N J` holds the iterate at a
    distance from M with covariance :math:`\eta\, J^T V J`, and there the loss pushes
    along M by

    .. math:: \dot\theta = -\tfrac12 P_T D^3L[J^T V J]
       = -P_T \sum_{ij} (\mathrm{diag}(c)\, G V)_{ij}\, D^2r_i \nabla r_j

    per unit of slow time η², c the curvatures of the loss.  Matched noise,
    :math:`N = k\,\mathrm{diag}(c)`, gives :math:`-\tfrac k4 \mathrm{grad}_M
    \mathrm{Tr}\,\nabla^2 L` at leading order.  In general this is no gradient field:
    no sharpness need decrease, Tr ∇²L is only watched, and the flow need not come to
    rest.

    Parameters
    ----------
    manifold : ZeroLossManifold
        The manifold M.
    noise : array, shape (n,) or (n, n), or callable
        N, or its diagonal, or a function of the :class:`manifold_flow.Linearization` at
        a point that returns one of them.
    learning_rate : float
        η in V; 0 is the limit, more the next order in the step size.
    overlap : float
        p of the batches, from 0 (full batch) to 1 (single samples); at finite η only.

    Raises
    ------
    DataError
        If the noise is no covariance, or a number is out of bounds.
    StabilityError
        From ``velocity`` where the learning rate is not mean-square stable.

    References
    ----------
    Theory notes §1.12(d) (the limit), §8 (finite steps).

    Examples
    --------
    >>> import manifold_flow as mf
    >>> model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0], loss="sum")
    >>> manifold = mf.ZeroLossManifold(model)
    >>> point = np.array([1.0, 0.5, 0.5, 0.0])
    >>> matched = mf.DriftFlow(manifold, noise=[4.0 * 2.0])  # k = 4, c = 2
    >>> trace = mf.LimitingFlow(manifold, mf.HessianTrace(), rate=1.0)
    >>> np.allclose(matched.velocity(point), trace.velocity(point))
    True
    """

    manifold: ZeroLossManifold
    noise: ArrayLike | Callable[[Linearization], ArrayLike]
    learning_rate: float = 0.0
    overlap: float = 0.0
    sharpness: HessianTrace = field(default=HessianTrace(), init=False)
    rate: float = field(default=1.0, init=False)
    descends: ClassVar[bool] = False

    def __post_init__(self) -> None:
        require("manifold", self.manifold, ZeroLossManifold)
        if number("learning_rate", self.learning_rate) != 0.0:
            representable("learning_rate", self.learning_rate, "0 is the limit.")
        if not 0.0 <= number("overlap", self.overlap) <= 1.0:
            raise DataError(
                f"overlap = {self.overlap}: must be from 0, the full batch, to 1, "
                "single samples."
            )
        if not callable(self.noise):
            covariance = _covariance(self.noise, self.manifold.model.n_residuals)
            object.__setattr__(self, "noise", covariance)

    @property
    def moves(self) -> bool:
        return callable(self.noise) or bool(np.any(self.noise))

    def steepness(self, here: Linearization) -> Array:
        held = stationary_covariance(
            here,
            self._noise(here),
            self.learning_rate,
            self.overlap,
            self.manifold.model.residuals_per_sample,
        )
        return here.couple(here.curvatures[:, None] * (here.gram @ held))

    def on(self, manifold: ZeroLossManifold) -> DriftFlow:
        return replace(self, manifold=manifold)

    def _noise(self, here: Linearization) -> Array:
        if not callable(self.noise):
            return np.asarray(self.noise)
        return _covariance(self.noise(here), len(here.residual))

    def __repr__(self) -> str:
        """Return the size of the noise and, where it is finite, the learning rate."""
        if callable(self.noise):
            size = "noise of its own at each point"
        else:
            size = f"noise of trace {np.trace(np.asarray(self.noise)):.6g}"
        step = f", learning_rate={self.learning_rate:g}, overlap={self.overlap:.6g}"
        still = "" if self.moves else ": no motion at this time scale"
        return f"DriftFlow({size}{step if self.learning_rate else ''}){still}"


def _covariance(noise: ArrayLike, n_residuals: int) -> Array:
    """Return N as a covariance matrix, shape (n, n)."""
    array = as_real("noise", noise)
    if array.ndim == 1:
        array = np.diag(array)
    wanted = (n_residuals, n_residuals)
    if array.shape != wanted:
        raise ShapeError("noise", f"({n_residuals},) or {wanted}", np.shape(noise))
    scale = np.abs(array).max()
    if not np.isfinite(scale) or np.abs(array - array.T).max() > ROUNDING * scale:
        raise DataError("noise is not finite and symmetric: it must be a covariance.")
    if scale > LARGEST:
        raise DataError(
            f"noise has an entry of size {scale:.3g}: its square is no float64. Choose "
            "other units."
        )
    smallest = float(np.linalg.eigvalsh(array)[0])
    if smallest < -ROUNDING * scale:
        raise DataError(
            f"noise has the eigenvalue {smallest:.3g}: a covariance has no negative "
            "one. Pass variances, or a positive semidefinite matrix."
        )
    covariance: Array = 0.5 * (array + array.T)
    covariance.setflags(write=False)
    return covariance
