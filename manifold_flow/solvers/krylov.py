r"""Any model's limiting flow for an implicit method: Newton matrices by products.

At a point of M the velocity :math:`v = -\rho\, \mathrm{grad}_M S - \gamma J^+ r` has,
up to the turning of the normal space, which a large γ suppresses, the Jacobian
:math:`-\rho\, \mathrm{Hess}_M S - \gamma P_N`, self-adjoint.  So
:math:`(I - cJ)x = b` is solved by conjugate gradients on the tangent space, with one
Hessian-vector product an iteration, and by a division on the normal space.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.linalg import LinearOperator

from manifold_flow.linearization import Linearization
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.sharpness import Sharpness
from manifold_flow.structure import ImplicitFlow, NewtonMatrix, Observation

__all__ = ["KrylovFlow", "observation"]

Array = NDArray[np.float64]

#: of the first residual: where conjugate gradients stop
TOLERANCE, MAX_ITERATIONS = 1e-2, 200
#: power iterations for the fastest rate, whose order of size is enough
POWER_ITERATIONS = 12


def observation(
    here: Linearization, sharpness: Sharpness, steepness: Array
) -> Observation:
    """Return what the loop looks at in one point.

    Parameters
    ----------
    here : Linearization
        The model seen from the point.
    sharpness : Sharpness
        S.
    steepness : array, shape (p,)
        The vector whose tangent part vanishes where the flow rests.

    Returns
    -------
    Observation
    """
    return Observation(
        sharpness=sharpness.value(here),
        gradient_norm=float(np.linalg.norm(here.tangent_part(steepness))),
        full_gradient_norm=float(np.linalg.norm(steepness)),
        residual=float(np.abs(here.residual).max()),
        sigma_min=float(here.singular_values[-1]),
        sigma_max=float(here.singular_values[0]),
    )


class KrylovFlow(ImplicitFlow):
    """A limiting flow of any model, through its linearization.

    Parameters
    ----------
    manifold : ZeroLossManifold
        M.
    sharpness : Sharpness
        S.
    rate : float
        The clock ρ > 0.
    """

    def __init__(
        self, manifold: ZeroLossManifold, sharpness: Sharpness, rate: float
    ) -> None:
        self.manifold, self.sharpness, self.rate = manifold, sharpness, rate
        self.n_evaluations = 0
        model = manifold.model
        self.work = model.n_residuals**2 * model.n_params  # of the Gram matrix
        self._seen: tuple[Array, Linearization, Array] | None = None

    def _at(self, point: Array) -> tuple[Linearization, Array]:
        """Return linearization and ∇S, the last ones remembered."""
        if self._seen is None or not np.array_equal(self._seen[0], point):
            here = self.manifold.linearize(point)
            self._seen = point.copy(), here, self.sharpness.gradient(here)
        return self._seen[1:]

    def velocity(self, point: Array, pull: float = 0.0) -> Array:
        self.n_evaluations += 1
        here, gradient = self._at(point)
        velocity = -self.rate * here.tangent_part(gradient)
        return velocity - pull * here.normal_solve(here.residual) if pull else velocity

    def observe(self, point: Array) -> Observation:
        here, gradient = self._at(point)
        return observation(here, self.sharpness, gradient)

    def settled(self, point: Array) -> None:
        return None  # the manifold's own projection costs no more

    def fastest_rate(self, point: Array) -> float:
        hessian = self.manifold.riemannian_hessian(self.sharpness, point)
        draw = np.random.default_rng(0).standard_normal(point.size)
        vector, size = self._at(point)[0].tangent_part(draw), 0.0
        for _ in range(POWER_ITERATIONS):
            vector = vector / max(float(np.linalg.norm(vector)), 1e-300)
            vector = hessian @ vector
            size = float(np.linalg.norm(vector))
        return self.rate * size

    def newton_matrix(self, point: Array, pull: float) -> NewtonMatrix:
        hessian = self.manifold.riemannian_hessian(self.sharpness, point)
        return _TangentHessian(self._at(point)[0], hessian, self.rate, pull)


class _TangentHessian(NewtonMatrix):
    """−ρ Hess_M S − γ P_N at one point."""

    def __init__(
        self, here: Linearization, hessian: LinearOperator, rate: float, pull: float
    ) -> None:
        self.here, self.hessian, self.rate, self.pull = here, hessian, rate, pull

    def solver(self, step: float) -> Callable[[Array], Array]:
        def solve(right: Array) -> Array:
            tangent = self.here.tangent_part(right)
            normal = (right - tangent) / (1.0 + step * self.pull)
            return self._conjugate_gradients(tangent, step * self.rate) + normal

        return solve

    def _conjugate_gradients(self, right: Array, scale: float) -> Array:
        """Solve (I + scale · Hess) x = b on the tangent space, or as far as convex."""
        found, residual = np.zeros_like(right), right
        search, energy = residual, float(residual @ residual)
        goal = TOLERANCE**2 * energy
        for _ in range(MAX_ITERATIONS):
            if energy <= goal:
                break
            image = search + scale * (self.hessian @ search)
            curvature = float(search @ image)
            if curvature <= 0.0:
                # not convex at so long a step: the best that is known downhill
                return found if found.any() else right
            found = found + (energy / curvature) * search
            residual = residual - (energy / curvature) * image
            latest = float(residual @ residual)
            search, energy = residual + (latest / energy) * search, latest
        return found
