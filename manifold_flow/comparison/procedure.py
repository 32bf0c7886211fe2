"""``compare``: run the algorithm at several learning rates, beside its flow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite
from manifold_flow.checks import Rng, count, generator, positive, representable
from manifold_flow.comparison.ensemble import Ensemble
from manifold_flow.comparison.measurement import Curve, measured
from manifold_flow.comparison.result import Comparison
from manifold_flow.comparison.starts import displaced, independent_runs
from manifold_flow.errors import DataError, StabilityError, require, suggest_keywords
from manifold_flow.flow import Flow
from manifold_flow.limits import limiting_flow, require_same_model
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.optimizers import Optimizer, simulate
from manifold_flow.solvers.progress import Report
from manifold_flow.trajectory import Trajectory

__all__ = ["compare", "tried_below"]

Array = NDArray[np.float64]

#: of the threshold of stability: the largest learning rate that is worth a try
TRIED = 0.4
#: how many times of a run may be compared; the number that divides the steps best is
TIMES = range(16, 25)
#: steps that are timed to say how long a run would take
TIMED_STEPS = 100


@suggest_keywords
def compare(  # noqa: PLR0913  # simulate's keywords beside the limit's
    optimizer: Optimizer,
    manifold: ZeroLossManifold,
    start: ArrayLike | None = None,
    *,
    slow_time: float = 2.0,
    learning_rates: Sequence[float] = (0.04, 0.02, 0.01),
    replicas: int = 64,
    rng: Rng = None,
    flow: Flow | None = None,
    force: bool = False,
    max_steps: int = 2_000_000,
    time_limit: float | None = None,
    progress: bool | Report | None = None,
) -> Comparison:
    r"""Judge whether an optimizer follows its limiting flow, by orders of convergence.

    The optimizer runs at every learning rate to the same slow time, many replicas at
    once.  Iterates are projected on M before their mean sharpness is compared with the
    flow's; the difference must vanish in proportion to the learning rate.

    Parameters
    ----------
    optimizer : Optimizer
        Its own learning rate does not matter; what is tied to it, such as the radius of
        ``SAM``, keeps its proportion.
    manifold : ZeroLossManifold
        Of the optimizer's model.
    start : array, shape (p,), optional
        Point of M; a random one by default.  Optimizers that rest on M (SAM, minibatch
        noise) start at small random distances from it.
    slow_time : float
        Where flow and runs end.
    learning_rates : sequence of float
        At least two different ones, best in ratios of 2.
    replicas : int
        Runs at every learning rate, at least 2; of deterministic optimizers at most 16.
    rng : None, int, Generator or SeedSequence
        Source of randomness, of the start too.
    flow : Flow, optional
        The limit to be tested; ``limiting_flow(optimizer, manifold)`` by default.
    force : bool
        Run learning rates that are not stable at the start.
    max_steps : int
        Most steps in all.
    time_limit : float, optional
        Most seconds of all steps, estimated before they are run.
    progress : bool or callable, optional
        One line on standard error; by default on a terminal only.

    Returns
    -------
    Comparison
        Verdict, order and rates, and what was measured at every learning rate.

    Raises
    ------
    DataError
        For bad numbers, for steps beyond a budget (says how long they would take), or
        where the flow does not move.
    StabilityError
        If a learning rate is not stable at the start; carries the threshold.
    NoLimitingFlowError
        If no theorem gives the optimizer's limit, and no flow is passed; or if
        optimizer, manifold and flow belong to different models.
    IntegrationError
        If the flow ends early, for instance where the top eigenvalues cross.

    References
    ----------
    theory notes §0.5, check C0.

    Examples
    --------
    >>> import manifold_flow as mf
    >>> model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    >>> sgd = mf.LabelNoiseSGD(model, learning_rate=0.04, noise_std=0.5)
    >>> found = mf.compare(
    ...     sgd,
    ...     mf.ZeroLossManifold(model),
    ...     [1.0, 0.5, 0.5, 0.0],
    ...     slow_time=0.5,
    ...     rng=0,
    ... )
    >>> found.verdict.name, found.rate_predicted
    ('HOLDS', 0.0625)
    """
    require("optimizer", optimizer, Optimizer, "Flows are followed by mf.integrate().")
    require("manifold", manifold, ZeroLossManifold)
    rates = _checked_learning_rates(learning_rates)
    representable("slow_time", slow_time)
    count("replicas", replicas, 2, "A mean needs a spread, or it has no error bar.")
    count("max_steps", max_steps)
    patience = np.inf if time_limit is None else positive("time_limit", time_limit)
    first, *chance = generator(rng).spawn(1 + len(rates))
    begin = (
        manifold.random_point(rng=first)
        if start is None
        else as_finite("start", start, 1)
    )
    tested = _limit_to_test(optimizer, manifold, flow)
    runs = [optimizer.with_learning_rate(rate) for rate in rates]
    if not force:
        _refuse_unstable(runs, manifold, begin)
    grid = _grid(runs, slow_time)
    curve = Curve(tested, begin, slow_time)
    many = independent_runs(optimizer, replicas)
    trials = [
        _Trial(run, displaced(run, manifold, begin, many, source), steps, source)
        for run, steps, source in zip(runs, grid, chance, strict=True)
    ]
    _refuse_too_many(trials, max_steps, patience)
    model = optimizer.model
    return Comparison(
        ensembles=tuple(trial.beside(curve, progress) for trial in trials),
        rate_predicted=tested.rate,
        optimizer=repr(runs[-1]),
        flow=repr(tested),
        model=repr(model),
        loss=model.loss.formula,
        caveats=tuple(model.caveats),
    )


def _limit_to_test(
    optimizer: Optimizer, manifold: ZeroLossManifold, flow: Flow | None
) -> Flow:
    """Return the flow, after checking that all three belong to one model."""
    tested = limiting_flow(optimizer, manifold) if flow is None else flow
    require("flow", tested, Flow, "Pass mf.LimitingFlow(manifold, sharpness, rate).")
    for place in (manifold, tested.manifold):
        require_same_model(optimizer, place)
    return tested


@dataclass(frozen=True, eq=False)
class _Trial:
    """One ensemble that is to be run: (number of times, steps between them)."""

    optimizer: Optimizer
    starts: Array
    steps: tuple[int, int]
    rng: np.random.Generator

    @property
    def n_steps(self) -> int:
        times, every = self.steps
        return times * every

    def beside(self, curve: Curve, progress: bool | Report | None) -> Ensemble:
        """Run it, and measure it beside the flow."""
        path = self._run(self.n_steps, self.rng, progress)
        return measured(path, curve, self.optimizer.learning_rate)

    def seconds_per_step(self) -> float:
        """Return what a step of all replicas costs here."""
        path = self._run(TIMED_STEPS, np.random.default_rng(0), False)
        return path.seconds / TIMED_STEPS

    def _run(
        self, n_steps: int, rng: np.random.Generator, progress: bool | Report | None
    ) -> Trajectory:
        return simulate(
            self.optimizer,
            self.starts,
            n_steps,
            every=self.steps[1],
            rng=rng,
            progress=progress,
            force=True,  # stability is asked of the start on M, before
        )


def _checked_learning_rates(learning_rates: Sequence[float]) -> list[float]:
    """Return them in descending order."""
    given = as_finite("learning_rates", np.atleast_1d(learning_rates), 1)
    for rate in given:
        positive("learning_rates", float(rate))
    if len(np.unique(given)) != len(given) or len(given) < 2:
        raise DataError(
            f"learning_rates = {given.tolist()}: an order of convergence needs at "
            "least two different ones, each once. Add halves."
        )
    return [float(rate) for rate in sorted(given, reverse=True)]


def tried_below(threshold: float) -> list[float]:
    """Return three learning rates well below a threshold of stability, in ratios of 2.

    Parameters
    ----------
    threshold : float
        Smallest learning rate that is not stable.

    Returns
    -------
    list of float
        0.4, 0.2 and 0.1 of the threshold, the largest rounded to two digits.
    """
    largest = float(f"{TRIED * threshold:.2g}")
    return [largest, largest / 2, largest / 4]


def _refuse_unstable(
    runs: list[Optimizer], manifold: ZeroLossManifold, start: Array
) -> None:
    here = manifold.linearize(start)
    for run in runs:
        threshold = run.stability(here)
        if run.learning_rate >= threshold:
            advised = " ".join(f"{rate:g}" for rate in tried_below(threshold))
            raise StabilityError(
                f"learning_rate = {run.learning_rate:.6g} is not stable at the start, "
                f"where the threshold is {threshold:.6g}: the run would leave the "
                "neighbourhood of the manifold, on which the limit is a statement. Use "
                f"learning rates well below it, such as {advised}, or force=True (on "
                f"the command line: --eta {advised}, or --force).",
                run.learning_rate,
                threshold,
            )


def _grid(runs: list[Optimizer], slow_time: float) -> list[tuple[int, int]]:
    """Return how many times are kept, and how many steps lie between them.

    Of the numbers of times, the one is taken whose rounded steps end nearest to the
    slow time at every learning rate.
    """
    wanted = slow_time / np.array([run.time_per_step for run in runs])
    if wanted.min() < TIMES[-1]:
        raise DataError(
            f"slow_time = {slow_time:g} is only {wanted.min():.3g} steps at the "
            f"largest learning rate, fewer than the {TIMES[-1]} times that are "
            "compared. Use a longer slow_time or smaller learning rates."
        )

    def worst(times: int) -> float:
        return float(np.abs(np.round(wanted / times) * times / wanted - 1.0).max())

    times = min(TIMES, key=worst)
    return [(times, int(steps)) for steps in np.round(wanted / times)]


def _refuse_too_many(trials: list[_Trial], max_steps: int, time_limit: float) -> None:
    """Raise before the work, with the seconds it would take."""
    total = sum(trial.n_steps for trial in trials)
    too_many = total > max_steps
    if not too_many and time_limit == np.inf:
        return
    seconds = total * trials[-1].seconds_per_step()
    if not too_many and seconds <= time_limit:
        return
    budget = (
        f"max_steps = {max_steps}" if too_many else f"time_limit = {time_limit:g} s"
    )
    raise DataError(
        f"reaching the slow time takes {total:g} steps in all, about {seconds:.3g} s "
        f"here, and {budget}. Steps grow as 1/eta^2 and faster: use larger learning "
        "rates or a shorter slow_time, or raise the budget."
    )
