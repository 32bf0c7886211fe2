"""The trace flow of a two-layer network, dense and from its definition alone.

φ, φ' and φ'' are given as functions; J is stacked row by row, and the tangent part is
what least squares leave.  Nothing of the package is used.
"""

from dataclasses import dataclass

import numpy as np
from scipy.integrate import solve_ivp


@dataclass(frozen=True)
class DenseFlow:
    """θ' = −P_T ∇S with S = Σ c_i |∇r_i|² and r_i = Σ_j a_j φ(x_iᵀθ_j) − y_i."""

    inputs: np.ndarray
    output_weights: np.ndarray
    curvatures: np.ndarray
    slope: object
    second: object

    def velocity(self, point):
        features = self.inputs @ point.reshape(len(self.output_weights), -1).T
        slopes = self.output_weights * self.slope(features)
        weights = self.curvatures * (self.inputs**2).sum(axis=1)
        bends = self.output_weights * self.second(features)
        gradient = ((2 * weights[:, None] * slopes * bends).T @ self.inputs).ravel()
        jacobian = np.einsum("ij,ik->ijk", slopes, self.inputs)
        jacobian = jacobian.reshape(len(self.inputs), -1)
        # parallel rows are one constraint: what is beyond rounding only
        normal = np.linalg.lstsq(jacobian.T, gradient, rcond=1e-12)[0]
        return jacobian.T @ normal - gradient

    def points(self, start, times, rtol=1e-10):
        """Return the points at some times, shape (T, p); SciPy alone integrates."""
        solved = solve_ivp(
            lambda _, point: self.velocity(point),
            (0.0, times[-1]),
            start,
            method="DOP853",
            t_eval=times,
            rtol=rtol,
            atol=1e-3 * rtol * np.abs(start).max(),
        )
        assert solved.success
        return solved.y.T
