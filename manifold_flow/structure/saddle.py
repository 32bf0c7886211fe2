r"""Newton matrices of a two-layer network's flow, solved without forming them.

In preactivations :math:`X = X_{data} x^T` the system :math:`(I - cJ)x = b` of an
implicit method is a saddle system,

.. math:: (K^{-1} + c D_j) X_j - A_j \circ \mu = K^{-1} R_j, \qquad
   \sum_j A_{ij} X_{ij} = \frac{1}{1 + c\gamma} \sum_j A_{ij} R_{ij},

R the preactivations of b and γ the rate of attraction to M.  Conjugate gradients on the
constraint's kernel need :math:`K^{-1}` nowhere when preconditioned by the same system
with :math:`D_j` replaced by the shared slopes E, whose inverse is
:math:`M = S^{-1} R \frac{\Lambda}{1 + c\Lambda} R^T S^{-1}` in the shared eigenbasis,
and whose Schur complement is :math:`M \circ AA^T`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from manifold_flow.structure.abstract import NewtonMatrix
from manifold_flow.structure.modes import Eigenbasis
from manifold_flow.structure.neurons import Neurons

__all__ = ["SaddleMatrix"]

Array = NDArray[np.float64]

#: of the first residual: where conjugate gradients stop, Newton's iteration goes on;
#: the second where paths may part
TOLERANCE, FINE_TOLERANCE, MAX_ITERATIONS = 1e-1, 1e-2, 30


class SaddleMatrix(NewtonMatrix):
    """The Jacobian of the attracted velocity at one point.

    Parameters
    ----------
    neurons : Neurons
        The network.
    weighted_slopes, slopes : array, shape (n, m)
        A and D.
    basis : Eigenbasis
        Of the shared slopes E.
    pull : float
        The rate γ of attraction to M.
    """

    def __init__(
        self,
        neurons: Neurons,
        weighted_slopes: Array,
        slopes: Array,
        basis: Eigenbasis,
        pull: float,
    ) -> None:
        self.neurons, self.basis, self.pull = neurons, basis, pull
        self.constraint, self.slopes = weighted_slopes.copy(), slopes
        self.uneven = slopes - basis.slopes[:, None]
        self.products = weighted_slopes @ weighted_slopes.T
        self.tolerance = TOLERANCE if neurons.collapse else FINE_TOLERANCE

    def solver(self, step: float) -> Callable[[Array], Array]:
        return _Shifted(self, step)


class _Shifted:
    """(I − cJ)⁻¹ for one c."""

    def __init__(self, matrix: SaddleMatrix, step: float) -> None:
        self.matrix, self.step = matrix, step
        self.smoothing = matrix.basis.smoothing(step)
        self.schur, failed = lapack.dpotrf(self.smoothing * matrix.products, lower=1)
        if failed:
            raise np.linalg.LinAlgError("the Schur complement is not positive definite")

    def __call__(self, right: Array) -> Array:
        inputs, constraint = self.matrix.neurons.inputs, self.matrix.constraint
        features = self.matrix.neurons.features(right)
        wanted = np.einsum("ij,ij->i", constraint, features)
        wanted /= 1.0 + self.step * self.matrix.pull
        smooth = features - self.smoothing @ (
            (self.step * self.matrix.basis.slopes)[:, None] * features
        )
        guess, pushed = self._constrained(smooth, wanted)
        found, remainder = self._conjugate_gradients(guess)
        dual = self.step * self.matrix.slopes * found - pushed + remainder
        return right - (dual.T @ inputs).ravel()

    def _constrained(self, smooth: Array, wanted: Array | float) -> tuple[Array, Array]:
        """Return X = smooth + M A μ with Σ_j A X = wanted, and A μ."""
        constraint = self.matrix.constraint
        missing = wanted - np.einsum("ij,ij->i", constraint, smooth)
        multipliers, _ = lapack.dpotrs(self.schur, missing, lower=1)
        pushed = constraint * multipliers[:, None]
        return smooth + self.smoothing @ pushed, pushed

    def _conjugate_gradients(self, found: Array) -> tuple[Array, Array]:
        """Return the solution and the dual residual left."""
        uneven = self.step * self.matrix.uneven
        residual = -(uneven * found)
        goal, energy, search, image = None, 0.0, None, None
        for _ in range(MAX_ITERATIONS):
            near, pushed = self._constrained(self.smoothing @ residual, 0.0)
            latest = float(np.vdot(near, residual))
            goal = self.matrix.tolerance**2 * latest if goal is None else goal
            if latest <= goal or latest <= 0.0:
                break
            mapped = residual + pushed + uneven * near
            ratio = latest / energy if search is not None else 0.0
            search = near if search is None else near + ratio * search
            image = mapped if image is None else mapped + ratio * image
            curvature, energy = float(np.vdot(search, image)), latest
            if curvature <= 0.0:
                break
            length = latest / curvature
            found = found + length * search
            residual = residual - length * image
        return found, residual
