"""Sharpnesses of the whole spectrum: its trace, its logarithms, and in between."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifold_flow.checks import representable
from manifold_flow.errors import DataError, StabilityError
from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model
from manifold_flow.sharpness.abstract import Sharpness
from manifold_flow.structure import StructuredFlow

__all__ = ["FiniteStepTrace", "HessianLogPseudoDeterminant", "HessianTrace"]

Array = NDArray[np.float64]


class HessianTrace(Sharpness):
    r"""Tr ∇²L: the sharpness that label noise decreases.

    :math:`S = \sum_i c_i \|\nabla r_i\|^2`, so A = diag(c) (theory notes §1.3).
    """

    def value(self, linearization: Linearization) -> float:
        return float(linearization.curvatures @ np.diag(linearization.gram))

    def slope(self, linearization: Linearization) -> Array:
        return np.diag(linearization.curvatures)

    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        return np.zeros_like(linearization.gram)

    def structured(self, model: Model, rate: float) -> StructuredFlow | None:
        return model.trace_flow(rate)


class HessianLogPseudoDeterminant(Sharpness):
    r"""log |∇²L|₊, the sum of the logarithms of the n non-zero eigenvalues.

    :math:`S = \log\det \hat G`, so :math:`A = G^{-1}` and
    :math:`dA = -G^{-1}\, dG\, G^{-1}`: the drift under isotropic noise (theory notes
    §2.3b).
    """

    def value(self, linearization: Linearization) -> float:
        eigenvalues = linearization.hessian_eigenvalues
        if eigenvalues[-1] <= 0:
            raise DataError(
                f"the smallest Hessian eigenvalue on the normal space is "
                f"{eigenvalues[-1]:.1e}: the log pseudo-determinant is -infinity where "
                "the Jacobian loses rank."
            )
        return float(np.log(eigenvalues).sum())

    def slope(self, linearization: Linearization) -> Array:
        return _spectral_slope(linearization, 1.0 / linearization.hessian_eigenvalues)

    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        inverse = self.slope(linearization)
        return -inverse @ linearization.gram_derivative(vector) @ inverse


@dataclass(frozen=True)
class FiniteStepTrace(Sharpness):
    r"""What full-batch label noise decreases at a finite learning rate η.

    .. math:: S_\eta = -\frac{2}{\eta} \sum_k \log\bigl(1 - \tfrac{\eta}{2}
       \lambda_k\bigr) = \mathrm{Tr}\,\nabla^2 L + \tfrac{\eta}{4}
       \mathrm{Tr}\,(\nabla^2 L)^2 + O(\eta^2)

    so that large eigenvalues count more than in the trace.
    :math:`A = C^{1/2} (1 - \tfrac{\eta}{2}\hat G)^{-1} C^{1/2}` and
    :math:`dA = \tfrac{\eta}{2} A\, dG\, A`.

    Parameters
    ----------
    learning_rate : float
        Step size η > 0.

    Raises
    ------
    StabilityError
        From every method where η λ₁ >= 2: gradient descent is not stable there, and the
        fluctuations have no stationary covariance.

    References
    ----------
    Damian, Ma, Lee (2021); theory notes §8.1.

    Examples
    --------
    On r = a b − 1 with L = r² the Hessian has one eigenvalue, 2 (a² + b²):

    >>> import manifold_flow as mf
    >>> model = mf.CallableModel(lambda t: [t[0] * t[1] - 1.0], n_params=2, loss="sum")
    >>> here = model.linearize([1.0, 1.0])
    >>> mf.FiniteStepTrace(0.25).value(here)  # -8 log(1 - 4/8)
    5.54517744
    """

    learning_rate: float

    def __post_init__(self) -> None:
        representable("learning_rate", self.learning_rate)

    def value(self, linearization: Linearization) -> float:
        half = self._half_steps(linearization)
        return float(-2.0 / self.learning_rate * np.log1p(-half).sum())

    def slope(self, linearization: Linearization) -> Array:
        half = self._half_steps(linearization)
        return _spectral_slope(linearization, 1.0 / (1.0 - half))

    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        slope, change = self.slope(linearization), linearization.gram_derivative(vector)
        return 0.5 * self.learning_rate * slope @ change @ slope

    def _half_steps(self, linearization: Linearization) -> Array:
        """Return η λ_k / 2, all below 1."""
        eigenvalues = linearization.hessian_eigenvalues
        half: Array = 0.5 * self.learning_rate * eigenvalues
        if half[0] >= 1.0:
            threshold = float(2.0 / eigenvalues[0])
            raise StabilityError(
                f"learning_rate = {self.learning_rate:.6g} is not stable where "
                f"lambda_max = {eigenvalues[0]:.6g}: the fluctuations beside the "
                "zero-loss manifold have no stationary covariance. Use a learning "
                f"rate below 2/lambda_max = {threshold:.3g}, or a flatter start.",
                self.learning_rate,
                threshold,
            )
        return half


def _spectral_slope(linearization: Linearization, derivatives: Array) -> Array:
    """Return C½ Q diag(ψ'(λ)) Qᵀ C½."""
    vectors = linearization.hessian_eigensystem[1]
    weighted = np.sqrt(linearization.curvatures)[:, None] * vectors
    slope: Array = (weighted * derivatives) @ weighted.T
    return slope
