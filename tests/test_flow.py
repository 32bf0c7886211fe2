"""Flows: laws, the exact answers they must reach, and how they stop."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from scipy.integrate import LSODA, RK45
from scipy.optimize import linprog

import manifold_flow as mf
from cases import MODELS, diagonal, two_layer
from laws import FlowLaws, relative
from manifold_flow.errors import (
    DataError,
    DegenerateEigenvalueError,
    IntegrationError,
    Interrupted,
    NonFiniteError,
    OffManifoldError,
    RankDeficientJacobianError,
    ShapeError,
    UnknownKeywordError,
    UnknownNameError,
)
from manifold_flow.solvers.path import Observation, Path
from manifold_flow.solvers.stationarity import Floor

METHODS = ["RK23", "RK45", "DOP853", "Radau", "BDF", "LSODA"]
STRUCTURED = ["ETDRK4", "StructuredBDF"]


class TestLimitingFlow(FlowLaws):
    @pytest.fixture(params=["two-layer", "signed-weighted", "diagonal", "matrix"])
    def flow(self, request):
        manifold = mf.ZeroLossManifold(MODELS[request.param]())
        return mf.LimitingFlow(manifold, mf.HessianTrace(), rate=0.5)

    @pytest.fixture
    def start(self, flow):
        return flow.manifold.random_point(rng=0)


class TestLogPseudoDeterminantFlow(FlowLaws):
    @pytest.fixture
    def flow(self):
        manifold = mf.ZeroLossManifold(MODELS["two-layer"]())
        return mf.LimitingFlow(manifold, mf.HessianLogPseudoDeterminant())

    @pytest.fixture
    def start(self, flow):
        return flow.manifold.random_point(rng=0)


class TestTopEigenvalueFlow(FlowLaws):
    @pytest.fixture
    def flow(self):
        manifold = mf.ZeroLossManifold(MODELS["two-layer"]())
        return mf.LimitingFlow(manifold, mf.HessianTopEigenvalue())

    @pytest.fixture
    def start(self, flow):
        return flow.manifold.random_point(rng=0)


# --- the two-layer network of the numbers: n=5, d=8, width 10, cubic ----------


@pytest.fixture(scope="module")
def model():
    inputs, targets = mf.datasets.gaussian(n=5, d=8, rng=0)
    return mf.TwoLayerNetwork(inputs, targets, width=10, activation="cubic")


@pytest.fixture(scope="module")
def flow(model):
    return mf.LimitingFlow(mf.ZeroLossManifold(model), mf.HessianTrace())


@pytest.fixture(scope="module")
def start(flow):
    return flow.manifold.random_point(rng=0)


@pytest.fixture(scope="module")
def reference(flow, start):
    times = [0.5, 2.0, 8.0, 30.0]
    return mf.integrate(flow, start, times, method="DOP853", rtol=1e-12, atol=1e-14)


@pytest.fixture(scope="module")
def path(flow, start):
    return mf.integrate(flow, start, keep_steps=True)


def test_every_neuron_collapses_to_the_same_preactivation(model, path):
    """Theorem 1: z_ij = φ⁻¹(y_i/m); it is not so at the start."""
    exact = model.activation.inverse(model.targets / model.width)[:, None]
    assert path.status is mf.Status.STATIONARY
    assert np.abs(model.features(path.end) - exact).max() < 1e-6
    assert np.abs(model.features(path.points[0]) - exact).max() > 1.0
    assert path.residual[-1] < 1e-10


def test_the_end_in_parameters_is_the_formula(model, start, path):
    assert relative(path.end, mf.references.flattest_point(model, start)) < 1e-8
    # without the start's frozen part the formula names another point
    assert relative(path.end, mf.references.flattest_point(model)) > 0.1


def test_sharpness_ends_at_the_exact_minimum(model, path):
    exact = mf.references.flattest_value(model)
    assert path.sharpness[-1] == pytest.approx(exact, rel=1e-12)
    assert path.sharpness[0] > 1.5 * exact


def test_sharpness_never_rises_along_the_whole_path(path):
    assert np.diff(path.sharpness).max() < 1e-8 * path.sharpness[0]


@pytest.mark.parametrize("method", METHODS)
def test_six_methods_agree_at_fixed_times(flow, start, reference, method):
    path = mf.integrate(flow, start, reference.times, method=method)
    assert np.abs(path.points - reference.points).max() < 1e-6
    assert path.details["method"] == method


@pytest.mark.parametrize("method", ["auto", "LSODA", "BDF", "Radau"])
def test_implicit_methods_reach_stationarity(flow, start, method):
    path = mf.integrate(flow, start, method=method)
    assert path.status is mf.Status.STATIONARY
    assert path.gradient_norm[-1] < 1e-9


@pytest.mark.parametrize(
    "method",
    [
        *("RK45", "DOP853", "LSODA"),
        *(pytest.param(slow, marks=pytest.mark.slow) for slow in ("RK23", "Radau")),
    ],
)
def test_error_falls_with_the_tolerance(flow, start, reference, method):
    """Error per unit of tolerance: log-log slope near 1 (error-per-step control)."""
    tolerances = 10.0 ** np.arange(-4, -8.1, -1.0)
    errors = []
    for rtol in tolerances:
        path = mf.integrate(
            flow, start, reference.times, method=method, rtol=rtol, atol=rtol * 1e-2
        )
        errors.append(np.abs(path.points - reference.points).max())
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.6 < slope < 1.4


@pytest.mark.parametrize(("method", "order"), [("RK23", 3), ("RK45", 5), ("DOP853", 8)])
def test_classical_order_at_fixed_steps(flow, start, method, order):
    """With tolerances out of the way the step decides: slope of the order.

    RK45 is still superconvergent where rounding begins, hence the wider side above.
    """
    steps = {3: [0.1, 0.05, 0.025], 5: [0.03, 0.015, 0.0075], 8: [0.5, 0.25, 0.125]}
    steps = steps[order]
    exact = mf.integrate(
        flow, start, [1.0], method="DOP853", rtol=1e-13, atol=1e-15
    ).end
    errors = [
        np.abs(
            mf.integrate(
                flow,
                start,
                [1.0],
                method=method,
                rtol=0.5,
                atol=1e3,
                max_step=h,
                first_step=h,
            ).end
            - exact
        ).max()
        for h in steps
    ]
    slope = np.polyfit(np.log(steps), np.log(errors), 1)[0]
    assert order - 0.5 < slope < order + 1.2


def test_kept_steps_and_requested_times_stand_once_and_in_order(flow, start):
    path = mf.integrate(flow, start, [0.0, 0.1, 0.5], keep_steps=True)
    assert (np.diff(path.times) > 0).all()
    assert {0.0, 0.1, 0.5} <= set(path.times.tolist())
    assert len(path) > 10


def test_times_far_beyond_stationarity_are_returned_by_explicit_methods_too(flow, path):
    """No floor stops a run that was asked for a time."""
    late = [0.0, 10.0, 3000.0]
    end = mf.integrate(flow, path.points[0], late, method="RK45", rtol=1e-5, atol=1e-7)
    assert end.times.tolist() == late
    assert relative(end.end, path.end) < 1e-5


@pytest.mark.parametrize("method", ["auto", "BDF", "Radau"])
def test_a_path_at_rest_is_not_integrated_further(flow, start, path, method):
    """At steps of 1e11 rounding of the velocity is all an implicit method sees."""
    late = mf.integrate(flow, start, [1.0, 1e6, 1e12], method=method, max_steps=1000)
    assert late.status is mf.Status.COMPLETED
    assert late.times.tolist() == [1.0, 1e6, 1e12]
    assert (late.points[1] == late.points[2]).all()
    assert relative(late.end, path.end) < 1e-6
    assert relative(late.points[0], path.end) > 1e-3  # the control: it did move


def test_a_run_cut_in_two_is_the_same_run(flow, start):
    whole = mf.integrate(flow, start, [4.0]).end
    first = mf.integrate(flow, start, [1.5]).end
    assert relative(mf.integrate(flow, first, [2.5]).end, whole) < 1e-6


def test_a_stationary_start_returns_at_once(flow, path):
    again = mf.integrate(flow, path.end)
    assert (again.status, again.n_steps, len(again)) == (mf.Status.STATIONARY, 0, 1)


def test_the_message_names_the_reference_of_stationarity(path):
    assert "is at most gtol=1e-10 times |grad S| = " in path.message
    assert path.message.endswith("here")


def test_a_start_that_was_far_sharper_is_named_and_mended_by_going_on():
    """|∇S| falls by ten orders, so 1e-2 of the first one stops the run early."""
    inputs, targets = mf.datasets.gaussian(3, 5, rng=0)
    model = mf.TwoLayerNetwork(10 * inputs, targets, width=4, activation="sinh")
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    exact = mf.references.flattest_value(model)
    first = mf.integrate(flow, manifold.random_point(rng=0))
    assert first.status is mf.Status.STATIONARY
    assert "1e-2 |grad S(start)| = 1.66e+12" in first.message
    assert "integrate on from path.end, or pass a smaller gtol" in first.message
    assert first.sharpness[-1] > exact * (1 + 1e-3)
    second = mf.integrate(flow, first.end)
    assert second.sharpness[-1] == pytest.approx(exact, rel=1e-12)
    assert "start" not in second.message


def test_an_end_time_of_zero_returns_the_start(flow, start):
    path = mf.integrate(flow, start, [0.0])
    assert path.status is mf.Status.COMPLETED
    assert relative(path.end, start) < 1e-14


def test_a_constant_sharpness_is_stationary_everywhere():
    """φ''' = 0: the trace is constant on M (theory notes §1.13), unlike the cubic's."""
    model = two_layer(activation="linear")
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, manifold.random_point(rng=0))
    assert (path.status, path.n_steps) == (mf.Status.STATIONARY, 0)


def test_dependent_rows_run_and_are_noted():
    model = MODELS["dependent"]()
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, manifold.random_point(rng=0))
    assert path.status is mf.Status.STATIONARY
    assert "rank 3" in path.details["caveats"][0]
    assert "note: the 6 input rows have rank 3" in repr(path)
    # the conclusion of Theorem 1 fails without its hypothesis
    assert np.ptp(model.features(path.end), axis=1).max() > 0.1


# --- the diagonal network: closed form and ℓ1 -----------------------------------------


def l1_value(model):
    """min Σ κ_k |w_k| subject to X w = y, written out here for scipy's linprog."""
    scale = {"half_mean": 0.5, "mean": 1.0, "sum": model.n_residuals}
    scale = scale[model.loss.normalization] / model.n_residuals
    cost = 2 * scale * (model.inputs**2).sum(axis=0)
    found = linprog(
        np.r_[cost, cost],
        A_eq=np.c_[model.inputs, -model.inputs],
        b_eq=model.targets,
    )
    return 4 * found.fun


@pytest.mark.parametrize("loss", ["half_mean", "mean", "sum"])
def test_diagonal_flow_is_its_closed_form_at_ten_times(loss):
    model = diagonal(n=5, d=10, loss=loss)
    manifold = mf.ZeroLossManifold(model)
    start = manifold.random_point(rng=0)
    rate = {"half_mean": 1.0, "mean": 0.5, "sum": 0.1}[loss]
    flow = mf.LimitingFlow(manifold, mf.HessianTrace(), rate=rate)
    times = np.linspace(0.05, 0.5, 10)
    exact = mf.references.exact_flow(model, start, rate * times)
    path = mf.integrate(flow, start, times)
    assert np.abs(path.points - exact).max() < 1e-7
    wrong = mf.references.exact_flow(model, start, 1.01 * rate * times)
    assert np.abs(path.points - wrong).max() > 1e-3


def test_closed_form_obeys_its_own_laws():
    """u_k v_k(t) = u_k v_k(0) e^{−16κ_k t} and X w = y (theory notes §3.2)."""
    model = diagonal()
    start = mf.ZeroLossManifold(model).random_point(rng=1)
    times = np.array([0.0, 0.1, 1.0])
    exact = mf.references.exact_flow(model, start, times)
    parts = model.unflatten(exact)
    decay = np.exp(-16 * np.outer(times, model.feature_curvatures))
    first = model.unflatten(start)
    assert relative(parts["u"] * parts["v"], first["u"] * first["v"] * decay) < 1e-12
    assert np.abs(model.residual(exact)).max() < 1e-12
    assert relative(exact[0], start) < 1e-9


def test_generic_targets_end_stationary_at_the_l1_value():
    model = diagonal(n=5, d=10)
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, manifold.random_point(rng=0))
    assert path.status is mf.Status.STATIONARY
    assert path.sharpness[-1] == pytest.approx(l1_value(model), abs=1e-5)


def sparse_diagonal():
    """Targets of two features where five samples are given: a degenerate vertex."""
    inputs = np.random.default_rng(1).standard_normal((5, 10))
    truth = np.zeros(10)
    truth[:2] = [1.0, -1.5]
    return mf.DiagonalLinearNetwork(inputs, inputs @ truth)


# the automatic one goes the same way in the next test
@pytest.mark.parametrize(
    "method", [pytest.param("auto", marks=pytest.mark.slow), "Radau"]
)
def test_sparse_targets_end_at_the_edge_within_the_l1_value(method):
    model = sparse_diagonal()
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, manifold.random_point(rng=0), method=method)
    assert path.status in (mf.Status.STATIONARY, mf.Status.RANK_LOSS)
    assert path.rank_margin[-1] < 1e-4
    assert path.sharpness[-1] == pytest.approx(l1_value(model), abs=1e-5)


@pytest.mark.parametrize(
    "method",
    [
        *(pytest.param(slow, marks=pytest.mark.slow) for slow in ("auto", "Radau")),
        "BDF",
    ],
)
def test_rank_loss_stops_at_the_margin_and_truncates_times(method):
    """A degenerate ℓ1 vertex: off its support u_k and v_k vanish together."""
    model = sparse_diagonal()
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    start = manifold.random_point(rng=0)
    path = mf.integrate(flow, start, [0.0, 1.0, 1e6], method=method)
    assert path.status is mf.Status.RANK_LOSS
    assert path.success
    assert path.times[:2].tolist() == [0.0, 1.0]
    assert 1.0 < path.times[-1] < 1e6
    # the last point whose projection is regular: judged and kept are the same
    assert 1e-6 <= path.rank_margin[-1] < 1.05e-6
    # the closed form is there at the same time; drift made LSODA end at 311, not 397
    exact = mf.references.exact_flow(model, start, path.times[-1:])[-1]
    assert manifold.linearize(exact).rank_margin == pytest.approx(1e-6, rel=0.02)


@pytest.mark.parametrize("method", ["Radau", "BDF"])
def test_newton_matrices_are_differences_of_one_size(method, monkeypatch):
    """SciPy's own difference grows where a column looks like rounding (118 137
    evaluations on NumPy 2.5, 5 152 on NumPy 2.4, for the same path)."""
    model = sparse_diagonal()
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    start = manifold.random_point(rng=0)

    def never(*arguments):
        raise AssertionError("num_jac was asked")

    monkeypatch.setattr(f"scipy.integrate._ivp.{method.lower()}.num_jac", never)
    path = mf.integrate(flow, start, [0.2], method=method)
    exact = mf.references.exact_flow(model, start, [0.2])[-1]
    assert np.abs(path.end - exact).max() < 1e-7


def test_a_warning_of_lsoda_becomes_the_failure_it_announces(flow, start, monkeypatch):
    def step(solver):
        warnings.warn("lsoda: Repeated convergence failures", stacklevel=2)
        solver.status = "failed"
        return "Unexpected istate in LSODA."

    monkeypatch.setattr(LSODA, "step", step)
    with pytest.raises(IntegrationError, match="Unexpected istate in LSODA"):
        mf.integrate(flow, start, [1.0], method="LSODA")


ONE_RESIDUAL = {
    "cusp": (lambda t: [t[0] ** 2 - t[1] ** 3], [1.0, 1.0]),
    "crossing": (lambda t: [t[0] * t[1]], [1.0, 0.0]),
    "cone": (lambda t: [t[0] ** 2 + t[1] ** 2 - t[2] ** 2], [3.0, 4.0, 5.0]),
}


# the cusp is also in test_hooks.py
@pytest.mark.parametrize(
    "name", ["cone", "crossing", pytest.param("cusp", marks=pytest.mark.slow)]
)
def test_one_residual_whose_gradient_vanishes_is_rank_loss(name):
    """σ_min/σ_max is 1 up to the singular point; σ_max of the start sees it."""
    residual, start = ONE_RESIDUAL[name]
    manifold = mf.ZeroLossManifold(mf.CallableModel(residual, n_params=len(start)))
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, np.array(start))
    assert path.status is mf.Status.RANK_LOSS
    assert (path.rank_margin == 1.0).all()
    assert "of what it was at the start" in path.message
    assert np.linalg.norm(path.end) < 1e-3


@pytest.mark.parametrize(
    ("sharpness", "method"),
    [
        *(("trace", method) for method in ("auto", "BDF", "DOP853")),
        ("log", "auto"),
        pytest.param("log", "BDF", marks=pytest.mark.slow),
        pytest.param("log", "DOP853", marks=pytest.mark.slow),
    ],
)
def test_zero_targets_end_where_the_jacobian_loses_rank(sharpness, method):
    inputs = np.random.default_rng(0).standard_normal((3, 6))
    model = mf.DiagonalLinearNetwork(inputs, np.zeros(3))
    manifold = mf.ZeroLossManifold(model)
    kinds = {"trace": mf.HessianTrace, "log": mf.HessianLogPseudoDeterminant}
    flow = mf.LimitingFlow(manifold, kinds[sharpness]())
    start = manifold.random_point(rng=0)
    path = mf.integrate(flow, start, method=method)
    assert path.status is mf.Status.RANK_LOSS
    first, last = manifold.regular_point(start), manifold.regular_point(path.end)
    assert last.sigma_min < 1e-3 * first.sigma_max


@pytest.mark.slow  # the edge in general: the tests above
def test_a_solver_that_cannot_come_closer_to_the_edge_has_lost_rank(monkeypatch):
    """Steps shrink to nothing because the rank is being lost; elsewhere they fail."""
    model = sparse_diagonal()
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    start = manifold.random_point(rng=0)
    stuck_at = 250.0
    advance = RK45.step

    def step(solver):
        if solver.t <= stuck_at:
            return advance(solver)
        solver.status = "failed"
        return "Required step size is less than spacing between numbers."

    monkeypatch.setattr(RK45, "step", step)
    path = mf.integrate(flow, start, [1e3], method="RK45", rtol=1e-5)
    assert path.status is mf.Status.RANK_LOSS
    assert "Required step size" in path.message
    assert 1e-6 < path.rank_margin[-1] < 1e-3
    stuck_at = 0.1
    with pytest.raises(IntegrationError, match="Required step size") as caught:
        mf.integrate(flow, start, [1e3], method="RK45", rtol=1e-5)
    assert caught.value.trajectory.status is mf.Status.FAILED


# --- how it stops when it cannot go on ------------------------------------------------


def test_explicit_methods_name_their_floor(flow, start):
    with pytest.raises(
        IntegrationError, match="stopped falling at its floor"
    ) as caught:
        mf.integrate(flow, start, method="RK45", rtol=1e-6, atol=1e-8)
    partial = caught.value.trajectory
    assert partial.status is mf.Status.OUT_OF_BUDGET
    assert not partial.success
    assert partial.gradient_norm[-1] < 1e-3 * partial.gradient_norm[0]


@pytest.mark.parametrize(("hovers", "advice"), [(True, "LSODA"), (False, "rtol")])
def test_the_advice_at_a_floor_is_not_the_method_that_was_used(hovers, advice):
    seen, path = Observation(1.0, 1e-3, 1.0, 0.0, 1.0, 1.0), Path()
    floor = Floor(seen, 1e-8, hovers=hovers)
    assert [floor.reached(seen, path) for _ in range(1000)] == [False] * 999 + [True]
    assert path.status is mf.Status.OUT_OF_BUDGET
    assert advice in path.message
    assert "auto" not in path.message


def test_a_drift_at_a_floor_need_not_come_to_rest():
    seen, path = Observation(1.0, 1e-3, 1.0, 0.0, 1.0, 1.0), Path()
    floor = Floor(seen, 1e-8, hovers=False, descends=False)
    # its sharpness falls all the time, but that is no progress of a drift
    falling = [replace(seen, sharpness=1.0 - 0.1 * k) for k in range(1000)]
    assert floor.reached(falling[0], path) is False
    assert [floor.reached(at, path) for at in falling][-2] is True
    assert "the speed stopped falling at its floor 0.001" in path.message
    assert "need not come to rest" in path.message


def test_a_budget_of_steps_keeps_the_path(flow, start):
    with pytest.raises(IntegrationError, match="max_steps=7 reached") as caught:
        mf.integrate(flow, start, max_steps=7)
    partial = caught.value.trajectory
    assert partial.n_steps == 7
    assert partial.times[-1] > 0
    assert flow.manifold.belongs(partial.end)


def test_a_time_limit_keeps_the_path(flow, start):
    with pytest.raises(IntegrationError, match="time_limit=1e-06 s") as caught:
        mf.integrate(flow, start, time_limit=1e-6)
    assert caught.value.trajectory.n_steps == 1


def test_requested_times_that_were_passed_are_in_the_partial_path(flow, start):
    with pytest.raises(IntegrationError) as caught:
        mf.integrate(flow, start, [0.0, 0.01, 1e9], max_steps=60)
    assert caught.value.trajectory.times[:2].tolist() == [0.0, 0.01]


def test_interruption_keeps_the_path(flow, start):
    def interrupt(time, point):
        if time > 1.0:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted) as caught:
        mf.integrate(flow, start, callback=interrupt)
    partial = caught.value.trajectory
    assert partial.times[-1] > 1.0
    resumed = mf.integrate(flow, partial.end)
    exact = mf.references.flattest_value(flow.manifold.model)
    assert resumed.sharpness[-1] == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize("method", ["RK45", "DOP853", "Radau", "BDF"])
def test_a_first_step_into_an_undefined_region_is_retried_smaller(method):
    """sinh overflows one Euler step further on; the path does not go there."""
    inputs, targets = mf.datasets.gaussian(3, 5, rng=0)
    model = mf.TwoLayerNetwork(3 * inputs, targets, width=4, activation="sinh")
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    start, time = manifold.random_point(rng=0), 0.05
    with pytest.raises(NonFiniteError):
        model.linearize(start + time * flow.velocity(start))
    path = mf.integrate(flow, start, [time], method=method, first_step=time)
    assert relative(path.end, mf.integrate(flow, start, [time]).end) < 1e-5


def test_an_eigenvalue_crossing_stops_with_both_eigenvalues():
    model = diagonal(n=5, d=10)
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTopEigenvalue())
    with pytest.raises(IntegrationError, match="largest Hessian eigenvalues") as caught:
        mf.integrate(flow, manifold.random_point(rng=0))
    assert isinstance(caught.value.__cause__, DegenerateEigenvalueError)
    assert caught.value.trajectory.status is mf.Status.FAILED
    assert caught.value.trajectory.times[-1] > 0


class Bump(mf.Sharpness):
    """The trace, undefined below a value: a velocity that turns NaN on the way."""

    def __init__(self, floor):
        self.floor = floor

    def value(self, linearization):
        return mf.HessianTrace().value(linearization)

    def slope(self, linearization):
        slope = mf.HessianTrace().slope(linearization)
        return slope if self.value(linearization) > self.floor else slope * np.nan

    def slope_change(self, linearization, vector):
        return mf.HessianTrace().slope_change(linearization, vector)


@pytest.mark.parametrize("method", METHODS)
def test_a_velocity_that_turns_nan_fails_and_never_hangs(flow, start, path, method):
    floor = 0.5 * (path.sharpness[0] + path.sharpness[-1])
    broken = mf.LimitingFlow(flow.manifold, Bump(floor))
    with pytest.raises(IntegrationError, match="not finite") as caught:
        mf.integrate(broken, start, method=method, rtol=1e-5, atol=1e-7)
    partial = caught.value.trajectory
    assert partial.status is mf.Status.FAILED
    assert partial.sharpness[-1] == pytest.approx(floor, rel=0.02)


# --- arguments ------------------------------------------------------------------------


def test_a_start_off_the_manifold_is_refused_with_its_violation(flow, start):
    with pytest.raises(OffManifoldError, match=r"manifold\.projection") as caught:
        mf.integrate(flow, start + 0.1)
    residual = flow.manifold.submersion(start + 0.1)
    assert caught.value.violation == pytest.approx(np.abs(residual).max())


def test_a_start_that_is_not_regular_is_refused():
    model = mf.CallableModel(lambda t: [t[0] ** 2 - t[1] ** 2], n_params=2)
    flow = mf.LimitingFlow(mf.ZeroLossManifold(model), mf.HessianTrace())
    with pytest.raises(RankDeficientJacobianError):
        mf.integrate(flow, np.zeros(2))


@pytest.mark.parametrize("times", [[1.0, 0.5], [-1.0], [0.0, np.nan], [1.0, 1.0]])
def test_times_must_increase(flow, start, times):
    with pytest.raises(DataError, match="strictly increasing"):
        mf.integrate(flow, start, times)


@pytest.mark.parametrize(
    "option", [{"rtol": 0.0}, {"gtol": -1.0}, {"max_steps": 0}, {"time_limit": 0.0}]
)
def test_limits_must_be_positive(flow, start, option):
    with pytest.raises(DataError, match=r"must be (a )?positive"):
        mf.integrate(flow, start, **option)


def test_names_that_are_nearly_right(flow, start):
    with pytest.raises(UnknownNameError, match="did you mean 'RK45'"):
        mf.integrate(flow, start, method="rk4")
    with pytest.raises(UnknownKeywordError, match="did you mean 'rtol'"):
        mf.integrate(flow, start, rol=1e-3)
    with pytest.raises(ShapeError):
        mf.integrate(flow, start[:-1])
    with pytest.raises(DataError, match="below 0 moves uphill"):
        mf.LimitingFlow(flow.manifold, mf.HessianTrace(), rate=-1.0)


def test_integer_starts_are_promoted():
    model = mf.CallableModel(lambda t: [t[0] * t[1] - 2.0], n_params=2)
    flow = mf.LimitingFlow(mf.ZeroLossManifold(model), mf.HessianTrace())
    path = mf.integrate(flow, [2, 1])
    assert np.abs(path.end - np.sqrt(2)).max() < 1e-6


def test_callback_sees_points_of_the_models_own_shape(flow, start):
    seen = []
    mf.integrate(flow, start, [0.5], callback=lambda t, x: seen.append((t, x.shape)))
    times = [time for time, _ in seen]
    assert times == sorted(times)
    assert {shape for _, shape in seen} == {start.shape}


def test_progress_can_be_a_function(flow, start):
    lines = []
    mf.integrate(flow, start, [0.5], progress=lines.append)
    assert lines[0].startswith("time ")
    assert "of 0.5" in lines[0]
    assert lines[-1] == ""


def test_auto_says_what_it_chose_and_why(flow, start):
    path = mf.integrate(flow, start, [0.1])
    assert path.details["method"].startswith("ETDRK4 (auto: exponential")
    model = diagonal()
    manifold = mf.ZeroLossManifold(model)
    dense = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(dense, manifold.random_point(rng=0), [0.1])
    assert path.details["method"].startswith("LSODA (auto: ")


def test_large_problems_are_not_given_a_dense_newton_matrix():
    from manifold_flow.solvers.choice import choose_method

    def nothing():
        return None

    def chosen(size, rtol=1e-8, implicit=nothing):
        start = np.zeros(size)
        return choose_method(
            "auto", start, rtol, structured=nothing, implicit=implicit
        ).name

    assert chosen(100_000) == "DOP853"
    assert chosen(400) == "LSODA"
    declared = mf.LimitingFlow(mf.ZeroLossManifold(diagonal()), mf.HessianTrace())
    assert chosen(100_000, 1e-4, declared.implicit) == "RKC"
    assert chosen(100_000, 1e-8, declared.implicit) == "KrylovBDF"


@pytest.mark.parametrize(
    ("activation", "unbounded"),
    [("tanh", True), ("cubic", False), ("sinh", False), ("softplus", False)],
)
def test_parameters_that_run_off_to_infinity_are_noted(activation, unbounded):
    inputs, _ = mf.datasets.gaussian(n=3, d=4, rng=0)
    model = mf.TwoLayerNetwork(inputs, [0.3, 0.5, 1.2], 4, activation)
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, manifold.random_point(rng=0))
    assert path.status is mf.Status.STATIONARY
    assert ("run off to infinity" in repr(path)) is unbounded
    ratio = np.linalg.norm(path.end) / np.linalg.norm(path.points[0])
    assert bool(ratio > 3.0) is unbounded
