"""Optimizers, and ``simulate``: an optimizer gives a step, we own the loop."""

from __future__ import annotations

import time as clock
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.errors import (
    DataError,
    DivergenceError,
    ShapeError,
    UnknownNameError,
    suggest_keywords,
)
from manifold_flow.models.model import Model
from manifold_flow.solvers.progress import Report, reporter
from manifold_flow.trajectory import Status, Trajectory

__all__ = ["LabelNoiseSGD", "Optimizer", "simulate"]

Array = NDArray[np.float64]
Indices = NDArray[np.intp]
Rng = None | int | np.random.Generator | np.random.SeedSequence

NOISES = ("rademacher", "gaussian", "uniform")


class Optimizer(ABC):
    """What moves in steps.

    Attributes
    ----------
    model : Model
        What is trained.
    """

    model: Model

    @property
    @abstractmethod
    def time_per_step(self) -> float:
        """Slow time of one step, so that runs and flows share a clock."""

    @abstractmethod
    def step(self, params: Array, rng: np.random.Generator) -> Array:
        """Return the next parameters of each replica, shape (R, p); changes nothing."""

    @abstractmethod
    def on(self, model: Model) -> Optimizer:
        """Return the same optimizer on another model (the reduced one)."""


@dataclass(frozen=True, eq=False)
class LabelNoiseSGD(Optimizer):
    r"""SGD whose labels are perturbed afresh at every use.

    .. math:: \theta^+ = \theta - \eta\, \frac{n}{B} \sum_{b=1}^{B}
       c_{s_b}\,(r_{s_b}(\theta) - \varepsilon_b)\, \nabla r_{s_b}(\theta)

    with samples s drawn without replacement within a batch, independent noise ε of
    mean 0 and variance σ², and the curvatures c of the loss: the unbiased estimate of
    ∇L.  Its slow time is :math:`\eta^2` per step.

    Parameters
    ----------
    model : Model
        What is trained.
    learning_rate : float
        Step size η > 0.
    noise_std : float
        Standard deviation σ >= 0 of the label noise, in units of the targets.
    batch_size : int
        Number B of samples a step, from 1 to n.
    noise : {"rademacher", "gaussian", "uniform"}
        Law of ε; only its variance matters in the limit.

    Raises
    ------
    DataError
        For a learning rate, noise or batch size out of bounds.

    References
    ----------
    Blanc et al. (2020); Li, Wang, Arora (2021); theory.md §0.4.
    """

    model: Model
    learning_rate: float
    noise_std: float
    batch_size: int = 1
    noise: str = "rademacher"

    def __post_init__(self) -> None:
        if not (np.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise DataError(f"learning_rate = {self.learning_rate}: must be positive.")
        if not (np.isfinite(self.noise_std) and self.noise_std >= 0):
            raise DataError(f"noise_std = {self.noise_std}: must be 0 or more.")
        if not 1 <= self.batch_size <= self.model.n_residuals:
            raise DataError(
                f"batch_size = {self.batch_size}: must be from 1 to the "
                f"{self.model.n_residuals} samples."
            )
        if self.noise not in NOISES:
            raise UnknownNameError("noise", self.noise, NOISES)

    @property
    def time_per_step(self) -> float:
        return self.learning_rate**2

    def step(self, params: Array, rng: np.random.Generator) -> Array:
        samples = self._draw_samples(len(params), rng)
        noise = self.noise_std * self._draw_noise(samples.shape, rng)
        gradient = self.model.sample_gradient(params, samples, noise)
        scale = self.model.n_residuals / self.batch_size
        return params - self.learning_rate * scale * gradient

    def on(self, model: Model) -> LabelNoiseSGD:
        return replace(self, model=model)

    def _draw_samples(self, replicas: int, rng: np.random.Generator) -> Indices:
        n, size = self.model.n_residuals, (replicas, self.batch_size)
        if self.batch_size == n:
            return np.broadcast_to(np.arange(n), size)
        if self.batch_size == 1:
            return rng.integers(n, size=size)
        return np.argsort(rng.random((replicas, n)), axis=1)[:, : self.batch_size]

    def _draw_noise(self, size: tuple[int, ...], rng: np.random.Generator) -> Array:
        if self.noise == "gaussian":
            return rng.standard_normal(size)
        if self.noise == "uniform":
            return rng.uniform(-np.sqrt(3.0), np.sqrt(3.0), size)
        return 2.0 * rng.integers(2, size=size).astype(float) - 1.0

    def __repr__(self) -> str:
        """Return the hyperparameters."""
        return (
            f"LabelNoiseSGD(learning_rate={self.learning_rate:g}, "
            f"noise_std={self.noise_std:g}, batch_size={self.batch_size}, "
            f"noise={self.noise!r})"
        )


@suggest_keywords
def simulate(
    optimizer: Optimizer,
    start: ArrayLike,
    n_steps: int,
    *,
    every: int | None = None,
    replicas: int | None = None,
    rng: Rng = None,
    progress: bool | Report | None = None,
) -> Trajectory:
    """Run an optimizer, many replicas at once, on the clock of its limiting flow.

    Parameters
    ----------
    optimizer : Optimizer
        What to run.
    start : array, shape (p,)
        Parameters of every replica at step 0; need not lie on the manifold.
    n_steps : int
        Number of steps.
    every : int, optional
        Keep every so many steps; by default 100 times in all.  The start and the last
        step are always kept.
    replicas : int, optional
        Number R of independent runs; None means one run without that dimension.
    rng : None, int, Generator or SeedSequence
        Source of randomness; the same seed gives the same bits.
    progress : bool or callable, optional
        One line on standard error; by default on a terminal only.

    Returns
    -------
    Trajectory
        ``points`` (T, p) or (T, replicas, p): raw iterates, not projected; ``times``
        are ``step * optimizer.time_per_step``; ``residual`` is the largest over the
        replicas.

    Raises
    ------
    DivergenceError
        If a replica leaves the finite numbers; carries the step and the last finite
        params.

    Examples
    --------
    >>> import manifold_flow as mf
    >>> model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    >>> sgd = mf.LabelNoiseSGD(model, learning_rate=0.1, noise_std=0.5)
    >>> start = np.array([1.0, 0.5, 0.5, 0.0])
    >>> run = mf.simulate(sgd, start, n_steps=20, every=10, replicas=3, rng=0)
    >>> run.points.shape, run.times.round(6).tolist()
    ((3, 3, 4), [0.0, 0.1, 0.2])
    """
    begin = np.array(start, dtype=float)
    if begin.shape != (optimizer.model.n_params,):
        raise ShapeError("start", (optimizer.model.n_params,), begin.shape)
    if n_steps < 0 or (every is not None and every < 1) or (replicas or 1) < 1:
        raise DataError(
            f"n_steps = {n_steps}, every = {every}, replicas = {replicas}: n_steps "
            "must be 0 or more, the others 1 or more."
        )
    generator = np.random.default_rng(rng)
    reduction = optimizer.model.reduction()
    inner = optimizer.on(reduction.model)
    params = np.tile(reduction.restrict(begin), (replicas or 1, 1))
    began = clock.monotonic()
    steps, kept = _run(
        inner, params, n_steps, every or max(1, n_steps // 100), generator, progress
    )
    residual = np.array([_largest_residual(inner.model, rows) for rows in kept])
    return Trajectory(
        times=np.array(steps) * optimizer.time_per_step,
        status=Status.COMPLETED,
        message=f"ran {n_steps} steps of {optimizer.time_per_step:g} slow time each",
        reduced_points=np.array(kept) if replicas else np.array(kept)[:, 0],
        n_evaluations=n_steps,
        n_steps=n_steps,
        drift=float(residual.max()),
        seconds=clock.monotonic() - began,
        details=_details(optimizer, replicas, generator),
        residual=residual,
        lift=lambda points: reduction.lift(points, begin),
    )


def _run(
    optimizer: Optimizer,
    params: Array,
    n_steps: int,
    every: int,
    rng: np.random.Generator,
    progress: bool | Report | None,
) -> tuple[list[int], list[Array]]:
    report = reporter(progress)
    steps, kept = [0], [params]
    with np.errstate(all="ignore"):
        for step in range(1, n_steps + 1):
            params = optimizer.step(params, rng)
            if step % every == 0 or step == n_steps:
                if not np.isfinite(params).all():
                    raise _divergence(optimizer, kept[0], steps[-1], step, kept[-1])
                steps.append(step)
                kept.append(params)
                report(f"step {step} of {n_steps}")
    report("")
    return steps, kept


def _divergence(
    optimizer: Optimizer, start: Array, before: int, step: int, params: Array
) -> DivergenceError:
    top = optimizer.model.linearize(start[0]).hessian_eigenvalues[0]
    return DivergenceError(
        f"{optimizer!r} left the finite numbers between steps {before} and {step}. "
        f"Gradient descent needs learning_rate < 2/lambda_max = {2.0 / top:.3g} at the "
        "start, and noise or small batches need less. Use a smaller learning_rate.",
        before,
        params,
    )


def _largest_residual(model: Model, params: Array) -> float:
    return max(float(np.abs(model.residual(row)).max()) for row in params)


def _details(
    optimizer: Optimizer, replicas: int | None, generator: np.random.Generator
) -> dict[str, Any]:
    sequence = generator.bit_generator.seed_seq
    model = optimizer.model
    return {
        "mover": repr(optimizer),
        "model": repr(model),
        "loss": model.loss.formula,
        "replicas": replicas,
        "seed": getattr(sequence, "entropy", None),
        "spawn_key": list(getattr(sequence, "spawn_key", ())),
        "caveats": list(model.caveats),
    }
