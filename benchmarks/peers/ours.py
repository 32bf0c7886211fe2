"""manifold_flow, through its public interface."""

from __future__ import annotations

from functools import partial
from typing import Any

import autograd.numpy as anp
import numpy as np
from numpy.typing import NDArray

import manifold_flow as mf
from benchmarks.field import ACTIVATIONS
from benchmarks.peer import Peer, Solve, features_of_params
from benchmarks.problem import Problem

Array = NDArray[np.float64]

#: HessianTrace of loss "sum" is 2F
RATE = 0.5
METHODS = ("auto", "ETDRK4", "StructuredBDF")


def network(problem: Problem, activation: mf.Activation) -> mf.TwoLayerNetwork:
    """Return the problem's network: the work on the data is done here, and timed."""
    return mf.TwoLayerNetwork(
        problem.inputs, problem.targets, problem.m, activation, loss="sum"
    )


def follow(
    problem: Problem, task: str, model: mf.Model, options: dict[str, Any]
) -> Any:
    """Return θ at the end, or the trajectory."""
    flow = mf.LimitingFlow(mf.ZeroLossManifold(model), mf.HessianTrace(), rate=RATE)
    start = problem.start.ravel()
    if task == "trajectory":
        return mf.integrate(flow, start, problem.times, **options)
    return mf.integrate(flow, start, **options).end.reshape(problem.m, problem.d)


def told(problem: Problem, rtol: float) -> dict[str, Any]:
    """Return the options; the benchmark's rule as a gtol, which is relative to |∇S|."""
    at_start = steepness(problem, problem.features)
    at_end = steepness(problem, problem.inputs @ problem.end.T)
    gtol = problem.aim / max(at_end, 1e-2 * at_start)
    return {"rtol": rtol, "gtol": gtol, "progress": False}


def steepness(problem: Problem, features: Array) -> float:
    """Return |∇F| before its projection."""
    _, slope, second, _ = problem.field.jet(features)
    free = 2.0 * problem.field.weights[:, None] * slope * second
    return problem.field.squared_gradient(free) ** 0.5


def prepare(method: str, problem: Problem, task: str, rtol: float) -> Solve:
    """Read the formula; its derivatives are to Python what compiling is to C."""
    activation = mf.Activation.of(ACTIVATIONS[problem.activation].expression)
    network(problem, activation)  # its range is proved once
    options = told(problem, rtol) | {"method": method}
    return lambda: follow(problem, task, network(problem, activation), options)


def prepare_callable(problem: Problem, task: str, rtol: float) -> Solve:
    """Give only the residual; autograd and finite differences check it at once."""
    values = {"cubic": lambda z: z**3 / 3.0 + z, "sinh": anp.sinh}
    value = values[problem.activation]

    def residual(params: Array) -> Any:
        features = problem.inputs @ anp.reshape(params, (problem.m, problem.d)).T
        return anp.sum(value(features), axis=1) - problem.targets

    model = mf.CallableModel(residual, problem.m * problem.d, loss="sum")
    options = told(problem, rtol)
    return lambda: follow(problem, task, model, options)


def features(problem: Problem, path: mf.Trajectory) -> Array:
    """Return Z (T, n, m) along a trajectory, which lifts its points on access."""
    return features_of_params(problem, path.points)


RTOL = {"endpoint": 1e-1, "trajectory": 1e-6}

PEERS = [
    Peer(
        f"manifold_flow {method}",
        "ours",
        partial(prepare, method),
        f"mf.integrate(flow, start, method={method!r})",
        rtol=RTOL,
        features=features,
    )
    for method in METHODS
] + [
    Peer(
        "manifold_flow CallableModel",
        "autograd",
        prepare_callable,
        "mf.integrate on mf.CallableModel(residual, p): only the function is given",
        rtol=RTOL | {"endpoint": 1e-2},
        features=features,
    )
]
