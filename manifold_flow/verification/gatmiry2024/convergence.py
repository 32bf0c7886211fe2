"""Convergence: the Polyak–Łojasiewicz inequality, rates, and the way down to M."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from manifold_flow import bounds
from manifold_flow.flow import LimitingFlow, integrate
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.sharpness import HessianTrace
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
from manifold_flow.verification.gatmiry2024.normal_space import runge_kutta_step
from manifold_flow.verification.gatmiry2024.stationary_points import (
    PAPER,
    closing_in,
    stationary_is_flattest,
)
from manifold_flow.verification.hypotheses import (
    equal_output_weights,
    increasing,
    independent_inputs,
    interval,
    nonzero_weights,
)
from manifold_flow.verification.instance import EPS, Instance

Array = NDArray[np.float64]

#: gaps below this share of S are rounding, not information
MEASURABLE = 1e-9


@check("gatmiry2024/theorem-2", *PAPER, nonzero_weights)
def theorem_2(instance: Instance) -> Findings:
    """|grad_M S|² ≥ 2c (S − S*), c = 4 μ w_min a_min² ρ1² min_I φ'''/φ'."""
    for stations, path in zip(instance.stations, instance.paths, strict=True):
        rate = instance.pl_rate(instance.hull(*(point for _, point in stations)))
        yield Number("2c on what the flow has seen", rate)
        for _, point in stations:
            gap = instance.gap(point)
            if gap <= MEASURABLE * instance.flattest_value:
                continue
            square = float(np.sum(instance.gradient(point) ** 2))
            own = instance.pl_rate(instance.hull(point))
            allowed = gap - instance.rounding(point)
            yield Measurement(
                "|grad|^2 / 2c, c of the flow", square / rate, allowed, ">="
            )
            yield Measurement("|grad|^2 / 2c, c here", square / own, allowed, ">=")
        yield from stationary_is_flattest(instance, path.end)
        stopped = instance.not_stationary(path)
        if stopped is not None:
            yield NotReached(stopped)
    yield from _sharp(instance.one_sample)


def _sharp(alone: Instance) -> Iterator[Finding]:
    """With one sample |grad|²/(2c gap) → 1 at the collapse, so c cannot be larger."""
    coarse, fine = (_ratio(alone, size) for size in (0.02, 0.01))
    yield Measurement("|grad|^2 / 2c(S - S*), one sample", fine, 1 - 1e-6, ">=")
    yield Measurement("the same, near the collapse", fine, 1.1)
    yield Refinement(
        "one sample: the ratio's distance to 1, displacement halved",
        abs(coarse - 1),
        abs(fine - 1),
        2.0,
        floor=1e-6,
    )
    yield Control(
        f"1.25 c in place of c, one sample: the ratio is {fine / 1.25:.4f} < 1",
        failed=fine / 1.25 < 1 - 1e-6,
    )


def _ratio(alone: Instance, size: float) -> float:
    point = alone.near_collapse(size, np.ones(1))
    square = float(np.sum(alone.gradient(point) ** 2))
    return square / (alone.pl_rate(alone.hull(point)) * alone.gap(point))


@check("gatmiry2024/exponential-rate", *PAPER, nonzero_weights, interval)
def exponential_rate(instance: Instance) -> Findings:
    """S − S* ≤ (S_0 − S*) e^{−2ct}, |θ(t) − θ(∞)| ≤ √(2(S_0 − S*)/c) e^{−ct}."""
    rate = instance.pl_rate(instance.interval)
    yield Number("2c on I, before the flow runs", rate)
    for start, path, stations in zip(
        instance.starts, instance.paths, instance.stations, strict=True
    ):
        limit = instance.point_at(instance.flattest_features, start)
        first = instance.gap(start)
        for time, point in stations[1:]:
            # rounding enters as if it were a part of the gap
            allowed = first * float(np.exp(-rate * time)) + instance.rounding(point)
            yield Measurement("S - S* along the flow", instance.gap(point), allowed)
            away = float(np.linalg.norm(point - limit))
            length = 2 * float(np.sqrt(allowed / rate))
            yield Measurement("|theta - theta(inf)| along the flow", away, length)
        stopped = instance.not_stationary(path)
        if stopped is not None:
            yield NotReached(stopped)
    yield from closing_in(instance, path)
    yield from _decay(instance.one_sample)


def _decay(alone: Instance) -> Iterator[Finding]:
    """With one sample and close to the collapse the gap falls like e^{−2ct}."""
    start = alone.near_collapse(0.01, np.ones(1))
    rate = alone.pl_rate(alone.hull(start))
    time = 2 / rate
    flow = LimitingFlow(alone.manifold, HessianTrace())
    end = integrate(flow, start, [time], progress=False).end
    seen = float(np.log(alone.gap(start) / alone.gap(end)) / time)
    yield Measurement("rate of S - S* over 2c, one sample", seen / rate, 1 - 1e-4, ">=")
    yield Control(
        f"3c in place of 2c, one sample: the rate is {seen / (1.5 * rate):.4f} of it",
        failed=seen < 1.5 * rate * (1 - 1e-4),
    )


@check("gatmiry2024/local-rate", *PAPER, equal_output_weights)
def local_rate(instance: Instance) -> Findings:
    """At the end S − S* falls at the rate 2λ_min(K diag(4wφ'φ''')), exactly."""
    model = instance.model
    rate = bounds.local_rate(model, instance.flattest)
    yield Number("2 lambda_min(K diag(4 w phi' phi'''))", rate)
    (coarse, _), (fine, noise) = (_measured_rate(instance, k) for k in (2.0, 1.0))
    # even in the displacement, because exchanging two neurons changes its sign
    limit = fine + (fine - coarse) / 3
    allowed = 1e-5 + noise + abs(fine - coarse) / fine
    off = abs(limit / rate - 1)
    yield Measurement("|rate of the flow / local rate - 1|", off, allowed)
    yield Refinement(
        "rate of the flow, displacement halved",
        abs(coarse / rate - 1),
        abs(fine / rate - 1),
        4.0,
        floor=1e-5 + noise,
    )
    wrong = rate / 2
    yield Control(
        f"2 in place of the 4: the flow's rate is {limit / wrong:.4f} of it",
        failed=abs(limit / wrong - 1) > allowed,
    )


def _measured_rate(instance: Instance, factor: float) -> tuple[float, float]:
    """−d log |grad|²/dt along the slowest direction, and its relative error."""
    model = instance.model
    stiffness = bounds.hessian_coefficients(model, instance.flattest)[:, 0]
    root = np.sqrt(stiffness)
    values, modes = np.linalg.eigh(root[:, None] * model.inputs_gram * root)
    slowest = modes[:, 0] / root
    # the fast modes, excited at second order, weigh more by the ratio of the rates
    size = factor * max(1e-6, 0.03 * values[0] / values[-1])
    start = instance.near_collapse(size, slowest / np.abs(slowest).max())
    flow = LimitingFlow(instance.manifold, HessianTrace())
    time, atol = 0.25 / values[0], 1e-13
    end = integrate(
        flow, start, [time], rtol=1e-11, atol=atol, time_limit=20.0, progress=False
    ).end
    before, after = (float(np.linalg.norm(instance.gradient(x))) for x in (start, end))
    full = np.linalg.norm(HessianTrace().gradient(model.linearize(end)))
    sizes = float(np.linalg.norm(end))
    noise = (256 * EPS * (full + values[-1] * sizes) + 10 * atol * values[-1]) / after
    return 2 * float(np.log(before / after)) / time, 4 * float(noise)


@check("gatmiry2024/phase-one", increasing, independent_inputs, nonzero_weights)
def phase_one(instance: Instance) -> Findings:
    """‖∇L‖² ≥ 2 c_min μ ρ1² (Σ_j a_j²) L off M, so gradient flow comes down to M."""
    model = instance.model
    rng, falls = instance.rng("phase-one"), []
    for _ in range(instance.n_starts):
        start = rng.standard_normal(model.n_params)
        paths = [_descend(instance, start, k) for k in (32, 64, 256)]
        rate = _loss_rate(instance, paths[1])
        yield Number("2 c_min mu rho1^2 sum a^2", rate)
        for point in paths[1][::4]:
            square = float(np.sum(_loss_gradient(model, point) ** 2))
            bound = rate * model.loss_value(point)
            yield Measurement("|grad L|^2", square, bound, ">=")
        fallen = float(np.exp(-rate * _phase_one_time(instance, start)))
        begin, end = model.loss_value(start), model.loss_value(paths[1][-1])
        yield Measurement("L at the end", end, begin * fallen)
        ends = [path[-1] for path in paths]
        falls.append([float(np.abs(x - ends[2]).max()) for x in ends[:2]])
    coarse, fine = max(falls)
    yield Refinement("gradient flow of L, step halved", coarse, fine, 16.0, 1e-12)
    yield _stuck(instance)


def _loss_rate(instance: Instance, path: list[Array]) -> float:
    """The rate 2 c_min μ ρ1² Σ a² with ρ1 on what the path has seen."""
    model = instance.model
    z = np.stack([model.features(point) for point in path])
    slope = bounds.slope_floor(model.activation, (float(z.min()), float(z.max())))
    squares = float((model.output_weights**2).sum())
    least = float(model.loss.curvatures.min())
    return 2 * least * instance.mu * slope**2 * squares * (1 - 1e-9)


def _loss_gradient(model: TwoLayerNetwork, point: Array) -> Array:
    return model.linearize(point).loss_gradient()


def _phase_one_time(instance: Instance, start: Array) -> float:
    """Some times the fastest scale of the loss at the start."""
    return 8 / float(instance.model.linearize(start).hessian_eigenvalues[0])


def _descend(instance: Instance, start: Array, steps: int) -> list[Array]:
    """Return the points of the gradient flow of L, by the method of order 4."""
    h, path = _phase_one_time(instance, start) / steps, [start]
    for _ in range(steps):
        path.append(
            runge_kutta_step(lambda x: _loss_gradient(instance.model, x), path[-1], h)
        )
    return path


def _stuck(instance: Instance) -> Control:
    """φ = z³ has φ'(0) = 0: at θ = 0 the loss has no slope."""
    inputs = instance.model.inputs
    model = TwoLayerNetwork(inputs, np.ones(len(inputs)), 2, "z**3")
    origin = np.zeros(model.n_params)
    size = float(np.linalg.norm(_loss_gradient(model, origin)))
    loss = model.loss_value(origin)
    return Control(
        f"phi = z^3 at theta = 0: |grad L| = {size:.1e} while L = {loss:.3g}",
        failed=size < 1e-12 < loss,
    )
