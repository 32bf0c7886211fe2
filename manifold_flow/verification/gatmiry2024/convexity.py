"""Convexity: hidden and global in the outputs, geodesic and local on M."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from manifold_flow import bounds
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.sharpness import HessianTrace
from manifold_flow.verification.evidence import (
    Control,
    Findings,
    Measurement,
    NotReached,
    Number,
    Refinement,
    check,
)
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
    small_step,
)

Array = NDArray[np.float64]


@check(
    "gatmiry2024/hidden-convexity",
    increasing,
    convex_slope,
    independent_inputs,
    minimum_exists,
    nonzero_weights,
)
def hidden_convexity(instance: Instance) -> Findings:
    """g(u) = a²φ'(φ⁻¹(u/a))² has g' = 2aφ'' and g'' = 2φ'''/φ' ≥ 2κ_φ."""
    best = instance.model.output_weights * instance.model.activation(
        instance.flattest_features
    )
    for point in instance.starts:
        gap, rounding = instance.gap(point), instance.rounding(point)
        away = float(np.sum((instance.outputs(point) - best) ** 2))
        ratio = instance.growth(instance.hull(point))
        yield Measurement(
            "2 w_min kappa sum (u - u*)^2 over S - S*", ratio * away, gap + rounding
        )
        distances = _bregman(instance, point)
        yield Measurement(
            "|S - S* - Bregman distances| / S",
            abs(gap - distances) / instance.value(point),
            1e-10 + rounding / instance.value(point),
        )
        middle = instance.value(_midpoint(instance, point))
        chord = (instance.value(point) + instance.flattest_value) / 2
        yield Measurement(
            "S half way to U*, below the chord by w_min kappa |U - U*|^2 / 2",
            middle,
            chord - ratio * away / 4 + rounding,
        )
    z = instance.model.features(instance.starts[0])
    coarse, fine = (_curvature_error(instance, z, h, 2.0) for h in (4e-3, 2e-3))
    _, slope, _, third = instance.model.activation.derivatives(z)
    noise = 64 * EPS / 2e-3**2 * max(1.0, float((slope / third).max()))
    yield Measurement("|g'' phi'/phi''' - 2| by differences", fine, coarse + noise)
    yield Refinement("g'' by second differences, h halved", coarse, fine, 4.0, noise)
    wrong = _curvature_error(instance, z, 2e-3, 3.0)
    yield Control(
        f"3 in place of the 2: g'' is off by {wrong:.2g}",
        failed=wrong > coarse + noise,
    )


def _bregman(instance: Instance, point: Array) -> float:
    """2 Σ_i w_i Σ_j [g(u) − g(u*) − g'(u*)(u − u*)]."""
    model, a = instance.model, instance.model.output_weights
    here = model.activation.derivatives(model.features(point))
    best = model.activation.derivatives(instance.flattest_features)
    rise = a**2 * (here[1] ** 2 - best[1] ** 2)
    linear = 2 * a * best[2] * (a * here[0] - a * best[0])
    return float(2 * (instance.weights[:, None] * (rise - linear)).sum())


def _midpoint(instance: Instance, point: Array) -> Array:
    """The point of M with U half way to U*: sums of outputs stay."""
    model, a = instance.model, instance.model.output_weights
    best = a * model.activation(instance.flattest_features)
    features = model.activation.inverse((instance.outputs(point) + best) / 2 / a)
    return instance.point_at(features, point)


def _curvature_error(instance: Instance, z: Array, h: float, factor: float) -> float:
    """Second difference of g in u minus factor φ'''/φ', relative; h is a step in z."""
    phi = instance.model.activation
    value, slope, _, third = phi.derivatives(z)
    # a drops out of g'' (theory notes §1.5), so a = 1; the step in u belongs to h
    step = h * slope
    ahead, behind = (
        phi.derivative(phi.inverse(value + s * step), 1) ** 2 for s in (1, -1)
    )
    second = (ahead - 2 * slope**2 + behind) / step**2
    return float(np.abs(second / (third / slope) - factor).max())


def hessian_form(instance: Instance, point: Array, tangent: Array) -> float:
    """Return Hess_M S(u, u) from the package's operator."""
    operator = instance.manifold.riemannian_hessian(HessianTrace(), point)
    return float(tangent @ operator.matvec(tangent))


def _second_difference(
    instance: Instance, point: Array, tangent: Array, h: float
) -> float:
    """Second difference of S along a curve that is geodesic to second order."""
    behind, ahead = along_manifold(instance.manifold, point, tangent, h)
    values = [instance.value(x) for x in (behind, point, ahead)]
    return (values[0] - 2 * values[1] + values[2]) / h**2


def _unit_tangent(instance: Instance, point: Array, rng: np.random.Generator) -> Array:
    tangent = instance.manifold.random_tangent_vec(point, rng=rng)
    unit: Array = tangent / np.linalg.norm(tangent)
    return unit


@check("gatmiry2024/lemma-5", increasing, independent_inputs, nonzero_weights)
def lemma_5(instance: Instance) -> Findings:
    """Hess_M S(u, u) = D²S(u, u) − Σ_i α_i D²r_i(u, u), α = G⁻¹J∇S."""
    model, rng = instance.model, instance.rng("lemma-5")
    for point in instance.starts:
        tangent = _unit_tangent(instance, point, rng)
        here = model.linearize(point)
        alpha = here.multipliers(HessianTrace().gradient(here))
        flat = float(tangent @ HessianTrace().hessian_vector(here, tangent))
        bent = float(tangent @ here.curvature(alpha, tangent))
        yield from _by_differences(instance, point, tangent, flat - bent)
        scale = abs(flat) + abs(bent)
        yield Measurement(
            "|operator - formula|, relative",
            abs(hessian_form(instance, point, tangent) - (flat - bent)) / scale,
            1e-9,
        )
    coarse, fine = _difference_errors(instance, point, tangent, flat - bent)
    yield Refinement("second differences along M, h halved", coarse, fine, 4.0, 1e-6)
    _, wrong = _difference_errors(instance, point, tangent, flat)
    yield Control(
        f"without the curvature of M: off by {wrong:.2g}, relative",
        failed=wrong > coarse,
    )


def _difference_errors(
    instance: Instance, point: Array, tangent: Array, exact: float
) -> tuple[float, float]:
    h = small_step(instance.model, tangent, 4e-3)
    scale = abs(exact) + instance.value(point) * 1e-3
    coarse, fine = (
        abs(_second_difference(instance, point, tangent, k * h) - exact) / scale
        for k in (2, 1)
    )
    return coarse, fine


def _by_differences(
    instance: Instance, point: Array, tangent: Array, exact: float
) -> Findings:
    """The formula agrees with differences as far as these agree with each other."""
    h = small_step(instance.model, tangent, 4e-3)
    coarse, fine = (_second_difference(instance, point, tangent, k * h) for k in (2, 1))
    better = fine + (fine - coarse) / 3  # Richardson
    noise = 64 * EPS * instance.value(point) / h**2
    yield Measurement(
        "|Hess_M S(u, u) - by differences along M|",
        abs(better - exact),
        abs(fine - coarse) + noise,
    )


@check("gatmiry2024/lemma-6", increasing, independent_inputs, nonzero_weights)
def lemma_6(instance: Instance) -> Findings:
    """Hess_M S(u, u) = 4 Σ_ij w_i a_j² [φ'φ''' + φ''Δ]_ij (x_iᵀu_j)²."""
    model, rng = instance.model, instance.rng("lemma-6")
    for point in instance.starts:
        tangent = _unit_tangent(instance, point, rng)
        terms = bounds.hessian_coefficients(model, point) * model.features(tangent) ** 2
        exact, scale = float(terms.sum()), float(np.abs(terms).sum())
        yield Measurement(
            "|Hess_M S(u, u) - closed form|, relative",
            abs(hessian_form(instance, point, tangent) - exact) / scale,
            1e-9,
        )
        yield from _by_differences(instance, point, tangent, exact)
    coarse, fine = _difference_errors(instance, point, tangent, exact)
    yield Refinement("second differences along M, h halved", coarse, fine, 4.0, 1e-6)
    _, wrong = _difference_errors(instance, point, tangent, exact / 2)
    yield Control(
        f"2 in place of the 4: off by {wrong:.2g}, relative", failed=wrong > coarse
    )


@check(
    "gatmiry2024/lemma-4",
    increasing,
    convex_slope,
    independent_inputs,
    two_neurons,
    minimum_exists,
    nonzero_weights,
)
def lemma_4(instance: Instance) -> Findings:
    """At grad_M S = 0, Hess_M S ≥ 4 μ w_min a_min² ρ1ρ2 on moving tangents."""
    model = instance.model
    best = instance.manifold.projection(instance.flattest)
    least = _least_curvature(instance, best)
    _, slope, _, third = model.activation.derivatives(instance.flattest_features)
    inside = instance.weights[:, None] * model.output_weights**2 * slope * third
    floor = 4 * instance.mu * float(inside.min())
    yield Number("4 mu min w a^2 phi'phi'''", floor)
    yield Measurement("least eigenvalue at Z*", least, floor * (1 - 1e-8), ">=")
    for path in instance.paths:
        stopped = instance.not_stationary(path)
        if stopped is not None:
            yield NotReached(stopped)
            continue
        reached = _least_curvature(instance, path.end)
        yield Measurement(
            "least eigenvalue of Hess_M S where the flow ended",
            reached,
            floor * (1 - 1e-3),
            ">=",
        )
    rng = instance.rng("lemma-4")
    tangent = _unit_tangent(instance, best, rng)
    exact = hessian_form(instance, best, tangent)
    coarse, fine = _difference_errors(instance, best, tangent, exact)
    yield Refinement("second differences along M, h halved", coarse, fine, 4.0, 1e-6)
    yield saddle()


def _least_curvature(instance: Instance, point: Array) -> float:
    """Smallest eigenvalue of Hess_M S on T ∩ (span X)^m, in the reduced network."""
    reduction = instance.model.reduction()
    small = instance.with_model(reduction.model)  # type: ignore[arg-type]
    inner = reduction.restrict(point)
    operator = small.manifold.riemannian_hessian(HessianTrace(), inner)
    normals = small.manifold.normal_basis(inner)
    # complete the rows of J to a basis: the rest spans the tangent space
    full = np.linalg.qr(normals.T, mode="complete")[0][:, len(normals) :]
    matrix = full.T @ operator.matmat(full)
    return float(np.linalg.eigvalsh((matrix + matrix.T) / 2)[0])


def lopsided(first: float) -> tuple[Instance, Array]:
    """One sample, two neurons at (first, 1), φ = z³/6 + z: the point of §1.7."""
    phi = "z**3/6 + z"
    target = first**3 / 6 + first + 7 / 6
    model = TwoLayerNetwork([[1.0]], [target], 2, phi, loss="sum")
    small = Instance(model, 1, np.random.SeedSequence(0))
    return small, np.array([first, 1.0])


def saddle() -> Control:
    """Without a vanishing gradient the Hessian may be negative."""
    small, point = lopsided(10.0)
    least = _least_curvature(small, point)
    gradient = float(np.linalg.norm(small.gradient(point)))
    return Control(
        f"where |grad_M S| = {gradient:.4g} (one sample, z = (10, 1)) the least "
        f"eigenvalue is {least:.4g}",
        failed=least < 0,
    )


def convexity_radius(instance: Instance, low: float, high: float) -> float:
    """Return δ* = 2√μ min w_i a_j² min_I φ'²φ'''/|φ''|."""
    return bounds.convexity_threshold(instance.model, (low, high))


@check(
    "gatmiry2024/local-geodesic-convexity",
    increasing,
    convex_slope,
    independent_inputs,
    two_neurons,
    minimum_exists,
    nonzero_weights,
)
def local_geodesic_convexity(instance: Instance) -> Findings:
    """|grad_M S| ≤ δ* ⇒ Hess_M S ≥ 2 Σ w_i a_j² φ'φ''' (x_iᵀu_j)², term by term."""
    model, w = instance.model, instance.weights[:, None]
    sizes, inside = [], []
    for point in (point for path in instance.stations for _, point in path):
        radius = convexity_radius(instance, *instance.hull(point))
        sizes.append(float(np.linalg.norm(instance.gradient(point))) / radius)
        if sizes[-1] <= 1:
            inside.append(point)
    yield Number("points of the flows with |grad_M S| <= delta*", len(inside))
    if not inside:
        yield NotReached(
            "no point of the flows has |grad_M S| <= delta*; the smallest is "
            f"{min(sizes):.3g} of it. Give a longer --slow-time, or none"
        )
        return
    yield Number("delta* at the last of them", radius)
    for point in inside:
        _, slope, _, third = model.activation.derivatives(model.features(point))
        claimed = 2 * w * model.output_weights**2 * slope * third
        ratio = float((bounds.hessian_coefficients(model, point) / claimed).min())
        yield Measurement("least coefficient over its bound", ratio, 1 - 1e-9, ">=")
    first = inside[0]
    tangent = _unit_tangent(instance, first, instance.rng("local-convexity"))
    exact = hessian_form(instance, first, tangent)
    coarse, fine = _difference_errors(instance, first, tangent, exact)
    yield Refinement("second differences along M, h halved", coarse, fine, 4.0, 1e-6)
    yield saddle()


@check("gatmiry2024/global-geodesic-convexity-fails")
def global_geodesic_convexity_fails(_: Instance) -> Findings:
    """At z = (10, 1), n = x = 1, φ = z³/6 + z: Hess_M S < −29, |grad| ≫ δ*."""
    small, point = lopsided(10.0)
    least = _least_curvature(small, point)
    yield Number("delta*", convexity_radius(small, 1.0, 10.0))
    yield Measurement("Hess_M S(u, u) on the unit tangent", least, -29.0)
    yield Measurement(
        "|grad_M S| beyond delta*",
        float(np.linalg.norm(small.gradient(point))),
        convexity_radius(small, 1.0, 10.0),
        ">=",
    )
    tangent = _unit_tangent(small, point, np.random.default_rng(0))
    coarse, fine = _difference_errors(small, point, tangent, least)
    yield Refinement("second differences along M, h halved", coarse, fine, 4.0, 1e-6)
    equal, same = lopsided(1.0)
    positive = _least_curvature(equal, same)
    yield Control(
        f"equal neurons, z = (1, 1): Hess_M S(u, u) = {positive:.4g}",
        failed=positive > 0,
    )
