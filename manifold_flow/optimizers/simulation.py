"""``simulate``: an optimizer gives a step, we own the loop."""

from __future__ import annotations

import time as clock
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real, refuse_too_large
from manifold_flow.checks import Rng, count, generator
from manifold_flow.errors import (
    DataError,
    DivergenceError,
    Interrupted,
    ShapeError,
    require,
    suggest_keywords,
)
from manifold_flow.models.model import Model
from manifold_flow.optimizers.abstract import Optimizer
from manifold_flow.solvers.progress import Report, reporter
from manifold_flow.trajectory import Status, Trajectory

__all__ = ["simulate"]

Array = NDArray[np.float64]


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
    start : array, shape (p,) or (replicas, p)
        Parameters at step 0, of every replica or of each; need not lie on the manifold.
        The end of one run starts the next.
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
    Interrupted
        On Ctrl-C; its ``trajectory`` is the run so far.

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
    require("optimizer", optimizer, Optimizer, "Flows are followed by mf.integrate().")
    count("n_steps", n_steps, least=0)
    if every is not None:
        count("every", every)
    begin = _checked_start(optimizer.model, start, replicas)
    every = every or max(1, n_steps // 100)
    refuse_too_large("the kept iterates", n_steps // every + 2, *begin.shape)
    draws, report = generator(rng), reporter(progress)
    reduction = optimizer.model.reduction()
    inner = optimizer.on(reduction.model)

    def lift(points: Array) -> Array:
        return reduction.lift(points, begin)

    kept, cause, began = [(0, reduction.restrict(begin))], None, clock.monotonic()
    try:
        first = np.atleast_2d(kept[0][1])
        for step, params in _steps(inner, first, n_steps, every, draws):
            if not np.isfinite(params).all():
                raise _divergence(
                    optimizer, begin, step, kept[-1][0], lift(kept[-1][1])
                )
            kept.append((step, params.reshape(kept[0][1].shape)))
            report(f"step {step} of {n_steps}")
    except KeyboardInterrupt as interrupt:
        cause = interrupt
    finally:
        report("")
    last, points = kept[-1][0], np.array([params for _, params in kept])
    residual = np.array([_largest_residual(inner.model, rows) for rows in points])
    trajectory = Trajectory(
        times=np.array([step for step, _ in kept]) * optimizer.time_per_step,
        status=Status.COMPLETED if cause is None else Status.OUT_OF_BUDGET,
        message=f"ran {last} of {n_steps} steps",
        reduced_points=points,
        n_evaluations=last,
        n_steps=last,
        drift=float(residual.max()),
        seconds=clock.monotonic() - began,
        details=_details(optimizer, begin, draws),
        residual=residual,
        lift=lift,
    )
    if cause is not None:
        raise Interrupted(f"interrupted; {trajectory.message}", trajectory) from cause
    return trajectory


def _checked_start(model: Model, start: ArrayLike, replicas: int | None) -> Array:
    """Return the start of shape (p,) or, with replicas, (replicas, p)."""
    begin = as_real("start", start).copy()
    if replicas is not None:
        count("replicas", replicas)
    if begin.ndim == 1 and replicas is not None:
        refuse_too_large("the replicas", replicas, begin.size)
        begin = np.tile(begin, (replicas, 1))
    wanted = (model.n_params,) if begin.ndim < 2 else (len(begin), model.n_params)
    if begin.shape != wanted or (
        begin.ndim == 2 and replicas not in (None, len(begin))
    ):
        expected = (replicas or "replicas", model.n_params)
        raise ShapeError("start", f"({model.n_params},) or {expected}", begin.shape)
    if not np.isfinite(begin).all():
        raise DataError("start is not finite: NaN or infinity is no place to start.")
    return begin


def _steps(
    optimizer: Optimizer,
    params: Array,
    n_steps: int,
    every: int,
    rng: np.random.Generator,
) -> Iterator[tuple[int, Array]]:
    """Yield (step, params) for the steps to keep."""
    for step in range(1, n_steps + 1):
        # a diverging replica is told by its infinities, not by warnings
        with np.errstate(all="ignore"):
            params = optimizer.step(params, rng)
        if step % every == 0 or step == n_steps:
            yield step, params


def _divergence(
    optimizer: Optimizer, start: Array, step: int, before: int, params: Array
) -> DivergenceError:
    here = optimizer.model.linearize(np.atleast_2d(start)[0])
    return DivergenceError(
        f"{optimizer!r} left the finite numbers between steps {before} and {step}. "
        "Gradient descent needs learning_rate < 2/lambda_max = "
        f"{2.0 / here.hessian_eigenvalues[0]:.3g} at the start, and noise or small "
        "batches need less. Use a smaller learning_rate.",
        before,
        params,
    )


def _largest_residual(model: Model, params: Array) -> float:
    rows = np.atleast_2d(params)
    return max(float(np.abs(model.residual(row)).max()) for row in rows)


def _details(
    optimizer: Optimizer, start: Array, draws: np.random.Generator
) -> dict[str, Any]:
    sequence = draws.bit_generator.seed_seq
    model = optimizer.model
    return {
        "mover": repr(optimizer),
        "model": repr(model),
        "loss": model.loss.formula,
        "replicas": len(start) if start.ndim == 2 else None,
        "seed": getattr(sequence, "entropy", None),
        "spawn_key": list(getattr(sequence, "spawn_key", ())),
        "caveats": list(model.caveats),
    }
