"""Beyond the paper: output weights, other losses and noise, the top eigenvalue."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.linalg
from numpy.typing import NDArray

from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.sharpness import HessianTopEigenvalue, HessianTrace
from manifold_flow.verification.evidence import (
    Control,
    Finding,
    Findings,
    HypothesisCheck,
    Measurement,
    NotReached,
    Number,
    Refinement,
    check,
)
from manifold_flow.verification.gatmiry2024.normal_space import ALGEBRA, relative
from manifold_flow.verification.gatmiry2024.stationary_points import (
    PAPER,
    closing_in,
    stationary_is_flattest,
)
from manifold_flow.verification.hypotheses import (
    convex_slope,
    equal_output_weights,
    increasing,
    independent_inputs,
    log_convex_slope,
    minimum_exists,
    nonzero_weights,
    two_neurons,
)
from manifold_flow.verification.instance import Instance, small_step

Array = NDArray[np.float64]

SIGNS = (increasing, convex_slope, independent_inputs, two_neurons)


def reweighted(
    instance: Instance, a: Array | None = None, q: Array | None = None
) -> Instance:
    """The same inputs under other weights, with targets in reach of those."""
    model = instance.model
    weights = model.output_weights if a is None else a
    targets = model.activation(model.features(instance.starts[0])) @ weights
    return instance.with_model(
        TwoLayerNetwork(
            model.inputs,
            targets,
            model.width,
            model.activation,
            weights,
            model.loss.sample_weights if q is None else q,
            model.loss.normalization,
        )
    )


def _flow_collapses(other: Instance) -> Iterator[Finding]:
    """a_jφ''(z_ij) does not depend on j where the flow ends, and S is least there."""
    model, path = other.model, other.paths[0]
    yield from stationary_is_flattest(other, path.end)
    stopped = other.not_stationary(path)
    if stopped is not None:
        yield NotReached(stopped)
        return
    curved = model.output_weights * model.activation.derivative(
        model.features(path.end), 2
    )
    spread = float(np.ptp(curved, axis=1).max() / max(1.0, np.abs(curved).max()))
    yield Measurement("spread of a_j phi''(z_ij) over the neurons", spread, 1e-4)
    yield from closing_in(other, path)


def _plain_collapse(other: Instance) -> Control:
    """Equal neurons are on M where y_i is shared out, but not stationary."""
    model = other.model
    total = model.output_weights.sum()
    shared = model.activation.inverse(model.targets / total)
    features = np.repeat(shared[:, None], model.width, axis=1)
    point = other.point_at(features, other.starts[0])
    gradient = relative(
        other.gradient(point), HessianTrace().gradient(model.linearize(point))
    )
    return Control(
        f"equal neurons in place of a_j phi'' = beta: |grad_M S| / |grad S| = "
        f"{gradient:.2g}",
        failed=gradient > 1e-6,
    )


@check("gatmiry2024/positive-weights", *SIGNS)
def positive_weights(instance: Instance) -> Findings:
    """For a > 0 the flattest point is z_ij = (φ'')⁻¹(β_i / a_j)."""
    rng = instance.rng("positive-weights")
    other = reweighted(instance, a=rng.uniform(0.5, 2.0, instance.model.width))
    yield minimum_exists(other)
    best = other.manifold.projection(other.flattest)
    slope = HessianTrace().gradient(other.model.linearize(best))
    yield Measurement(
        "|grad_M S| / |grad S| at (phi'')^-1(beta / a)",
        relative(other.gradient(best), slope),
        ALGEBRA,
    )
    yield from _flow_collapses(other)
    yield _plain_collapse(other)


@check("gatmiry2024/signed-weights", *SIGNS)
def signed_weights(instance: Instance) -> Findings:
    """Signed a: the same, where a minimum exists; then φ'(z_ij)² ≤ S / (2 w_i a_j²)."""
    rng = instance.rng("signed-weights")
    a = rng.uniform(0.5, 2.0, instance.model.width)
    a[::2] *= -1.0
    if abs(a.sum()) < 0.2:
        a[0] *= 2.0
    other = reweighted(instance, a=a)
    yield minimum_exists(other)
    path = other.paths[0]
    for point in (path.lift(path.reduced_points[0]), path.end):
        slopes = other.model.activation.derivative(other.model.features(point), 1)
        term = float((2 * other.weights[:, None] * a**2 * slopes**2).max())
        yield Measurement("max 2 w a^2 phi'^2", term, other.value(other.starts[0]))
    yield from _flow_collapses(other)
    yield _unequal(other)


def _unequal(other: Instance) -> Control:
    """Unsigned weights |a| in the condition give a point that is not stationary."""
    features, a = other.flattest_features.copy(), other.model.output_weights
    turned = np.where(a < 0, -features, features)
    point = other.manifold.projection(other.point_at(turned, other.starts[0]))
    slope = HessianTrace().gradient(other.model.linearize(point))
    gradient = relative(other.gradient(point), slope)
    return Control(
        f"|a_j| in place of a_j: |grad_M S| / |grad S| = {gradient:.2g}",
        failed=gradient > 1e-6,
    )


@check("gatmiry2024/weighted-loss", *PAPER, equal_output_weights)
def weighted_loss(instance: Instance) -> Findings:
    """Weights q leave Z* where it is; noise is matched iff σ_i² ∝ 1/q_i."""
    model, rng = instance.model, instance.rng("weighted-loss")
    q = rng.uniform(0.5, 2.0, model.n_residuals)
    other = reweighted(instance, q=q)
    even = reweighted(instance, q=np.ones(model.n_residuals))
    yield Measurement(
        "|Z*(q) - Z*| / |Z*|",
        relative(
            other.flattest_features - even.flattest_features, even.flattest_features
        ),
        ALGEBRA,
    )
    yield from _flow_collapses(other)
    J, c = other.model.jacobian(other.starts[0]), other.model.loss.curvatures
    hessian = J.T @ (c[:, None] * J)

    def mismatch(variances: Array) -> float:
        """Distance of the noise covariance Jᵀ c² σ² J from a multiple of ∇²L."""
        covariance = J.T @ ((c**2 * variances)[:, None] * J)
        multiple = np.sum(covariance * hessian) / np.sum(hessian**2)
        return relative(covariance - multiple * hessian, covariance)

    yield Measurement(
        "|Sigma - c D^2L| / |Sigma|, sigma^2 = 1/q", mismatch(1 / q), ALGEBRA
    )
    wrong = mismatch(np.ones(model.n_residuals))
    yield Control(
        f"equal noise: |Sigma - c D^2L| / |Sigma| = {wrong:.2g}", failed=wrong > 1e-6
    )


def _drift(instance: Instance, point: Array, variances: Array) -> Array:
    """−½ P_T D³L[C] per η², C = JᵀNJ with cGN + NGc = c²σ² (theory notes §1.12d)."""
    model, c = instance.model, instance.model.loss.curvatures
    here, J = model.linearize(point), model.jacobian(point)
    N = _fluctuations(here.gram, c, variances)
    pulled = (2 * c)[:, None] * (J @ (J.T @ N @ J))
    return -0.5 * here.tangent_part(model.contracted_hessian(point, pulled))


def _fluctuations(gram: Array, c: Array, variances: Array) -> Array:
    """Solve cGN + NGc = diag(c²σ²), a Sylvester equation."""
    left = c[:, None] * gram
    return np.asarray(
        scipy.linalg.solve_sylvester(left, left.T, np.diag(c**2 * variances))
    )


@check("gatmiry2024/unmatched-noise", *PAPER, nonzero_weights, equal_output_weights)
def unmatched_noise(instance: Instance) -> Findings:
    """P_T D³L[C] = 0 at the collapse for any label noise; matched, it is grad S."""
    model, rng = instance.model, instance.rng("unmatched-noise")
    c, best = model.loss.curvatures, instance.manifold.projection(instance.flattest)
    matched, uneven = 1 / c, rng.uniform(0.2, 2.0, len(c))
    for point in instance.starts:
        gradient = instance.gradient(point)
        away = _drift(instance, point, matched) + gradient / 4
        yield Measurement(
            "|drift + grad_M S / 4| / |grad_M S|, matched noise",
            relative(away, gradient),
            1e-8,
        )
    scale = float(np.linalg.norm(_drift(instance, instance.starts[0], uneven)))
    stopped = float(np.linalg.norm(_drift(instance, best, uneven)))
    yield Measurement(
        "|drift| at the collapse, uneven noise", stopped, 1e-8 * max(scale, 1.0)
    )
    point = instance.starts[0]
    tangent = instance.manifold.random_tangent_vec(point, rng=rng)
    h = small_step(model, tangent)
    coarse, fine = (
        _third_derivative_error(instance, point, tangent, uneven, k * h) for k in (2, 1)
    )
    yield Refinement("D^3L[v, C] by differences, h halved", coarse, fine, 4.0, 1e-8)
    yield Control(
        f"away from the collapse uneven noise drifts: {scale:.2g}",
        failed=scale > 1e-6,
    )


def _third_derivative_error(
    instance: Instance, point: Array, tangent: Array, variances: Array, h: float
) -> float:
    """−½ d/ds Tr(∇²L(θ + sv) C), C frozen, against the drift along v."""
    model, J = instance.model, instance.model.jacobian(point)
    gram = model.linearize(point).gram
    N = _fluctuations(gram, model.loss.curvatures, variances)

    def contracted(s: float) -> float:
        here = model.linearize(point + s * tangent)
        return sum(
            float(J[i] @ here.loss_hessian_vector(J.T @ N[i])) for i in range(len(J))
        )

    inner = float(_drift(instance, point, variances) @ tangent)
    return abs(-0.5 * (contracted(h) - contracted(-h)) / (2 * h) - inner) / (
        abs(inner) + 1e-3
    )


@check("gatmiry2024/top-eigenvalue", *PAPER, equal_output_weights)
def top_eigenvalue(instance: Instance) -> Findings:
    """φ'φ''' ≥ φ''² ⇒ λ_max(∇²L) is least at the collapse, among points seen there."""
    best = instance.manifold.projection(instance.flattest)
    least = _top(instance, best)
    yield Number("lambda_max at the collapse", least)
    yield log_convex_slope(instance, *instance.hull())
    for start in instance.starts:
        share, hypothesis = _log_convex_share(instance, start)
        yield hypothesis
        for part in (share, share / 2, share / 8):
            point = _towards(instance, start, part)
            yield Measurement(
                f"lambda_max, {part:.2g} of the way to a start",
                _top(instance, point),
                least * (1 - 1e-10),
                ">=",
            )
    coarse, fine = (
        _top(instance, _towards(instance, start, part)) - least
        for part in (2e-2 * share, 1e-2 * share)
    )
    yield Refinement(
        "lambda_max above the collapse, displacement halved",
        coarse,
        fine,
        4.0,
        floor=1e-9 * least,
    )
    yield _not_log_convex()


def _top(instance: Instance, point: Array) -> float:
    return HessianTopEigenvalue().value(instance.model.linearize(point))


def _towards(instance: Instance, start: Array, share: float) -> Array:
    """The point of M with U between U* and that of a start."""
    model, a = instance.model, instance.model.output_weights
    best = a * model.activation(instance.flattest_features)
    mixed = best + share * (instance.outputs(start) - best)
    return instance.point_at(model.activation.inverse(mixed / a), start)


def _log_convex_share(
    instance: Instance, start: Array
) -> tuple[float, HypothesisCheck]:
    """How far towards a start φ' is log-convex on all preactivations."""
    for halvings in range(12):
        share = 0.5**halvings
        hull = instance.hull(_towards(instance, start, share))
        hypothesis = log_convex_slope(instance, *hull)
        if hypothesis.holds is True:
            break
    return share, hypothesis


def _not_log_convex() -> Control:
    """The cubic beyond |z| = √2: z* = (2, 4), the outputs of sample 0 apart by ±2."""
    root = np.linalg.cholesky([[1.0, 0.5], [0.5, 1.0]])
    model = TwoLayerNetwork(root, [20 / 3, 88 / 3], 2, "cubic", loss="sum")
    small = Instance(model, 1, np.random.SeedSequence(0))
    outputs = np.array([[10 / 3 + 2, 10 / 3 - 2], [44 / 3, 44 / 3]])
    moved = small.point_at(model.activation.inverse(outputs), np.zeros(4))
    before, after = _top(small, small.flattest), _top(small, moved)
    return Control(
        f"cubic at z* = (2, 4), where phi'phi''' < phi''^2: lambda_max falls from "
        f"{before:.6g} to {after:.6g}",
        failed=after < before,
    )
