"""What a model declares of a flow on its zero-loss manifold."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ImplicitFlow",
    "NewtonMatrix",
    "Observation",
    "Splitting",
    "StructuredFlow",
]

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """What the loop looks at in one point.

    Attributes
    ----------
    sharpness : float
        S.
    gradient_norm : float
        Norm of the Riemannian gradient of S; of the velocity where it is no gradient.
    full_gradient_norm : float
        Norm of the same before its projection on the tangent space.
    residual : float
        max |r_i|.
    sigma_min, sigma_max : float
        Extreme singular values of the Jacobian.
    loss : float or None
        L, where a path has any; then the gradients are those of L.
    distance : float
        |r|/σ_min, a bound on the distance to M near it, relative to the size of θ.
    residual_scale : float
        What rounding of a residual is relative to.
    """

    sharpness: float
    gradient_norm: float
    full_gradient_norm: float
    residual: float
    sigma_min: float
    sigma_max: float
    loss: float | None = None
    distance: float = 0.0
    residual_scale: float = 1.0

    @property
    def objective(self) -> float:
        """What falls along the path: the loss, or on M the sharpness."""
        return self.sharpness if self.loss is None else self.loss

    @property
    def rank_margin(self) -> float:
        """σ_min(J)/σ_max(J); 0 where the manifold has no tangent space."""
        return self.sigma_min / self.sigma_max if self.sigma_max > 0 else 0.0


class Splitting(ABC):
    r"""Coordinates V around a base point in which a flow is nearly diagonal.

    The flow reads :math:`\dot V = -H(V)` from V = 0, and :math:`H(V) - \Lambda V`
    changes slowly, with a diagonal Λ >= 0 that may be as large as it likes: an
    exponential method solves that part exactly.

    Attributes
    ----------
    rates : array, shape (k, 1)
        The diagonal of Λ, per unit of time; it multiplies V of shape (k, l).
    at_base : array, shape (k, l)
        H(0).
    """

    rates: Array
    at_base: Array

    @abstractmethod
    def force(self, modes: Array) -> Array:
        """Return H(V), shape (k, l).

        Raises
        ------
        NonFiniteError, RankDeficientJacobianError
            Where it is not defined.
        """

    @abstractmethod
    def projected(self, modes: Array, step: float) -> Array:
        r"""Return V after one Gauss-Newton step towards M.

        It is the shortest one in the metric :math:`1 + \text{step} \cdot \Lambda` of an
        implicit step of that length: the shortest one in the parameters would stir up
        the fast modes, which had come to rest.

        Raises
        ------
        NonFiniteError, RankDeficientJacobianError
            Where there is none.
        """

    @abstractmethod
    def length(self, modes: Array) -> float:
        """Return the norm of V in the parameters."""

    @abstractmethod
    def displacement(self, modes: Array) -> Array:
        """Return the change of the parameters that V is, shape (p,)."""

    @abstractmethod
    def moved(self, modes: Array, force: Array, point: Array) -> Splitting:
        """Return the splitting at ``point``, the base displaced by V.

        ``force`` is H(V), which was the last one asked for.
        """


class NewtonMatrix(ABC):
    """The Jacobian J of a velocity at one point, as an implicit method uses it."""

    @abstractmethod
    def solver(self, step: float) -> Callable[[Array], Array]:
        """Return ``b (p,) -> x (p,)`` with (I − step · J) x = b, up to a tolerance."""


class ImplicitFlow(ABC):
    """A flow on a zero-loss manifold, with what an implicit method needs of it.

    Attributes
    ----------
    n_evaluations : int
        Velocities evaluated so far.
    work : int or None
        Multiply-adds of one velocity, where they are known.
    attraction : float
        Of the fastest rate: the rate at which an implicit method is attracted to M.
    """

    n_evaluations: int = 0
    work: int | None = None
    attraction: float = 10.0

    @abstractmethod
    def velocity(self, point: Array, pull: float = 0.0) -> Array:
        """Return dθ/dτ − pull · J⁺ r, shape (p,): on M the flow itself.

        Off M the second term attracts to M at the rate ``pull``.
        """

    @abstractmethod
    def observe(self, point: Array) -> Observation:
        """Return what the loop looks at; cheap right after a step that ended here."""

    @abstractmethod
    def settled(self, point: Array) -> Array | None:
        """Return the point of M a few undamped steps away; None if none is."""

    @abstractmethod
    def fastest_rate(self, point: Array) -> float:
        """Return the size of the Jacobian's largest eigenvalue, roughly."""

    @abstractmethod
    def newton_matrix(self, point: Array, pull: float) -> NewtonMatrix:
        """Return the Jacobian of ``velocity(·, pull)`` at a point of M."""


class StructuredFlow(ImplicitFlow):
    """A flow whose model also declares coordinates in which it is nearly diagonal.

    Attributes
    ----------
    splits_exactly : bool
        Whether near the limit ``splitting`` leaves nothing over.
    """

    splits_exactly: bool

    @abstractmethod
    def splitting(self, point: Array) -> Splitting:
        """Return the nearly diagonal coordinates around a point."""

    @abstractmethod
    def stiffness(self, point: Array) -> float:
        """Return the ratio of the largest to the smallest rate seen from a point."""

    @abstractmethod
    def evenness(self, point: Array) -> float:
        """Return how alike the parts are that share rates: from 1, equal, to 0.

        What moves more slowly than its shared rate by orders of magnitude is not nearly
        diagonal in the coordinates of ``splitting``, however long it is followed.
        """
