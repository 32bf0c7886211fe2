"""``integrate_sde``: paths of a limiting diffusion, on the zero-loss manifold."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_real, refuse_too_large
from manifold_flow.checks import Rng, count, generator, positive, slow_times
from manifold_flow.errors import (
    DataError,
    ManifoldFlowError,
    ProjectionError,
    RankDeficientJacobianError,
    ShapeError,
    require,
    suggest_keywords,
)
from manifold_flow.flow.start import regular_start
from manifold_flow.limits.diffusion import LimitingDiffusion
from manifold_flow.limits.euler_heun import Paths, intervals
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.solvers.progress import Report, reporter
from manifold_flow.solvers.threads import small_problem_on_one_thread
from manifold_flow.trajectory import Status, Trajectory, ensemble_details

__all__ = ["integrate_sde"]

Array = NDArray[np.float64]


@suggest_keywords
def integrate_sde(  # noqa: PLR0913  # all but three are given by name
    diffusion: LimitingDiffusion,
    start: ArrayLike,
    times: ArrayLike,
    *,
    dt: float,
    replicas: int | None = None,
    rng: Rng = None,
    max_steps: int = 1_000_000,
    time_limit: float | None = None,
    progress: bool | Report | None = None,
) -> Trajectory:
    r"""Draw paths of a limiting diffusion, many replicas at once.

    Euler-Heun steps of the Stratonovich form, each followed by a projection on M.
    Means converge as dt (weak order 1), single paths as dt for one source of noise
    and as :math:`\sqrt{dt}` for several that do not commute: halve dt to see the error.

    Parameters
    ----------
    diffusion : LimitingDiffusion
        What to follow.
    start : array, shape (p,) or (replicas, p)
        Point on M at slow time 0, of every replica or of each.
    times : array, shape (T,)
        Slow times to return, increasing and not negative.
    dt : float
        Longest step, in slow time; steps divide the time between two of ``times``.
    replicas : int, optional
        Number R of independent paths; None means one path without that dimension.
    rng : None, int, Generator or SeedSequence
        Source of randomness; every replica has a stream of its own, spawned from it, so
        that its path does not depend on how many others there are.
    max_steps : int
        Budget of steps of one path.
    time_limit : float, optional
        Budget of wall-clock seconds.
    progress : bool or callable, optional
        One line on standard error; by default on a terminal only.

    Returns
    -------
    Trajectory
        ``points`` (T, p) or (T, replicas, p) on M; ``residual`` is the largest over the
        replicas.  Only ``RANK_LOSS``, of any replica, truncates.

    Raises
    ------
    OffManifoldError, RankDeficientJacobianError
        If a start has loss, or is no regular point.
    DataError
        If the times take more than ``max_steps`` steps.
    IntegrationError
        If a budget ends or a step breaks down; its ``trajectory`` is the paths so far.

    References
    ----------
    Kloeden and Platen (1992), Numerical Solution of SDEs; theory notes §2.1.

    Examples
    --------
    Brownian motion on the unit circle forgets its start, E Y(t) = exp(−t/2) Y(0).

    >>> import manifold_flow as mf
    >>> circle = mf.CallableModel(lambda t: [t @ t - 1.0], n_params=2)
    >>> diffusion = mf.LimitingDiffusion(mf.ZeroLossManifold(circle), 1.0)
    >>> paths = mf.integrate_sde(
    ...     diffusion, [1.0, 0.0], [0.1, 0.2], dt=0.1, replicas=3, rng=0
    ... )
    >>> paths.points.shape, bool(np.allclose((paths.points**2).sum(axis=-1), 1.0))
    ((2, 3, 2), True)
    """
    require("diffusion", diffusion, LimitingDiffusion, "Flows go to mf.integrate().")
    begin = _checked_starts(diffusion.manifold, start, replicas)
    asked, longest = slow_times(times), positive("dt", dt)
    _check_budgets(asked, longest, max_steps, time_limit)
    refuse_too_large("the kept points", len(asked), *begin.shape)
    draws, report = generator(rng), reporter(progress)
    paths = Paths(diffusion, np.atleast_2d(begin), draws)
    try:
        with small_problem_on_one_thread(begin.shape[-1] ** 2):
            paths.follow(asked, longest, time_limit, report)
    except RankDeficientJacobianError as error:
        paths.stop(Status.RANK_LOSS, str(error), error)
    except ProjectionError as error:
        why = f"a step of dt = {longest:g} found no way back; use a shorter one."
        paths.stop(Status.FAILED, f"{why} {error}", error)
    except (ManifoldFlowError, np.linalg.LinAlgError) as error:
        paths.stop(Status.FAILED, str(error), error)
    except KeyboardInterrupt as error:
        paths.stop(Status.OUT_OF_BUDGET, "interrupted", error)
    finally:
        report("")
    model = diffusion.manifold.model
    details = ensemble_details(diffusion, model, begin, draws)
    details |= {"method": "Euler-Heun with projection", "dt": longest}
    return paths.answer(begin.ndim == 1, details)


def _check_budgets(
    times: Array, longest: float, max_steps: int, time_limit: float | None
) -> None:
    if time_limit is not None:
        positive("time_limit", time_limit, "Or pass None.")
    needed = sum(n_steps for _, _, n_steps in intervals(times, longest))
    if needed > count("max_steps", max_steps):
        raise DataError(
            f"slow time {times[-1]:.6g} takes {needed:g} steps of dt = {longest:.3g},"
            f" more than max_steps = {max_steps}. Use a longer dt, or a larger budget."
        )


def _checked_starts(
    manifold: ZeroLossManifold, start: ArrayLike, replicas: int | None
) -> Array:
    """Return the start of shape (p,) or, with replicas, (replicas, p)."""
    begin = as_real("start", start)
    if begin.ndim != 2:
        point = regular_start(manifold, begin)
        if replicas is None:
            return point
        refuse_too_large("the replicas", count("replicas", replicas), point.size)
        return np.tile(point, (replicas, 1))
    if replicas not in (None, len(begin)) or len(begin) == 0:
        raise ShapeError(
            "start", (replicas or "replicas", *manifold.shape), begin.shape
        )
    return np.stack([regular_start(manifold, row) for row in begin])
