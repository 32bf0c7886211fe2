"""Exact answers: flattest points and values, and the constants of an instance."""

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import OptimizeResult

import manifold_flow as mf
from cases import MODELS, diagonal, matrix, two_layer
from laws import relative
from manifold_flow import bounds, references
from manifold_flow.errors import (
    ConvergenceError,
    DataError,
    HypothesisError,
    NonFiniteError,
    OffManifoldError,
    RankDeficientJacobianError,
    ShapeError,
)


def gradient_ratio(model, point):
    """|grad_M S| / |∇S|: 0 at a stationary point, of order 1 elsewhere."""
    manifold = mf.ZeroLossManifold(model)
    trace = mf.HessianTrace()
    tangent = manifold.riemannian_gradient(trace, point)
    full = trace.gradient(manifold.linearize(point))
    return np.linalg.norm(tangent) / np.linalg.norm(full)


NETWORKS = {
    "cubic": {},
    "expression": {"activation": "z**3/6 + z/2"},
    "sinh, mean": {"activation": "sinh", "loss": "mean"},
    "weighted": {"sample_weights": [1.0, 2.0, 0.3]},
    "shared weight": {"output_weights": [2.0] * 4},
    "positive": {"output_weights": [1.0, 2.0, 0.5, 1.5]},
    "positive, exp+z": {
        "activation": "exp_plus_linear",
        "output_weights": [1.0, 2.0, 0.5, 1.5],
    },
    "signed": {"output_weights": [1.0, -0.5, 2.0, 1.5], "activation": "sinh"},
    "signed first": {"output_weights": [-1.0, 0.5, 2.0, 1.5]},
}


@pytest.mark.parametrize("name", sorted(NETWORKS))
class TestFlattestPoint:
    def test_lies_on_the_manifold_and_is_stationary(self, name):
        model = two_layer(**NETWORKS[name])
        point = references.flattest_point(model)
        assert np.abs(model.residual(point)).max() < 1e-12
        assert gradient_ratio(model, point) < 1e-12
        control = mf.ZeroLossManifold(model).random_point(rng=0)
        assert gradient_ratio(model, control) > 1e-3

    def test_second_derivatives_are_of_rank_one(self, name):
        """a_j φ''(z_ij) = β_i (theory notes §1.5)."""
        model = two_layer(**NETWORKS[name])
        z = model.features(references.flattest_point(model))
        shared = model.output_weights * model.activation.derivative(z, 2)
        assert np.ptp(shared, axis=1).max() < 1e-10 * max(1.0, np.abs(shared).max())

    def test_no_random_point_of_the_manifold_is_flatter(self, name):
        model = two_layer(**NETWORKS[name])
        manifold, trace = mf.ZeroLossManifold(model), mf.HessianTrace()
        exact = references.flattest_value(model)
        points = manifold.random_point(n_samples=30, rng=1)
        values = [trace.value(manifold.linearize(point)) for point in points]
        assert min(values) > exact

    def test_the_flow_ends_there(self, name):
        model = two_layer(**NETWORKS[name])
        manifold = mf.ZeroLossManifold(model)
        start = manifold.random_point(rng=2)
        flow = mf.LimitingFlow(manifold, mf.HessianTrace())
        path = mf.integrate(flow, start)
        exact = references.flattest_value(model)
        assert path.sharpness[-1] == pytest.approx(exact, rel=1e-10)
        assert np.abs(path.end - references.flattest_point(model, start)).max() < 1e-5


def test_value_of_the_collapsed_network_written_out():
    """F* = 2m Σ w_i φ'(φ⁻¹(y_i/m))² in loss "sum" (theory notes §1.5)."""
    model = two_layer(loss="sum")
    z = model.activation.inverse(model.targets / model.width)
    squares = (model.inputs**2).sum(axis=1)
    formula = 2 * model.width * (squares * model.activation.derivative(z, 1) ** 2).sum()
    assert references.flattest_value(model) == pytest.approx(formula, rel=1e-13)


@pytest.mark.parametrize(
    "name", ["tanh", "softplus", "square", "linear", "relu", "gelu"]
)
def test_activations_outside_the_theorem_are_refused(name):
    inputs, targets = mf.datasets.gaussian(2, 4, rng=0)
    model = mf.TwoLayerNetwork(inputs, np.abs(targets), width=6, activation=name)
    with pytest.raises(HypothesisError, match="phi' > 0 and phi''' > 0 fails"):
        references.flattest_point(model)


def test_dependent_rows_are_refused():
    with pytest.raises(HypothesisError, match="rank 3"):
        references.flattest_value(MODELS["dependent"]())


def test_signed_weights_without_a_minimiser_are_refused():
    """φ = e^z + z, a = (1, −1): φ'' > 0 cannot be β and −β (theory notes §1.12b)."""
    model = mf.TwoLayerNetwork([[1.0, 0.0]], [0.5], 2, "exp_plus_linear", [1.0, -1.0])
    with pytest.raises(HypothesisError, match="no flattest point exists"):
        references.flattest_point(model)


def test_models_without_a_theorem_are_refused():
    with pytest.raises(HypothesisError, match="MatrixSensing"):
        references.flattest_point(matrix())


def test_diagonal_flattest_point_interpolates_with_no_waste():
    model = diagonal()
    parts = model.unflatten(references.flattest_point(model))
    assert np.abs(model.residual(references.flattest_point(model))).max() < 1e-10
    assert np.abs(parts["u"] * parts["v"]).max() == 0.0


def test_unreachable_linear_targets_are_refused():
    model = mf.DiagonalLinearNetwork([[1.0, 1.0], [2.0, 2.0]], [1.0, 3.0])
    with pytest.raises(HypothesisError, match="no w satisfies"):
        references.flattest_value(model)


def cheapest_vertex(model):
    """min Σ κ_k |w_k|, X w = y, over all square subsystems: no solver at all."""
    values = []
    for columns in combinations(range(model.n_features), model.n_residuals):
        kept = list(columns)
        w = np.linalg.solve(model.inputs[:, kept], model.targets)
        values.append(model.feature_curvatures[kept] @ np.abs(w))
    return 4 * min(values)


@pytest.mark.parametrize("scale", [1e-8, 1e-4, 1.0, 1e6])
@pytest.mark.parametrize("size", [1e-9, 1.0, 1e9])
def test_flattest_diagonal_point_in_any_units(scale, size):
    """HiGHS alone forgets what is below its absolute tolerance of 1e-7."""
    rng = np.random.default_rng(4)
    inputs, targets = rng.standard_normal((3, 6)), rng.standard_normal(3)
    model = mf.DiagonalLinearNetwork(scale * inputs, size * targets)
    exact = scale * size * cheapest_vertex(mf.DiagonalLinearNetwork(inputs, targets))
    assert references.flattest_value(model) == pytest.approx(exact, rel=1e-10)
    residual = model.residual(references.flattest_point(model))
    assert np.abs(residual).max() < 1e-11 * size


def test_flattest_diagonal_point_with_mixed_units():
    rng = np.random.default_rng(5)
    inputs = rng.standard_normal((2, 5)) * [1e-4, 1.0, 1e3, 10.0, 0.1]
    model = mf.DiagonalLinearNetwork(inputs, [1.0, 1e-9])
    exact = cheapest_vertex(model)
    assert references.flattest_value(model) == pytest.approx(exact, rel=1e-9)


def test_flattest_point_of_zero_targets_is_zero():
    model = mf.DiagonalLinearNetwork(np.eye(2, 3), [0.0, 0.0])
    assert references.flattest_point(model).tolist() == [0.0] * 6


def test_a_solver_that_fails_is_not_called_an_empty_manifold(monkeypatch):
    from manifold_flow.references import weighted_l1

    def fail(*args, **kwargs):
        return OptimizeResult(x=None, message="out of memory", status=4)

    monkeypatch.setattr(weighted_l1, "linprog", fail)
    with pytest.raises(ConvergenceError, match="HiGHS: out of memory"):
        references.flattest_value(diagonal())


# --- the closed form of the diagonal network ------------------------------------------


@pytest.fixture(scope="module")
def interpolating():
    model = diagonal(n=5, d=10)
    return model, mf.ZeroLossManifold(model).random_point(rng=0)


class TestExactFlow:
    @pytest.mark.parametrize("time", [0.1, 1.0, 10.0, 1e2, 1e4, 1e9])
    def test_stays_on_the_manifold_at_any_time(self, interpolating, time):
        """Newton from the time before stopped at residuals up to 3."""
        model, start = interpolating
        point = references.exact_flow(model, start, [time])[-1]
        assert np.abs(model.residual(point)).max() < 1e-11

    def test_solves_the_three_equations_that_have_one_solution(self, interpolating):
        """u∘v decays exactly, log|u/v| moves in the row space of X, and X w = y."""
        model, start = interpolating
        times = np.array([0.2, 3.0, 12.0])
        logs = np.log(np.abs(references.exact_flow(model, start, times)))
        first = np.log(np.abs(start))
        product = (logs - first)[:, :10] + (logs - first)[:, 10:]
        decay = 16 * np.outer(times, model.feature_curvatures)
        assert np.abs(product + decay).max() < 1e-11 * decay.max()
        ratio = (logs - first)[:, :10] - (logs - first)[:, 10:]
        off = ratio - ratio @ np.linalg.pinv(model.inputs) @ model.inputs
        assert np.abs(off).max() < 1e-11 * decay.max()
        # the control: a part outside the row space would be seen
        assert np.abs(ratio - ratio.mean(axis=1, keepdims=True)).max() > 1.0

    @pytest.mark.parametrize("sparse", [False, True])
    def test_ends_at_the_flattest_point(self, interpolating, sparse):
        """Also where the ℓ1 vertex is degenerate and the Jacobian loses rank."""
        model, start = interpolating
        if sparse:
            truth = np.r_[1.0, -1.5, np.zeros(8)]
            model = mf.DiagonalLinearNetwork(model.inputs, model.inputs @ truth)
            start = mf.ZeroLossManifold(model).random_point(rng=0)
        path = references.exact_flow(model, start, [0.0, 1.0, 1e6])
        values = 4 * (path**2) @ np.tile(model.feature_curvatures, 2)
        exact = references.flattest_value(model)
        assert values[-1] == pytest.approx(exact, rel=1e-12)
        assert values[1] > exact + 1e-3

    def test_asked_in_two_steps_or_in_one(self, interpolating):
        model, start = interpolating
        whole = references.exact_flow(model, start, [5.0])[-1]
        halves = references.exact_flow(model, start, [0.3, 2.0, 5.0])[-1]
        assert relative(halves, whole) < 1e-11

    def test_a_time_beyond_float64_is_an_error_and_no_number(self, interpolating):
        with pytest.raises(ConvergenceError, match="Ask for earlier times"):
            references.exact_flow(*interpolating, [1e140])

    def test_starts_that_are_refused(self, interpolating):
        model, start = interpolating
        with pytest.raises(OffManifoldError, match=r"manifold\.projection"):
            references.exact_flow(model, 1.1 * start, [1.0])
        with pytest.raises(DataError, match=r"start\[1\] is nan"):
            references.exact_flow(model, np.r_[1.0, np.nan, start[2:]], [1.0])
        with pytest.raises(ShapeError):
            references.exact_flow(model, start[:-1], [1.0])
        one = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
        with pytest.raises(DataError, match=r"start\[2\] is 0"):
            references.exact_flow(one, [1.0, 1.0, 0.0, 1.0], [0.0])
        twice = mf.DiagonalLinearNetwork([[1.0, 1.0], [2.0, 2.0]], [1.0, 2.0])
        with pytest.raises(RankDeficientJacobianError, match="Rows 0 and 1"):
            references.exact_flow(twice, np.sqrt([1.0, 1.0, 0.5, 0.5]), [0.0])

    @pytest.mark.parametrize("times", [None, [np.nan], [-1.0], ["1"], [2.0, 1.0], [1j]])
    def test_times_that_are_refused(self, interpolating, times):
        with pytest.raises(DataError, match="times"):
            references.exact_flow(*interpolating, times)


# --- bounds ---------------------------------------------------------------------------


@pytest.fixture(scope="module")
def followed():
    inputs, targets = mf.datasets.gaussian(n=4, d=6, rng=3)
    model = mf.TwoLayerNetwork(inputs, targets, width=5, activation="cubic")
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace(), rate=0.5)
    path = mf.integrate(flow, manifold.random_point(rng=0), keep_steps=True)
    return model, flow, path


class TestBounds:
    def test_pl_inequality_at_random_points(self):
        """|grad|² ≥ 2c (S − S*), c from the interval of the point; tight at the end."""
        model = two_layer()
        manifold, trace = mf.ZeroLossManifold(model), mf.HessianTrace()
        exact = references.flattest_value(model)
        limit = model.features(references.flattest_point(model))
        ratios = []
        for point in manifold.random_point(n_samples=50, rng=0):
            z = np.r_[model.features(point).ravel(), limit.ravel()]
            rate = bounds.pl_rate(model, (z.min(), z.max()))
            gap = trace.value(manifold.linearize(point)) - exact
            gradient = manifold.riemannian_gradient(trace, point)
            ratios.append((gradient @ gradient) / (rate * gap))
        assert min(ratios) >= 1 - 1e-9

    def test_pl_inequality_is_sharp_for_one_sample(self):
        """theory notes §1.8: the ratio tends to 1 as Z → Z* with n = 1."""
        model = two_layer(n=1, d=3, width=3)
        manifold, trace = mf.ZeroLossManifold(model), mf.HessianTrace()
        exact = references.flattest_value(model)
        end = references.flattest_point(model)
        tangent = manifold.random_tangent_vec(end, rng=0)
        point = manifold.projection(end + 1e-3 * tangent / np.linalg.norm(tangent))
        z = model.features(point)
        gap = trace.value(manifold.linearize(point)) - exact
        gradient = manifold.riemannian_gradient(trace, point)
        ratio = gradient @ gradient / (bounds.pl_rate(model, (z.min(), z.max())) * gap)
        assert ratio == pytest.approx(1.0, abs=0.01)

    def test_gap_stays_below_the_exponential_bound(self, followed):
        model, flow, path = followed
        interval = bounds.sublevel_interval(model, path.points[0])
        rate = flow.rate * bounds.pl_rate(model, interval)
        gap = path.sharpness - references.flattest_value(model)
        assert (gap <= gap[0] * np.exp(-rate * path.times) + 1e-11).all()
        # the control: a bound a hundred times faster is broken
        assert (gap > gap[0] * np.exp(-100 * rate * path.times) + 1e-11).any()

    def test_a_priori_interval_holds_the_whole_path(self, followed):
        model, _, path = followed
        low, high = bounds.sublevel_interval(model, path.points[0])
        z = model.features(path.points)
        assert low <= z.min()
        assert z.max() <= high

    def test_one_sided_slopes_are_bounded_by_the_constraint(self):
        """φ = e^z + z: φ' → ∞ only at +∞."""
        model = two_layer(activation="exp_plus_linear")
        manifold = mf.ZeroLossManifold(model)
        start = manifold.random_point(rng=0)
        low, high = bounds.sublevel_interval(model, start)
        flow = mf.LimitingFlow(manifold, mf.HessianTrace())
        z = model.features(mf.integrate(flow, start, keep_steps=True).points)
        assert low <= z.min() < z.max() <= high

    def test_unbounded_sublevel_sets_are_refused(self):
        model = two_layer(activation="exp", n=1, d=2)
        positive = mf.TwoLayerNetwork(model.inputs, [2.0], 3, "exp")
        start = mf.ZeroLossManifold(positive).random_point(rng=0)
        with pytest.raises(HypothesisError, match="does not bound the preactivations"):
            bounds.sublevel_interval(positive, start)

    def test_local_rate_is_measured_at_the_end(self, followed):
        """Late-time slope of log(gap) = rate · 2λ_min(K diag(4wφ'φ''')) to 1e-3."""
        model, flow, path = followed
        gap = path.sharpness - references.flattest_value(model)
        late = (gap < 1e-6 * gap[0]) & (gap > 1e-10 * gap[0])
        slope = np.polyfit(path.times[late], np.log(gap[late]), 1)[0]
        predicted = flow.rate * bounds.local_rate(
            model, references.flattest_point(model)
        )
        assert -slope == pytest.approx(predicted, rel=2e-3)

    def test_local_rate_is_the_smallest_curvature_that_moves(self):
        model = two_layer(n=3, d=3, width=3)
        manifold = mf.ZeroLossManifold(model)
        end = references.flattest_point(model)
        operator = manifold.riemannian_hessian(mf.HessianTrace(), end)
        dense = operator @ np.eye(model.n_params)
        spectrum = np.linalg.eigvalsh((dense + dense.T) / 2)
        smallest = spectrum[np.abs(spectrum) > 1e-8 * spectrum[-1]][0]
        assert bounds.local_rate(model, end) == pytest.approx(2 * smallest, rel=1e-8)

    def test_constants_of_known_activations(self):
        cubic = mf.Activation.from_name("cubic", nu=0.5)
        assert bounds.slope_floor(cubic, (-2.0, 1.0)) == pytest.approx(0.5)
        assert bounds.curvature_ratio(cubic, (-2.0, 1.0)) == pytest.approx(1 / 2.5)
        exp = mf.Activation.of("exp")
        assert bounds.slope_floor(exp, (-1.0, 2.0)) == pytest.approx(np.exp(-1))
        assert bounds.slope_floor(exp, (3.0, 3.0)) == pytest.approx(np.exp(3))

    def test_hypotheses_are_checked_on_the_interval(self):
        model = two_layer(activation="tanh", width=9)
        with pytest.raises(HypothesisError, match="needs both positive"):
            bounds.pl_rate(model, (-1.0, 1.0))
        with pytest.raises(HypothesisError, match="lambda_min"):
            bounds.pl_rate(MODELS["dependent"](), (-1.0, 1.0))
        with pytest.raises(HypothesisError, match="needs it positive"):
            bounds.convexity_threshold(model, (0.1, 1.0))
        with pytest.raises(HypothesisError, match="lambda_min"):
            bounds.convexity_threshold(MODELS["dependent"](), (-1.0, 1.0))
        with pytest.raises(HypothesisError, match="equal output weights"):
            bounds.local_rate(
                MODELS["signed-weighted"](),
                np.ones(MODELS["signed-weighted"]().n_params),
            )


def test_the_closed_form_of_another_model_is_refused():
    model = two_layer()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    with pytest.raises(HypothesisError, match="known for DiagonalLinearNetwork"):
        mf.references.exact_flow(model, start, [1.0])


@pytest.mark.parametrize("condition", [1.0, 1e3, 1e6])
def test_the_flattest_point_is_accurate_at_any_condition_of_the_inputs(condition):
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    right = np.linalg.qr(rng.standard_normal((20, 6)))[0]
    known = np.geomspace(1.0, 1.0 / condition, 6)
    inputs = (left * known) @ right.T
    model = mf.TwoLayerNetwork(inputs, rng.standard_normal(6), 4, "z**3 + z")
    start = rng.standard_normal(model.n_params)
    weights = mf.references.flattest_point(model, start).reshape(4, 20)
    flattest = model.activation.inverse(model.targets / 4)
    missing = flattest[:, None] - inputs @ start.reshape(4, 20).T
    exact = start.reshape(4, 20) + (right @ ((left.T @ missing) / known[:, None])).T
    assert relative(weights, exact) < 1e-14 * condition
    assert relative(inputs @ weights.T, np.repeat(flattest[:, None], 4, 1)) < (
        1e-14 * condition
    )
    if condition > 1e5:  # control: through K = X Xᵀ, which squares the condition number
        dual = np.linalg.solve(inputs @ inputs.T, missing)
        through = start.reshape(4, 20) + dual.T @ inputs
        assert relative(through, exact) > 1e-12 * condition


def test_a_start_of_another_length_has_no_flattest_point():
    model = mf.TwoLayerNetwork([[1.0, 0.0]], [4.0], width=2, activation="z**3 + z")
    with pytest.raises(ShapeError, match="start"):
        mf.references.flattest_point(model, np.ones((1, 4)))


def test_a_start_whose_preactivations_overflow_has_no_flattest_point():
    model = two_layer()
    far = 1e308 * np.tile(np.sign(model.inputs[1]), model.width)
    with pytest.raises(NonFiniteError, match="of start overflow on sample 1"):
        mf.references.flattest_point(model, far)
    # control: far is not too far
    assert np.isfinite(mf.references.flattest_point(model, 1e-8 * far)).all()
