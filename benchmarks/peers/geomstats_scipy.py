"""geomstats: M as a LevelSet, derivatives by its autograd backend, loop by SciPy.

geomstats has fixed-step integrators of its own and a wrapper of solve_ivp; for an
adaptive step its geodesics use the latter.
https://geomstats.github.io/api/geomstats.geometry.html (LevelSet)
https://geomstats.github.io/api/geomstats.numerics.html (ScipySolveIVP)
"""

from __future__ import annotations

import os
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coordinates import Coordinates, parameters
from benchmarks.peer import Peer, Solve
from benchmarks.peers.scipy_ivp import integrate
from benchmarks.problem import Problem

__all__ = ["PEERS"]

Array = NDArray[np.float64]


def zero_loss_set(problem: Problem) -> tuple[Any, Any]:
    """Return the level set and the Euclidean gradient of F, both from functions."""
    os.environ["GEOMSTATS_BACKEND"] = "autograd"
    # geomstats 2.8 asks NumPy for a name that 2.4 has not; see the module
    from manifold_flow._compat import import_geomstats

    gs = import_geomstats("backend")
    base = import_geomstats("geometry.base").LevelSet
    euclidean = import_geomstats("geometry.euclidean").Euclidean
    shape, weights = (problem.m, problem.d), (problem.inputs**2).sum(axis=1)
    value, slope = {
        "cubic": (lambda z: z**3 / 3.0 + z, lambda z: z**2 + 1.0),
        "sinh": (gs.sinh, gs.cosh),
    }[problem.activation]

    def features(point: Any) -> Any:
        return problem.inputs @ gs.reshape(point, shape).T

    def sharpness(point: Any) -> Any:
        return gs.sum(weights[:, None] * slope(features(point)) ** 2)

    class ZeroLoss(base):  # type: ignore[misc,valid-type]  # geomstats is untyped
        def __init__(self) -> None:
            size = problem.m * problem.d
            super().__init__(dim=size - problem.n, equip=False)

        def _define_embedding_space(self) -> Any:
            return euclidean(problem.m * problem.d, equip=False)

        def submersion(self, point: Any) -> Any:
            return gs.sum(value(features(point)), axis=1) - problem.targets

        def tangent_submersion(self, vector: Any, point: Any) -> Any:
            return gs.autodiff.jacobian(self.submersion)(point) @ vector

        def projection(self, point: Any) -> Any:
            return parameters(problem).finish(point).ravel()

        def random_point(self, n_samples: int = 1, bound: float = 1.0) -> Any:
            draw = bound * gs.random.normal(size=self.shape)
            return self.projection(draw)

        def to_tangent(self, vector: Any, base_point: Any) -> Any:
            jacobian = gs.autodiff.jacobian(self.submersion)(base_point)
            multipliers = gs.linalg.solve(jacobian @ jacobian.T, jacobian @ vector)
            return vector - multipliers @ jacobian

    gradient = gs.autodiff.value_and_grad(sharpness)
    return ZeroLoss(), lambda point: gradient(point)[1]


def level_set_flow(problem: Problem, space: Any, gradient: Any) -> Coordinates:
    """Return the flow by projecting the gradient on the tangent space."""

    def rates(state: Array) -> Array:
        return -np.asarray(space.to_tangent(gradient(state), state))

    def finish(state: Array) -> Array:
        return np.asarray(space.projection(state)).reshape(problem.m, problem.d)

    def steepness(state: Array) -> float:
        return float(np.linalg.norm(rates(state)))

    return Coordinates(problem.start.ravel(), rates, steepness, finish)


def prepare(method: str, problem: Problem, task: str, rtol: float) -> Solve:
    """Import geomstats on its autograd backend."""
    space, gradient = zero_loss_set(problem)
    return lambda: integrate(
        level_set_flow(problem, space, gradient), problem, task, rtol, method
    )


PEERS = [
    Peer(
        f"geomstats LevelSet, scipy {method}",
        "autograd",
        partial(prepare, method),
        f"LevelSet.to_tangent of the gradient of F, autograd, solve_ivp({method!r})",
        requires=("geomstats", "autograd"),
        rtol={"endpoint": 1e-8, "trajectory": 1e-6},
    )
    for method in ("DOP853", "RK45")
]
