"""``simulate``: an optimizer gives a step, we own the loop."""

from __future__ import annotations

import math
import time as clock
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import refuse_too_large
from manifold_flow.checks import Rng, count, generator, positive
from manifold_flow.errors import (
    DataError,
    DivergenceError,
    IntegrationError,
    Interrupted,
    NonFiniteError,
    require,
    suggest_keywords,
)
from manifold_flow.models.model import Model
from manifold_flow.optimizers.abstract import Optimizer
from manifold_flow.optimizers.starting import as_start, refuse_hopeless
from manifold_flow.optimizers.stepping import overrun, windows
from manifold_flow.solvers.progress import Report, reporter
from manifold_flow.solvers.threads import small_problem_on_one_thread
from manifold_flow.trajectory import Status, Trajectory, ensemble_details

__all__ = ["simulate"]

Array = NDArray[np.float64]

#: a nanosecond each, they would take a month
MOST_STEPS = 10**15


@suggest_keywords
def simulate(  # noqa: PLR0913  # how to run it, by name
    optimizer: Optimizer,
    start: ArrayLike,
    n_steps: int,
    *,
    every: int | None = None,
    replicas: int | None = None,
    rng: Rng = None,
    progress: bool | Report | None = None,
    force: bool = False,
    time_limit: float | None = None,
) -> Trajectory:
    """Run an optimizer, many replicas at once, on the clock of its limiting flow.

    Parameters
    ----------
    optimizer : Optimizer
        What to run.
    start : array, shape (p,) or (replicas, p)
        Parameters at step 0, of every replica or of each; need not lie on the manifold.
        The end of one run starts the next, without its momentum.
    n_steps : int
        Number of steps.
    every : int, optional
        Keep every so many steps; by default 100 times in all.  The start and the last
        step are always kept.
    replicas : int, optional
        Number R of independent runs; None means one run without that dimension.
    rng : None, int, Generator or SeedSequence
        Source of randomness, from which two children are spawned, for the samples and
        for the label noise; the same seed gives the same bits.
    progress : bool or callable, optional
        One line on standard error; by default on a terminal only.
    force : bool
        Run from a start on the manifold where the optimizer is known to fail.  Off the
        manifold there is no theorem, and nothing is checked.
    time_limit : float, optional
        Seconds of wall clock.  A run that would take longer at the speed of its first
        steps is refused then, not when they have passed.

    Returns
    -------
    Trajectory
        ``points`` (T, p) or (T, replicas, p): raw iterates, not projected; ``times``
        are ``step * optimizer.time_per_step``; ``residual`` is the largest over the
        replicas.

    Raises
    ------
    StabilityError
        If the start lies on the manifold and the learning rate is beyond
        ``optimizer.stability`` there.
    HypothesisError
        If the start lies on the manifold and the optimizer (SAM, NormalizedGD) needs
        the direction of a gradient that is zero there.
    DivergenceError
        If a replica leaves the finite numbers; carries the step and the last finite
        params.
    IntegrationError
        If the run would take longer than ``time_limit``; its ``trajectory`` is the run
        so far.
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
    if count("n_steps", n_steps, least=0) > MOST_STEPS:
        raise DataError(
            f"n_steps has {len(str(n_steps))} digits: more than {MOST_STEPS:.0e} steps "
            "would take years. Use a larger learning rate, or follow limiting_flow()."
        )
    if every is not None:
        count("every", every)
    patience = math.inf if time_limit is None else positive("time_limit", time_limit)
    begin = as_start(optimizer.model, start, replicas)
    every = every or max(1, n_steps // 100)
    refuse_too_large("the kept iterates", n_steps // every + 2, *begin.shape)
    many, size = len(np.atleast_2d(begin)), optimizer.batches.size
    refuse_too_large("the batches", many, size, optimizer.model.residuals_per_sample)
    draws, report = generator(rng), reporter(progress)
    reduction = optimizer.model.reduction()
    inner, first = optimizer.on(reduction.model), reduction.restrict(begin)
    if not force:
        refuse_hopeless(inner, np.atleast_2d(first))

    def lift(points: Array) -> Array:
        return reduction.lift(points, begin)

    def diverged(step: int, params: Array) -> DivergenceError:
        last = lift(params.reshape(first.shape))
        return _divergence(optimizer, begin, step, last)

    run = _Run(n_steps, every, patience, [(0, np.atleast_2d(first))])
    with small_problem_on_one_thread(first.size * inner.model.n_residuals):
        run.follow(
            windows(inner, run.kept[0][1], n_steps, every, draws, diverged), report
        )
    details = ensemble_details(optimizer, optimizer.model, begin, draws)
    return run.answer(inner, lift, first.ndim == 1, details)


@dataclass
class _Run:
    """What is kept of a run, and why it ended early if it did."""

    n_steps: int
    every: int
    patience: float
    kept: list[tuple[int, Array]]
    began: float = field(default_factory=clock.monotonic)
    refusal: str | None = None
    interrupt: KeyboardInterrupt | None = None

    @property
    def last(self) -> int:
        """The last step that is kept."""
        return self.kept[-1][0]

    @property
    def ended_early(self) -> bool:
        """Whether something ended it before its last step."""
        return self.refusal is not None or self.interrupt is not None

    def follow(self, iterates: Iterator[tuple[int, Array]], report: Report) -> None:
        """Keep the iterates that are asked for, until the end or an end before it."""
        try:
            for step, params in iterates:
                if step % self.every == 0 or step == self.n_steps:
                    self.kept.append((step, params))
                report(f"step {step} of {self.n_steps}")
                self.refusal = overrun(step, self.n_steps, self.began, self.patience)
                if self.refusal is not None:
                    return
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt
        finally:
            report("")

    def answer(
        self,
        optimizer: Optimizer,
        lift: Callable[[Array], Array],
        single: bool,
        details: dict[str, Any],
    ) -> Trajectory:
        """Return the trajectory, or raise the error that carries it.

        A single run has no dimension of replicas.
        """
        residual = optimizer.model.residual
        points = np.array([params for _, params in self.kept])
        with np.errstate(all="ignore"):  # an overflow is told by its infinity
            largest = np.array([np.abs(residual(rows)).max() for rows in points])
        trajectory = Trajectory(
            times=np.array([step for step, _ in self.kept]) * optimizer.time_per_step,
            status=Status.OUT_OF_BUDGET if self.ended_early else Status.COMPLETED,
            message=f"ran {self.last} of {self.n_steps} steps",
            reduced_points=points[:, 0] if single else points,
            n_evaluations=self.last,
            n_steps=self.last,
            drift=float(largest.max()),
            seconds=clock.monotonic() - self.began,
            details=details,
            residual=largest,
            lift=lift,
        )
        if self.refusal is not None:
            raise IntegrationError(self.refusal, trajectory)
        if self.interrupt is not None:
            reason = f"interrupted; {trajectory.message}"
            raise Interrupted(reason, trajectory) from self.interrupt
        return trajectory


def _divergence(
    optimizer: Optimizer, start: Array, step: int, params: Array
) -> DivergenceError:
    return DivergenceError(
        f"{optimizer!r} left the finite numbers after step {step}. Gradient descent "
        f"needs learning_rate < 2/lambda_max{_edge(optimizer.model, start)} at the "
        "start, and noise or small batches need less. Use a smaller learning_rate.",
        step,
        params,
    )


def _edge(model: Model, start: Array) -> str:
    """Return the largest stable learning rate at a start, where there is one."""
    try:
        top = model.linearize(np.atleast_2d(start)[0]).hessian_eigenvalues[0]
    except NonFiniteError:
        return ", which overflows"
    return f" = {2.0 / top:.3g}" if top > 0.0 else ""
