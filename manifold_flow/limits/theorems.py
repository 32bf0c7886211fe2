"""From an optimizer to the flow it follows: one theorem, one registered function."""

from __future__ import annotations

from functools import singledispatch

from manifold_flow.errors import NoLimitingFlowError, require
from manifold_flow.flow import DriftFlow, Flow, LimitingFlow
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.optimizers import (
    SAM,
    GradientDescent,
    LabelNoiseSGD,
    MinibatchSGD,
    NormalizedGD,
    Optimizer,
)
from manifold_flow.sharpness import (
    HessianLogTopEigenvalue,
    HessianTopEigenvalue,
    HessianTrace,
)

__all__ = ["limiting_flow", "require_same_model"]


@singledispatch
def limiting_flow(optimizer: object, manifold: ZeroLossManifold) -> Flow:
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
    Flow
        A ``LimitingFlow`` with the right sharpness and rate for the optimizer's loss,
        batch and noise; rate 0 says that nothing moves on this clock.  A ``DriftFlow``
        where label noise is not matched to the Hessian.

    Raises
    ------
    NoLimitingFlowError
        If no theorem is registered, or its hypotheses fail; lists the optimizers that
        have one.

    Examples
    --------
    >>> import manifold_flow as mf
    >>> model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    >>> manifold = mf.ZeroLossManifold(model)
    >>> mf.limiting_flow(mf.LabelNoiseSGD(model, 0.01, noise_std=1.0), manifold)
    LimitingFlow(HessianTrace(), rate=0.25)
    >>> mf.limiting_flow(mf.MinibatchSGD(model, 0.01), manifold)
    LimitingFlow(HessianTrace(), rate=0): no motion at this time scale
    """
    raise _no_theorem(f"the limiting flow of {type(optimizer).__name__}")


@limiting_flow.register
def _label_noise_sgd(optimizer: LabelNoiseSGD, manifold: ZeroLossManifold) -> Flow:
    r"""Li, Wang, Arora (2021), for gradient noise Σ = Jᵀ N J caused by label noise.

    Matched noise, :math:`\Sigma = k\, \nabla^2 L`, gives :math:`dY/dT = -\tfrac{k}{4}
    \mathrm{grad}_M \mathrm{Tr}\,\nabla^2 L` with :math:`T = \eta^2 \times` steps
    (theory notes §0.3-0.4); any other the drift of theory notes §1.12(d).
    """
    require_same_model(optimizer, manifold)
    noise = optimizer.noise_covariance
    constant = optimizer.model.loss.matching(noise)
    if constant is None:
        return DriftFlow(manifold, noise)
    return LimitingFlow(manifold, HessianTrace(), rate=constant / 4.0)


@limiting_flow.register
def _minibatch_sgd(optimizer: MinibatchSGD, manifold: ZeroLossManifold) -> Flow:
    """Li, Wang, Arora (2021): noise that vanishes on M moves nothing at time η².

    Where all residuals are 0, so is the gradient of every batch (theory notes §2.3c).
    """
    require_same_model(optimizer, manifold)
    return LimitingFlow(manifold, HessianTrace(), rate=0.0)


@limiting_flow.register
def _sam(optimizer: SAM, manifold: ZeroLossManifold) -> Flow:
    r"""Wen, Ma, Li (2022), time ηρ²: full batch −½ grad λ₁, single samples −½ grad Tr.

    The ascent direction turns to the top eigenvector of the batch's Hessian and finds
    :math:`\tfrac12 \rho^2 \lambda_1`; a single residual's has rank one, and its mean
    over the samples is the trace (theory notes §7.1).
    """
    require_same_model(optimizer, manifold)
    if not optimizer.normalized:
        raise _no_theorem(
            "a limit of SAM without normalisation on the clock eta rho^2: its ascent "
            "vanishes with the gradient. Use normalized=True"
        )
    if optimizer.batches.are_full:
        return LimitingFlow(manifold, HessianTopEigenvalue(), rate=0.5)
    if optimizer.batches.size == 1 and optimizer.model.residuals_per_sample == 1:
        return LimitingFlow(manifold, HessianTrace(), rate=0.5)
    raise _no_theorem(
        f"the limit of SAM with batches of {optimizer.batches.size} out of "
        f"{optimizer.batches.n_samples} samples of "
        f"{optimizer.model.residuals_per_sample} residuals each. Use batch_size=None, "
        "or 1 where a sample is one residual"
    )


@limiting_flow.register
def _normalized_gd(optimizer: NormalizedGD, manifold: ZeroLossManifold) -> Flow:
    r"""Arora, Li, Panigrahi (2022), time η²: −¼ grad log λ₁.

    Beside M the iterate turns to the top eigenvector v and jumps across: its distances
    alternate between a and η − a.  A step moves it along M by :math:`-\eta\,
    \tfrac12 a^2 P_T D^3L[v, v]/(\lambda_1 a) = -\tfrac12 \eta a\, \mathrm{grad}_M
    \log\lambda_1`, and the mean of a is η/2.
    """
    require_same_model(optimizer, manifold)
    return LimitingFlow(manifold, HessianLogTopEigenvalue(), rate=0.25)


@limiting_flow.register
def _gradient_descent(optimizer: GradientDescent, manifold: ZeroLossManifold) -> Flow:
    """Nothing on M: gradient descent ends there."""
    raise _no_theorem(
        "a motion of GradientDescent along the zero-loss manifold: it follows the "
        "gradient flow, mf.gradient_flow(model, start), on its clock eta/(1 - beta) a "
        "step, and stops where the loss is zero"
    )


def require_same_model(optimizer: Optimizer, manifold: ZeroLossManifold) -> None:
    """Raise unless an optimizer trains the model that a manifold belongs to.

    Parameters
    ----------
    optimizer : Optimizer
        What trains.
    manifold : ZeroLossManifold
        Where its flow would run.

    Raises
    ------
    NoLimitingFlowError
        If their models differ, for they would have no common clock.
    """
    require("manifold", manifold, ZeroLossManifold)
    if optimizer.model is not manifold.model:
        raise NoLimitingFlowError(
            "the optimizer and the manifold have different models, so they have no "
            "common clock. Build both from the same model."
        )


def _no_theorem(claim: str) -> NoLimitingFlowError:
    without = (object, GradientDescent)
    known = sorted(k.__name__ for k in limiting_flow.registry if k not in without)
    return NoLimitingFlowError(
        f"no theorem gives {claim}. Optimizers that have one: {', '.join(known)}."
    )
