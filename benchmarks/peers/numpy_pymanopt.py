"""pymanopt: minimise F over M, closed-form derivatives, end point only.

Its documentation says: a new manifold is a RiemannianSubmanifold with a projection and
a retraction; derivatives given by hand use the numpy backend; conjugate gradients are
its first-order optimizer of choice, trust regions the second-order one (here with the
Hessian by its own rule: D²F and the Weingarten map).
https://pymanopt.org/docs/stable/manifolds.html, .../optimizers.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from benchmarks.field import Field
from benchmarks.peer import Peer, Solve
from benchmarks.problem import Problem

__all__ = ["PEERS"]

Array = NDArray[np.float64]

UNLIMITED = 10**9


class Formulas:
    """Derivatives of F and of the constraint, in θ (m, d).

    Parameters
    ----------
    problem : Problem
        The job.
    """

    def __init__(self, problem: Problem) -> None:
        self.inputs = problem.inputs
        self.field = Field.of(self.inputs, problem.targets, problem.activation)

    def features(self, params: Array) -> Array:
        """Return Z (n, m)."""
        return self.inputs @ params.T

    def pull_back(self, change: Array) -> Array:
        """Return Σ_i change_ij x_i, shape (m, d)."""
        return change.T @ self.inputs

    def sharpness(self, params: Array) -> float:
        """Return F."""
        return self.field.sharpness(self.features(params))

    def gradient(self, params: Array) -> Array:
        """Return ∇F."""
        _, slope, second, _ = self.field.jet(self.features(params))
        return self.pull_back(2.0 * self.field.weights[:, None] * slope * second)

    def hessian(self, params: Array, vector: Array) -> Array:
        """Return D²F v."""
        _, slope, second, third = self.field.jet(self.features(params))
        bend = 2.0 * self.field.weights[:, None] * (second**2 + slope * third)
        return self.pull_back(bend * self.features(vector))

    def multipliers(self, slope: Array, vector: Array) -> Array:
        """Return (J Jᵀ)⁻¹ J v."""
        normal = self.field.gram * (slope @ slope.T)
        pushed = (slope * self.features(vector)).sum(axis=1)
        solution: Array = scipy.linalg.solve(normal, pushed, assume_a="pos")
        return solution

    def tangent(self, params: Array, vector: Array) -> Array:
        """Return the orthogonal projection on the tangent space."""
        slope = self.field.jet(self.features(params))[1]
        alpha = self.multipliers(slope, vector)
        return vector - self.pull_back(alpha[:, None] * slope)

    def weingarten(self, params: Array, vector: Array, normal: Array) -> Array:
        """Return −P Σ_i α_i D²r_i v, where the normal vector is Jᵀα."""
        _, slope, second, _ = self.field.jet(self.features(params))
        alpha = self.multipliers(slope, normal)
        bent = self.pull_back(alpha[:, None] * second * self.features(vector))
        return -self.tangent(params, bent)

    def retract(self, params: Array, vector: Array) -> Array:
        """Return the projection of θ + v on M."""
        ahead = params + vector
        return ahead + self.pull_back(self.field.projection(self.features(ahead)))


def zero_loss_set(problem: Problem, formulas: Formulas) -> Any:
    """Return M as pymanopt wants it."""
    from pymanopt.manifolds.manifold import RiemannianSubmanifold

    class ZeroLoss(RiemannianSubmanifold):  # type: ignore[misc]  # untyped
        def __init__(self) -> None:
            size = problem.m * problem.d
            super().__init__("zero-loss set", size - problem.n)

        def inner_product(self, point: Array, a: Array, b: Array) -> float:
            return float(np.vdot(a, b))

        def norm(self, point: Array, vector: Array) -> float:
            return float(np.linalg.norm(vector))

        def projection(self, point: Array, vector: Array) -> Array:
            return formulas.tangent(point, vector)

        to_tangent_space = projection

        def weingarten(self, point: Array, vector: Array, normal: Array) -> Array:
            return formulas.weingarten(point, vector, normal)

        def retraction(self, point: Array, vector: Array) -> Array:
            return formulas.retract(point, vector)

        def transport(self, origin: Array, goal: Array, vector: Array) -> Array:
            return formulas.tangent(goal, vector)

        def zero_vector(self, point: Array) -> Array:
            return np.zeros_like(point)

        def random_point(self) -> Array:
            return problem.start

        def random_tangent_vector(self, point: Array) -> Array:
            draw = np.random.default_rng(0).standard_normal(point.shape)
            return self.projection(point, draw)

    return ZeroLoss()


def minimise(optimizer: str, problem: Problem) -> Array:
    """Return θ where the optimizer stops."""
    import pymanopt
    from pymanopt import optimizers

    formulas = Formulas(problem)
    manifold = zero_loss_set(problem, formulas)
    backend = pymanopt.function.numpy(manifold)
    task = pymanopt.Problem(
        manifold,
        backend(formulas.sharpness),
        euclidean_gradient=backend(formulas.gradient),
        euclidean_hessian=backend(formulas.hessian),
    )
    run = getattr(optimizers, optimizer)(
        min_gradient_norm=problem.aim,
        max_iterations=UNLIMITED,
        max_time=np.inf,
        max_cost_evaluations=UNLIMITED,
        min_step_size=0.0,
        verbosity=0,
    ).run(task, initial_point=problem.start)
    return np.asarray(run.point)


def prepare(optimizer: str, problem: Problem, task: str, rtol: float) -> Solve:
    """Import pymanopt."""
    import pymanopt.optimizers  # noqa: F401  # imports are not timed

    return lambda: minimise(optimizer, problem)


PEERS = [
    Peer(
        f"pymanopt {optimizer}, θ",
        "closed form",
        partial(prepare, optimizer),
        f"{optimizer}(min_gradient_norm=...), otherwise as it is by default",
        requires=("pymanopt",),
        tasks=("endpoint",),
        rtol={"endpoint": 0.0},
    )
    for optimizer in ("ConjugateGradient", "TrustRegions")
]
