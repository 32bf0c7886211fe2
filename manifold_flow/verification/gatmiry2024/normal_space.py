"""The normal space of M, what the data leave free, and the trace on M."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from manifold_flow import bounds
from manifold_flow.linearization import Linearization
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.sharpness import HessianTrace
from manifold_flow.verification.evidence import (
    Control,
    Findings,
    Measurement,
    Number,
    Refinement,
    check,
)
from manifold_flow.verification.hypotheses import (
    increasing,
    independent_inputs,
    nonzero_weights,
)
from manifold_flow.verification.instance import EPS, Instance, small_step

Array = NDArray[np.float64]
Velocity = Callable[[Array], Array]

#: what an identity may lose to rounding, relative
ALGEBRA = 1e-10


def relative(difference: Array, scale: Array) -> float:
    """Return the norm of a difference over that of a scale."""
    return float(np.linalg.norm(difference)) / max(float(np.linalg.norm(scale)), 1e-300)


@check("gatmiry2024/lemma-1", increasing, independent_inputs, nonzero_weights)
def lemma_1(instance: Instance) -> Findings:
    """G = JJᵀ = K ∘ (P diag(a²) Pᵀ), and λ_min(G) ≥ μ ρ1² Σ a²."""
    model, a = instance.model, instance.model.output_weights
    for point in instance.starts:
        z = model.features(point)
        J, P = model.jacobian(point), model.activation.derivative(z, 1)
        closed = model.inputs_gram * ((P * a**2) @ P.T)
        yield Measurement(
            "|JJ^T - K o (P a^2 P^T)| / |G|",
            relative(J @ J.T - closed, closed),
            ALGEBRA,
        )
        slope = bounds.slope_floor(model.activation, (float(z.min()), float(z.max())))
        floor = instance.mu * slope**2 * float((a**2).sum())
        least = float(np.linalg.eigvalsh(closed)[0])
        yield Number("mu rho1^2 sum a^2", floor)
        yield Measurement(
            "lambda_min(JJ^T)",
            least,
            floor * (1 - 1e-9) - 64 * EPS * closed.max(),
            ">=",
        )
    point = instance.starts[0]
    direction = instance.rng("lemma-1").standard_normal(model.n_params)
    exact = model.jacobian(point) @ direction

    def error(step: float) -> float:
        ahead, behind = (model.residual(point + s * direction) for s in (step, -step))
        return relative((ahead - behind) / (2 * step) - exact, exact)

    h = small_step(model, direction)
    yield Refinement(
        "J by central differences, h halved", error(2 * h), error(h), 4.0, floor=1e-9
    )
    yield _dead_sample(instance)


def _dead_sample(instance: Instance) -> Control:
    """φ' = 0 at a sample (φ = z²) takes the rank of J, however good the inputs."""
    model = TwoLayerNetwork(
        instance.model.inputs, np.ones(len(instance.weights)), 2, "square"
    )
    features = np.ones((model.n_residuals, 2))
    features[0] = 0.0
    point = instance.with_model(model).point_at(features, np.zeros(model.n_params))
    least = float(np.linalg.eigvalsh(model.linearize(point).gram)[0])
    return Control(
        f"phi = z^2 with phi' = 0 at sample 0: lambda_min(JJ^T) = {least:.1e} although "
        f"mu = {instance.mu:.3g}",
        failed=least <= 1e-9 * instance.mu,
    )


@check("gatmiry2024/lq-reduction", independent_inputs)
def lq_reduction(instance: Instance) -> Findings:
    """On the LQ factor of X: the same z, the same S, and the same flow, lifted."""
    model, reduction = instance.model, instance.model.reduction()
    small = instance.with_model(reduction.model)  # type: ignore[arg-type]
    for point in instance.starts:
        inner = reduction.restrict(point)
        z, moved = model.features(point), reduction.restrict
        yield Measurement(
            "|z - z of the reduced network| / |z|",
            relative(small.model.features(inner) - z, z),
            ALGEBRA,
        )
        gradient = instance.gradient(point)
        lifted = reduction.lift(inner + small.gradient(inner), point) - point
        # the Euclidean gradient, for the Riemannian one may vanish identically
        scale = HessianTrace().gradient(model.linearize(point))
        yield Measurement(
            "|grad - lifted grad| / |dS|",
            relative(gradient - lifted, scale),
            ALGEBRA,
        )
        off = gradient - reduction.lift(moved(gradient), np.zeros_like(gradient))
        yield Measurement(
            "part of grad off the span of X / |dS|", relative(off, scale), ALGEBRA
        )
    point = instance.starts[0]
    time = _short_time(instance, point)
    truth = _runge_kutta(small.gradient, reduction.restrict(point), time, 64)

    def error(steps: int) -> float:
        end = _runge_kutta(instance.gradient, point, time, steps)
        return relative(end - reduction.lift(truth, point), end - point)

    yield Refinement(
        "the unreduced flow, step halved", error(4), error(8), 16.0, floor=1e-9
    )
    z = model.features(point)
    rest = model.inputs[1:].T
    projector = rest @ np.linalg.pinv(rest)
    seen = model.inputs @ projector @ model.unflatten(point)["weights"].T
    yield Control(
        "the span of n - 1 inputs in place of all: z is off by "
        f"{relative(seen - z, z):.2g}",
        failed=relative(seen - z, z) > 1e-6,
    )


def _short_time(instance: Instance, point: Array) -> float:
    """A time in which the flow moves smoothly: a share of 1 / its stiffness."""
    stiff = np.abs(bounds.hessian_coefficients(instance.model, point)).max()
    top = np.linalg.eigvalsh(instance.model.inputs_gram)[-1]
    # a vanishing third derivative makes the flow stand still, and any time do
    return float(0.5 / ((stiff or 1.0) * top))


def runge_kutta_step(gradient: Velocity, x: Array, h: float) -> Array:
    """Follow −gradient for a step of the classical method of order 4."""
    k1 = -gradient(x)
    k2 = -gradient(x + h / 2 * k1)
    k3 = -gradient(x + h / 2 * k2)
    k4 = -gradient(x + h * k3)
    return x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)


def _runge_kutta(gradient: Velocity, start: Array, time: float, steps: int) -> Array:
    x = start
    for _ in range(steps):
        x = runge_kutta_step(gradient, x, time / steps)
    return x


def _heun(velocity: Velocity, start: Array, time: float, steps: int) -> Array:
    h, x = time / steps, start
    for _ in range(steps):
        k1 = velocity(x)
        x = x + h / 2 * (k1 + velocity(x + h * k1))
    return x


def output_velocity(instance: Instance, features: Array, factor: float = 4.0) -> Array:
    """Return U̇_j = −4 D_jKD_j(w ∘ (a_jφ''_j − β)), shape (n, m), from Z alone."""
    model, w = instance.model, instance.weights[:, None]
    _, first, second, _ = model.activation.derivatives(features)
    D, pull = model.output_weights * first, w * model.output_weights * second
    K = model.inputs_gram
    gram = K * (D @ D.T)
    beta = np.linalg.solve(gram, (D * (K @ (D * pull))).sum(axis=1))[:, None]
    return -factor * D * (K @ (D * (pull - beta)))


@check("gatmiry2024/linear-constraint", increasing, independent_inputs, nonzero_weights)
def linear_constraint(instance: Instance) -> Findings:
    """U̇_j = −4 D_jKD_j(w ∘ (a_jφ''_j − β)), and Σ_j U̇_j = 0 also off M."""
    model = instance.model
    noise = instance.rng("linear-constraint").standard_normal(model.n_params)
    for point in [*instance.starts, instance.starts[0] + 0.1 * noise]:
        velocity = -_tangent_gradient(model.linearize(point))
        z = model.features(point)
        slope = model.output_weights * model.activation.derivative(z, 1)
        moved = slope * model.features(velocity)
        closed = output_velocity(instance, z)
        yield Measurement(
            "|dU/dt - closed form| / |dU/dt|", relative(moved - closed, closed), ALGEBRA
        )
        yield Measurement(
            "|sum_j dU_j/dt| / |dU/dt|", relative(closed.sum(axis=1), closed), ALGEBRA
        )
    point = instance.starts[0]
    velocity = -instance.gradient(point)
    closed = output_velocity(instance, model.features(point))

    def error(step: float) -> float:
        ahead, behind = (instance.outputs(point + s * velocity) for s in (step, -step))
        return relative((ahead - behind) / (2 * step) - closed, closed)

    h = small_step(model, velocity)
    yield Refinement(
        "dU/dt by central differences, h halved",
        error(2 * h),
        error(h),
        4.0,
        floor=1e-8,
    )
    here = model.linearize(point)
    plain = model.features(-HessianTrace().gradient(here))
    drift = relative((here.slopes * model.output_weights * plain).sum(axis=1), closed)
    yield Control(
        f"without beta the sums move: |sum_j dU_j/dt| / |dU/dt| = {drift:.2g}",
        failed=drift > 1e-6,
    )


def _tangent_gradient(here: Linearization) -> Array:
    return here.tangent_part(HessianTrace().gradient(here))


@check("gatmiry2024/runge-kutta-keeps-sums", increasing, independent_inputs)
def runge_kutta_keeps_sums(instance: Instance) -> Findings:
    """A Runge–Kutta method in U keeps Σ_j U_ij = y_i to rounding, at any step."""
    model, point = instance.model, instance.starts[0]
    shape, a = (model.n_residuals, model.width), instance.model.output_weights
    time = _short_time(instance, point)

    def velocity(outputs: Array) -> Array:
        z = model.activation.inverse(outputs.reshape(shape) / a)
        return output_velocity(instance, z).ravel()

    begin = instance.outputs(point)
    ends = {k: _heun(velocity, begin.ravel(), time, k) for k in (8, 16, 128)}
    size = max(1.0, float(np.abs(begin).sum(axis=1).max()))
    for steps in (8, 128):
        off = np.abs(ends[steps].reshape(shape).sum(axis=1) - begin.sum(axis=1)).max()
        yield Measurement(
            f"|sum_j U_ij - y_i| after {steps} steps in U",
            float(off),
            64 * EPS * np.sqrt(steps) * size,
        )
    coarse, fine = (float(np.abs(ends[k] - ends[128]).max()) for k in (8, 16))
    yield Refinement("U itself, step halved (order 2)", coarse, fine, 4.0, floor=1e-12)
    loose = _heun(lambda x: -_tangent_gradient(model.linearize(x)), point, time, 8)
    drift = float(np.abs(model.residual(loose)).max())
    yield Control(
        f"the same method and steps in theta: the sums are off by {drift:.1e}",
        failed=drift > 64 * EPS * np.sqrt(8) * size,
    )


@check("gatmiry2024/lemma-3", nonzero_weights)
def lemma_3(instance: Instance) -> Findings:
    """Tr ∇²L = 2 Σ_i w_i Σ_j a_j² φ'(z_ij)² on M."""
    model = instance.model
    h = 1e-3 / float(np.abs(model.inputs).max())
    for point in instance.starts:
        slopes = model.activation.derivative(model.features(point), 1)
        closed = float(
            2
            * instance.weights
            @ (slopes * model.output_weights) ** 2
            @ np.ones(model.width)
        )
        coarse, fine = (_trace_by_differences(model, point, k * h) for k in (2, 1))
        better = fine + (fine - coarse) / 3  # Richardson
        allowed = abs(fine - coarse) / closed + 1e-8
        yield Measurement(
            "|Tr by differences - F| / F", abs(better / closed - 1), allowed
        )
        yield Measurement("|S - F| / F", abs(instance.value(point) / closed - 1), 1e-12)
    yield Refinement(
        "Tr D^2L by second differences, h halved",
        abs(coarse / closed - 1),
        abs(fine / closed - 1),
        4.0,
        floor=1e-8,
    )
    yield Control(
        f"1 in place of the 2: off by {abs(better / (closed / 2) - 1):.2g}",
        failed=abs(better / (closed / 2) - 1) > allowed,
    )


def _trace_by_differences(model: TwoLayerNetwork, point: Array, h: float) -> float:
    """Σ_k of the second difference of L along every parameter; L = 0 at the point."""
    total = -2.0 * model.n_params * model.loss_value(point)
    for k in range(model.n_params):
        for sign in (h, -h):
            moved = point.copy()
            moved[k] += sign
            total += model.loss_value(moved)
    return total / h**2


def _full_trace(model: TwoLayerNetwork, point: Array) -> float:
    """Tr ∇²L with the residual term, which vanishes on M."""
    beyond = float(model.residual(point) @ _curvature_sum(model, point))
    return HessianTrace().value(model.linearize(point)) + beyond


@check("gatmiry2024/trace-extension", nonzero_weights)
def trace_extension(instance: Instance) -> Findings:
    """P_T ∇(Tr ∇²L) = P_T ∇F on M: the residual term changes nothing there."""
    model, rng = instance.model, instance.rng("trace-extension")

    def slope_error(point: Array, tangent: Array, h: float) -> float:
        """Derivative of Tr ∇²L along a unit tangent, minus ⟨∇F, tangent⟩."""
        ahead, behind = (_full_trace(model, point + s * tangent) for s in (h, -h))
        inner = float(HessianTrace().gradient(model.linearize(point)) @ tangent)
        return abs((ahead - behind) / (2 * h) - inner) / instance.value(point)

    for point in instance.starts:
        for _ in range(3):
            tangent = instance.manifold.random_tangent_vec(point, rng=rng)
            tangent /= np.linalg.norm(tangent)
            h = small_step(model, tangent)
            coarse, fine = (slope_error(point, tangent, k * h) for k in (2, 1))
            yield Measurement("|d(Tr) - dF| / F along a tangent", fine, coarse + 1e-10)
    yield Refinement("by differences, h halved", coarse, fine, 4.0, floor=1e-10)
    normal = _curvature_sum(model, point)
    normal = model.linearize(point).apply_transpose(normal / np.linalg.norm(normal))
    normal /= np.linalg.norm(normal)
    missed = slope_error(point, normal, small_step(model, normal))
    yield Control(
        f"without P_T, along a normal vector: |d(Tr) - dF| / F = {missed:.2g}",
        failed=missed > 1e-5,
    )


def _curvature_sum(model: TwoLayerNetwork, point: Array) -> Array:
    """c_i ‖x_i‖² Σ_j a_jφ''(z_ij): what the residual r_i is multiplied by in Tr ∇²L."""
    second = model.activation.derivative(model.features(point), 2)
    summed = second @ model.output_weights
    return np.asarray(model.loss.curvatures * np.diag(model.inputs_gram) * summed)
