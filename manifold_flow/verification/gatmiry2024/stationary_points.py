"""Stationary points of the trace on M: the gradient, Theorem 1, and the limit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.sharpness import HessianTrace
from manifold_flow.trajectory import Trajectory
from manifold_flow.verification.evidence import (
    Control,
    Finding,
    Findings,
    Measurement,
    NotReached,
    Number,
    Refinement,
    check,
)
from manifold_flow.verification.gatmiry2024.normal_space import ALGEBRA, relative
from manifold_flow.verification.hypotheses import (
    convex_slope,
    increasing,
    independent_inputs,
    minimum_exists,
    nonzero_weights,
    two_neurons,
)
from manifold_flow.verification.instance import (
    EPS,
    Instance,
    along_manifold,
    central,
    drawn_model,
    small_step,
)

Array = NDArray[np.float64]

PAPER = (increasing, convex_slope, independent_inputs, two_neurons, minimum_exists)


@check(
    "gatmiry2024/riemannian-gradient", increasing, independent_inputs, nonzero_weights
)
def riemannian_gradient(instance: Instance) -> Findings:
    """(grad_M S)_j = 4 Σ_i w_i a_j² φ'_ij Δ_ij x_i with Δ_ij = φ''_ij − β_i / a_j."""
    model, rng = instance.model, instance.rng("riemannian-gradient")
    for point in instance.starts:
        gradient, scale = instance.gradient(point), _full_gradient(instance, point)
        closed = _closed_gradient(instance, point)
        yield Measurement(
            "|grad_M S - closed form| / |grad S|",
            relative(gradient - closed, scale),
            ALGEBRA,
        )
        along = model.linearize(point).apply(gradient)
        size = np.linalg.norm(model.jacobian(point)) * scale
        yield Measurement("|J grad_M S| / |J||grad S|", relative(along, size), ALGEBRA)
        tangent = instance.manifold.random_tangent_vec(point, rng=rng)
        h = small_step(model, tangent)
        coarse, fine = (_slope_error(instance, point, tangent, k * h) for k in (2, 1))
        yield Measurement("|dS/dh - <grad_M S, u>| along M", fine, coarse + 1e-9)
    yield Refinement("by central differences on M, h halved", coarse, fine, 4.0, 1e-9)
    point = instance.starts[0]
    without = _closed_gradient(instance, point, multipliers=0.0)
    away = relative(model.linearize(point).apply(without), size)
    yield Control(
        f"without beta it is not tangent: |J g| / |J||g| = {away:.2g}",
        failed=away > 1e-6,
    )


def _full_gradient(instance: Instance, point: Array) -> Array:
    return HessianTrace().gradient(instance.model.linearize(point))


def _closed_gradient(
    instance: Instance, point: Array, multipliers: float = 1.0
) -> Array:
    """4 Σ_i w_i a_j² φ'Δ x_i with G(w∘β) = Σ_j D_jKD_j(w∘a_jφ''_j), from J itself."""
    model, a, w = instance.model, instance.model.output_weights, instance.weights
    _, first, second, _ = model.activation.derivatives(model.features(point))
    J, D, K = model.jacobian(point), a * first, model.inputs_gram
    pulled = (D * (K @ (D * w[:, None] * a * second))).sum(axis=1)
    beta = multipliers * np.linalg.solve(J @ J.T, pulled) / w
    delta = second - beta[:, None] / a
    return np.asarray((4 * w[:, None] * a**2 * first * delta).T @ model.inputs).ravel()


def _slope_error(instance: Instance, point: Array, tangent: Array, h: float) -> float:
    """Central difference of S along M, minus ⟨grad_M S, u⟩, relative."""
    pair = along_manifold(instance.manifold, point, tangent, h)
    gradient = instance.gradient(point)
    off = central(instance.value, pair, h) - float(gradient @ tangent)
    size = np.linalg.norm(_full_gradient(instance, point)) * np.linalg.norm(tangent)
    return float(abs(off) / size)


@check("gatmiry2024/theorem-1", *PAPER)
def theorem_1(instance: Instance) -> Findings:
    """grad_M S = 0 ⇔ a_jφ''(z_ij) = β_i ⇔ S is least on M; then z_ij = φ⁻¹(y_i/m)."""
    yield Number("S*", instance.flattest_value)
    yield Measurement(
        "max |residual| at the flattest point",
        float(np.abs(instance.model.residual(instance.flattest)).max()),
        instance.manifold.tolerance(instance.flattest),
    )
    at_best = instance.manifold.projection(instance.flattest)
    yield Measurement(
        "|grad_M S| / |grad S| at the flattest point",
        relative(instance.gradient(at_best), _full_gradient(instance, at_best)),
        1e-10,
    )
    for start, path in zip(instance.starts, instance.paths, strict=True):
        yield Measurement(
            "S - S* at a start", instance.gap(start), -instance.rounding(start), ">="
        )
        yield from stationary_is_flattest(instance, path.end)
        yield from _collapsed(instance, path)
    yield from closing_in(instance, instance.paths[0])
    yield flat_spot(instance)


def stationary_is_flattest(instance: Instance, point: Array) -> Iterator[Finding]:
    """The gap is at most |grad|²/2c, and the outputs as close to u* as it allows.

    Yields
    ------
    Finding
        Measurements at a point of M, with the constants of where it is.
    """
    hull, rounding = instance.hull(point), instance.rounding(point)
    rate, gap = instance.pl_rate(hull), instance.gap(point)
    square = float(np.sum(instance.gradient(point) ** 2))
    yield Number("2c at the end", rate)
    yield Measurement("S - S* at the end", gap, square / rate + rounding)
    yield Measurement("S - S* at the end is not negative", gap, -rounding, ">=")
    best = instance.model.output_weights * instance.model.activation(
        instance.flattest_features
    )
    away = float(np.sum((instance.outputs(point) - best) ** 2))
    allowed = (min(max(gap, 0.0), square / rate) + rounding) / instance.growth(hull)
    yield Measurement("sum (u - u*)^2 at the end", away, allowed)


def _collapsed(instance: Instance, path: Trajectory) -> Iterator[Finding]:
    open_ = instance.not_stationary(path)
    if open_ is not None:
        yield NotReached(open_)


def closing_in(instance: Instance, path: Trajectory) -> Iterator[Finding]:
    """The distance to Z* falls with the gradient: part of the way, and at the end.

    Yields
    ------
    Finding
        The refinement.
    """
    gradients = path.gradient_norm
    assert gradients is not None
    goal = np.sqrt(gradients[0] * gradients[-1])
    middle = int(np.argmax(gradients <= goal))
    halfway = path.lift(path.reduced_points[middle])
    yield Refinement(
        f"distance to Z*, |grad| {gradients[middle]:.1e} to {gradients[-1]:.1e}",
        instance.distance(halfway),
        instance.distance(path.end),
        min(10.0, float(np.sqrt(gradients[middle] / gradients[-1]))),
        floor=1e-10,
    )


def flat_spot(instance: Instance) -> Control:
    """φ = z³ has φ'(0) = 0: (1, 1, 0) is stationary and not flattest."""
    unit = instance.model.inputs[:1] / np.linalg.norm(instance.model.inputs[0])
    model = TwoLayerNetwork(unit, [2.0], 3, "z**3")
    small = instance.with_model(model)
    point = small.point_at(np.array([[1.0, 1.0, 0.0]]), np.zeros(model.n_params))
    lowest = small.point_at(np.full((1, 3), (2 / 3) ** (1 / 3)), point)
    gradient = float(np.linalg.norm(small.gradient(point)))
    ratio = small.value(point) / small.value(lowest)
    return Control(
        f"phi = z^3, where phi'(0) = 0: |grad_M S| = {gradient:.1e} at (1, 1, 0), yet "
        f"S is {ratio:.4f} times that of equal neurons",
        failed=gradient < 1e-10 and ratio > 1.1,
    )


@check("gatmiry2024/theorem-1-all-sizes", *PAPER)
def theorem_1_all_sizes(instance: Instance) -> Findings:
    """c_ij = w_i(a_j²φ'²)' − α_i a_jφ' = 4w a φ'(aφ'' − β), also at other sizes."""
    rng = instance.rng("theorem-1-all-sizes")
    phi, errors = instance.model.activation, []
    for n, m, d in ((1, 2, 1), (2, 9, 2), (4, 3, 9), (8, 12, 11)):
        model = drawn_model(n, m, d, phi, rng=rng)
        other = instance.with_model(model)
        point = other.starts[0]
        closed, gradient = _closed_gradient(other, point), other.gradient(point)
        scale = _full_gradient(other, point)
        yield Measurement(
            f"|grad_M S - sum c_ij x_i| / |grad S| at n, m, d = {n}, {m}, {d}",
            relative(gradient - closed, scale),
            ALGEBRA,
        )
        best = other.manifold.projection(other.flattest)
        yield Measurement(
            f"|grad_M S| / |grad S| at the collapse, n, m, d = {n}, {m}, {d}",
            relative(other.gradient(best), _full_gradient(other, best)),
            ALGEBRA,
        )
        tangent = other.manifold.random_tangent_vec(point, rng=rng)
        h = small_step(model, tangent)
        errors.append([_slope_error(other, point, tangent, k * h) for k in (2, 1)])
    coarse, fine = max(errors)
    yield Refinement("by central differences on M, h halved", coarse, fine, 4.0, 1e-9)
    spread = float(np.linalg.norm(gradient) / np.linalg.norm(scale))
    yield Control(
        f"neurons that are not equal: |grad_M S| / |grad S| = {spread:.2g}",
        failed=spread > 1e-6,
    )


@check("gatmiry2024/limit-point", *PAPER)
def limit_point(instance: Instance) -> Findings:
    """θ_j(∞) = (I − X⁺X) θ_j(0) + X⁺ z*_j, at most |grad|/c away from the end."""
    model = instance.model
    for start, path in zip(instance.starts, instance.paths, strict=True):
        yield from _collapsed(instance, path)
        rate = _rate_from(instance, path.end)
        if rate is None:
            yield NotReached("at the end |grad_M S|/c is more than the 0.1 of I's room")
            return
        yield Number("c from the end on", rate)
        limit = instance.point_at(instance.flattest_features, start)
        scale = float(np.linalg.norm(limit))
        slope = float(np.linalg.norm(instance.gradient(path.end)))
        rounding = float(np.sqrt(2 * instance.rounding(path.end) / rate))
        allowed = slope / rate + rounding + 64 * EPS * scale
        yield Measurement(
            "|theta(end) - theta(inf)|",
            float(np.linalg.norm(path.end - limit)),
            allowed,
        )
        moved = model.unflatten(path.end - start)["weights"]
        off = moved - moved @ np.linalg.pinv(model.inputs) @ model.inputs
        yield Measurement(
            "part of theta(end) - theta(0) off the span of X, relative",
            float(np.linalg.norm(off)) / scale,
            1e-12,
        )
    yield from closing_in(instance, path)
    mean = np.repeat(model.features(start).mean(axis=1)[:, None], model.width, axis=1)
    wrong = float(np.linalg.norm(path.end - instance.point_at(mean, start)))
    yield Control(
        f"the mean of z(0) in place of z*: |theta(end) - theta| = {wrong:.2g}",
        failed=wrong > allowed,
    )


def _rate_from(instance: Instance, point: Array) -> float | None:
    """Return c on an interval that the flow from a point cannot leave.

    While z stays in I the path is no longer than |grad|/c (theory notes §1.8); where
    that moves no z by as much as I has room around the point, z stays.
    """
    slope = float(np.linalg.norm(instance.gradient(point)))
    longest = float(np.linalg.norm(instance.model.inputs, axis=1).max())
    low, high = instance.hull(point)
    for room in (1e-3, 1e-2, 1e-1):
        rate = instance.pl_rate((low - room, high + room)) / 2
        if longest * slope / rate < room:
            return rate
    return None
