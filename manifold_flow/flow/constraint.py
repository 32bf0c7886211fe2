"""How the loop sees a flow, what keeps it on its manifold, and where it ends."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import ManifoldFlowError, NonFiniteError
from manifold_flow.flow.abstract import Flow
from manifold_flow.flow.start import refuse_irregular
from manifold_flow.linearization import REGULAR_MARGIN
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.solvers.choice import Choice
from manifold_flow.solvers.krylov import observation
from manifold_flow.solvers.path import Constraint, Limits, Observation
from manifold_flow.solvers.stationarity import Arrival, Goal, Stationarity
from manifold_flow.structure import ImplicitFlow

__all__ = ["constrain", "goal_of", "refuse_start"]

Array = NDArray[np.float64]

#: distance to M from which a projection replaces the rest of a gradient flow, in
#: √rtol |θ|: both maps are P_T on M to first order, so their ends differ by the
#: square of it, 1e-4 rtol |θ| times |θ| |D²r|/σ_min(J) (theory notes §2.2)
REACH = 1e-2


def refuse_start(flow: Flow, inner: Flow, begin: Array, start: Array) -> None:
    """Refuse a start from which the flow is not defined.

    Parameters
    ----------
    flow, inner : Flow
        What will be followed, on the manifold and on the reduced one.
    begin, start : array, shape (p',) and (p,)
        Where from, in the reduced model and in the model.

    Raises
    ------
    OffManifoldError
        If the start has loss, unless the flow is free.
    RankDeficientJacobianError
        If the start is no regular point, unless the flow is free.
    """
    if flow.free:
        flow.manifold.linearize(start)  # refuses what has no geometry
    else:
        refuse_irregular(inner.manifold.model, begin, start)


def constrain(flow: Flow, choice: Choice, start: Array) -> Constraint:
    """Return what the loop observes, and what it projects.

    Parameters
    ----------
    flow : Flow
        What is followed.
    choice : Choice
        How: its flow, where the model declares one, sees and projects faster.
    start : array, shape (p,)
        Where from.

    Returns
    -------
    Constraint
        Without effect if the flow is free.
    """
    manifold = flow.manifold
    if flow.free:
        size = float(np.linalg.norm(start))
        return Constraint.none(lambda point: _seen_off_manifold(flow, point, size))

    def observe(point: Array) -> Observation:
        here = manifold.linearize(point)
        return observation(here, flow.sharpness, flow.steepness(here))

    look, project = observe, manifold.projection
    if choice.flow is not None:
        look = choice.flow.observe
        project = partial(_settled, choice.flow, manifold)
    # a solver that keeps to M by itself would only lose its memory in a restart
    drift = np.inf if choice.attracts else 1e4 * manifold.tolerance(start)
    residual = manifold.model.residual
    return Constraint(look, residual, project, drift, REGULAR_MARGIN, flow.descends)


def _settled(flow: ImplicitFlow, manifold: ZeroLossManifold, point: Array) -> Array:
    """Project a point: fast from near M, with every guard from further away."""
    try:
        near = flow.settled(point)
    except ManifoldFlowError:
        near = None
    return manifold.projection(point) if near is None else near


def goal_of(flow: Flow, first: Observation, limits: Limits) -> Goal:
    """Return where the flow ends when no times are asked for.

    Parameters
    ----------
    flow : Flow
        What is followed.
    first : Observation
        What is seen at the start.
    limits : Limits
        Tolerances.

    Returns
    -------
    Goal
        A stationary point of the sharpness, or the manifold if the flow is free.
    """
    if flow.free:
        reach = REACH * np.sqrt(limits.rtol)
        return Arrival(first, limits.gtol, reach, flow.manifold.projection)
    return Stationarity(first, limits.gtol, flow.descends)


def _seen_off_manifold(flow: Flow, point: Array, start_size: float) -> Observation:
    r"""Look at a point with loss.

    Its gradient :math:`J^T (c \circ r)` is compared with the largest that residuals of
    this size can have, :math:`\sigma_{\max}(J) |c \circ r|`.
    """
    model, here = flow.manifold.model, flow.manifold.linearize(point)
    largest, smallest = here.singular_values[0], here.singular_values[-1]
    size = max(float(np.linalg.norm(point)), start_size)
    with np.errstate(over="ignore"):
        misfit = float(np.linalg.norm(here.residual))
        gradient_norm = float(np.linalg.norm(flow.steepness(here)))
        full_norm = float(largest * np.linalg.norm(here.curvatures * here.residual))
    if not np.isfinite(full_norm + gradient_norm):
        raise NonFiniteError(
            f"the gradient of the loss overflows at max |residual| = "
            f"{np.abs(here.residual).max():.3g}: its square is no float64. Start "
            "closer to the zero-loss manifold, or rescale inputs and targets."
        )
    within = size * float(smallest)
    return Observation(
        sharpness=flow.sharpness.value(here),
        gradient_norm=gradient_norm,
        full_gradient_norm=full_norm,
        residual=float(np.abs(here.residual).max()),
        sigma_min=float(smallest),
        sigma_max=float(largest),
        loss=float(model.loss.value(here.residual)),
        distance=misfit / within if within > 0.0 else (np.inf if misfit else 0.0),
        residual_scale=max(1.0, float(largest) * size),
    )
