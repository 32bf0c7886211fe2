"""Counterexamples about minima, rates and functions other than the trace.

As in `counterexamples`: own small networks, the loss Σ r², F = Tr ∇²L, and a control
that restores the hypothesis.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manifold_flow.activations import Activation
from manifold_flow.errors import EmptyManifoldError, HypothesisError
from manifold_flow.manifold import ZeroLossManifold
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.references import flattest_point, flattest_value
from manifold_flow.sharpness import HessianTopEigenvalue
from manifold_flow.verification.evidence import (
    Control,
    Findings,
    HypothesisCheck,
    Measurement,
    Number,
    Refinement,
    check,
)
from manifold_flow.verification.gatmiry2024.small import (
    SmallNetwork,
    by_differences,
    collapses,
)

if TYPE_CHECKING:
    from manifold_flow.verification.instance import Instance

__all__: list[str] = []

Array = NDArray[np.float64]


@check("gatmiry2024/unattained-minimum")
def unattained_minimum(_: Instance) -> Findings:
    """φ = e^z + z, a = (1, −1): F − 4 falls like 2/t, and 4 is never reached."""
    start, weights = [[0.5, 0.0]], [1.0, -1.0]
    network = SmallNetwork.through(start, "exp_plus_linear", output_weights=weights)
    bend = network.model.activation.sign(2)
    yield HypothesisCheck(
        "signed-weights",
        bend.sign == "positive" and _is_refused(network.model),
        f"a = (1, -1) and phi'' is {bend.sign}: a_j phi''(z_j) cannot be equal, and "
        "references.flattest_point refuses",
    )
    path = network.follow([1.0, 10.0, 100.0, 1000.0])
    above = network.traces(path) - 4.0
    noted = ((1.50, 0.005), (0.19, 0.005), (0.020, 5e-4), (0.0020, 5e-5))
    for time, excess, (value, digit) in zip(path.times, above, noted, strict=True):
        off = abs(excess - value)
        yield Measurement(f"|F - {4 + value:g}| at t = {time:g}", off, digit)
    yield Measurement("F - 4 at t = 1000", above[-1], 0.0, ">=")
    errors = np.abs(0.5 * path.times * above - 1.0)
    yield Refinement("|t (F - 4) / 2 - 1|, t tenfold", errors[-2], errors[-1], 10.0)
    largest = float(path.points[-1].max())
    yield Measurement("largest z at t = 1000 (runs to -infinity)", largest, -7.0)
    yield collapses(
        "sinh, whose phi' is unbounded on both sides",
        SmallNetwork.through(start, "sinh", output_weights=weights),
    )


def _is_refused(model: TwoLayerNetwork) -> bool:
    """Whether the package says that no theorem gives a flattest point."""
    try:
        flattest_point(model)
    except HypothesisError:
        return True
    return False


#: K = [[1, −0.8], [−0.8, 1]]; its Schur complement of the first sample is S = 0.36
CORRELATED = np.linalg.cholesky(np.array([[1.0, -0.8], [-0.8, 1.0]]))
PREDICTED = -1.44  # −4 w β S with β = φ''(0) = 1


@check("gatmiry2024/slow-start")
def slow_start(_: Instance) -> Findings:
    """φ = e^z with one neuron at z = −9: 1/p falls by 1.44 a unit of time, p = e^z."""
    decision = Activation.of("exp").sign(1)
    lowest = float(Activation.of("exp").derivative(-9.0, 1))
    yield HypothesisCheck(
        "slope-not-uniform",
        decision.sign == "positive" and lowest < 1e-3,
        f"phi' = exp(z) is positive, but {lowest:.2g} at z = -9: its infimum is 0",
    )
    slopes = {z: _slope_of_inverse(z) for z in (-8.0, -9.0)}
    yield Number("slope of 1/p from z = -9", slopes[-9.0])
    coarse, fine = (abs(slope - PREDICTED) for slope in slopes.values())
    yield Measurement("|slope of 1/p + 1.44|", fine, 0.002)
    yield Refinement("|slope + 1.44|, p_0 / e", coarse, fine, factor=np.e)
    lost = _share_lost("exp", 100.0)
    yield Measurement("share of F - F* lost by t = 100", lost, 0.01)
    cured = _share_lost("exp_plus_linear", 100.0)
    yield Control(
        f"exp(z) + z, whose phi' > 1, same preactivations: the share lost by t = 100 "
        f"is {cured:.5f}, not {lost:.1e}",
        failed=cured > 0.99,
    )


def _waiting(activation: str, z: float) -> SmallNetwork:
    return SmallNetwork.through([[0.0, 0.0], [0.0, z]], activation, inputs=CORRELATED)


def _slope_of_inverse(z: float) -> float:
    """Slope of 1/p between a tenth and three tenths of the time scale 1/p_0."""
    network, times = _waiting("exp", z), np.array([0.1, 0.3]) * np.exp(-z)
    points = network.follow(times).points
    inverse = np.exp(-network.model.features(points)[:, 1, 1])
    return float((inverse[1] - inverse[0]) / (times[1] - times[0]))


def _share_lost(activation: str, time: float) -> float:
    """Return how much of F − F* is gone after a time."""
    network = _waiting(activation, -9.0)
    before, after = network.traces(network.follow([0.0, time]))
    return float((before - after) / (before - flattest_value(network.model)))


@check("gatmiry2024/unreachable-target")
def unreachable_target(_: Instance) -> Findings:
    """φ = e^z and y = −1: the output is positive, so M is empty, and that is said."""
    phi, target = Activation.of("exp"), -1.0
    decision = phi.sign(0)
    yield HypothesisCheck(
        "unreachable-target",
        decision.sign == "positive",
        f"phi = exp(z) is {decision.sign}, the target is {target:g}",
    )
    z = np.random.default_rng(0).normal(scale=5.0, size=(1000, 3))
    least = float(phi(z).sum(axis=1).min())
    yield Measurement("least residual of 1000 draws, minus |y|", least, 0.0, ">=")
    # the infimum is approached as z -> -infinity, by a factor of 10 each log(10)
    coarse, fine = (float(3 * phi(-np.log(k))) for k in (1e3, 1e4))
    yield Refinement("the same as z falls by log(10)", coarse, fine, factor=10.0)
    silent = 0.0 if _names_the_sample(target) else 1.0
    yield Measurement("networks built all the same (of 1)", silent, 0.0)
    reached = TwoLayerNetwork([[1.0]], [-target], 3, phi)
    point = ZeroLossManifold(reached).random_point(rng=0)
    residual = float(np.abs(reached.residual(point)).max())
    yield Control(
        f"y = {-target:g}: a point of M is found, its residual is {residual:.1e}",
        failed=residual <= 1e-12,
    )


def _names_the_sample(target: float) -> bool:
    """Whether a network with this target is refused because M is empty."""
    try:
        TwoLayerNetwork([[1.0]], [target], 3, "exp")
    except EmptyManifoldError as error:
        return error.sample == 0
    return False


OUT_OF_SCOPE = ("softplus", "sigmoid(z)", "tanh", "relu", "gelu")
#: where φ''' changes its sign: tanh² = 1/3; sigmoid(z) is (1 + tanh(z/2))/2
CROSSINGS = {
    "softplus": 0.0,
    "tanh": np.arctanh(np.sqrt(1 / 3)),
    "sigmoid(z)": 2 * np.arctanh(np.sqrt(1 / 3)),
}


@check("gatmiry2024/out-of-scope-activations")
def out_of_scope_activations(_: Instance) -> Findings:
    """Of the usual activations each lacks φ' > 0 or φ''' > 0, and that is said."""
    silent = []
    for name in OUT_OF_SCOPE:
        phi = Activation.of(name)
        words = f"{name}: phi' {phi.sign(1).sign}, phi''' {phi.sign(3).sign}"
        fails = phi.satisfies_hypotheses() is False
        yield HypothesisCheck("signs-fail", fails, words)
        model = TwoLayerNetwork([[1.0, 0.0]], [0.5], 2, phi)
        if not (model.caveats and _is_refused(model)):
            silent.append(name)
    yield Measurement(f"activations that run silently {silent}", len(silent), 0.0)
    for name, zero in CROSSINGS.items():
        left, right = Activation.of(name).derivative([zero - 0.1, zero + 0.1], 3)
        product = float(left * right)
        yield Measurement(f"{name}: phi''' left times right", product, 0.0)
    coarse, fine = map(_size_near_crossings, (0.02, 0.01))
    yield Refinement("|phi'''| near its zeros, h halved", coarse, fine, factor=2.0)
    covered = TwoLayerNetwork([[1.0, 0.0]], [0.5], 2, "cubic")
    yield Control(
        "cubic satisfies both signs, has no caveat and is not refused",
        failed=not covered.caveats and not _is_refused(covered),
    )


def _size_near_crossings(h: float) -> float:
    return max(
        float(np.abs(Activation.of(name).derivative([z - h, z + h], 3)).max())
        for name, z in CROSSINGS.items()
    )


@check("gatmiry2024/top-eigenvalue-not-collapsed")
def top_eigenvalue_not_collapsed(_: Instance) -> Findings:
    """z* = (2, 4): moving the first outputs by ±ε lowers λ_max while F grows."""
    collapsed, moved = _correlated("cubic", 0.0), _correlated("cubic", 2.0)
    slope, bend, third = collapsed.model.activation.derivatives([2.0, 4.0])[1:]
    excess = float((bend**2 - slope * third).max())
    yield HypothesisCheck(
        "slope-not-log-convex",
        excess > 0,
        f"phi''^2 exceeds phi' phi''' by {excess:g} at a collapsed z",
    )
    before, after = _top(collapsed), _top(moved)
    yield Measurement("|lambda_max - 333.792| collapsed", abs(before - 333.792), 5e-4)
    yield Measurement("|lambda_max - 333.577| moved", abs(after - 333.577), 5e-4)
    yield Measurement("change of lambda_max", after - before, 0.0)
    grown = moved.trace(moved.point) - collapsed.trace(collapsed.point)
    yield Measurement("change of F", grown, 0.0, ">=")
    second = _second_variation(collapsed)
    yield Measurement("second variation of lambda_max", second, 0.0)
    yield by_differences(
        "second variation", lambda h: _top(_correlated("cubic", h)), second, 0.4
    )
    convex = _top(_correlated("sinh", 2.0)) - _top(_correlated("sinh", 0.0))
    yield Control(
        f"sinh, whose slope is log-convex: the same move raises lambda_max by "
        f"{convex:.3g}",
        failed=convex > 0,
    )


def _correlated(activation: str, move: float) -> SmallNetwork:
    """Return two neurons with outputs φ(2) ± move and φ(4), K_12 = 1/2."""
    phi = Activation.of(activation)
    apart = np.array([[move, -move], [0.0, 0.0]])
    outputs = phi([[2.0, 2.0], [4.0, 4.0]]) + apart
    inputs = np.linalg.cholesky(np.array([[1.0, 0.5], [0.5, 1.0]]))
    return SmallNetwork.through(phi.inverse(outputs), phi, inputs=inputs)


def _top(network: SmallNetwork) -> float:
    return HessianTopEigenvalue().value(network.model.linearize(network.point))


def _second_variation(network: SmallNetwork) -> float:
    r"""Return d²λ_max/dε² under u_1 ± ε: 2 · 2 Σ_j δ_j² Q_11, Σ_j δ_j² = 2 (§1.12g)."""
    model = network.model
    _, slope, bend, third = model.activation.derivatives([2.0, 4.0])
    values, vectors = np.linalg.eigh(model.inputs_gram * np.outer(slope, slope))
    first, second = bend / slope, (slope * third - bend**2) / slope**3
    share = float(vectors[0, -1] ** 2)
    q = share * (values[-1] * second[0] / slope[0] + first[0] ** 2)  # K_11 = 1
    return float(8.0 * q)
