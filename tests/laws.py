"""Laws: what every model, sharpness, manifold, flow and optimizer must satisfy.

A test file subclasses a law and supplies its fixtures.  Naive twins stand here, beside
the fast code they judge.
"""

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow.errors import ShapeError


def central(function, point, direction, h=1e-3):
    """Derivative along a direction by the five-point rule, error O(h⁴)."""

    def difference(width):
        ahead, behind = (
            function(point + width * direction),
            function(point - width * direction),
        )
        return (ahead - behind) / (2 * width)

    return (4 * difference(h) - difference(2 * h)) / 3


def relative(got, expected):
    return np.abs(got - expected).max() / max(1.0, np.abs(expected).max())


def naive_loss_hessian(model, params):
    """Second differences of the loss gradient, column by column."""

    def gradient(at):
        return model.jacobian(at).T @ (model.loss.curvatures * model.residual(at))

    columns = [central(gradient, params, e) for e in np.eye(model.n_params)]
    return np.stack(columns, axis=1)


def remainder_slope(value, gradient, point, direction):
    """Slope of the Taylor remainder |f(x+hv) − f(x) − h∇f·v| on log-log axes."""
    steps = 10.0 ** np.arange(-2.0, -4.1, -0.25)
    rest = [
        abs(value(point + h * direction) - value(point) - h * gradient @ direction)
        for h in steps
    ]
    return np.polyfit(np.log(steps), np.log(rest), 1)[0]


class ModelLaws:
    """Subclasses give the fixture ``model`` and may give ``params``."""

    @pytest.fixture
    def params(self, model):
        return 0.7 * np.random.default_rng(3).standard_normal(model.n_params)

    @pytest.fixture
    def rng(self):
        return np.random.default_rng(4)

    def test_residual_has_one_entry_a_sample(self, model, params):
        assert model.residual(params).shape == (model.n_residuals,)

    def test_jacobian_is_the_derivative_of_the_residual(self, model, params):
        columns = [central(model.residual, params, e) for e in np.eye(model.n_params)]
        assert relative(model.jacobian(params), np.stack(columns, axis=1)) < 1e-8

    def test_contracted_hessian_is_the_derivative_of_the_jacobian(
        self, model, params, rng
    ):
        directions = rng.standard_normal((model.n_residuals, model.n_params))
        expected = sum(
            central(lambda at, i=i: model.jacobian(at)[i], params, row)
            for i, row in enumerate(directions)
        )
        assert relative(model.contracted_hessian(params, directions), expected) < 1e-7

    def test_contracted_third_is_the_derivative_of_the_second(self, model, params, rng):
        directions = rng.standard_normal((model.n_residuals, model.n_params))
        vector = rng.standard_normal(model.n_params)
        expected = central(
            lambda at: model.contracted_hessian(at, directions), params, vector
        )
        got = model.contracted_third(params, directions, vector)
        assert relative(got, expected) < 1e-7

    def test_gradient_of_all_samples_is_that_of_the_loss(self, model, params):
        everything = np.arange(model.n_residuals)[None]
        got = model.sample_gradient(
            params[None], everything, np.zeros(everything.shape)
        )
        expected = [
            central(model.loss_value, params, e) for e in np.eye(model.n_params)
        ]
        assert relative(got[0], np.array(expected)) < 1e-8

    def test_sample_gradient_matches_a_double_loop(self, model, rng):
        params = 0.5 * rng.standard_normal((3, model.n_params))
        samples = rng.integers(model.n_residuals, size=(3, 2))
        noise = rng.standard_normal((3, 2))
        expected = np.zeros_like(params)
        for r in range(3):
            for b in range(2):
                s = samples[r, b]
                error = model.residual(params[r])[s] - noise[r, b]
                row = model.jacobian(params[r])[s]
                expected[r] += model.loss.curvatures[s] * error * row
        assert relative(model.sample_gradient(params, samples, noise), expected) < 1e-12

    def test_unflatten_keeps_every_number(self, model, params):
        parts = [part.ravel() for part in model.unflatten(params).values()]
        assert np.array_equal(np.concatenate(parts), params)

    def test_parameters_of_another_length_are_refused(self, model):
        with pytest.raises(ShapeError, match="expected shape"):
            model.residual(np.zeros(model.n_params + 1))

    def test_reduction_loses_nothing(self, model, params):
        reduction = model.reduction()
        restricted = reduction.restrict(params)
        assert relative(reduction.lift(restricted, params), params) < 1e-13
        inner = reduction.model.residual(restricted)
        assert relative(inner, model.residual(params)) < 1e-12

    def test_reduction_is_an_isometry_of_what_moves(self, model, params, rng):
        reduction = model.reduction()
        direction = model.jacobian(params).T @ rng.standard_normal(model.n_residuals)
        moved = reduction.restrict(params + direction) - reduction.restrict(params)
        assert np.linalg.norm(moved) == pytest.approx(np.linalg.norm(direction))
        lifted = reduction.lift(reduction.restrict(params + direction), params)
        assert relative(lifted, params + direction) < 1e-12


class LinearizationLaws:
    """Subclasses give ``model``; the dense SVD and pinv are the naive twins."""

    @pytest.fixture
    def params(self, model):
        return 0.7 * np.random.default_rng(5).standard_normal(model.n_params)

    @pytest.fixture
    def here(self, model, params):
        return model.linearize(params)

    @pytest.fixture
    def vector(self, model):
        return np.random.default_rng(6).standard_normal(model.n_params)

    @pytest.fixture
    def weights(self, model):
        return np.random.default_rng(7).standard_normal(model.n_residuals)

    @pytest.fixture
    def slope(self, model):
        square = np.random.default_rng(8).standard_normal((model.n_residuals,) * 2)
        return square + square.T

    def test_gram_identity(self, model, params, here):
        jacobian = model.jacobian(params)
        assert relative(here.gram, jacobian @ jacobian.T) < 1e-12

    def test_apply_and_its_transpose(self, model, params, here, vector, weights):
        jacobian = model.jacobian(params)
        assert relative(here.apply(vector), jacobian @ vector) < 1e-12
        assert relative(here.apply_transpose(weights), jacobian.T @ weights) < 1e-12

    def test_singular_values_descend(self, model, params, here):
        expected = np.linalg.svd(model.jacobian(params), compute_uv=False)
        assert relative(here.singular_values, expected) < 1e-7
        assert here.rank_margin == pytest.approx(expected[-1] / expected[0], rel=1e-6)

    def test_tangent_part_is_the_orthogonal_projector(
        self, model, params, here, vector
    ):
        jacobian = model.jacobian(params)
        projector = np.eye(model.n_params) - np.linalg.pinv(jacobian) @ jacobian
        assert relative(here.tangent_part(vector), projector @ vector) < 1e-11

    def test_multipliers_are_the_least_squares_coordinates(
        self, model, params, here, vector
    ):
        expected = np.linalg.lstsq(model.jacobian(params).T, vector, rcond=None)[0]
        assert relative(here.multipliers(vector), expected) < 1e-10

    def test_normal_solve_is_the_shortest_solution(self, model, params, here, weights):
        expected = np.linalg.pinv(model.jacobian(params)) @ weights
        assert relative(here.normal_solve(weights), expected) < 1e-10

    def test_curvature_is_a_sum_of_second_derivatives(
        self, model, params, here, vector, weights
    ):
        expected = central(lambda at: model.jacobian(at).T @ weights, params, vector)
        assert relative(here.curvature(weights, vector), expected) < 1e-7

    def test_gram_gradient(self, model, params, here, slope):
        def paired(at):
            jacobian = model.jacobian(at)
            return np.sum(slope * (jacobian @ jacobian.T))

        expected = [central(paired, params, e) for e in np.eye(model.n_params)]
        assert relative(here.gram_gradient(slope), np.array(expected)) < 1e-8

    def test_gram_hessian(self, model, params, here, slope, vector):
        expected = central(
            lambda at: model.linearize(at).gram_gradient(slope), params, vector
        )
        assert relative(here.gram_hessian(slope, vector), expected) < 1e-7

    def test_gram_derivative(self, model, params, here, vector):
        expected = central(lambda at: model.linearize(at).gram, params, vector)
        assert relative(here.gram_derivative(vector), expected) < 1e-7

    def test_loss_hessian_holds_off_the_manifold(self, model, params, here, vector):
        expected = naive_loss_hessian(model, params) @ vector
        assert np.abs(here.residual).max() > 1e-2
        assert relative(here.loss_hessian_vector(vector), expected) < 1e-7


class SharpnessLaws:
    """Subclasses give ``sharpness`` and ``spectral``, its function of eigenvalues."""

    @pytest.fixture(params=["two-layer", "diagonal", "matrix", "callable"])
    def model(self, request):
        from cases import MODELS

        return MODELS[request.param]()

    @pytest.fixture
    def manifold(self, model):
        return mf.ZeroLossManifold(model)

    @pytest.fixture
    def point(self, manifold):
        return manifold.random_point(rng=9)

    def test_value_is_the_function_of_the_full_hessians_spectrum(
        self, model, manifold, point, sharpness
    ):
        spectrum = np.linalg.eigvalsh(naive_loss_hessian(model, point))[::-1]
        expected = self.spectral(spectrum[: model.n_residuals])
        assert sharpness.value(manifold.linearize(point)) == pytest.approx(
            expected, rel=1e-7, abs=1e-7
        )

    def test_gradient_matches_central_differences(self, manifold, point, sharpness):
        def value(at):
            return sharpness.value(manifold.linearize(at))

        gradient = sharpness.gradient(manifold.linearize(point))
        measured = np.array([central(value, point, e) for e in np.eye(point.size)])
        assert relative(gradient, measured) < 1e-8

    def test_gradient_has_a_remainder_of_slope_two(self, manifold, point, sharpness):
        direction = np.random.default_rng(10).standard_normal(point.size)
        slope = remainder_slope(
            lambda at: sharpness.value(manifold.linearize(at)),
            sharpness.gradient(manifold.linearize(point)),
            point,
            direction / np.linalg.norm(direction),
        )
        assert slope == pytest.approx(2.0, abs=0.15)

    def test_a_wrong_gradient_has_not(self, manifold, point, sharpness):
        direction = np.random.default_rng(10).standard_normal(point.size)
        slope = remainder_slope(
            lambda at: sharpness.value(manifold.linearize(at)),
            1.1 * sharpness.gradient(manifold.linearize(point)),
            point,
            direction / np.linalg.norm(direction),
        )
        assert slope < 1.6

    def test_hessian_vector_is_the_derivative_of_the_gradient(
        self, manifold, point, sharpness
    ):
        vector = np.random.default_rng(11).standard_normal(point.size)
        expected = central(
            lambda at: sharpness.gradient(manifold.linearize(at)), point, vector
        )
        got = sharpness.hessian_vector(manifold.linearize(point), vector)
        assert relative(got, expected) < 1e-6

    def test_riemannian_hessian_is_the_second_derivative_along_a_curve(
        self, manifold, point, sharpness
    ):
        """x(h) = θ + hu + Jᵀ(θ)λ(h) lies on M and accelerates in the normal space."""
        here = manifold.linearize(point)
        u = manifold.random_tangent_vec(point, rng=12)
        u /= np.linalg.norm(u)

        def value(h):
            x = point + h * u
            for _ in range(12):
                residual = manifold.model.residual(x)
                across = np.stack(
                    [here.apply_transpose(e) for e in np.eye(residual.size)]
                )
                slope = manifold.model.jacobian(x) @ across.T
                x = x - np.linalg.solve(slope, residual) @ across
            return sharpness.value(manifold.linearize(x))

        def second(h):
            return (value(h) - 2 * value(0.0) + value(-h)) / h**2

        measured = (4 * second(1e-3) - second(2e-3)) / 3  # Richardson, error O(h⁴)
        claimed = u @ (manifold.riemannian_hessian(sharpness, point) @ u)
        assert claimed == pytest.approx(measured, rel=1e-6, abs=1e-6)


class ManifoldLaws:
    """Subclasses give ``model``."""

    @pytest.fixture
    def manifold(self, model):
        return mf.ZeroLossManifold(model)

    @pytest.fixture
    def point(self, manifold):
        return manifold.random_point(rng=1)

    def test_dimension_is_parameters_minus_residuals(self, manifold, model):
        assert manifold.dim == model.n_params - model.n_residuals

    def test_random_point_belongs(self, manifold, point):
        assert manifold.belongs(point)
        assert np.abs(manifold.submersion(point)).max() < 1e-12

    def test_a_shifted_point_does_not_belong(self, manifold, point):
        normal = manifold.normal_basis(point)[0]
        assert not manifold.belongs(point + 1e-4 * normal)

    def test_same_seed_same_point(self, manifold, point):
        assert np.array_equal(manifold.random_point(rng=1), point)

    def test_projection_is_idempotent(self, manifold, point):
        assert np.array_equal(manifold.projection(point), point)

    def test_projection_moves_in_the_normal_space(self, manifold, point):
        """To first order: halving the shift quarters the tangential part."""
        shift = manifold.normal_basis(point).sum(axis=0)

        def tangential(h):
            back = manifold.projection(point + h * shift)
            return np.linalg.norm(manifold.to_tangent(back - point, point))

        assert tangential(2e-3) / tangential(1e-3) == pytest.approx(4.0, rel=0.1)

    def test_to_tangent_is_tangent_and_idempotent(self, manifold, point):
        vector = np.random.default_rng(2).standard_normal(manifold.shape)
        tangent = manifold.to_tangent(vector, point)
        assert manifold.is_tangent(tangent, point, atol=1e-10)
        assert not manifold.is_tangent(vector, point, atol=1e-10)
        assert relative(manifold.to_tangent(tangent, point), tangent) < 1e-11

    def test_normal_basis_is_orthonormal_and_normal(self, manifold, point, model):
        basis = manifold.normal_basis(point)
        assert relative(basis @ basis.T, np.eye(model.n_residuals)) < 1e-12
        tangent = manifold.random_tangent_vec(point, rng=3)
        assert np.abs(basis @ tangent).max() < 1e-9

    def test_batches_as_geomstats_expects(self, manifold):
        points = manifold.random_point(n_samples=3, rng=4)
        vectors = np.ones((3, *manifold.shape))
        assert points.shape == (3, *manifold.shape)
        assert manifold.belongs(points).tolist() == [True] * 3
        assert manifold.submersion(points).shape == (3, manifold.model.n_residuals)
        tangent = manifold.to_tangent(vectors, points)
        assert manifold.is_tangent(tangent, points, atol=1e-9).tolist() == [True] * 3
        assert relative(tangent[1], manifold.to_tangent(vectors[1], points[1])) < 1e-14
        assert manifold.projection(points[None]).shape == (1, *points.shape)
        assert manifold.random_tangent_vec(points[0], n_samples=2).shape == (
            2,
            *manifold.shape,
        )

    def test_regular_point_reports_the_jacobian(self, manifold, point, model):
        values = np.linalg.svd(model.jacobian(point), compute_uv=False)
        report = manifold.regular_point(point)
        assert (report.rank, report.is_regular) == (model.n_residuals, True)
        assert report.sigma_min == pytest.approx(values[-1], rel=1e-6)
        assert report.condition == pytest.approx(values[0] / values[-1], rel=1e-6)

    def test_riemannian_hessian_is_symmetric_and_blind_to_normals(
        self, manifold, point
    ):
        operator = manifold.riemannian_hessian(mf.HessianTrace(), point)
        a = np.random.default_rng(5).standard_normal(manifold.shape)
        b = np.random.default_rng(6).standard_normal(manifold.shape)
        scale = np.abs(operator @ a).max()
        assert a @ (operator @ b) == pytest.approx(b @ (operator @ a), abs=1e-9 * scale)
        normal = manifold.normal_basis(point)[0]
        assert np.abs(operator @ normal).max() < 1e-9 * scale


class FlowLaws:
    """Subclasses give ``flow`` and ``start``."""

    def test_velocity_is_tangent(self, flow, start):
        velocity = flow.velocity(start)
        assert np.abs(flow.manifold.linearize(start).apply(velocity)).max() < 1e-9

    def test_every_requested_time_is_returned_on_the_manifold(self, flow, start):
        times = [0.0, 0.01, 0.02, 0.05]
        path = mf.integrate(flow, start, times)
        assert path.status is mf.Status.COMPLETED
        assert path.times.tolist() == times
        assert flow.manifold.belongs(path.points).all()
        assert np.abs(path.residual).max() < 1e-10
        assert relative(path.points[0], start) < 1e-14

    def test_sharpness_never_increases(self, flow, start):
        path = mf.integrate(flow, start, [0.1], keep_steps=True, max_step=0.01)
        allowed = 1e-8 * np.abs(path.sharpness).max()
        assert len(path) > 10
        assert np.diff(path.sharpness).max() <= allowed

    def test_energy_identity(self, flow, start):
        """dS/dt = −rate |grad_M S|², by the trapezoid of two close times."""
        h = 1e-4
        path = mf.integrate(flow, start, [0.0, h], rtol=1e-11, atol=1e-13)
        squares = path.gradient_norm**2
        expected = -flow.rate * h * squares.mean()
        assert path.sharpness[1] - path.sharpness[0] == pytest.approx(
            expected, rel=1e-4
        )

    def test_rate_is_the_clock(self, flow, start):
        fast = mf.LimitingFlow(flow.manifold, flow.sharpness, rate=2 * flow.rate)
        slow_end = mf.integrate(flow, start, [0.04]).end
        assert relative(mf.integrate(fast, start, [0.02]).end, slow_end) < 1e-7


class OptimizerLaws:
    """Subclasses give ``optimizer`` and ``start``."""

    def test_step_leaves_its_input_alone(self, optimizer, start):
        before = np.tile(start, (3, 1))
        kept = before.copy()
        optimizer.step(before, np.random.default_rng(0))
        assert np.array_equal(before, kept)

    def test_same_seed_same_bits(self, optimizer, start):
        first = mf.simulate(optimizer, start, 20, replicas=3, rng=5)
        second = mf.simulate(optimizer, start, 20, replicas=3, rng=5)
        other = mf.simulate(optimizer, start, 20, replicas=3, rng=6)
        assert np.array_equal(first.points, second.points)
        assert not np.array_equal(first.points[-1], other.points[-1])

    def test_kept_steps_are_on_the_clock(self, optimizer, start):
        run = mf.simulate(optimizer, start, 25, every=10, rng=0)
        expected = np.array([0, 10, 20, 25]) * optimizer.time_per_step
        assert np.allclose(run.times, expected, rtol=1e-14, atol=0.0)
        assert run.points.shape == (4, start.size)

    def test_no_step_is_the_start(self, optimizer, start):
        run = mf.simulate(optimizer, start, 0, rng=0)
        assert relative(run.end, start) < 1e-14
