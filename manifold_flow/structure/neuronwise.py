"""The trace flow of a two-layer network, as a structured flow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifold_flow.structure.abstract import Observation
from manifold_flow.structure.modes import Eigenbasis, Evaluating, Modes
from manifold_flow.structure.neurons import Snapshot, singular_values
from manifold_flow.structure.saddle import SaddleMatrix

__all__ = ["NeuronwiseFlow"]

Array = NDArray[np.float64]

#: Gauss-Newton steps from near M, and the residual that is left there
SETTLING_STEPS, ROUNDING = 6, 8 * np.finfo(float).eps
#: of the residual: a step that leaves less has a Jacobian that serves the next one too
NEARLY_LINEAR = 1e-3


class NeuronwiseFlow(Evaluating):
    r"""Flow of Tr ∇²L for a two-layer network: nothing of size p × p or n × p.

    Parameters
    ----------
    neurons : Neurons
        The network, its loss and the clock; points are its flattened weights.

    References
    ----------
    theory notes §1.4, §1.10.
    """

    _basis: tuple[Snapshot, Eigenbasis] | None = None

    def velocity(self, point: Array, pull: float = 0.0) -> Array:
        here = self.at(point)
        force = here.force
        if pull:
            force = force + (pull * here.correction)[:, None] * here.weighted_slopes
        return -(force.T @ self.neurons.inputs).ravel()

    def observation(self, here: Snapshot) -> Observation:
        neurons = self.neurons
        values = singular_values(here.gram)
        tangent = float(np.linalg.norm(neurons.inputs.T @ here.force))
        # Pythagoras: the normal part of ∇S is Jᵀα
        normal = here.multipliers @ here.gram @ here.multipliers
        return Observation(
            sharpness=float(neurons.curvatures @ here.gram.diagonal()),
            gradient_norm=tangent / neurons.rate,
            full_gradient_norm=float(np.sqrt(tangent**2 + normal)) / neurons.rate,
            residual=float(np.abs(here.residual).max()),
            sigma_min=float(values[-1]),
            sigma_max=float(values[0]),
        )

    @np.errstate(over="ignore", invalid="ignore", divide="ignore")
    def settled(self, point: Array) -> Array | None:
        self.forget_sum()
        neurons = self.neurons
        residual, weighted, gram = self._normal_equations(neurons.features(point))
        for _ in range(SETTLING_STEPS):
            steepest = float(np.sqrt(gram.diagonal().max()))
            scale = max(1.0, steepest * float(np.linalg.norm(point)))
            before = np.abs(residual).max()
            if before <= ROUNDING * scale < np.inf:
                return point
            way = neurons.solve(gram, residual)[:, None] * weighted
            point = point - (way.T @ neurons.inputs).ravel()
            features = neurons.features(point)
            residual = neurons.residual(features)
            left = np.abs(residual).max()
            if not left < before:
                return None  # too far away: undamped steps lead anywhere
            if left > NEARLY_LINEAR * before:
                residual, weighted, gram = self._normal_equations(features)
        return None

    def _normal_equations(self, features: Array) -> tuple[Array, Array, Array]:
        """Return r, A and K ∘ AAᵀ."""
        residual, weighted = self.neurons.residual_and_slopes(features)
        return residual, weighted, self.neurons.inputs_gram * (weighted @ weighted.T)

    def splitting(self, point: Array) -> Modes:
        here = self.at(point)
        return Modes(self, here, self._eigenbasis(point))

    def newton_matrix(self, point: Array, pull: float) -> SaddleMatrix:
        here = self.at(point)
        slopes = self.neurons.slopes(here)
        basis = self._eigenbasis(point)
        return SaddleMatrix(self.neurons, here.weighted_slopes, slopes, basis, pull)

    def fastest_rate(self, point: Array) -> float:
        return float(self._eigenbasis(point).rates.max())

    def stiffness(self, point: Array) -> float:
        rates = self._eigenbasis(point).rates
        moving = rates[rates > np.finfo(float).eps * len(rates) * rates.max()]
        return float(moving.max() / moving.min()) if moving.size else 1.0

    def evenness(self, point: Array) -> float:
        """Return min φ'/max φ' over the neurons of a sample, the least of all."""
        sizes = np.abs(self.at(point).weighted_slopes)
        return float((sizes.min(axis=1) / sizes.max(axis=1)).min())

    def _eigenbasis(self, point: Array) -> Eigenbasis:
        here = self.at(point)
        if self._basis is None or self._basis[0] is not here:
            slopes = self.neurons.shared_slopes(self.neurons.slopes(here))
            self._basis = here, Eigenbasis.of(self.neurons, slopes)
        return self._basis[1]
