"""The first phase: laws of the gradient flow, and exact answers for its limit."""

import autograd.numpy as anp
import numpy as np
import pytest
from scipy.linalg import solve_sylvester
from scipy.optimize import brentq

import manifold_flow as mf
from cases import MODELS, diagonal, matrix, two_layer
from laws import central, relative
from manifold_flow.errors import (
    ArgumentError,
    DataError,
    IntegrationError,
    OffManifoldError,
    ShapeError,
    UnknownKeywordError,
)


def off_manifold(model, seed=3):
    return 0.7 * np.random.default_rng(seed).standard_normal(model.n_params)


class GradientFlowLaws:
    """Subclasses give ``model``."""

    @pytest.fixture
    def start(self, model):
        return off_manifold(model)

    def test_velocity_is_the_negative_gradient_of_the_loss(self, model, start):
        velocity = mf.GradientFlow(model).velocity(start)
        direction = np.random.default_rng(5).standard_normal(model.n_params)
        slope = central(model.loss_value, start, direction)
        assert velocity @ direction == pytest.approx(-slope, rel=1e-7)

    def test_every_requested_time_is_returned(self, model, start):
        times = [0.0, 0.01, 0.02, 0.05]
        path = mf.gradient_flow(model, start, times)
        assert path.status is mf.Status.COMPLETED
        assert path.times.tolist() == times
        assert relative(path.points[0], start) < 1e-14
        # nothing projects it: the end still has loss
        assert path.loss[-1] > 1e-3 * path.loss[0]
        assert path.drift == 0.0

    def test_energy_identity(self, model, start):
        """dL/dt = −|∇L|², by the trapezoid of two close times."""
        h = 1e-4
        path = mf.gradient_flow(model, start, [0.0, h], rtol=1e-11, atol=1e-13)
        expected = -h * (path.gradient_norm**2).mean()
        assert path.loss[1] - path.loss[0] == pytest.approx(expected, rel=1e-4)

    def test_the_loss_falls_at_every_step_and_the_end_is_on_the_manifold(
        self, model, start
    ):
        path = mf.gradient_flow(model, start, rtol=1e-5, atol=1e-7)
        manifold = mf.ZeroLossManifold(model)
        assert path.status is mf.Status.STATIONARY
        assert (np.diff(path.loss) < 0).all()
        assert np.allclose(path.loss, [model.loss_value(p) for p in path.points])
        assert manifold.belongs(path.end)
        assert not manifold.belongs(path.points[-2])
        assert path.residual[-1] < path.drift < path.residual[-2]


class TestTwoLayer(GradientFlowLaws):
    @pytest.fixture(params=["two-layer", "signed-weighted", "dependent"])
    def model(self, request):
        return MODELS[request.param]()


class TestOtherModels(GradientFlowLaws):
    @pytest.fixture(params=["diagonal", "matrix", "symmetric-matrix"])
    def model(self, request):
        return MODELS[request.param]()


class TestCallable(GradientFlowLaws):
    @pytest.fixture
    def model(self):
        return saddle()


def saddle():
    return mf.CallableModel(
        lambda t: [t[0] * t[1] - 1.0, t[1] * t[2] - 0.5], n_params=4, loss="sum"
    )


# --- the limit map: what it is on M, whatever the model -------------------------------


@pytest.fixture(scope="module")
def model():
    return two_layer()


@pytest.fixture(scope="module")
def manifold(model):
    return mf.ZeroLossManifold(model)


@pytest.fixture(scope="module")
def point(manifold):
    return manifold.random_point(rng=0)


@pytest.mark.parametrize("name", MODELS)
def test_limit_map_is_the_identity_on_the_manifold(name):
    model = MODELS[name]()
    point = mf.ZeroLossManifold(model).random_point(rng=0)
    assert relative(mf.limit_map(model, point), point) < 1e-14


def test_limit_map_is_constant_along_the_flow_alone(model):
    start = off_manifold(model)
    limit, later = (
        mf.limit_map(model, start),
        mf.gradient_flow(model, start, [0.3], rtol=1e-12, atol=1e-14).end,
    )
    assert relative(mf.limit_map(model, later), limit) < 1e-10
    projected = mf.ZeroLossManifold(model).projection(start)
    assert relative(projected, limit) > 1e-2  # Gauss-Newton is another map


def test_derivative_of_the_limit_map_is_the_tangent_projection(model, manifold, point):
    direction = np.random.default_rng(2).standard_normal(model.n_params)
    slope = central(lambda at: mf.limit_map(model, at), point, direction)
    assert relative(slope, manifold.to_tangent(direction, point)) < 1e-8
    assert relative(slope, direction) > 0.1


def test_second_derivative_of_the_limit_map_between_normal_directions(
    model, manifold, point
):
    """∂²Φ[v,v] = −2 P_T Σ (CGV)_ij D²r_i ∇r_j, CGV + VGC = wwᵀ, v = Jᵀw (§2.2)."""
    here = manifold.linearize(point)
    weights = np.random.default_rng(2).standard_normal(model.n_residuals)
    weighted = here.curvatures[:, None] * here.gram
    covariance = solve_sylvester(weighted, weighted.T, np.outer(weights, weights))
    expected = -2.0 * here.tangent_part(here.couple(weighted @ covariance))
    direction, h = here.apply_transpose(weights), 2e-3

    def second(follow):
        ends = follow(point + h * direction) + follow(point - h * direction)
        return (ends - 2.0 * point) / h**2

    found = second(lambda at: mf.limit_map(model, at))
    assert np.abs(found - expected).max() < 1e-3 * np.abs(expected).max()
    # the projection agrees to first order only
    other = here.tangent_part(second(manifold.projection))
    assert np.abs(other - expected).max() > 0.1 * np.abs(expected).max()


def test_a_projection_from_nearby_misses_the_limit_by_the_square_of_the_distance(
    model, manifold, point
):
    """What replaces the last part of the flow costs O(|r|²): slope 2, not 1."""
    here = manifold.linearize(point)
    direction = here.apply_transpose(np.ones(model.n_residuals))
    steps = 10.0 ** np.arange(-1.5, -3.1, -0.5)
    missed, moved = [], []
    for h in steps:
        limit = mf.limit_map(model, point + h * direction)
        away = manifold.projection(point + h * direction) - limit
        missed.append(np.linalg.norm(away))
        moved.append(np.linalg.norm(limit - point - h * direction))
    assert np.polyfit(np.log(steps), np.log(missed), 1)[0] == pytest.approx(2, abs=0.1)
    assert np.polyfit(np.log(steps), np.log(moved), 1)[0] == pytest.approx(1, abs=0.1)


def test_error_falls_with_the_tolerance(model):
    start, tolerances = off_manifold(model), 10.0 ** np.arange(-4.0, -9.1, -1.0)
    exact = mf.limit_map(model, start)
    errors = [
        np.abs(mf.gradient_flow(model, start, rtol=t, atol=1e-2 * t).end - exact).max()
        for t in tolerances
    ]
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.6 < slope < 1.4


@pytest.mark.parametrize("method", ["DOP853", "Radau", "BDF"])
def test_other_methods_come_to_the_same_limit(model, method):
    start = off_manifold(model)
    path = mf.gradient_flow(model, start, method=method)
    assert relative(path.end, mf.limit_map(model, start)) < 1e-6
    assert path.details["method"] == method


# --- closed forms ---------------------------------------------------------------------


@pytest.mark.parametrize("least", [0.3, 1e-3])
def test_linear_least_squares_ends_at_the_pseudo_inverse(least):
    """Φ(θ) = θ − A⁺(Aθ − b); the smaller σ makes λ_max/λ_min(JJᵀ) one million."""
    rng = np.random.default_rng(0)
    left, right = (np.linalg.qr(rng.standard_normal((6, 3)))[0] for _ in range(2))
    matrix = left[:3] @ np.diag([1.0, 0.1, least]) @ right.T
    targets = matrix @ rng.standard_normal(6)
    model = mf.CallableModel(
        lambda t: matrix @ t - targets,
        n_params=6,
        jacobian=lambda t: matrix,
        contracted_hessian=lambda t, directions: np.zeros(6),
    )
    start = rng.standard_normal(6)
    exact = start - np.linalg.pinv(matrix) @ (matrix @ start - targets)
    assert np.abs(mf.limit_map(model, start) - exact).max() < 1e-10
    # the component outside the row space stays; the shortest solution is elsewhere
    assert np.abs(exact - np.linalg.pinv(matrix) @ targets).max() > 0.1


@pytest.mark.parametrize("scale", [1.0, 1e-5])
def test_diagonal_network_ends_where_its_invariants_say(scale):
    """u_k v_k stays, and ln|u_k/v_k| moves in the row space of X (§3.2, static)."""
    model = diagonal()
    start = scale * off_manifold(model)
    limit = mf.limit_map(model, start)
    u, v = np.split(limit, 2)
    u_start, v_start = np.split(start, 2)
    scales = np.abs(u_start * v_start)
    assert np.abs(u * v - u_start * v_start).max() < 1e-9 * scales.max()
    moved = np.log(np.abs(u / v)) - np.log(np.abs(u_start / v_start))
    off_rows = moved - np.linalg.pinv(model.inputs) @ (model.inputs @ moved)
    assert np.abs(off_rows).max() < 1e-8 * np.abs(moved).max()
    assert np.abs(model.residual(limit)).max() < 1e-12
    # the projection of the start obeys neither
    u, v = np.split(mf.ZeroLossManifold(model).projection(start), 2)
    assert np.abs(u * v - u_start * v_start).max() > 1e-3 * scales.max()


def test_two_layer_network_of_one_sample_ends_on_its_characteristic():
    """dz_j/ds = φ'(z_j) = 1 + z_j²/2: z_j(s) = √2 tan(arctan(z_j(0)/√2) + s/√2)."""
    inputs = np.array([[0.6, 0.8]])
    model = mf.TwoLayerNetwork(inputs, [1.5], width=3, activation="cubic")
    start = off_manifold(model)
    first = np.arctan(model.features(start)[0] / np.sqrt(2))

    def features(s):
        return np.sqrt(2) * np.tan(first + s / np.sqrt(2))

    def misfit(s):
        return (features(s) ** 3 / 6 + features(s)).sum() - 1.5

    side = (0.999 * np.pi / 2 - np.abs(first).max()) * np.sqrt(2)
    exact = features(brentq(misfit, -side, side, xtol=1e-15))
    limit = mf.limit_map(model, start)
    assert np.abs(model.features(limit)[0] - exact).max() < 1e-11
    # what is orthogonal to the data never moves
    orthogonal = np.array([0.8, -0.6])
    assert np.abs((limit - start).reshape(3, 2) @ orthogonal).max() < 1e-14
    projected = mf.ZeroLossManifold(model).projection(start)
    assert np.abs(model.features(projected)[0] - exact).max() > 1e-3


def test_matrix_factors_stay_as_balanced_as_they_were():
    model = matrix()
    start = off_manifold(model)

    def imbalance(params):
        factors = list(model.unflatten(params).values())
        return factors[0].T @ factors[0] - factors[1].T @ factors[1]

    limit = mf.limit_map(model, start)
    assert relative(imbalance(limit), imbalance(start)) < 1e-10
    projected = mf.ZeroLossManifold(model).projection(start)
    assert relative(imbalance(projected), imbalance(start)) > 1e-2


def test_loss_falls_at_least_at_the_rate_of_the_instance():
    """L(t) <= L(0) exp(−2 c_min μ ρ₁² Σa² t), φ' >= ρ₁ = 1 for the cubic (§1.11)."""
    model = two_layer(loss="sum")
    eigenvalues = np.linalg.eigvalsh(model.inputs @ model.inputs.T)
    weight = 2.0 * model.loss.curvatures.min() * (model.output_weights**2).sum()
    path = mf.gradient_flow(model, off_manifold(model), rtol=1e-10)
    fallen = np.log(path.loss[:-1] / path.loss[0])
    assert (fallen <= -weight * eigenvalues[0] * path.times[:-1] + 1e-9).all()
    # the largest eigenvalue in place of the least promises too much
    assert (fallen > -weight * eigenvalues[-1] * path.times[:-1] + 1e-3).any()


# --- where it does not end on the manifold --------------------------------------------

AT_REST = {
    "saddle": (lambda t: [t[0] * t[1] - 1.0], [1.0, -1.0], 0.5),
    "origin": (lambda t: [t[0] * t[1] - 1.0], [0.0, 0.0], 0.5),
    "no zero": (lambda t: [t @ t + 1.0], [1.0, 1.0], 0.5),
}


@pytest.mark.parametrize("name", AT_REST)
def test_a_critical_point_with_loss_is_named(name):
    residual, start, loss = AT_REST[name]
    model = mf.CallableModel(residual, n_params=2)
    with pytest.raises(IntegrationError, match="a critical point with loss") as caught:
        # explicit, so that rounding does not push it off the saddle's own line
        mf.gradient_flow(model, start, method="DOP853", rtol=1e-12, atol=1e-14)
    path = caught.value.trajectory
    assert path.status is mf.Status.SPURIOUS
    assert not path.success
    assert f"at loss {loss}" in str(caught.value)
    assert path.loss[-1] == pytest.approx(loss, rel=1e-12)
    assert path.gradient_norm[-1] < 1e-9
    assert "run off to infinity" not in str(caught.value)


def test_a_start_beside_the_saddles_own_line_goes_on_to_the_manifold():
    """The control: a plateau at loss 1/2 is no end."""
    model = mf.CallableModel(AT_REST["saddle"][0], n_params=2)
    path = mf.gradient_flow(model, [1.0, -1.0 + 1e-7])
    assert path.status is mf.Status.STATIONARY
    assert np.count_nonzero(np.abs(path.loss - 0.5) < 1e-3) > 10
    assert path.end == pytest.approx([1.0, 1.0], abs=1e-6)


def test_a_steep_start_is_no_end():
    """The gradient falls by fifteen orders on the way; the loss falls as far."""
    model = MODELS["signed-weighted"]()
    path = mf.gradient_flow(model, 9.0 * off_manifold(model, seed=0))
    assert path.status is mf.Status.STATIONARY
    assert path.loss[0] > 1e10
    assert path.loss[-1] < 1e-25


def test_a_stiff_network_comes_to_the_manifold():
    """λ_max/λ_min(JJᵀ) is half a million: a small gradient is not yet the end."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal(5) + 1e-3 * rng.standard_normal((3, 5))
    inputs /= np.linalg.norm(inputs, axis=1, keepdims=True)
    model = mf.TwoLayerNetwork(inputs, [0.3, 0.301, 0.299], 4, "cubic")
    path = mf.gradient_flow(model, off_manifold(model))
    assert path.status is mf.Status.STATIONARY
    assert path.rank_margin[-1] ** -2 > 1e5
    assert relative(mf.limit_map(model, path.points[0]), path.end) < 1e-6


def test_a_dead_activation_stops_the_flow():
    """φ = z³ has φ'(0) = 0 (theory notes §1.11): nothing moves from 0."""
    model = two_layer(activation="z**3")
    with pytest.raises(IntegrationError, match="vanishes at loss"):
        mf.gradient_flow(model, np.zeros(model.n_params))
    # the cubic of the same network moves
    path = mf.gradient_flow(two_layer(), np.zeros(model.n_params))
    assert path.status is mf.Status.STATIONARY


def test_an_infimum_that_is_not_attained_is_named():
    model = mf.CallableModel(
        lambda t: [anp.exp(t[0])],
        n_params=2,
        jacobian=lambda t: [[np.exp(t[0]), 0.0]],
    )
    with pytest.raises(IntegrationError, match="run off to infinity") as caught:
        mf.gradient_flow(model, [1.0, 0.0])
    path = caught.value.trajectory
    assert path.status is mf.Status.SPURIOUS
    assert path.points[-1][0] < -10


def test_a_double_zero_is_no_manifold():
    model = mf.CallableModel(
        lambda t: [t[0] ** 2], n_params=2, jacobian=lambda t: [[2 * t[0], 0.0]]
    )
    with pytest.raises(IntegrationError, match="the Jacobian vanishes with it"):
        mf.gradient_flow(model, [1.0, 0.2])


def test_a_budget_keeps_the_path(model):
    with pytest.raises(IntegrationError, match="max_steps=7 reached") as caught:
        mf.gradient_flow(model, off_manifold(model), max_steps=7)
    path = caught.value.trajectory
    assert path.status is mf.Status.OUT_OF_BUDGET
    assert len(path) == 8
    assert (np.diff(path.loss) < 0).all()


def test_times_long_after_the_arrival_are_returned(model):
    start = off_manifold(model)
    path = mf.gradient_flow(model, start, [1.0, 1e3, 1e9], max_steps=5000)
    assert path.times.tolist() == [1.0, 1e3, 1e9]
    assert relative(path.end, mf.limit_map(model, start)) < 1e-6
    assert relative(path.points[0], path.end) > 1e-6


# --- arguments, and what is kept ------------------------------------------------------


def test_bad_arguments_are_refused_before_the_work(model, manifold):
    start = off_manifold(model)
    with pytest.raises(ArgumentError, match="model is of type ZeroLossManifold"):
        mf.gradient_flow(manifold, start)
    with pytest.raises(ArgumentError, match="model is None"):
        mf.limit_map(None, start)
    with pytest.raises(ShapeError):
        mf.gradient_flow(model, start[:-1])
    with pytest.raises(DataError, match="NaN"):
        mf.limit_map(model, np.full_like(start, np.nan))
    with pytest.raises(DataError, match="strictly increasing"):
        mf.gradient_flow(model, start, [1.0, 0.5])
    with pytest.raises(DataError, match="rtol"):
        mf.limit_map(model, start, rtol=0.0)
    with pytest.raises(UnknownKeywordError, match="did you mean 'rtol'"):
        mf.gradient_flow(model, start, rtoll=1e-6)


def test_a_limiting_flow_still_refuses_what_a_gradient_flow_takes(model, manifold):
    start = off_manifold(model)
    with pytest.raises(OffManifoldError):
        mf.integrate(mf.LimitingFlow(manifold, mf.HessianTrace()), start, [0.1])
    assert mf.integrate(mf.GradientFlow(model), start, [0.1]).loss is not None


def test_the_loss_is_saved_and_printed(model, tmp_path):
    path = mf.gradient_flow(model, off_manifold(model))
    loaded = mf.load(path.save(tmp_path / "run.npz"))
    assert np.array_equal(loaded.loss, path.loss)
    assert loaded.status is mf.Status.STATIONARY
    first, second, *_ = repr(loaded).splitlines()
    assert first.startswith("STATIONARY at time ")
    assert second.startswith("GradientFlow(), loss half_mean")
    assert f"{path.loss[0]:.10g} -> " in second


def test_a_limiting_flow_has_no_loss_to_show(manifold, point):
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    assert mf.integrate(flow, point, [0.1]).loss is None
