"""Networks small enough to be understood by hand, each with a point of its M."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.activations import Activation
from manifold_flow.flow import LimitingFlow, integrate
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.references import flattest_value
from manifold_flow.sharpness import HessianTrace
from manifold_flow.trajectory import Trajectory
from manifold_flow.verification.evidence import Control, Refinement

__all__ = ["SmallNetwork", "by_differences", "collapses"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class SmallNetwork:
    """A two-layer network of loss Σ r² and a point of its zero-loss manifold.

    Attributes
    ----------
    model : TwoLayerNetwork
        The network; F = Tr ∇²L.
    point : array, shape (p,)
        The point.
    """

    model: TwoLayerNetwork
    point: Array

    @classmethod
    def through(
        cls,
        features: ArrayLike,
        activation: Activation | str,
        *,
        inputs: ArrayLike = ((1.0,),),
        output_weights: ArrayLike | None = None,
    ) -> SmallNetwork:
        """Return the network whose targets are the outputs at these preactivations.

        Parameters
        ----------
        features : array, shape (n, m)
            Preactivations z_ij of the point; X θ = z must have a solution.
        activation : Activation or str
            φ.
        inputs : array, shape (n, d)
            X; the number 1 by default.
        output_weights : array, shape (m,), optional
            a; ones by default.

        Examples
        --------
        >>> network = SmallNetwork.through([[1.0, 2.0]], "square")
        >>> network.model.targets, network.trace(network.point)
        (array([5.]), 40.0)
        """
        z, rows = np.array(features, dtype=float), np.array(inputs, dtype=float)
        phi, width = Activation.of(activation), z.shape[1]
        a = np.ones(width) if output_weights is None else np.array(output_weights)
        model = TwoLayerNetwork(rows, phi(z) @ a, width, phi, a, loss="sum")
        return cls(model, np.linalg.lstsq(rows, z, rcond=None)[0].T.ravel())

    @cached_property
    def manifold(self) -> ZeroLossManifold:
        """M."""
        return ZeroLossManifold(self.model)

    def trace(self, point: Array) -> float:
        """Return F at a point of M."""
        return HessianTrace().value(self.model.linearize(point))

    def traces(self, path: Trajectory) -> Array:
        """Return F at every point of a path."""
        return np.array([self.trace(point) for point in path.points])

    def gradient_norm(self, point: Array) -> float:
        """Return |grad_M F| at a point of M."""
        gradient = self.manifold.riemannian_gradient(HessianTrace(), point)
        return float(np.linalg.norm(gradient))

    def hessian(self, direction: ArrayLike) -> float:
        """Return Hess_M F(u, u) at the point for u the normalised direction."""
        unit = np.array(direction) / np.linalg.norm(direction)
        operator = self.manifold.riemannian_hessian(HessianTrace(), self.point)
        return float(unit @ (operator @ unit))

    def follow(self, times: ArrayLike | None = None, gtol: float = 1e-10) -> Trajectory:
        """Follow the flow of F from the point; to stationarity without times."""
        flow = LimitingFlow(self.manifold, HessianTrace())
        return integrate(flow, self.point, times, gtol=gtol, progress=False)

    def ends(self) -> list[Array]:
        """Return where the flow is within gtol = 1e-4, 1e-6 and 1e-10, on one path."""
        ends, here = [], self
        for gtol in (1e-4, 1e-6, 1e-10):
            ends.append(here.follow(gtol=gtol).end)
            here = SmallNetwork(self.model, ends[-1])
        return ends


def collapses(text: str, network: SmallNetwork) -> Control:
    """Return the control that the flow does end at the flattest point.

    Parameters
    ----------
    text : str
        Which hypothesis is restored.
    network : SmallNetwork
        The network that has it; the flow starts at its point.

    Examples
    --------
    >>> collapses("cubic", SmallNetwork.through([[1.0, 2.0]], "cubic")).failed
    True
    """
    least = flattest_value(network.model)
    gap = network.trace(network.follow().end) - least
    return Control(
        f"{text}: the flow ends at F - F* = {gap:.1e} of F* = {least:.6g}",
        failed=gap <= 1e-9 * least,
    )


def by_differences(
    name: str, along: Callable[[float], float], exact: float, step: float
) -> Refinement:
    """Return how the second differences of a function approach f''(0), O(h²).

    Parameters
    ----------
    name : str
        What the second derivative is.
    along : callable
        f, of one number.
    exact : float
        f''(0), from elsewhere.
    step : float
        h, then h/2.

    Examples
    --------
    >>> print(by_differences("quartic", lambda h: h**4 + 3 * h**2, 6.0, 0.1))
    quartic by differences, h halved: 0.02 -> 0.005 (expected a factor of 4)
    """

    def error(h: float) -> float:
        second = (along(-h) - 2.0 * along(0.0) + along(h)) / h**2
        return abs(second - exact)

    text = f"{name} by differences, h halved"
    return Refinement(text, error(step), error(step / 2), factor=4.0)
