"""The flow of an optimizer at its own learning rate, to the next order."""

from __future__ import annotations

from functools import singledispatch

from manifold_flow.errors import NoLimitingFlowError
from manifold_flow.flow import DriftFlow, Flow, LimitingFlow
from manifold_flow.limits.theorems import limiting_flow, require_same_model
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.optimizers import LabelNoiseSGD, MinibatchSGD
from manifold_flow.sharpness import FiniteStepTrace

__all__ = ["finite_step_flow"]


@singledispatch
def finite_step_flow(optimizer: object, manifold: ZeroLossManifold) -> Flow:
    r"""Return the flow with the covariance of the fluctuations exact in the step size.

    The limiting flow holds as η → 0.  At finite η the fluctuations beside M are larger,
    :math:`HC + CH - \eta E[H_B C H_B] = \Sigma`, and so is the drift
    :math:`-\tfrac12 P_T D^3L[C]`: this explains most of the deviation of order η from
    the limiting flow (theory notes §8), on the same clock.  What is left is measured,
    not derived: it grows like ησ², so it is also of order η, and small beside the
    correction where the noise is small beside the targets (on a two-layer network with
    targets of order 1 and η = 0.02: 0.6, 2.5, 8.1 and 24 % of the deviation for
    σ = 1/4, 1/2, 1 and 2).  A hypothesis is that it comes from the start-up, in which
    the fluctuations grow from 0, and from their higher moments, for which the loss is
    not quadratic.

    Parameters
    ----------
    optimizer : Optimizer
        ``LabelNoiseSGD`` or ``MinibatchSGD``.
    manifold : ZeroLossManifold
        The zero-loss manifold of its model.

    Returns
    -------
    Flow
        ``LimitingFlow(manifold, FiniteStepTrace(η), rate)`` for the full batch and
        matched noise, a ``DriftFlow`` at that learning rate otherwise.

    Raises
    ------
    NoLimitingFlowError
        For other optimizers and for momentum, where no such correction is known here.

    References
    ----------
    Damian, Ma, Lee (2021); theory notes §8.1 (full batch), §8.2 (minibatches).

    Examples
    --------
    >>> import manifold_flow as mf
    >>> model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    >>> sgd = mf.LabelNoiseSGD(model, 0.01, noise_std=1.0)
    >>> mf.finite_step_flow(sgd, mf.ZeroLossManifold(model))
    LimitingFlow(FiniteStepTrace(learning_rate=0.01), rate=0.25)
    """
    known = sorted(k.__name__ for k in finite_step_flow.registry if k is not object)
    raise NoLimitingFlowError(
        f"no correction at finite learning rates is known for "
        f"{type(optimizer).__name__}. Optimizers that have one: {', '.join(known)}."
    )


@finite_step_flow.register
def _label_noise_sgd(optimizer: LabelNoiseSGD, manifold: ZeroLossManifold) -> Flow:
    """Second moments that the linearised step reproduces (theory notes §8.1-8.2)."""
    require_same_model(optimizer, manifold)
    if optimizer.momentum:
        raise NoLimitingFlowError(
            f"momentum = {optimizer.momentum:g}: the correction at finite learning "
            "rates is derived without momentum. Use momentum=0, or limiting_flow."
        )
    step, noise = optimizer.learning_rate, optimizer.noise_covariance
    overlap = optimizer.batches.overlap
    constant = optimizer.model.loss.matching(noise)
    if constant is None or overlap > 0.0:
        return DriftFlow(manifold, noise, step, overlap)
    return LimitingFlow(manifold, FiniteStepTrace(step), rate=constant / 4.0)


@finite_step_flow.register
def _minibatch_sgd(optimizer: MinibatchSGD, manifold: ZeroLossManifold) -> Flow:
    """Noise that vanishes on M holds nothing beside it, at any learning rate."""
    return limiting_flow(optimizer, manifold)
