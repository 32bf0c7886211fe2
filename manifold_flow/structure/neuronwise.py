"""The trace flow of a two-layer network, as a structured flow."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifold_flow.structure.abstract import Observation
from manifold_flow.structure.modes import Eigenbasis, Evaluating, Modes
from manifold_flow.structure.neurons import singular_values
from manifold_flow.structure.saddle import SaddleMatrix

__all__ = ["NeuronwiseFlow"]

Array = NDArray[np.float64]

#: full Gauss-Newton steps from near M, and the residual that is left there
SETTLING_STEPS, ROUNDING = 4, 8 * np.finfo(float).eps


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

    def velocity(self, point: Array, pull: float = 0.0) -> Array:
        here = self.at(point)
        force = here.force
        if pull:
            force = force + (pull * here.correction)[:, None] * here.weighted_slopes
        return -(force.T @ self.neurons.inputs).ravel()

    def observe(self, point: Array) -> Observation:
        here, neurons = self.at(point), self.neurons
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

    def settled(self, point: Array) -> Array | None:
        neurons = self.neurons
        for _ in range(SETTLING_STEPS):
            here = self.at(point, afresh=True)
            steepest = float(np.sqrt(here.gram.diagonal().max()))
            scale = max(1.0, steepest * float(np.linalg.norm(point)))
            if np.abs(here.residual).max() <= ROUNDING * scale:
                return point
            way = here.correction[:, None] * here.weighted_slopes
            point = point - (way.T @ neurons.inputs).ravel()
        return None

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
        slopes = self.neurons.slopes(self.at(point))
        return Eigenbasis.of(self.neurons, self.neurons.shared_slopes(slopes))
