r"""How far noise holds an optimizer from the zero-loss manifold, and when it lets go.

Beside M an optimizer's step is linear in the displacement δ from M,
:math:`\delta^+ = (I - \eta H_B)\,\delta - \eta\,\xi`, with the Hessian :math:`H_B` of
a batch (mean H) and noise ξ of covariance :math:`\Sigma = J^T N J`.  The stationary
covariance is :math:`\eta\, C`, :math:`C = J^T V J` normal to M, with

.. math:: HC + CH - \eta\,\bigl[(1 - p)\, HCH
   + p\, n \sum_s H_s C H_s\bigr] = \Sigma,

:math:`H_s` the share of sample s in H and p the *overlap* of batches: 1 for single
samples, 0 for the full batch.  In :math:`\hat G = C_L^{1/2} G C_L^{1/2}`
(:math:`C_L` the curvatures of the loss) it is an equation for an (n, n) matrix, whose
first part is diagonal in the eigenbasis of Ĝ and whose last has the rank of the batch
noise (theory notes §8.2, §9.2).
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from manifold_flow.checks import count, number
from manifold_flow.errors import DataError, ShapeError, StabilityError
from manifold_flow.linearization import Linearization

__all__ = ["stability_threshold", "stationary_covariance"]

Array = NDArray[np.float64]

#: relative accuracy of a threshold
RTOL = 1e-12


def stationary_covariance(
    here: Linearization,
    noise: Array,
    learning_rate: float = 0.0,
    overlap: float = 0.0,
    residuals_per_sample: int = 1,
) -> Array:
    r"""Return V, where η JᵀVJ is the stationary covariance of the fluctuations.

    Parameters
    ----------
    here : Linearization
        The model at a point of M.
    noise : array, shape (n, n)
        N in the covariance Σ = Jᵀ N J of the gradient noise, symmetric.
    learning_rate : float
        η; 0 gives the leading order, a Lyapunov equation.
    overlap : float
        p of the batches, from 0 to 1.
    residuals_per_sample : int
        How many residuals are drawn together.

    Returns
    -------
    array, shape (n, n)
        Symmetric V.  Matched noise, N = c·diag(curvatures), gives c/2 G⁻¹ at leading
        order.

    Raises
    ------
    StabilityError
        If the learning rate is not mean-square stable: there is no such covariance.

    References
    ----------
    theory notes §1.12(d) (leading order) and §8.2 (finite steps).
    """
    values, vectors = here.hessian_eigensystem
    _check(len(values), overlap, residuals_per_sample)
    if noise.shape != (len(values), len(values)):
        raise ShapeError("noise", (len(values), len(values)), noise.shape)
    root = np.sqrt(here.curvatures)
    denominator = _denominator(values, learning_rate, overlap)
    if (denominator <= 0.0).any():
        raise _unstable(here, learning_rate, overlap, residuals_per_sample)
    scaled = vectors.T @ (noise / np.outer(root, root)) @ vectors
    if learning_rate * overlap > 0.0:
        batches = _BatchNoise(here, denominator, residuals_per_sample)
        strength = learning_rate * overlap * batches.n_samples
        if strength * batches.gain >= 1.0:
            raise _unstable(here, learning_rate, overlap, residuals_per_sample)
        scaled = scaled + strength * batches.response(scaled, strength)
    covariance: Array = vectors @ (scaled / denominator) @ vectors.T
    return root[:, None] * covariance * root


def stability_threshold(
    here: Linearization, overlap: float = 0.0, residuals_per_sample: int = 1
) -> float:
    r"""Return the largest mean-square stable learning rate at a point of M.

    Beyond it second moments of the displacement from M grow without bound.  For the
    full batch it is :math:`2/\lambda_{\max}`; for single samples it is at most
    :math:`2/\mathrm{Tr}\, H` (Wu and Su 2023; theory notes §9.2).

    Parameters
    ----------
    here : Linearization
        The model at a point of M.
    overlap : float
        p of the batches, from 0 to 1.
    residuals_per_sample : int
        How many residuals are drawn together.

    Returns
    -------
    float
        The threshold; infinite where the Hessian vanishes.
    """
    values = here.hessian_eigenvalues
    _check(len(values), overlap, residuals_per_sample)
    if values[0] <= 0.0:
        return np.inf
    if overlap <= RTOL:  # what it changes is below the accuracy
        return float(2.0 / values[0])

    def excess(learning_rate: float) -> float:
        denominator = _denominator(values, learning_rate, overlap)
        batches = _BatchNoise(here, denominator, residuals_per_sample)
        return learning_rate * overlap * batches.n_samples * batches.gain - 1.0

    # the second-moment map applied to the identity shows that the threshold is below
    upper = 2.0 * values.sum() / _quadratic_form(here, overlap, residuals_per_sample)
    upper = min(upper, 2.0 / values[0])
    if excess(upper) <= 0.0:
        return float(upper)
    return float(brentq(excess, 0.0, upper, rtol=RTOL))


def _check(n_residuals: int, overlap: float, residuals_per_sample: int) -> None:
    if not 0.0 <= number("overlap", overlap) <= 1.0:
        raise DataError(
            f"overlap = {overlap}: must be from 0, the full batch, to 1, single "
            "samples."
        )
    if n_residuals % count("residuals_per_sample", residuals_per_sample):
        raise DataError(
            f"residuals_per_sample = {residuals_per_sample} does not divide the "
            f"{n_residuals} residuals, so samples would be cut. Pass that of the model."
        )


def _denominator(values: Array, learning_rate: float, overlap: float) -> Array:
    """Return λ_a + λ_b − η(1−p) λ_a λ_b, shape (n, n)."""
    product = np.outer(values, values)
    return np.add.outer(values, values) - learning_rate * (1.0 - overlap) * product


class _BatchNoise:
    """The term p n Σ_s H_s C H_s, which sees only the blocks (s, s) of Ĝ V̂ Ĝ.

    So its part of the solution is found in as many unknowns as the blocks have entries.
    """

    def __init__(self, here: Linearization, denominator: Array, size: int) -> None:
        values, self.vectors = here.hessian_eigensystem
        self.weights = np.outer(values, values) / denominator
        self.n_samples = len(values) // size
        samples = np.arange(len(values)) // size
        self.rows, self.columns = np.nonzero(samples[:, None] == samples)

    @cached_property
    def matrix(self) -> Array:
        """How every entry of the blocks answers a unit entry of the blocks."""
        units = self.vectors[self.rows, :, None] * self.vectors[self.columns, None, :]
        answers = self.vectors @ (self.weights * units) @ self.vectors.T
        matrix: Array = answers[:, self.rows, self.columns]
        return matrix

    @property
    def gain(self) -> float:
        """The largest eigenvalue of the answer; times the strength, 1 is unstable."""
        return float(np.linalg.eigvalsh(self.matrix)[-1])

    def response(self, noise: Array, strength: float) -> Array:
        """Return QᵀDQ, D the blocks of Ĝ V̂ Ĝ that reproduce themselves."""
        direct = self.vectors @ (self.weights * noise) @ self.vectors.T
        system = np.eye(len(self.rows)) - strength * self.matrix
        blocks = np.zeros_like(direct)
        blocks[self.rows, self.columns] = np.linalg.solve(
            system, direct[self.rows, self.columns]
        )
        response: Array = self.vectors.T @ blocks @ self.vectors
        return response


def _quadratic_form(here: Linearization, overlap: float, size: int) -> float:
    """Return (1−p) ‖H‖² + p n Σ_s ‖H_s‖²."""
    values, vectors = here.hessian_eigensystem
    scaled = (vectors * values) @ vectors.T
    samples = np.arange(len(values)) // size
    within = scaled[samples[:, None] == samples]
    n_samples = len(values) // size
    squares = (1.0 - overlap) * (values**2).sum()
    return float(squares + overlap * n_samples * (within**2).sum())


def _unstable(
    here: Linearization, learning_rate: float, overlap: float, size: int
) -> StabilityError:
    threshold = stability_threshold(here, overlap, size)
    return StabilityError(
        f"learning_rate = {learning_rate:.6g} is not stable here: mean squares of the "
        f"distance to the zero-loss manifold grow above {threshold:.6g} (2/lambda_max "
        f"= {2.0 / here.hessian_eigenvalues[0]:.6g}), so that the run would leave it. "
        f"Use a learning rate below {threshold:.3g}, or a flatter start.",
        learning_rate,
        threshold,
    )
