"""The hypotheses of the theorems, each looked at on the instance with its number."""

from __future__ import annotations

from manifold_flow.errors import HypothesisError
from manifold_flow.intervals import SignDecision, decide_sign
from manifold_flow.verification.evidence import HypothesisCheck
from manifold_flow.verification.instance import Instance

__all__ = [
    "convex_slope",
    "equal_output_weights",
    "increasing",
    "independent_inputs",
    "interval",
    "log_convex_slope",
    "minimum_exists",
    "nonzero_weights",
    "two_neurons",
]


def increasing(instance: Instance) -> HypothesisCheck:
    """φ' > 0 on the real line."""
    return _sign(instance, 1, "increasing", "phi'")


def convex_slope(instance: Instance) -> HypothesisCheck:
    """φ''' > 0 on the real line."""
    return _sign(instance, 3, "convex-slope", "phi'''")


def _sign(instance: Instance, order: int, id: str, name: str) -> HypothesisCheck:
    activation = instance.model.activation
    decision = activation.sign(order)
    if decision.sign == "positive":
        text = f"{name} of {activation.name} is {_words(decision)}"
        return HypothesisCheck(id, True, text)
    point = activation.point_not_positive(order)
    if point is None:
        holds = None if decision.sign == "undecided" else False
        text = f"{name} of {activation.name} is {_words(decision)}"
    else:
        holds, value = False, float(activation.derivative(point, order))
        text = f"{name}({point:g}) = {value:.6g} of {activation.name} is not positive"
        if decision.sign == "changes" and decision.witness is not None:
            near = round(sum(decision.witness) / 2, 5) + 0.0
            text += f", its sign changes near z = {near:g}"
    return HypothesisCheck(
        id, holds, f"{text}; the statement needs {name} > 0 on the whole line"
    )


def _words(decision: SignDecision) -> str:
    sign = {"changes": "of changing sign", "undecided": "of undecided sign"}
    words = sign.get(decision.sign, decision.sign)
    words += f" on [{decision.low:g}, {decision.high:g}]"
    if decision.witness is not None:
        low, high = decision.witness
        words += f", bracket [{low:.6g}, {high:.6g}]"
    return f"{words}: {decision.reason}" if decision.reason else words


def independent_inputs(instance: Instance) -> HypothesisCheck:
    """The rows of X are linearly independent: μ = λ_min(XXᵀ) > 0."""
    model = instance.model
    holds = model.rank == model.n_residuals
    text = (
        f"rank X = {model.rank} of n = {model.n_residuals} rows in d = "
        f"{model.n_features}"
    )
    if holds:
        return HypothesisCheck(
            "independent-inputs",
            True,
            f"{text}; mu = lambda_min(XX^T) = {instance.mu:.4g}",
        )
    return HypothesisCheck(
        "independent-inputs",
        False,
        f"{text}: mu = lambda_min(XX^T) = 0; the statement needs independent rows",
    )


def two_neurons(instance: Instance) -> HypothesisCheck:
    """At least two neurons; with one, S is constant on M."""
    width = instance.model.width
    text = f"m = {width}"
    if width < 2:
        text += ": with one neuron every z is fixed on M and S is constant"
    return HypothesisCheck("two-neurons", width >= 2, text)


def nonzero_weights(instance: Instance) -> HypothesisCheck:
    """No output weight is 0 and all sample weights are positive."""
    a = abs(instance.model.output_weights).min()
    w = instance.weights.min()
    return HypothesisCheck(
        "nonzero-weights",
        bool(a > 0 and w > 0),
        f"min |a_j| = {a:.4g}, w_min = min c_i |x_i|^2 / 2 = {w:.4g}",
    )


def equal_output_weights(instance: Instance) -> HypothesisCheck:
    """All output weights are equal, as in the paper."""
    a = instance.model.output_weights
    return HypothesisCheck(
        "equal-output-weights",
        bool(a.min() == a.max()),
        f"output weights from {a.min():.4g} to {a.max():.4g}; the closed form needs "
        "equal ones",
    )


def interval(instance: Instance) -> HypothesisCheck:
    """An interval I holds every z_ij for ever, and is known before the flow runs."""
    try:
        low, high = instance.interval
    except HypothesisError as error:
        return HypothesisCheck("interval", None, str(error))
    return HypothesisCheck(
        "interval", True, f"I = [{low:.4g}, {high:.4g}] from the starts alone"
    )


def minimum_exists(instance: Instance) -> HypothesisCheck:
    """A flattest point exists."""
    try:
        value = instance.flattest_value
    except HypothesisError as error:
        return HypothesisCheck("minimum-exists", False, str(error))
    return HypothesisCheck("minimum-exists", True, f"S* = {value:.6g}")


def log_convex_slope(instance: Instance, low: float, high: float) -> HypothesisCheck:
    """φ'φ''' ≥ φ''² on an interval."""
    first, second, third = (instance.model.activation.symbolic(k) for k in (1, 2, 3))
    excess = (first * third - second**2).rewrite("exp").expand()
    decision = decide_sign(excess, low, high)
    holds = (
        None
        if decision.sign == "undecided"
        else decision.sign in ("positive", "nonnegative", "zero")
    )
    return HypothesisCheck(
        "log-convex-slope",
        holds,
        f"phi'phi''' - phi''^2 is {_words(decision)}; the statement needs it >= 0 at "
        "the points compared",
    )
