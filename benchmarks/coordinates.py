"""The two forms in which a NumPy peer is given the field: in θ, and reduced to Z.

Both are built from the arrays of the problem, and so are timed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from benchmarks.field import Field
from benchmarks.problem import Problem

__all__ = ["COORDINATES", "Coordinates", "parameters", "preactivations"]

Array = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Coordinates:
    """An initial value problem ẏ = rates(y), flat.

    Attributes
    ----------
    start : array, shape (N,)
        y(0).
    rates : callable
        y to ẏ.
    gradient : callable
        y to |grad_M F|, the norm of the parameters, whose fall ends the run.
    finish : callable
        y to θ (m, d), projected to M once more: numerical solutions drift from an
        invariant (Hairer, Lubich, Wanner, Geometric Numerical Integration, IV.4).
    """

    start: Array
    rates: Callable[[Array], Array]
    gradient: Callable[[Array], float]
    finish: Callable[[Array], Array]


def parameters(problem: Problem) -> Coordinates:
    """Return the flow in θ: N = m·d.

    Parameters
    ----------
    problem : Problem
        The job.

    Returns
    -------
    Coordinates
        Each evaluation costs two products with X.
    """
    inputs, shape = problem.inputs, (problem.m, problem.d)
    field = Field.of(inputs, problem.targets, problem.activation)

    def features(state: Array) -> Array:
        return inputs @ state.reshape(shape).T

    def rates(state: Array) -> Array:
        return -(field.dual(features(state)).T @ inputs).ravel()

    def gradient(state: Array) -> float:
        return field.squared_gradient(field.dual(features(state))) ** 0.5

    def finish(state: Array) -> Array:
        return state.reshape(shape) + field.projection(features(state)).T @ inputs

    return Coordinates(problem.start.ravel(), rates, gradient, finish)


def preactivations(problem: Problem) -> Coordinates:
    """Return the flow in Z: N = n·m, whatever d is.

    Parameters
    ----------
    problem : Problem
        The job.

    Returns
    -------
    Coordinates
        X is read once, at the start, and used once, at the end, which is projected
        row by row: the shortest way in θ would stir up what had come to rest, by the
        condition number of K.
    """
    inputs, shape = problem.inputs, (problem.n, problem.m)
    field = Field.of(inputs, problem.targets, problem.activation)
    start = inputs @ problem.start.T

    def rates(state: Array) -> Array:
        return -(field.gram @ field.dual(state.reshape(shape))).ravel()

    def gradient(state: Array) -> float:
        return field.squared_gradient(field.dual(state.reshape(shape))) ** 0.5

    def finish(state: Array) -> Array:
        moved = field.row_projection(state.reshape(shape)) - start
        # through X = RᵀQᵀ, not K⁻¹, which would square the condition
        basis, triangle = np.linalg.qr(inputs.T)
        inner = scipy.linalg.solve_triangular(triangle, moved, trans="T")
        return problem.start + (basis @ inner).T

    return Coordinates(start.ravel(), rates, gradient, finish)


#: what a peer is given: its group, and where it works
COORDINATES: Mapping[str, Callable[[Problem], Coordinates]] = MappingProxyType(
    {"closed form": parameters, "reduced": preactivations}
)
