"""How fast an ensemble steps, and how far that is from the machine's floor.

    python benchmarks/ensemble.py --samples 20 --width 50 --replicas 64

A preactivation update is one z_ij of one replica: replicas × n × m a step, whatever
the batch.  The floor of a step is what cannot be avoided, at rates measured on the
spot: its multiplications at the rate of a matrix product, and the bytes it must move at
the rate of an in-place addition on arrays of the same size (in the cache, if they fit).
Times are CPU seconds of this process, the best of several, so that a busy machine
counts less.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np

import manifold_flow as mf

DOUBLE = 8
REPEATS = 7


def main() -> None:
    """Print one line for every optimizer."""
    sizes = arguments()
    n, m, replicas = sizes.samples, sizes.width, sizes.replicas
    inputs, targets = mf.datasets.gaussian(n, n, rng=0)
    model = mf.TwoLayerNetwork(inputs, targets, m, sizes.activation)
    manifold = mf.ZeroLossManifold(model)
    point = manifold.random_point(rng=0)
    start = point + 1e-3 * manifold.normal_basis(point)[0]  # SAM needs a direction
    flops, bandwidth = product_rate(), addition_rate(replicas * model.n_params)
    print(f"n = {n}, m = {m}, replicas = {replicas}, {sizes.activation}")
    print(
        f"matrix product {flops / 1e9:.1f} Gflop/s, memory {bandwidth / 1e9:.1f} GB/s"
    )
    print(f"{'optimizer':34}{'µs/step':>9}{'floor':>8}{'ratio':>7}{'million/s':>11}")
    for name, optimizer, drawn, gradients in ensembles(model):
        seconds = seconds_per_step(optimizer, start, replicas, sizes.steps)
        work, moved = needs(model, replicas, drawn)
        floor = gradients * (work / flops + moved / bandwidth)
        rate = replicas * n * m / seconds
        print(
            f"{name:34}{1e6 * seconds:9.1f}{1e6 * floor:8.1f}{seconds / floor:7.2f}"
            f"{rate / 1e6:11.0f}"
        )


def arguments() -> argparse.Namespace:
    """Read the sizes."""
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--samples", type=int, default=20)
    parser.add_argument("--width", type=int, default=50)
    parser.add_argument("--replicas", type=int, default=64)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--activation", default="cubic")
    return parser.parse_args()


def ensembles(model: mf.Model) -> list[tuple[str, mf.Optimizer, int, int]]:
    """Return name, optimizer, drawn samples and gradients a step."""
    n = model.n_samples
    return [
        ("label noise, B = 1", mf.LabelNoiseSGD(model, 1e-3, 0.1), 1, 1),
        ("label noise, B = n", mf.LabelNoiseSGD(model, 1e-3, 0.1, n), n, 1),
        ("gradient descent", mf.GradientDescent(model, 1e-3), n, 1),
        ("gradient descent, momentum", mf.GradientDescent(model, 1e-3, 0.9), n, 1),
        ("SAM, B = 1", mf.SAM(model, 1e-3, 0.01, 1), 1, 2),
        ("SAM, full batch", mf.SAM(model, 1e-3, 0.01), n, 2),
    ]


def needs(model: mf.TwoLayerNetwork, replicas: int, drawn: int) -> tuple[float, float]:
    """Return the flops and bytes of a gradient and its step.

    Two products of 2 flops for every parameter and drawn sample.  The parameters are
    read twice and written once; preactivations and slopes are written and read once.
    """
    params = replicas * model.n_params
    preactivations = replicas * model.width * drawn
    return 4.0 * params * drawn, DOUBLE * (3.0 * params + 4.0 * preactivations)


def product_rate(size: int = 384) -> float:
    """Return flops per second of a matrix product."""
    a = np.random.default_rng(0).standard_normal((size, size))
    b = a.copy()
    return 2.0 * size**3 / best(lambda: a @ b, 5)


def addition_rate(size: int) -> float:
    """Return bytes per second of an in-place addition."""
    a, b = np.zeros(size), np.ones(size)
    return 3.0 * DOUBLE * size / best(lambda: np.add(a, b, out=a), 200)


def seconds_per_step(
    optimizer: mf.Optimizer, start: np.ndarray, replicas: int, steps: int
) -> float:
    """Return the CPU time of one more step of a run."""

    def run(n_steps: int) -> None:
        mf.simulate(
            optimizer, start, n_steps, every=steps, replicas=replicas, rng=0, force=True
        )

    return (best(lambda: run(steps), 1) - best(lambda: run(1), 1)) / (steps - 1)


def best(work: Callable[[], object], times: int) -> float:
    """Return the least CPU seconds of one call."""
    found = np.inf
    for _ in range(REPEATS):
        began = time.process_time()
        for _ in range(times):
            work()
        found = min(found, time.process_time() - began)
    return float(found / times)


if __name__ == "__main__":
    main()
