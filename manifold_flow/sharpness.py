r"""Sharpness: functions of the Hessian's spectrum on the zero-loss manifold.

On M the spectrum of the Hessian is that of
:math:`\hat G = C^{1/2} G C^{1/2}`, G the Gram matrix of the residual gradients and C
the curvatures of the loss.  So every sharpness is a function of G alone, with the
symmetric *slope* :math:`A = \partial S / \partial G`, and all share one formula:

.. math:: \nabla S(\theta) = \nabla \langle A, G(\theta) \rangle,
   \qquad A = C^{1/2} Q\, \mathrm{diag}(\psi'(\lambda))\, Q^T C^{1/2}
   \quad\text{for}\quad S = \sum_k \psi(\lambda_k).

Off M these are extensions of S; their tangential gradients on M do not depend on the
extension (theory notes §1.3).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.checks import Rng, count, generator, number
from manifold_flow.errors import (
    DataError,
    DegenerateEigenvalueError,
    UnknownNameError,
)
from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model
from manifold_flow.structure import StructuredFlow

__all__ = [
    "HessianLogPseudoDeterminant",
    "HessianTopEigenvalue",
    "HessianTrace",
    "Sharpness",
    "TraceEstimate",
    "stochastic_trace",
]

Array = NDArray[np.float64]


class Sharpness(ABC):
    """A function S of the non-zero eigenvalues of the Hessian on M.

    A subclass states its value, its slope ∂S/∂G and the derivative of that slope;
    gradient and Hessian-vector product are written once, here.
    """

    @abstractmethod
    def value(self, linearization: Linearization) -> float:
        """Return S at the point of the linearization."""

    @abstractmethod
    def slope(self, linearization: Linearization) -> Array:
        """Return A = ∂S/∂G, symmetric, shape (n, n)."""

    @abstractmethod
    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        """Return the derivative of A along v, shape (n, n)."""

    def structured(self, model: Model, rate: float) -> StructuredFlow | None:
        """Return the flow of rate · S in the model's own structure, if it has one."""
        return None

    def gradient(self, linearization: Linearization) -> Array:
        """Return the Euclidean gradient ∇S = ∇⟨A, G⟩, shape (p,)."""
        return linearization.gram_gradient(self.slope(linearization))

    def hessian_vector(self, linearization: Linearization, vector: Array) -> Array:
        """Return ∇²S v, the Euclidean Hessian times a vector, shape (p,)."""
        moved = linearization.gram_hessian(self.slope(linearization), vector)
        return moved + linearization.gram_gradient(
            self.slope_change(linearization, vector)
        )

    def __repr__(self) -> str:
        """Return the constructor call."""
        return f"{type(self).__name__}()"


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
        values, vectors = linearization.hessian_eigensystem
        weighted = np.sqrt(linearization.curvatures)[:, None] * vectors
        return (weighted / values) @ weighted.T

    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        inverse = self.slope(linearization)
        return -inverse @ linearization.gram_derivative(vector) @ inverse


@dataclass(frozen=True)
class HessianTopEigenvalue(Sharpness):
    r"""λ₁(∇²L): the sharpness that full-batch SAM decreases.

    :math:`S = \lambda_1(\hat G)`, so :math:`A = C^{1/2} q q^T C^{1/2}` with the top
    eigenvector q.  Not differentiable where λ₁ = λ₂: there it raises.

    Parameters
    ----------
    min_gap : float
        Smallest relative gap (λ₁ − λ₂)/λ₁ at which a gradient is returned.

    Raises
    ------
    DegenerateEigenvalueError
        From ``slope`` and ``gradient``, below that gap; carries both eigenvalues.
    """

    min_gap: float = 1e-6

    def __post_init__(self) -> None:
        if number("min_gap", self.min_gap) < 0.0:
            raise DataError(f"min_gap = {self.min_gap}: must be 0 or more.")

    def value(self, linearization: Linearization) -> float:
        return float(linearization.hessian_eigenvalues[0])

    def gap(self, linearization: Linearization) -> float:
        """Return λ₁ − λ₂; infinity where n = 1."""
        eigenvalues = linearization.hessian_eigenvalues
        return (
            float(eigenvalues[0] - eigenvalues[1]) if len(eigenvalues) > 1 else np.inf
        )

    def slope(self, linearization: Linearization) -> Array:
        values, vectors = linearization.hessian_eigensystem
        if self.gap(linearization) <= self.min_gap * values[0]:
            raise DegenerateEigenvalueError(float(values[0]), float(values[1]))
        top = np.sqrt(linearization.curvatures) * vectors[:, 0]
        return np.outer(top, top)

    def slope_change(self, linearization: Linearization, vector: Array) -> Array:
        values, vectors = linearization.hessian_eigensystem
        weighted = np.sqrt(linearization.curvatures)[:, None] * vectors
        top, others = weighted[:, 0], weighted[:, 1:]
        # first-order perturbation: dq = Σ_k (q_kᵀ dĜ q)/(λ₁ − λ_k) q_k
        pulled = others.T @ (linearization.gram_derivative(vector) @ top)
        turned = others @ (pulled / (values[0] - values[1:]))
        return np.outer(top, turned) + np.outer(turned, top)


@dataclass(frozen=True, eq=False)
class TraceEstimate:
    """A stochastic trace with its uncertainty.

    Attributes
    ----------
    estimate : float
        Mean of the samples.
    standard_error : float
        Standard deviation of the mean.
    samples : array, shape (num_matvecs,)
        The values zᵀ H z.
    """

    estimate: float
    standard_error: float
    samples: Array


def stochastic_trace(
    model: Model,
    params: ArrayLike,
    *,
    num_matvecs: int = 100,
    distribution: str = "rademacher",
    rng: Rng = None,
) -> TraceEstimate:
    r"""Estimate Tr ∇²L of the full Hessian at any parameters (Hutchinson).

    :math:`E\, z^T \nabla^2 L\, z = \mathrm{Tr}\,\nabla^2 L` for independent entries of
    mean 0 and variance 1.  The residual term is included, so that it also holds off M.

    Parameters
    ----------
    model : Model
        The model.
    params : array, shape (p,)
        Where; need not lie on M.
    num_matvecs : int
        Number of Hessian-vector products, at least 2.
    distribution : {"rademacher", "gaussian"}
        Law of z; Rademacher has the smaller variance.
    rng : None, int, Generator or SeedSequence
        Source of randomness.

    Returns
    -------
    TraceEstimate
        Estimate, standard error and samples.

    Raises
    ------
    DataError
        If ``num_matvecs < 2``.
    UnknownNameError
        For another distribution.

    References
    ----------
    Hutchinson (1990), Communications in Statistics 19.
    """
    count("num_matvecs", num_matvecs, 2, "A standard error needs at least 2 samples.")
    source = generator(rng)
    draws: dict[str, Callable[[tuple[int, int]], Array]] = {
        "rademacher": lambda size: source.choice([-1.0, 1.0], size=size),
        "gaussian": source.standard_normal,
    }
    if distribution not in draws:
        raise UnknownNameError("distribution", distribution, draws)
    here = model.linearize(np.asarray(params, dtype=float))
    probes = draws[distribution]((num_matvecs, model.n_params))
    samples = np.array([z @ here.loss_hessian_vector(z) for z in probes])
    error = float(samples.std(ddof=1) / np.sqrt(num_matvecs))
    return TraceEstimate(float(samples.mean()), error, samples)
