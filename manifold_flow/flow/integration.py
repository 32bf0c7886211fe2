"""``integrate``: a flow gives a velocity, SciPy owns the loop."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.arrays import as_finite
from manifold_flow.checks import count, positive, slow_times
from manifold_flow.errors import (
    CallbackError,
    DataError,
    IntegrationError,
    Interrupted,
    ManifoldFlowError,
    OffManifoldError,
    RankDeficientJacobianError,
    ShapeError,
    require,
    suggest_keywords,
)
from manifold_flow.flow.abstract import Flow
from manifold_flow.growth import Growth
from manifold_flow.linearization import REGULAR_MARGIN
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.projection import residual_scale
from manifold_flow.solvers import loop
from manifold_flow.solvers.choice import choose_method
from manifold_flow.solvers.krylov import observation
from manifold_flow.solvers.path import Constraint, Limits, Observation, Path
from manifold_flow.solvers.progress import Report, reporter
from manifold_flow.structure import ImplicitFlow
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
    r"""Follow a flow from a point of its manifold.

    SciPy integrates in the reduced coordinates of the model, the manifold projects the
    points that are kept.  Without ``times`` the flow is followed until
    :math:`|\mathrm{grad}_M S| \le` gtol :math:`\cdot \max(|\nabla S|, 10^{-2}|\nabla
    S(\text{start})|)`.

    Parameters
    ----------
    flow : Flow
        What to follow.
    start : array, shape (p,)
        Point on the manifold, at slow time 0.
    times : array, shape (T,), optional
        Slow times to return, increasing and not negative.  All of them are returned;
        only ``RANK_LOSS`` truncates.
    method : str
        "auto" says in the result what it chose and why.  SciPy's solvers by name
        ("DOP853", "LSODA", ...); "ETDRK4" (exponential) and "StructuredBDF" for flows
        that declare their structure, as those of two-layer networks; "KrylovBDF",
        implicit by Hessian-vector products, for every limiting flow.
    rtol, atol : float
        Tolerances of the solver, relative and absolute (units of the parameters).
    gtol : float
        Stationarity tolerance.
    max_step, first_step : float
        Bounds on the steps, in slow time.
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
    OffManifoldError
        If the start has loss.
    RankDeficientJacobianError
        If the start is no regular point.
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
    start = as_finite("start", start, 1)
    if start.shape != flow.manifold.shape:
        raise ShapeError("start", flow.manifold.shape, start.shape)
    asked = None if times is None else slow_times(times)
    limits = Limits(rtol, atol, gtol, max_step, first_step, max_steps, time_limit)
    _check_limits(limits)
    reduction = flow.manifold.model.reduction()
    inner = flow
    if reduction.model is not flow.manifold.model:
        inner = flow.on(ZeroLossManifold(reduction.model))
    begin = reduction.restrict(start).copy()
    _check_start(inner.manifold, begin, start)
    choice = choose_method(
        method, begin, rtol, structured=inner.structured, implicit=inner.implicit
    )
    structure = choice.flow

    def lift(points: Array) -> Array:
        return reduction.lift(points, start)

    growth = Growth()
    growth.record(0.0, begin)
    heard = callback and _guarded(callback, lift)

    def look(time: float, point: Array) -> None:
        growth.record(time, point)
        if heard is not None:
            heard(time, point)

    path = loop.follow(
        inner.velocity if structure is None else structure.velocity,
        begin,
        times=asked,
        method=choice.solver,
        limits=limits,
        constraint=_constraint(inner, structure, begin, choice.attracts),
        hovers=choice.hovers,
        keep_steps=keep_steps,
        callback=look,
        report=reporter(progress),
    )
    if structure is not None:
        path.n_evaluations = structure.n_evaluations
    details = _details(flow, choice.label, limits)
    note = growth.note() if path.status is Status.STATIONARY else None
    details["caveats"] += [note] if note else []
    return _answer(path, lift, details)


def _guarded(
    callback: Callable[[float, Array], object], lift: Callable[[Array], Array]
) -> Callable[[float, Array], object]:
    """Tell what a callback raises from a breakdown of the flow."""

    def heard(time: float, point: Array) -> object:
        try:
            return callback(time, lift(point))
        except Exception as error:
            raise CallbackError(
                f"the callback raised {type(error).__name__} at slow time {time:.6g}: "
                f"{error}"
            ) from error

    return heard


def _constraint(
    flow: Flow,
    structure: ImplicitFlow | None,
    start: Array,
    attracts: bool,
) -> Constraint:
    manifold = flow.manifold

    def observe(point: Array) -> Observation:
        return observation(manifold.linearize(point), flow.sharpness)

    def violation(point: Array) -> float:
        return float(np.abs(manifold.model.residual(point)).max())

    # a solver that keeps to M by itself would only lose its memory in a restart
    drift = np.inf if attracts else 1e4 * manifold.tolerance(start)
    if structure is None:
        return Constraint(
            observe, violation, manifold.projection, drift, REGULAR_MARGIN
        )
    return Constraint(
        structure.observe,
        structure.violation,
        partial(_settled, structure, manifold),
        drift,
        REGULAR_MARGIN,
    )


def _settled(flow: ImplicitFlow, manifold: ZeroLossManifold, point: Array) -> Array:
    """Project a point: fast from near M, with every guard from further away."""
    try:
        near = flow.settled(point)
    except ManifoldFlowError:
        near = None
    return manifold.projection(point) if near is None else near


def _check_start(manifold: ZeroLossManifold, point: Array, start: Array) -> None:
    """Look at a start from its reduced point, where nothing depends on d."""
    here = manifold.linearize(point)
    violation = float(np.abs(here.residual).max())
    tolerance = 1e-10 * residual_scale(here, start)
    if violation > tolerance:
        raise OffManifoldError(violation, tolerance)
    if here.rank_margin < REGULAR_MARGIN:
        here.multipliers(np.zeros_like(point))  # raises, naming rows, where rank < n
        raise RankDeficientJacobianError(
            f"the start is {manifold.regular_point(point)}: a flow needs a regular "
            "point of the zero-loss set. Start elsewhere.",
            here.singular_values,
        )


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

    def along(name: str) -> Array:
        return np.array([getattr(seen, name) for seen in path.observations])

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
        lift=lift,
    )
    if path.status.success:
        return trajectory
    if isinstance(path.cause, KeyboardInterrupt):
        raise Interrupted(path.message, trajectory) from path.cause
    raise IntegrationError(path.message, trajectory) from path.cause
