"""The rows that are single numbers: floor, growth, memory, direct end point, ensemble.

Every function here runs in a child process of its own, on one core and one thread.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peer import all_peers
from benchmarks.problem import Problem

__all__ = ["auto", "direct", "ensemble", "floor", "label_noise", "memory"]

Array = NDArray[np.float64]

#: what an exact exponential method of order four needs for the end point
FLOOR_STEPS = 15
STAGES = 4
PASSES = 10


def seconds(action: Callable[[], Any], repeats: int = 7) -> float:
    """Return the median CPU seconds of an action, after one run that is not counted."""
    action()
    measured = []
    for _ in range(repeats):
        began = time.process_time()
        action()
        measured.append(time.process_time() - began)
    return statistics.median(measured)


def products(problem: Problem) -> float:
    """Return the seconds of what every method does: Xθᵀ, X Xᵀ, and WᵀX added to θ."""
    inputs, start, dual = problem.inputs, problem.start, problem.features

    def once() -> None:
        _ = inputs @ start.T, inputs @ inputs.T, start + dual.T @ inputs

    return seconds(once)


def floor(problem: Problem) -> dict[str, float]:
    """Return the least seconds of an end point on this machine, and what they are of.

    A velocity costs 4n²m + n³/3 flops at the rate of the matrix product of its own
    shape, and ten passes over n·m numbers at the bandwidth of such arrays.
    """
    n, m = problem.n, problem.m
    slopes, pair = np.ones((n, m)), np.ones((m, 2 * n))
    out, result = np.empty((n, 2 * n)), np.empty_like(slopes)
    product = seconds(lambda: np.matmul(slopes, pair, out=out), repeats=50)
    sweep = seconds(lambda: np.multiply(slopes, slopes, out=result), repeats=50)
    rate = 4.0 * n * n * m / product
    bandwidth = 3.0 * slopes.nbytes / sweep
    velocity = (4.0 * n * n * m + n**3 / 3.0) / rate
    velocity += PASSES * slopes.nbytes / bandwidth
    ends = products(problem)
    return {
        "dgemm": rate,
        "bandwidth": bandwidth,
        "velocity": velocity,
        "ends": ends,
        "floor": FLOOR_STEPS * STAGES * velocity + ends,
    }


def auto(problem: Problem) -> float:
    """Return the seconds of our end point beyond the products that every method does.

    For the rows of growth, where X is read and θ lifted in all of them.
    """
    peer = all_peers()["manifold_flow auto"]
    solve = peer.prepare(problem, "endpoint", peer.rtol["endpoint"])
    return seconds(solve) - products(problem)


def direct(problem: Problem) -> float:
    """Return the seconds of the end point without the path, beyond the products."""
    import manifold_flow as mf
    from benchmarks.peers.ours import network

    activation = mf.Activation.of("z**3/3 + z")
    model = network(problem, activation)
    start = problem.start.ravel()
    end = mf.references.flattest_point(model, start)
    if np.abs(end.reshape(problem.end.shape) - problem.end).max() > 1e-9:
        raise ArithmeticError("the direct end point is not the end point")
    return seconds(lambda: mf.references.flattest_point(model, start)) - products(
        problem
    )


def memory(problem: Problem) -> float:
    """Return the peak bytes of our end point above those before it, inputs included.

    Only Linux can set the peak of a process back (``man 5 proc``, clear_refs).
    """
    import resource

    peer = all_peers()["manifold_flow auto"]
    small = Problem.of("S")
    peer.prepare(small, "endpoint", peer.rtol["endpoint"])()  # imports are not counted
    solve = peer.prepare(problem, "endpoint", peer.rtol["endpoint"])

    def peak() -> float:
        return 1024.0 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    solve()
    return peak() - before


def ensemble(batch_size: int, n_steps: int = 1000) -> float:
    """Return preactivation updates a second of label-noise SGD: n·m a replica and step.

    The ensemble is (n, m, replicas) = (20, 50, 64); beginning a run is not counted.
    """
    import manifold_flow as mf
    from benchmarks.ensemble import seconds_per_step

    replicas = 64
    inputs, targets = mf.datasets.gaussian(20, 20, rng=0)
    model = mf.TwoLayerNetwork(inputs, targets, 50, "cubic")
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(
        model, learning_rate=1e-3, noise_std=0.1, batch_size=batch_size
    )

    took = seconds_per_step(sgd, start, replicas, n_steps)
    return inputs.shape[0] * model.width * replicas / took


def label_noise(problem: Problem, gap: float = 1e-2) -> float:
    """Return the seconds in which label-noise SGD itself would close the gap F − F*.

    Its clock says how many steps the flow's time is; a thousand of them are timed.
    The learning rate is a tenth of 2/(n λ₁), about what single samples leave stable: a
    larger one no longer follows.
    """
    import manifold_flow as mf

    model = mf.TwoLayerNetwork(
        problem.inputs, problem.targets, problem.m, "z**3/3 + z", loss="mean"
    )
    manifold, start = mf.ZeroLossManifold(model), problem.start.ravel()
    steepest = float(manifold.linearize(start).hessian_eigenvalues[0])
    learning_rate = 0.2 / (problem.n * steepest)
    sgd = mf.LabelNoiseSGD(model, learning_rate=learning_rate, noise_std=1.0)
    flow = mf.limiting_flow(sgd, manifold)
    path = mf.integrate(flow, start, keep_steps=True, progress=False)
    above = np.asarray(path.sharpness) - mf.references.flattest_value(model)
    arrival = path.times[int(np.argmax(above <= gap * above[0]))]
    n_steps = 1000
    step = seconds(lambda: mf.simulate(sgd, start, n_steps=n_steps, rng=0), 3) / n_steps
    return float(arrival / sgd.time_per_step) * step
