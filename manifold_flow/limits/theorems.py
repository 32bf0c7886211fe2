"""From an optimizer to the flow it follows: one theorem, one registered function."""

from __future__ import annotations

from functools import singledispatch

from manifold_flow.errors import NoLimitingFlowError, require
from manifold_flow.flow import LimitingFlow
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.optimizers import LabelNoiseSGD
from manifold_flow.sharpness import HessianTrace

__all__ = ["limiting_flow"]


@singledispatch
def limiting_flow(optimizer: object, manifold: ZeroLossManifold) -> LimitingFlow:
    """Return the flow that an optimizer follows as its learning rate goes to 0.

    Time of the flow is the optimizer's slow time: after k steps it is at
    ``k * optimizer.time_per_step``.

    Parameters
    ----------
    optimizer : Optimizer
        An optimizer with a theorem.
    manifold : ZeroLossManifold
        The zero-loss manifold of its model.

    Returns
    -------
    LimitingFlow
        With the right sharpness and rate for the optimizer's loss, batch and noise.

    Raises
    ------
    NoLimitingFlowError
        If no theorem is registered, or its hypotheses fail; lists the optimizers that
        have one.

    Examples
    --------
    >>> import manifold_flow as mf
    >>> model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    >>> sgd = mf.LabelNoiseSGD(model, learning_rate=0.01, noise_std=1.0)
    >>> mf.limiting_flow(sgd, mf.ZeroLossManifold(model))
    LimitingFlow(HessianTrace(), rate=0.25)
    """
    known = sorted(
        kind.__name__ for kind in limiting_flow.registry if kind is not object
    )
    raise NoLimitingFlowError(
        f"no theorem gives the limiting flow of {type(optimizer).__name__}. "
        f"Optimizers that have one: {', '.join(known)}."
    )


@limiting_flow.register
def _label_noise_sgd(
    optimizer: LabelNoiseSGD, manifold: ZeroLossManifold
) -> LimitingFlow:
    r"""Li, Wang, Arora (2021): label noise is matched to the Hessian, Σ = c ∇²L.

    Then :math:`dY/dT = -\tfrac{c}{4}\, \mathrm{grad}_M \mathrm{Tr}\,\nabla^2 L` with
    :math:`T = \eta^2 k` (theory notes §0.3; the constants c in §0.4).
    """
    require("manifold", manifold, ZeroLossManifold)
    if optimizer.model is not manifold.model:
        raise NoLimitingFlowError(
            "the optimizer and the manifold have different models, so they have no "
            "common clock. Build both from the same model."
        )
    loss = optimizer.model.loss
    if not loss.has_equal_weights:
        raise NoLimitingFlowError(
            "label noise of one variance is not matched to the Hessian of a weighted "
            "loss (it would need variances proportional to 1/weight; theory notes "
            "§1.12c), so its limit is no trace flow. Use equal sample_weights."
        )
    rate = (loss.matching(optimizer.noise_covariance) or 0.0) / 4.0
    if rate == 0.0:
        raise NoLimitingFlowError(
            "noise_std = 0: without label noise there is no motion on the zero-loss "
            "manifold at this time scale. Use noise_std > 0."
        )
    return LimitingFlow(manifold, HessianTrace(), rate=rate)
