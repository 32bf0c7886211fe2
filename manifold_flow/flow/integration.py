"""``integrate``: a flow gives a velocity, SciPy owns the loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.checks import count, positive, slow_times
from manifold_flow.errors import (
    CallbackError,
    DataError,
    IntegrationError,
    Interrupted,
    require,
    suggest_keywords,
)
from manifold_flow.flow.abstract import Flow
from manifold_flow.flow.constraint import constrain, goal_of, refuse_start
from manifold_flow.flow.start import shaped_start
from manifold_flow.growth import Growth
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.solvers import loop
from manifold_flow.solvers.choice import choose_method
from manifold_flow.solvers.path import Limits, Path
from manifold_flow.solvers.progress import Report, reporter
from manifold_flow.trajectory import Status, Trajectory

__all__ = ["integrate"]

Array = NDArray[np.float64]

#: SciPy's solvers raise a smaller one to this value, with a warning
SMALLEST_RTOL = 100 * np.finfo(float).eps


@suggest_keywords
def integrate(  # noqa: PLR0913  # solve_ivp's keywords, by name
    flow: Flow,
    start: ArrayLike,
    times: ArrayLike | None = None,
    *,
    method: str = "auto",
    rtol: float = 1e-8,
    atol: float = 1e-10,
    gtol: float = 1e-10,
    max_step: float = np.inf,
    first_step: float | None = None,
    max_steps: int = 1_000_000,
    time_limit: float | None = None,
    keep_steps: bool = False,
    callback: Callable[[float, Array], object] | None = None,
    progress: bool | Report | None = None,
) -> Trajectory:
    r"""Follow a flow from a point of its manifold, or a free one down to it.

    SciPy integrates in the reduced coordinates of the model, the manifold projects the
    points that are kept.  Without ``times`` the flow is followed until
    :math:`|\mathrm{grad}_M S| \le` gtol :math:`\cdot \max(|\nabla S|, 10^{-2}|\nabla
    S(\text{start})|)`; for a :class:`manifold_flow.DriftFlow`, which is no gradient
    flow and need not come to rest, until its velocity is that small beside its drift
    before projection.  Nothing projects a free flow before its end, see
    :func:`manifold_flow.gradient_flow`.

    Parameters
    ----------
    flow : Flow
        What to follow.
    start : array, shape (p,)
        Point on the manifold, anywhere for a free flow, at time 0.
    times : array, shape (T,), optional
        Times to return, increasing and not negative.  All of them are returned;
        only ``RANK_LOSS`` truncates.
    method : str
        "auto" says in the result what it chose and why.  SciPy's solvers by name
        ("DOP853", "LSODA", ...); "ETDRK4" (exponential) and "StructuredBDF" for flows
        that declare their structure, as those of two-layer networks; "RKC",
        explicit but stable where stiff, and "KrylovBDF", implicit by Hessian-vector
        products, for every limiting flow.
    rtol, atol : float
        Tolerances of the solver, relative and absolute (units of the parameters).
    gtol : float
        Stationarity tolerance.
    max_step, first_step : float
        Bounds on the steps, in the flow's time.
    max_steps : int
        Budget of accepted steps.
    time_limit : float, optional
        Budget of wall-clock seconds.
    keep_steps : bool
        Also keep every accepted step in the trajectory.
    callback : callable, optional
        ``callback(time, point)`` after every accepted step; the point has the model's
        own shape (p,) and is not yet projected.
    progress : bool or callable, optional
        One line on standard error; by default on a terminal only.

    Returns
    -------
    Trajectory
        Points on M, with sharpness, gradient norm, residual and rank margin.

    Raises
    ------
    DataError
        Without times, if the flow has rate or noise 0 and stands still.
    OffManifoldError
        If the start has loss; a free flow may start anywhere.
    RankDeficientJacobianError
        If the start is no regular point; a free flow may start anywhere.
    IntegrationError
        If a budget ends, the gradient stops falling, or the velocity breaks down; its
        ``trajectory`` is the path so far.  So does a callback that raises.

    Examples
    --------
    >>> import manifold_flow as mf
    >>> ellipse = lambda t: [t[0] ** 2 + 4 * t[1] ** 2 - 4.0]
    >>> manifold = mf.ZeroLossManifold(mf.CallableModel(ellipse, n_params=2))
    >>> flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    >>> path = mf.integrate(flow, manifold.projection([1.0, 1.0]))
    >>> path.status.name, (path.end.round(8) + 0.0).tolist()  # the ellipse's flat end
    ('STATIONARY', [2.0, 0.0])
    """
    require("flow", flow, Flow, "Optimizers run in mf.simulate().")
    start = shaped_start(flow.manifold, start)
    asked = None if times is None else slow_times(times)
    if asked is None and not flow.moves:
        raise DataError(
            f"{flow!r}: the flow stands still, so it comes to no end of its own. Pass "
            "times=[...] to see it rest, or take an optimizer with noise on the labels."
        )
    limits = Limits(rtol, atol, gtol, max_step, first_step, max_steps, time_limit)
    _check_limits(limits)
    reduction = flow.manifold.model.reduction()
    inner = flow
    if reduction.model is not flow.manifold.model:
        inner = flow.on(ZeroLossManifold(reduction.model))
    begin = reduction.restrict(start)
    refuse_start(flow, inner, begin, start)
    choice = choose_method(
        method, begin, rtol, structured=inner.structured, implicit=inner.implicit
    )

    def lift(points: Array) -> Array:
        return reduction.lift(points, start, begin)

    growth = Growth()
    growth.record(0.0, begin)
    constraint = constrain(inner, choice, begin)
    path = loop.follow(
        choice.velocity(inner.velocity),
        begin,
        times=asked,
        method=choice.solver,
        limits=limits,
        constraint=constraint,
        goal=goal_of(inner, constraint.observe(begin), limits),
        hovers=choice.hovers,
        work=choice.work,
        keep_steps=keep_steps,
        callback=_recorded(growth, callback and _guarded(callback, lift)),
        report=reporter(progress),
    )
    if choice.flow is not None:
        path.n_evaluations = choice.flow.n_evaluations
    details = _details(flow, choice.label, limits)
    # a free flow that is stationary has arrived
    at_rest = Status.SPURIOUS if flow.free else Status.STATIONARY
    if path.status is at_rest and (note := growth.note()):
        details["caveats"].append(note)
        path.end(at_rest, f"{path.message}; {note}" if flow.free else path.message)
    return _answer(path, lift, details)


def _recorded(
    growth: Growth, heard: Callable[[float, Array], object] | None
) -> Callable[[float, Array], None]:
    """Record the growth of the path beside what a callback does."""

    def look(time: float, point: Array) -> None:
        growth.record(time, point)
        if heard is not None:
            heard(time, point)

    return look


def _guarded(
    callback: Callable[[float, Array], object], lift: Callable[[Array], Array]
) -> Callable[[float, Array], object]:
    """Tell what a callback raises from a breakdown of the flow."""

    def heard(time: float, point: Array) -> object:
        try:
            return callback(time, lift(point))
        except Exception as error:
            raise CallbackError(
                f"the callback raised {type(error).__name__} at time {time:.6g}: "
                f"{error}"
            ) from error

    return heard


def _check_limits(limits: Limits) -> None:
    for name in ("rtol", "atol", "gtol"):
        positive(name, getattr(limits, name))
    if not SMALLEST_RTOL <= limits.rtol < 1.0:
        raise DataError(
            f"rtol = {limits.rtol}: a relative error below {SMALLEST_RTOL:.2g} drowns "
            "in rounding, and 1 or more controls nothing. The default is 1e-8."
        )
    if limits.gtol >= 1.0:
        raise DataError(
            f"gtol = {limits.gtol}: every point would count as stationary, because "
            "|grad_M S| <= |grad S|. The default is 1e-10."
        )
    count("max_steps", limits.max_steps)
    if limits.max_step != np.inf:
        positive("max_step", limits.max_step)
    for name in ("first_step", "time_limit"):
        if getattr(limits, name) is not None:
            positive(name, getattr(limits, name), "Or pass None.")


def _details(flow: Flow, method: str, limits: Limits) -> dict[str, Any]:
    model = flow.manifold.model
    return {
        "mover": repr(flow),
        "model": repr(model),
        "loss": model.loss.formula,
        "clock": flow.clock,
        "method": method,
        "rtol": limits.rtol,
        "atol": limits.atol,
        "gtol": limits.gtol,
        "caveats": list(model.caveats),
    }


def _answer(
    path: Path, lift: Callable[[Array], Array], details: dict[str, Any]
) -> Trajectory:
    if isinstance(path.cause, CallbackError):
        path.end(Status.OUT_OF_BUDGET, str(path.cause))

    def along(name: str) -> Array | None:
        values = [getattr(seen, name) for seen in path.observations]
        return None if None in values else np.array(values)

    trajectory = Trajectory(
        times=np.array(path.times),
        status=path.status,
        message=path.message,
        reduced_points=np.array(path.points),
        n_evaluations=path.n_evaluations,
        n_steps=path.n_steps,
        drift=path.drift,
        seconds=path.seconds,
        details=details,
        sharpness=along("sharpness"),
        gradient_norm=along("gradient_norm"),
        residual=along("residual"),
        rank_margin=along("rank_margin"),
        loss=along("loss"),
        lift=lift,
    )
    if path.status.success:
        return trajectory
    if isinstance(path.cause, KeyboardInterrupt):
        raise Interrupted(path.message, trajectory) from path.cause
    raise IntegrationError(path.message, trajectory) from path.cause
