r"""Two-layer networks in the eigenbasis shared by their neurons.

Near a point all neurons feel nearly the same linear force,
:math:`B \approx E \circ (Z - Z_n)`, with one slope :math:`E_i` per sample.  With
:math:`S = \mathrm{diag}(E^{1/2})` and :math:`S K S = R \Lambda R^T`, an n × n problem,
the coordinates :math:`V` of :math:`Z = Z_n + S^{-1} R \Lambda V` obey

.. math:: \dot V = -H(V), \qquad H(V) = R^T S^{-1} B(Z) = \Lambda V + \text{mild},

and the parameters are :math:`\theta = \theta_n + (S R V)^T X`: K is never inverted.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from manifold_flow.structure.abstract import Observation, Splitting, StructuredFlow
from manifold_flow.structure.neurons import Neurons, Snapshot

__all__ = ["Eigenbasis", "Modes"]

Array = NDArray[np.float64]

#: relative change of E at which the eigenbasis is computed anew
REFRESH = 0.05


@dataclass(frozen=True, eq=False)
class Eigenbasis:
    """The matrices between V, forces, preactivations and parameters.

    Attributes
    ----------
    slopes : array, shape (n,)
        E.
    rates : array, shape (n, 1)
        Λ.
    from_force, to_features, to_parameters : array
        RᵀS⁻¹, S⁻¹RΛ, both (n, n), and XᵀSR, shape (r, n).
    """

    slopes: Array
    rates: Array
    from_force: Array
    to_features: Array
    to_parameters: Array

    @classmethod
    def of(cls, neurons: Neurons, slopes: Array) -> Eigenbasis:
        """Return the eigenbasis for slopes E > 0."""
        root = np.sqrt(slopes)
        scaled = root[:, None] * neurons.inputs_gram * root
        rates, vectors = np.linalg.eigh(scaled)
        rates = np.maximum(rates, 0.0)
        back = vectors / root[:, None]
        return cls(
            slopes,
            rates[:, None],
            np.ascontiguousarray(back.T),
            back * rates,
            neurons.inputs.T @ (root[:, None] * vectors),
        )

    def damping(self, step: float) -> Array:
        """Return 1/(1 + step · Λ), shape (n, 1)."""
        return 1.0 / (1.0 + step * self.rates)

    def smoothing(self, step: float) -> Array:
        """Return (K⁻¹ + step · E)⁻¹, shape (n, n), also for a singular K."""
        return (self.to_features * self.damping(step).T) @ self.from_force

    def still_holds(self, slopes: Array) -> bool:
        """Whether other slopes are so near that this basis serves them."""
        return bool(np.abs(slopes / self.slopes - 1.0).max() <= REFRESH)


class Modes(Splitting):
    """The splitting of a two-layer network around one point.

    Parameters
    ----------
    flow : NeuronwiseFlow
        Evaluates, and remembers the last evaluation.
    here : Snapshot
        The flow at the base point.
    basis : Eigenbasis
        Of the slopes there, or nearly.
    at_base : array, shape (n, m), optional
        H(0) where it is known.
    """

    def __init__(
        self,
        flow: Evaluating,
        here: Snapshot,
        basis: Eigenbasis,
        at_base: Array | None = None,
    ) -> None:
        self.flow, self.features, self.basis = flow, here.features, basis
        self.rates = basis.rates
        self.at_base = basis.from_force @ here.force if at_base is None else at_base

    def _features(self, modes: Array) -> Array:
        displaced = self.basis.to_features @ modes
        displaced += self.features
        return displaced

    def force(self, modes: Array) -> Array:
        here = self.flow.evaluate(self._features(modes))
        return self.basis.from_force @ here.force

    def projected(self, modes: Array, step: float) -> Array:
        neurons, basis = self.flow.neurons, self.basis
        residual, slopes = neurons.residual_and_slopes(self._features(modes))
        gram = basis.smoothing(step) * (slopes @ slopes.T)
        slopes *= neurons.solve(gram, residual)[:, None]
        return modes - basis.damping(step) * (basis.from_force @ slopes)

    def length(self, modes: Array) -> float:
        return float(np.sqrt(np.einsum("ij,ij,i->", modes, modes, self.rates[:, 0])))

    def displacement(self, modes: Array) -> Array:
        return (self.basis.to_parameters @ modes).T.ravel()

    def moved(self, modes: Array, force: Array, point: Array) -> Modes:
        here = self.flow.arrived(point)
        neurons = self.flow.neurons
        slopes = neurons.shared_slopes(neurons.slopes(here))
        if self.basis.still_holds(slopes):
            return Modes(self.flow, here, self.basis, force)
        return Modes(self.flow, here, Eigenbasis.of(neurons, slopes))


class Evaluating(StructuredFlow):
    """A flow that remembers the last evaluation, so that no point is paid twice.

    Parameters
    ----------
    neurons : Neurons
        The arithmetic.
    """

    def __init__(self, neurons: Neurons) -> None:
        self.neurons = neurons
        self.n_evaluations = 0
        self.splits_exactly = neurons.collapse
        self.work = neurons.work
        # the shortest way to M stirs up fast modes; where all paths end alike, what a
        # gentle attraction leaves off M on a loose path does no harm
        self.attraction = 0.01 if neurons.collapse else 10.0
        self._last: Snapshot | None = None
        self._point: Array | None = None
        self._is_added_up = False
        self._seen: tuple[Snapshot, Observation] | None = None

    @property
    def last(self) -> Snapshot:
        """The last evaluation."""
        assert self._last is not None
        return self._last

    def evaluate(self, features: Array) -> Snapshot:
        """Return the flow at preactivations, and remember it."""
        self.n_evaluations += 1
        self._point = None
        self._last = self.neurons.evaluate(features)
        return self._last

    def arrived(self, point: Array) -> Snapshot:
        """Take note that the last evaluation was at these parameters, to rounding.

        It was at preactivations that a path has added up by itself.
        """
        self._point, self._is_added_up = point, True
        return self.last

    def forget_sum(self) -> None:
        """Let what a path has added up be evaluated afresh when it is asked for."""
        if self._is_added_up:
            self._point = None

    def at(self, point: Array) -> Snapshot:
        """Return the flow at parameters, shape (p,)."""
        if self._point is None or not np.array_equal(self._point, point):
            self.evaluate(self.neurons.features(point))
            self._point, self._is_added_up = point.copy(), False
        return self.last

    def observe(self, point: Array) -> Observation:
        here = self.at(point)
        if self._seen is None or self._seen[0] is not here:
            self._seen = here, self.observation(here)
        return self._seen[1]

    @abstractmethod
    def observation(self, here: Snapshot) -> Observation:
        """Return what the loop looks at in the last evaluation."""
