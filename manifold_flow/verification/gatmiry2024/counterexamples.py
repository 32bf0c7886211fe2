"""What fails when a hypothesis is dropped: each on its own small network.

A statement holds when its failure is seen, and its control restores the hypothesis.
The instance a user chose is not looked at.  The loss is Σ r² and F = Tr ∇²L; the
numbers are those of theory notes 1.13, but for the data with n > d, which are drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from manifold_flow.activations import Activation
from manifold_flow.bounds import hessian_coefficients, sample_curvatures
from manifold_flow.sharpness import HessianTrace
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

APART = (1.0, -1.0)  # the direction in which two equal neurons separate


def _wrong_sign(activation: Activation | str, *wanted: str) -> HypothesisCheck:
    """State that φ''' is proved to have another sign than the theorems need."""
    phi = Activation.of(activation)
    decision = phi.sign(3)
    text = f"phi''' of {phi.name}: {decision.sign} on the real line"
    return HypothesisCheck("third-not-positive", decision.sign in wanted, text)


@check("gatmiry2024/flat-spot")
def flat_spot(_: Instance) -> Findings:
    """φ = z³: the third neuron stops at 0, where φ' = 0, like −1/(3αt)."""
    start = [[1.2, 0.9, -0.3]]
    network = SmallNetwork.through(start, "z**3")
    slope = float(network.model.activation.derivative(0.0, 1))
    yield HypothesisCheck("slope-vanishes", slope == 0.0, f"phi'(0) = {slope:g}")
    output = float(network.model.targets[0])
    stuck, least = 36 * (output / 2) ** (4 / 3), 54 * (output / 3) ** (4 / 3)
    yield Number("F with a stuck neuron", stuck)
    yield Number("F*", least)
    end = network.trace(network.follow().end)  # stationary, or nothing is claimed
    yield Measurement("|F - F_stuck| / F_stuck at the end", abs(end / stuck - 1), 1e-9)
    yield Measurement("(F - F*) / F* at the end", end / least - 1, 0.1, ">=")
    slow = network.follow([100.0, 200.0])
    early, late = map(network.gradient_norm, slow.points)
    yield Refinement("|grad_M F|, time doubled", early, late, factor=4.0)
    alpha = 4.0 * float(network.model.activation.derivative(slow.end[0], 2))
    law = 3.0 * alpha * 200.0 * slow.end[2]
    yield Measurement("|1 + 3 alpha t z_3| at t = 200", abs(1 + law), 0.01)
    cured = Activation.from_name("cubic", nu=0.05)
    yield collapses("z**3/6 + 0.05 z, same start", SmallNetwork.through(start, cured))


@check("gatmiry2024/sign-change")
def sign_change(_: Instance) -> Findings:
    """For |y/2| < 1/√3 the collapse of tanh is a maximum; the flow leaves for ever."""
    yield _wrong_sign("tanh", "changes")

    def collapsed(u: float) -> SmallNetwork:
        return SmallNetwork.through(np.arctanh([[u, u]]), "tanh")

    for u in (0.3, 0.57, 0.58):
        hessian, closed = collapsed(u).hessian(APART), _collapse_of_tanh(u)
        yield Number(f"Hess_M F at u = {u}", closed)
        yield Measurement(f"its deviation at u = {u}", abs(hessian - closed), 1e-12)
        product = hessian * (u - np.sqrt(1 / 3))
        yield Measurement(f"it times u - 1/sqrt(3) at u = {u}", product, 0.0, ">=")
    network = collapsed(0.3)

    def along(h: float) -> float:
        """F at unit speed: outputs 0.3 ± s, where dz = du / (1 − u²)."""
        s = h * (1 - 0.3**2) / np.sqrt(2)
        return network.trace(np.arctanh([0.3 + s, 0.3 - s]))

    yield by_differences("Hess_M F at u = 0.3", along, _collapse_of_tanh(0.3), 0.04)
    start = np.arctanh([[0.301, 0.299]])
    leaving = SmallNetwork.through(start, "tanh")
    values = leaving.traces(leaving.follow([0.0, 100.0, 1000.0]))
    infimum = 2 * (1 - 0.4**2) ** 2  # outputs 1 and y - 1 = -0.4
    yield Number("infimum of F, not attained", infimum)
    yield Measurement("F at t = 1000, of its start", values[-1] / values[0], 0.5)
    coarse, fine = values[1:] - infimum
    yield Refinement("F - inf F, t tenfold", coarse, fine, factor=10.0)
    again = Activation.of("cubic").inverse([[0.301, 0.299]])
    yield collapses("z**3/6 + z, same outputs", SmallNetwork.through(again, "cubic"))


def _collapse_of_tanh(u: float) -> float:
    """4φ'φ''' of tanh where tanh z = u."""
    return float(8 * (1 - u**2) ** 2 * (3 * u**2 - 1))


@check("gatmiry2024/zero-third-derivative")
def zero_third_derivative(_: Instance) -> Findings:
    """φ = z²: F = 8 Σ w_i y_i everywhere on M, so there is no bias at all."""
    yield _wrong_sign("square", "zero")
    inputs, features = _two_samples()
    network = SmallNetwork.through(features, "square", inputs=inputs)
    model = network.model
    constant = 8.0 * float((model.inputs**2).sum(axis=1) @ model.targets)
    here = model.linearize(network.point)
    steepness = float(np.linalg.norm(HessianTrace().gradient(here)))
    yield Number("8 sum w y", constant)
    off = abs(network.trace(network.point) / constant - 1)
    yield Measurement("|F / 8 sum w y - 1|", off, 1e-13)
    slope = network.gradient_norm(network.point) / steepness
    yield Measurement("|grad_M F| / |grad F|", slope, 1e-12)
    # along a tangent F changes to second order only, so halving gives a quarter
    coarse, fine = (_change_along_tangent(network, h) for h in (1e-2, 5e-3))
    yield Refinement("F along a tangent, h halved", coarse, fine, factor=4.0)
    cured = SmallNetwork.through(features, "cubic", inputs=inputs)
    biased = cured.gradient_norm(cured.point)
    yield Control(
        f"z**3/6 + z at the same preactivations: |grad_M F| = {biased:.3g}",
        failed=biased > 1e-3,
    )


def _two_samples() -> tuple[Array, Array]:
    inputs = np.array([[1.0, 0.5, 0.0], [-0.3, 1.2, 0.7]])
    return inputs, np.array([[1.0, 0.4, -0.7], [0.2, 1.1, 0.5]])


def _change_along_tangent(network: SmallNetwork, step: float) -> float:
    direction = network.manifold.random_tangent_vec(network.point, rng=0)
    moved = network.point + step * direction / np.linalg.norm(direction)
    return abs(network.trace(moved) - network.trace(network.point))


@check("gatmiry2024/negative-third-derivative")
def negative_third_derivative(_: Instance) -> Findings:
    """φ = z^1.5 on z > 0: the collapse z = 1 is a maximum, and neurons separate."""
    phi = Activation.of("z**1.5")
    decision = phi.sign(3, 0.1, 10.0)
    yield HypothesisCheck(
        "third-not-positive",
        decision.sign == "negative",
        f"phi''' of z**1.5 on [0.1, 10]: {decision.sign}",
    )
    network = SmallNetwork.through([[1.0, 1.0]], phi)
    hessian = network.hessian(APART)
    yield Measurement("|Hess_M F + 9/4| at z = 1", abs(hessian + 2.25), 1e-12)
    yield Measurement("Hess_M F at z = 1", hessian, 0.0)

    def along(h: float) -> float:
        """F at unit speed: outputs 1 ± s, where dz = du / φ' and φ'(1) = 3/2."""
        s = 1.5 * h / np.sqrt(2)
        return network.trace(np.array([1.0 + s, 1.0 - s]) ** (2 / 3))

    yield by_differences("Hess_M F", along, -2.25, 0.04)
    start = np.array([[1.001, 0.999]])
    leaving = SmallNetwork.through(start ** (2 / 3), phi)
    path = leaving.follow([0.0, 2.5])
    first, last = np.abs(np.diff(path.points, axis=1)).ravel()
    yield Measurement("growth of |z_1 - z_2| until t = 2.5", last / first, 100.0, ">=")
    before, after = leaving.traces(path)
    yield Measurement("change of F until t = 2.5", after - before, 0.0)
    cured = SmallNetwork.through([[1.0, 1.0]], "z**2.5")
    restored = cured.hessian(APART)
    yield Control(
        f"z**2.5, whose phi''' > 0: Hess_M F = {restored:.4g} at the same point",
        failed=restored > 0,
    )


@check("gatmiry2024/dependent-inputs")
def dependent_inputs(_: Instance) -> Findings:
    """For inputs 1 and 2 in one dimension: clusters 3 + 1, and no collapse on M."""
    clusters = np.array([1.459, -0.0196, -0.0196, -0.0196])
    inputs = np.array([[1.0], [2.0]])
    limit = SmallNetwork.through(inputs * clusters, "cubic", inputs=inputs)
    model, phi = limit.model, limit.model.activation
    yield HypothesisCheck(
        "dependent-inputs", model.rank == 1, f"2 input rows of rank {model.rank}"
    )
    first, second = model.targets
    shared = 4 * float(phi(2 * phi.inverse(first / 4)))
    yield Number("y_2 if all neurons were equal", shared)
    yield Measurement("its distance from y_2", abs(second - shared), 2.0, ">=")
    start = SmallNetwork(model, limit.manifold.random_point(rng=0))
    ends = [np.sort(end) for end in start.ends()]
    distance = np.abs(ends[-1] - np.sort(clusters)).max()
    yield Measurement("distance from 1.459, -0.0196 (3x)", distance, 1e-3)
    z = inputs * clusters
    closed = 2.0 * float((inputs**2 * phi.derivative(z, 1) ** 2).sum())
    yield Number("F of the clusters", closed)
    off = abs(limit.trace(ends[-1]) / closed - 1)
    yield Measurement("relative deviation of F at the end", off, 1e-6)
    coarse, fine = (float(np.abs(end - ends[-1]).max()) for end in ends[:2])
    yield Refinement("end point, gtol / 100", coarse, fine, factor=100.0)
    independent = np.array([[1.0, 0.0], [1.2, 1.6]])  # the same lengths
    yield collapses(
        "independent rows of the same lengths, same preactivations",
        SmallNetwork.through(z, "cubic", inputs=independent),
    )


@check("gatmiry2024/more-samples-than-features")
def more_samples_than_features(_: Instance) -> Findings:
    """Four samples in the plane: several clusters, and two different local minima."""
    rng = np.random.default_rng(0)
    inputs, weights = rng.uniform(size=(4, 2)), rng.standard_normal((6, 2))
    base = SmallNetwork.through(inputs @ weights.T, "cubic", inputs=inputs)
    yield HypothesisCheck("any-n", base.model.rank < 4, "n = 4 samples, d = 2")
    minima = []
    for seed in (0, 3):
        start = SmallNetwork(base.model, base.manifold.random_point(rng=seed))
        coarse, fine, end = start.ends()
        first, second = (float(np.linalg.norm(p - end)) for p in (coarse, fine))
        yield Refinement(f"end of start {seed}, gtol / 100", first, second, 100.0)
        yield from _local_minimum(SmallNetwork(base.model, end), f"start {seed}")
        minima.append(start.trace(end))
        yield Number(f"F at the end of start {seed}", minima[-1])
    apart = abs(minima[0] / minima[1] - 1)
    yield Measurement("relative difference of the two minima", apart, 1e-3, ">=")
    yield collapses(
        "the first two samples only, same start",
        SmallNetwork.through((inputs @ weights.T)[:2], "cubic", inputs=inputs[:2]),
    )


def _local_minimum(network: SmallNetwork, which: str) -> Findings:
    """F has a strict local minimum with several clusters (ψ_α of theory notes §1.12f).

    The normal space contributes n eigenvalues 0 to the Hessian on M.
    """
    model = network.model
    operator = network.manifold.riemannian_hessian(HessianTrace(), network.point)
    hessian = operator @ np.eye(model.n_params)
    curvatures = np.linalg.eigvalsh(0.5 * (hessian + hessian.T))
    rounding = 1e-10 * float(curvatures.max())
    least = curvatures[[0, model.n_residuals]]
    yield Measurement(f"least eigenvalue of Hess, {which}", least[0], -rounding, ">=")
    yield Measurement(f"least curvature on M, {which}", least[1], rounding, ">=")
    neurons = model.unflatten(network.point)["weights"]
    equal = np.linalg.norm(neurons[:, None] - neurons, axis=-1) < 1e-4
    sizes = sorted(np.unique(equal, axis=0).sum(axis=1).tolist(), reverse=True)
    share = sizes[0] / model.width
    yield Measurement(
        f"share of the largest of the clusters {sizes}, {which}", share, 0.9
    )
    yield _potential_slope(network, which)
    h = hessian_coefficients(model, network.point)  # ∇²ψ_α = Xᵀ diag(h_j) X
    shared = [h[:, j] for j in range(model.width) if equal[j].sum() > 1]
    forms = [(model.inputs.T * column) @ model.inputs for column in shared]
    bend = float(np.linalg.eigvalsh(forms).min())
    yield Measurement(f"curvature of psi where shared, {which}", bend, 0.0, ">=")


def _potential_slope(network: SmallNetwork, which: str) -> Measurement:
    """All neurons are critical: ∇ψ_α(θ) = Σ_i [4w_i φ'φ'' − α_i φ'](x_iᵀθ) x_i = 0."""
    model = network.model
    here = model.linearize(network.point)
    alpha = here.multipliers(HessianTrace().gradient(here))[:, None]
    _, first, second, _ = model.activation.derivatives(model.features(network.point))
    trace_part = 4 * sample_curvatures(model)[:, None] * first * second
    slopes = (trace_part - alpha * first).T @ model.inputs
    size = float(np.linalg.norm(slopes) / np.linalg.norm(trace_part.T @ model.inputs))
    return Measurement(f"|grad psi| at the neurons, relative, {which}", size, 1e-9)
