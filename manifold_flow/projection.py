r"""Damped Gauss-Newton: from any parameters to the zero-loss manifold."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import (
    ManifoldFlowError,
    NonFiniteError,
    OffManifoldError,
    ProjectionError,
    RankDeficientJacobianError,
)
from manifold_flow.linearization import Linearization
from manifold_flow.models.model import Model

__all__ = [
    "ON_MANIFOLD",
    "gauss_newton",
    "gauss_newton_of_all",
    "refuse_off_manifold",
    "residual_scale",
]

Array = NDArray[np.float64]
Flags = NDArray[np.bool_]
Log = list[tuple[int, float, float]]

MAX_ITERATIONS = 100
MAX_HALVINGS = 40
#: of the scale of rounding: aimed at, and accepted where the iteration stagnates
GOAL, ACCEPTED = 8 * np.finfo(float).eps, 1e-12
#: so many last steps that each leave more than this share of the residual are slow
SLOW_STEPS, SLOW = 4, 0.1
#: what a full step must leave of the residual, at most
ENOUGH = 1.0 - 1e-4
#: relative to the scale of rounding: a residual within which a point lies on M
ON_MANIFOLD = 1e-10
#: so many full steps reach M from beside it
FULL_STEPS = 6
#: entries of a Jacobian up to which points together are faster than one by one: 50
#: times at 40, twice at 1e4; a third of the speed, and gigabytes, at 1e5
MOST_TOGETHER = 20_000


def gauss_newton(model: Model, point: Array) -> Array:
    r"""Return a zero of the residual near a point.

    :math:`\theta \leftarrow \theta - t\, J^+ r(\theta)` with the largest t in
    {1, 1/2, ...} that makes :math:`\|r\|` fall.  On M nothing moves.

    Parameters
    ----------
    model : Model
        Gives residual and linearization.
    point : array, shape (p,)
        Where to start.

    Returns
    -------
    array, shape (p,)
        On M to rounding.

    Raises
    ------
    ProjectionError
        If no zero is reached; carries (iteration, max |r|, step length) rows.
    RankDeficientJacobianError
        If the zero reached is degenerate, so that convergence was only linear.
    """
    log: Log = []
    full: list[float] = []  # residuals at the last steps that were not damped
    for iteration in range(MAX_ITERATIONS):
        here = _seen_from(model, point, log)
        size, scale = float(np.abs(here.residual).max()), residual_scale(here, point)
        if size <= GOAL * scale:
            _need_regular(here, [*full, size])
            return point
        step = _step(here, iteration, log)
        with np.errstate(over="ignore"):  # infinite, any finite one is smaller
            before = float(np.linalg.norm(here.residual))
        damping = _damping(model, point, step, before)
        log.append((iteration, size, damping * float(np.linalg.norm(step))))
        full = [*full, size] if damping == 1.0 else []
        if damping == 0.0:
            break
        point = point - damping * step
    if size <= ACCEPTED * scale:
        _need_regular(here, [*full, size])
        return point
    raise ProjectionError(
        f"Gauss-Newton stopped at max |residual| = {size:.3g} after {len(log)} "
        "iterations: no zero-loss point was reached from here. The targets may be out "
        "of the model's reach; try another start or rescale them.",
        tuple(log),
    )


def gauss_newton_of_all(model: Model, points: Array) -> Array:
    """Return the zero that :func:`gauss_newton` reaches from every point.

    Beside M no step needs damping, so where Jacobians are small all points take theirs
    together; a point whose residual does not fall, or not to 0 in six steps, is sent
    alone.

    Parameters
    ----------
    model : Model
        Gives residual and Jacobian of batches.
    points : array, shape (R, p)
        Where to start.

    Returns
    -------
    array, shape (R, p)
        On M to rounding.

    Raises
    ------
    ProjectionError
        As :func:`gauss_newton`, of the first point that fails.
    RankDeficientJacobianError
        Likewise.
    """
    if model.n_residuals * model.n_params > MOST_TOGETHER:
        return np.stack([gauss_newton(model, point) for point in points])
    ends, moving = points.copy(), np.arange(len(points))
    arrived, before = np.zeros(len(points), dtype=bool), np.full(len(points), np.inf)
    for _ in range(FULL_STEPS):
        step, size, there = _full_step(model, ends[moving])
        arrived[moving] = there
        on = ~there & (size <= ENOUGH * before[moving])
        before[moving] = size
        moving = moving[on]
        if not moving.size:
            break
        ends[moving] -= step[on]
    for alone in np.flatnonzero(~arrived):
        ends[alone] = gauss_newton(model, points[alone])
    return ends


def _full_step(model: Model, points: Array) -> tuple[Array, Array, Flags]:
    """Return J⁺r (R, p), the norm of r (R,), and where r is 0 to rounding (R,)."""
    with np.errstate(all="ignore"):
        residual, jacobian = model.residual(points), model.jacobian(points)
        gram = jacobian @ jacobian.swapaxes(-1, -2)
        steepest = np.sqrt(np.diagonal(gram, axis1=1, axis2=2).max(axis=1))
        scale = np.maximum(1.0, steepest * np.linalg.norm(points, axis=1))
        size = np.linalg.norm(residual, axis=1)
        try:
            weights = np.linalg.solve(gram, residual[:, :, None])
        except np.linalg.LinAlgError:  # of one of them; it is told when sent alone
            size = np.full(len(points), np.inf)
            weights = np.zeros_like(residual)[:, :, None]
        step = (weights.swapaxes(1, 2) @ jacobian)[:, 0]
    return step, size, np.abs(residual).max(axis=1) <= GOAL * scale


def residual_scale(here: Linearization, point: Array) -> float:
    """Return what rounding of a residual is relative to: |∇r_i| |θ|, at least 1.

    Parameters
    ----------
    here : Linearization
        The model at the point.
    point : array, shape (p,)
        The point θ.

    Returns
    -------
    float
        The scale, in units of the residual.

    Raises
    ------
    NonFiniteError
        If it overflows: every residual would be small beside it.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        squares = np.diag(here.gram)
        scale = float(np.sqrt(squares.max(initial=0.0)) * np.linalg.norm(point))
    if not np.isfinite(scale):
        raise NonFiniteError(
            f"the gradient of residual {int(np.argmax(squares))} overflows float64 "
            f"(|grad r_i| |point| = {scale}), so that no residual could be told from "
            "0. Rescale inputs and targets to order 1, or start closer."
        )
    return max(1.0, scale)


def refuse_off_manifold(here: Linearization, point: Array) -> None:
    """Raise where a point has loss.

    Parameters
    ----------
    here : Linearization
        The model at the point.
    point : array, shape (p,)
        The point θ.

    Raises
    ------
    OffManifoldError
        If max |r_i| exceeds 1e-10 of what rounding is relative to; carries both.
    """
    violation = float(np.abs(here.residual).max())
    tolerance = ON_MANIFOLD * residual_scale(here, point)
    if violation > tolerance:
        raise OffManifoldError(violation, tolerance)


def _seen_from(model: Model, point: Array, log: Log) -> Linearization:
    try:
        return model.linearize(point)
    except NonFiniteError as error:
        raise ProjectionError(
            f"Gauss-Newton met a point without geometry. {error}", tuple(log)
        ) from error


def _step(here: Linearization, iteration: int, log: Log) -> Array:
    try:
        return here.normal_solve(here.residual)
    except (RankDeficientJacobianError, np.linalg.LinAlgError) as error:
        log.append((iteration, float(np.abs(here.residual).max()), 0.0))
        raise ProjectionError(
            f"Gauss-Newton met a singular Jacobian. {error}", tuple(log)
        ) from error


def _need_regular(here: Linearization, sizes: list[float]) -> None:
    """Raise where full steps converged only linearly: J vanishes with the residual.

    Next to a regular zero the residual is squared at every step; at a zero of order q
    it falls by (1 − 1/q)^q, which is 1/4 for a double one, whatever the scale of J.
    """
    last = np.array(sizes[-SLOW_STEPS - 1 :])
    if len(last) <= SLOW_STEPS or (last[1:] < SLOW * last[:-1]).any():
        return
    raise RankDeficientJacobianError(
        f"Gauss-Newton took {len(sizes) - 1} full steps, the residual falling by only "
        f"{last[-2] / last[-1]:.2g} in the last: the Jacobian vanishes with it "
        f"(sigma_min {here.singular_values[-1]:.1e}), so the zero-loss set is not a "
        "smooth manifold here (a double zero or a crossing). Start elsewhere, or take "
        "the root of a squared residual.",
        here.singular_values,
    )


def _damping(model: Model, point: Array, step: Array, size: float) -> float:
    """Return the largest power of 1/2 that makes the residual fall; 0 if none does."""
    for halving in range(MAX_HALVINGS):
        damping = 0.5**halving
        with np.errstate(all="ignore"):
            try:
                trial = model.residual(point - damping * step)
            except ManifoldFlowError:
                continue
            if np.linalg.norm(trial) <= (1.0 - (1.0 - ENOUGH) * damping) * size:
                return damping
    return 0.0
