"""Structured solvers: the flow they integrate, their order, bad input."""

import tracemalloc

import numpy as np
import pytest
import scipy.linalg

import manifold_flow as mf
from cases import MODELS, diagonal, two_layer
from laws import relative
from manifold_flow.errors import DataError, IntegrationError, NonFiniteError
from manifold_flow.solvers import exponential
from manifold_flow.solvers.exponential import exponential_functions
from manifold_flow.solvers.krylov import KrylovFlow
from manifold_flow.solvers.path import Constraint, Path
from manifold_flow.solvers.stabilized import RKC, stages

STRUCTURED = ["ETDRK4", "StructuredBDF"]


def trace_flow(model, rate=0.5):
    return mf.LimitingFlow(mf.ZeroLossManifold(model), mf.HessianTrace(), rate=rate)


def ill_conditioned(condition, n=4, d=6, width=6, activation="cubic", **options):
    """K with eigenvalues evenly spaced on a log scale, trace n."""
    rng = np.random.default_rng(3)
    spectrum = np.geomspace(1.0, 1.0 / condition, n)
    left = np.linalg.qr(rng.standard_normal((n, n)))[0]
    right = np.linalg.qr(rng.standard_normal((d, n)))[0]
    inputs = (left * np.sqrt(n * spectrum / spectrum.sum())) @ right.T
    targets = width * rng.standard_normal(n)
    return mf.TwoLayerNetwork(inputs, targets, width, activation, **options)


INSTANCES = {
    "cubic": two_layer,
    "signed, weighted": MODELS["signed-weighted"],
    "dependent rows": MODELS["dependent"],
    "expression": lambda: two_layer(activation="z**3/3 + z", loss="sum"),
    "negative weights": lambda: two_layer(output_weights=-np.arange(1.0, 5.0)),
    "n > d": lambda: two_layer(n=5, d=3, width=6, activation="sinh"),
    "n = 1": lambda: two_layer(n=1, d=3, width=3),
    "ill-conditioned": lambda: ill_conditioned(1e4),
}


@pytest.fixture(params=INSTANCES)
def flow(request):
    return trace_flow(INSTANCES[request.param]())


@pytest.fixture
def start(flow):
    return flow.manifold.random_point(rng=0)


# --- the flow itself ------------------------------------------------------------------


def dense_velocity(flow, point):
    """−rate P_T ∇S with J and its pseudo-inverse, in full."""
    model = flow.manifold.model
    jacobian = model.jacobian(point)
    curvatures = model.loss.curvatures
    gradient = 2 * model.contracted_hessian(point, curvatures[:, None] * jacobian)
    tangent = np.eye(len(point)) - np.linalg.pinv(jacobian) @ jacobian
    return -flow.rate * tangent @ gradient


def test_velocity_is_the_dense_one_on_and_off_the_manifold(flow, start):
    structure = flow.structured()
    off = start + 0.01 * np.random.default_rng(1).standard_normal(start.size)
    for point in (start, off):
        dense = dense_velocity(flow, point)
        assert relative(structure.velocity(point), dense) < 1e-9
    assert relative(structure.velocity(start), dense) > 1e-4  # the control


def test_attraction_is_the_shortest_way_to_the_manifold(flow, start):
    structure = flow.structured()
    point = start + 1e-3 * np.random.default_rng(1).standard_normal(start.size)
    pulled = structure.velocity(point, 2.0) - structure.velocity(point)
    model = flow.manifold.model
    shortest = np.linalg.pinv(model.jacobian(point)) @ model.residual(point)
    assert relative(pulled, -2.0 * shortest) < 1e-8


def test_what_the_loop_sees_is_what_the_linearization_says(flow, start):
    seen, here = flow.structured().observe(start), flow.manifold.linearize(start)
    gradient = flow.sharpness.gradient(here)
    values = np.linalg.svd(flow.manifold.model.jacobian(start), compute_uv=False)
    assert seen.sharpness == pytest.approx(flow.sharpness.value(here), rel=1e-12)
    assert seen.full_gradient_norm == pytest.approx(np.linalg.norm(gradient), rel=1e-9)
    tangent = np.linalg.norm(here.tangent_part(gradient))
    assert seen.gradient_norm == pytest.approx(tangent, rel=1e-8)
    assert seen.sigma_max == pytest.approx(values[0], rel=1e-10)
    assert seen.sigma_min == pytest.approx(values[-1], rel=1e-6)


@pytest.mark.parametrize("size", [1e-12, 1e-8, 1e-4, 1e-2])
def test_a_point_is_settled_the_shortest_way_to_first_order(flow, start, size):
    """Later steps reuse a Jacobian that is no longer that of the point."""
    model = flow.manifold.model
    structure = flow.structured()
    off = start + size * np.random.default_rng(1).standard_normal(start.size)
    near = structure.settled(off)
    scale = np.linalg.norm(model.jacobian(near), 2) * np.linalg.norm(near)
    assert np.abs(model.residual(near)).max() <= 1e-14 * max(1.0, scale)
    shortest = -np.linalg.pinv(model.jacobian(off)) @ model.residual(off)
    rounding = 1e-13 * np.linalg.norm(start)
    gap = np.linalg.norm(near - off - shortest)
    assert gap <= 10.0 * size * np.linalg.norm(shortest) + rounding
    assert structure.settled(near) is near


def test_a_point_far_away_is_left_to_the_projection(flow, start):
    far = 30.0 * np.random.default_rng(1).standard_normal(start.size)
    assert flow.structured().settled(far) is None


def test_undamped_steps_that_lead_away_are_given_up():
    """Those of this start come to |θ| = 1e82, where any residual is rounding."""
    rng = np.random.default_rng(162)
    inputs, targets = rng.standard_normal((2, 3)), rng.standard_normal(2)
    weights = [1.0, -1.0, 1.0]
    model = mf.TwoLayerNetwork(inputs, targets, 3, "softplus", output_weights=weights)
    far = 3.0 * rng.standard_normal(9)
    assert trace_flow(model).structured().settled(far) is None


def test_what_cannot_be_observed_is_not_kept():
    """A dead sample: the point has no residual, and no tangent space."""
    model = mf.TwoLayerNetwork(np.eye(2), [0.0, 1.0], 3, "square")
    structure = trace_flow(model).structured()
    point = np.array([0.0, 1.0, 0.0, 0.0, 0.0, 0.0])
    path = Path()
    constraint = Constraint(
        structure.observe, model.residual, structure.settled, np.inf, 0.0
    )
    with pytest.raises((NonFiniteError, mf.errors.RankDeficientJacobianError)):
        path.keep(1.0, point, constraint)
    assert (path.times, path.points, path.observations) == ([], [], [])


def test_a_path_that_breaks_down_has_as_many_observations_as_points():
    inputs, targets = mf.datasets.gaussian(3, 4, rng=4)
    weights = [1.0, -1.0, 1.0, -1.0]
    model = mf.TwoLayerNetwork(inputs, targets, 4, "tanh", output_weights=weights)
    flow = trace_flow(model, rate=1.0)
    start = flow.manifold.random_point(rng=4, bound=2.0)
    times = np.linspace(0.0, 300.0, 100)
    try:
        path = mf.integrate(flow, start, times, method="RK45", rtol=0.3)
    except IntegrationError as error:
        path = error.trajectory
    assert len(path.times) == len(path.points) == len(path.sharpness)
    assert (np.diff(path.times) > 0).all()


def test_exponential_steps_from_nothing_are_few():
    """Where θ is 0 its size is no measure of a first step."""
    model = mf.TwoLayerNetwork(
        [[1.0, 0.3], [0.2, -1.0]], [4.0, 4.0], 3, "exp", output_weights=[1.0, 2.0, 1.0]
    )
    path = mf.integrate(
        trace_flow(model), np.zeros(6), method="ETDRK4", rtol=1e-3, gtol=1e-6
    )
    assert path.n_steps < 50


@pytest.mark.filterwarnings("error")
def test_a_point_whose_activation_overflows_is_told_by_its_sample():
    flow = trace_flow(two_layer(activation="sinh"))
    far = np.full(flow.manifold.model.n_params, 1e3)
    with pytest.raises(NonFiniteError, match="overflowed on sample"):
        flow.structured().settled(far)


def test_a_point_seen_twice_is_worked_on_once(flow, start):
    structure = flow.structured()
    seen = structure.observe(start)
    structure.splitting(start)
    assert structure.observe(start.copy()) is seen
    assert structure.n_evaluations == 1
    assert structure.observe(1.001 * start).sharpness != seen.sharpness


def jacobian_by_differences(structure, point, pull):
    h = 1e-5
    columns = [
        structure.velocity(point + h * e, pull)
        - structure.velocity(point - h * e, pull)
        for e in np.eye(len(point))
    ]
    return np.stack(columns, axis=1) / (2 * h)


@pytest.mark.parametrize("name", ["cubic", "signed, weighted", "n > d"])
def test_newton_matrices_solve_with_the_velocitys_jacobian(name):
    """As c·pull grows what is neglected, the turning of the normals, disappears."""
    flow = trace_flow(INSTANCES[name]())
    model = flow.manifold.model.reduction().model
    structure = flow.on(mf.ZeroLossManifold(model)).structured()
    point = mf.ZeroLossManifold(model).random_point(rng=0)
    right = np.random.default_rng(2).standard_normal(point.size)
    fastest = structure.splitting(point).rates.max()
    errors = []
    for pull in fastest * np.array([1e2, 1e4]):
        step = 0.1 / fastest
        jacobian = jacobian_by_differences(structure, point, pull)
        exact = np.linalg.solve(np.eye(point.size) - step * jacobian, right)
        found = structure.newton_matrix(point, pull).solver(step)(right)
        errors.append(relative(found, exact))
    assert errors[0] < 0.1
    assert errors[1] < 5e-3


@pytest.mark.parametrize("name", ["cubic", "dependent rows", "ill-conditioned"])
def test_a_step_is_projected_in_the_metric_of_an_implicit_step(name):
    """(1 + hΛ) δ is normal to M: with h = 0 the shortest way in the parameters."""
    model = INSTANCES[name]().reduction().model
    flow = trace_flow(model)
    point = flow.manifold.random_point(rng=0)
    splitting = flow.structured().splitting(point)
    rates = splitting.rates
    modes = 1e-4 * np.random.default_rng(0).standard_normal(splitting.at_base.shape)
    modes[rates[:, 0] < 1e-10 * rates.max()] = 0.0  # no parameters are there
    ahead = point + splitting.displacement(modes)
    jacobian = model.jacobian(ahead)
    tangent = np.eye(point.size) - np.linalg.pinv(jacobian) @ jacobian
    before = np.abs(model.residual(ahead)).max()
    for step in (0.0, 10.0 / rates.max()):
        moved = splitting.projected(modes, step) - modes
        after = point + splitting.displacement(modes + moved)
        assert np.abs(model.residual(after)).max() < 1e-2 * before
        weighted = splitting.displacement((1.0 + step * rates) * moved)
        assert np.linalg.norm(tangent @ weighted) < 1e-9 * np.linalg.norm(weighted)
        assert splitting.length(moved) == pytest.approx(
            np.linalg.norm(splitting.displacement(moved))
        )
    plain = splitting.displacement(moved)
    assert np.linalg.norm(tangent @ plain) > 1e-3 * np.linalg.norm(plain)  # the control


def test_exponential_steps_are_few_at_condition_1e4_and_end_right():
    model = ill_conditioned(1e4, n=20, d=100, width=100, loss="sum")
    flow = trace_flow(model)
    start = flow.manifold.random_point(rng=0)
    path = mf.integrate(flow, start, rtol=1e-1, gtol=1e-8)
    assert path.details["method"].startswith("ETDRK4")
    assert path.n_steps < 150  # 900 where each step takes the shortest way to M
    exact = mf.references.flattest_value(model)
    assert path.sharpness[-1] == pytest.approx(exact, rel=1e-9)


def from_afar(n, d, width, activation):
    """A flow that is rough at first, and becomes smoother all the way."""
    rng = np.random.default_rng(0)
    inputs = rng.standard_normal((n, d))
    inputs /= np.linalg.norm(inputs, axis=1)[:, None]
    targets = width * rng.standard_normal(n)
    model = mf.TwoLayerNetwork(inputs, targets, width, activation, loss="sum")
    flow = trace_flow(model)
    return flow, flow.manifold.projection(rng.standard_normal(model.n_params))


def test_the_first_exponential_step_is_not_refused(monkeypatch):
    """It is bounded by how far θ moves, and not only by the rates."""
    attempts = []
    step = exponential._Step

    def counted(*arguments):
        attempts.append(arguments)
        return step(*arguments)

    monkeypatch.setattr(exponential, "_Step", counted)
    flow, start = from_afar(10, 20, 40, "sinh")
    for rtol in (1e-1, 1e-3):
        attempts.clear()
        path = mf.integrate(flow, start, method="ETDRK4", rtol=rtol, gtol=1e-8)
        assert len(attempts) == path.n_steps
    monkeypatch.setattr(exponential, "FIRST_SHARE", np.inf)
    attempts.clear()
    path = mf.integrate(flow, start, method="ETDRK4", rtol=1e-1, gtol=1e-8)
    assert len(attempts) > path.n_steps  # the control


def test_steps_follow_their_trend(monkeypatch):
    flow, start = from_afar(20, 60, 100, "cubic")
    path = mf.integrate(flow, start, method="ETDRK4", rtol=1e-1, gtol=1e-8)
    monkeypatch.setattr(exponential, "TREND", 1.0)
    plain = mf.integrate(flow, start, method="ETDRK4", rtol=1e-1, gtol=1e-8)
    assert path.n_steps < plain.n_steps
    assert relative(path.end, plain.end) < 1e-8


# --- φ-functions ----------------------------------------------------------------------


def test_exponential_functions_are_those_of_the_matrix_exponential():
    x = np.array([0.0, 1e-9, 1e-3, 0.5, 0.999, 1.001, 3.0, 40.0, 300.0])
    for value, *computed in zip(x, *exponential_functions(x), strict=True):
        # exp of the augmented matrix holds φ₁, φ₂, φ₃ in its first row
        augmented = np.diag([1.0, 1.0, 1.0], k=1)
        augmented[0, 0] = -value
        exact = scipy.linalg.expm(augmented)[0, 1:]
        assert np.abs(np.array(computed) / exact - 1).max() < 1e-12


# --- order and accuracy ---------------------------------------------------------------


@pytest.fixture(scope="module")
def smooth():
    flow = trace_flow(two_layer(n=3, d=5, width=4), rate=1.0)
    start = flow.manifold.random_point(rng=0)
    times = [0.25, 0.77, 1.0]
    path = mf.integrate(flow, start, times, method="DOP853", rtol=1e-13, atol=1e-15)
    return flow, start, path


def fixed_steps(flow, start, times, h, method="ETDRK4"):
    options = {"rtol": 0.9, "atol": 1e6, "max_step": h, "first_step": h}
    return mf.integrate(flow, start, times, method=method, **options)


def test_exponential_steps_have_order_four_and_dense_output_three(smooth):
    flow, start, exact = smooth
    steps = np.array([0.1, 0.05, 0.025])
    ends, between = [], []
    for h in steps:
        path = fixed_steps(flow, start, exact.times, h)
        ends.append(np.abs(path.points[-1] - exact.points[-1]).max())
        between.append(np.abs(path.points[1] - exact.points[1]).max())
    assert 3.6 < np.polyfit(np.log(steps), np.log(ends), 1)[0] < 5.0
    assert 2.7 < np.polyfit(np.log(steps), np.log(between), 1)[0] < 5.0


def test_order_where_steps_are_far_beyond_the_fastest_time_scale():
    """hΛ from 5 to 40: the order falls to two, because neurons differ, not further."""
    flow = trace_flow(ill_conditioned(1e2))
    start = flow.manifold.random_point(rng=0)
    start = mf.integrate(flow, start, method="StructuredBDF", gtol=3e-3).end
    reduction = flow.manifold.model.reduction()
    inner = flow.on(mf.ZeroLossManifold(reduction.model)).structured()
    rates = inner.splitting(reduction.restrict(start)).rates
    time = 0.5 / rates.min()
    exact = mf.integrate(flow, start, [time], method="DOP853", rtol=1e-11, atol=1e-13)
    steps = time / np.array([8, 16, 32])
    assert steps.min() * rates.max() > 5
    errors = [
        np.abs(fixed_steps(flow, start, [time], h).end - exact.end).max() for h in steps
    ]
    assert 1.9 < np.polyfit(np.log(steps), np.log(errors), 1)[0] < 4.5
    assert errors[0] < 1e-5 * np.abs(exact.end - start).max()


@pytest.mark.parametrize("method", STRUCTURED)
def test_error_falls_with_the_tolerance(smooth, method):
    flow, start, exact = smooth
    tolerances = 10.0 ** np.arange(-4, -9.1, -1.0)
    errors = [
        np.abs(
            mf.integrate(
                flow, start, exact.times, method=method, rtol=tol, atol=tol / 100
            ).points
            - exact.points
        ).max()
        for tol in tolerances
    ]
    slope = np.polyfit(np.log(tolerances), np.log(errors), 1)[0]
    assert 0.6 < slope < 1.5
    assert errors[-1] < 1e-7


@pytest.mark.parametrize("method", STRUCTURED)
def test_paths_agree_with_a_method_of_scipy(flow, start, method):
    seen = flow.structured().observe(start)
    scale = 0.05 * np.linalg.norm(start) / (flow.rate * seen.gradient_norm)
    times = scale * np.array([0.3, 1.0, 4.0])
    exact = mf.integrate(flow, start, times, method="DOP853", rtol=1e-11, atol=1e-13)
    path = mf.integrate(flow, start, times, method=method, rtol=1e-7, atol=1e-9)
    moved = np.linalg.norm(exact.points[-1] - start)
    assert np.abs(path.points - exact.points).max() < 1e-5 * moved
    assert flow.manifold.belongs(path.points).all()


@pytest.mark.parametrize("method", STRUCTURED)
def test_stiff_flows_end_where_theorem_1_says(method):
    flow = trace_flow(ill_conditioned(1e3))
    start = flow.manifold.random_point(rng=0)
    path = mf.integrate(flow, start, method=method, rtol=1e-4, atol=1e-6)
    assert path.status is mf.Status.STATIONARY
    exact = mf.references.flattest_point(flow.manifold.model, start)
    assert relative(path.end, exact) < 1e-6
    assert relative(start, exact) > 1e-2


def test_stiffness_costs_no_steps():
    """The same flow, its time scales a thousand times further apart."""
    counts = []
    for condition in (1e1, 1e4):
        flow = trace_flow(ill_conditioned(condition))
        start = flow.manifold.random_point(rng=0)
        path = mf.integrate(flow, start, method="StructuredBDF", rtol=1e-4, atol=1e-6)
        counts.append(path.n_steps)
    assert counts[1] < 5 * counts[0]


def test_energy_falls_at_every_step(flow, start):
    path = mf.integrate(flow, start, rtol=1e-5, atol=1e-7, gtol=1e-6, keep_steps=True)
    assert len(path) > 5
    assert np.diff(path.sharpness).max() < 1e-5 * path.sharpness[0]


def test_loose_paths_keep_to_their_basin_where_several_ends_exist():
    """A gentle attraction, right where all paths end alike, sent one to |θ| = 1e4."""
    inputs, targets = mf.datasets.gaussian(n=3, d=3, rng=0)
    model = mf.TwoLayerNetwork(inputs, 0.5 * targets, 4, "sin(3*z)")
    flow = trace_flow(model)
    for seed in (2, 3, 4):
        start = flow.manifold.random_point(rng=seed, bound=3.0)
        path = mf.integrate(flow, start, rtol=1e-1, keep_steps=True)
        assert path.details["method"].startswith("StructuredBDF")
        assert np.diff(path.sharpness).max() < 1e-3 * path.sharpness[0]
        assert np.linalg.norm(path.end) < 2.0 * np.linalg.norm(start)


@pytest.mark.parametrize("method", ["RK45", "DOP853"])
def test_no_structured_method_changes_what_scipy_integrates(smooth, method):
    """SciPy's methods take the same velocity from the structure, only faster."""
    flow, start, exact = smooth
    path = mf.integrate(flow, start, exact.times, method=method)
    assert np.abs(path.points - exact.points).max() < 1e-6


def test_nothing_of_size_np_is_allocated():
    n, d, width = 20, 2000, 40
    inputs, targets = mf.datasets.gaussian(n, d, rng=0)
    flow = trace_flow(mf.TwoLayerNetwork(inputs, targets, width))
    start = flow.manifold.random_point(rng=0)
    for method in STRUCTURED:
        tracemalloc.start()
        end = mf.integrate(flow, start, method=method, rtol=1e-3, atol=1e-3).end
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert end.size == start.size
        assert peak < 0.6 * n * 8 * start.size


@pytest.mark.slow
@pytest.mark.parametrize(("condition", "bound"), [(1e4, 500), (1e6, 2000)])
def test_ill_conditioned_data_take_hundreds_of_steps_not_millions(condition, bound):
    model = ill_conditioned(condition, n=20, d=100, width=100, loss="sum")
    flow = trace_flow(model)
    start = flow.manifold.random_point(rng=0)
    path = mf.integrate(flow, start, rtol=1e-4, atol=1e-6)
    assert path.details["method"].startswith("StructuredBDF")
    assert path.status is mf.Status.STATIONARY
    assert path.n_steps < bound
    exact = mf.references.flattest_value(model)
    assert path.sharpness[-1] == pytest.approx(exact, rel=1e-9)


# --- any other model: Chebyshev, Krylov -----------------------------------------------


@pytest.mark.parametrize("count", [2, 3, 5, 20, 100])
def test_stages_are_e_to_the_z_to_second_order_and_damped(count):
    """The recurrence on y' = λy is a polynomial: 1 + z + z²/2 + ..., small up to β."""
    border, table = stages(count)

    def growth(z):
        before, point = np.ones_like(z), 1.0 + table[1, 2] * z
        for mu, nu, step, first in table[2:]:
            before, point = (
                point,
                (1.0 - mu - nu + mu * point + nu * before + z * (step * point + first)),
            )
        return point

    small = np.array([1e-2, 1e-3])
    defects = np.abs(growth(small) - (1.0 + small + 0.5 * small**2)) / small**2
    assert defects[1] < 0.11 * defects[0] or count == 2  # which is exact
    stiff = np.abs(growth(-np.linspace(0.25, 1.0, 1000) * border))
    assert stiff.max() < (0.3 if count > 4 else 0.75)
    assert np.abs(growth(np.array([-2.0 * border])))[0] > 1.0
    assert border > 0.31 * count**2


@pytest.mark.parametrize("name", ["diagonal", "matrix", "two-layer"])
def test_chebyshev_steps_are_of_order_two(name):
    flow = trace_flow(MODELS[name](), rate=1.0)
    start = flow.manifold.random_point(rng=0)
    times = np.linspace(0.0, 0.2, 8)
    exact = mf.integrate(flow, start, times, method="DOP853", rtol=1e-11, atol=1e-13)
    runs = [
        mf.integrate(flow, start, times, method="RKC", rtol=tol, atol=tol / 100)
        for tol in (1e-5, 1e-8)
    ]
    errors = [np.abs(run.points - exact.points).max() for run in runs]
    assert errors[1] < 1e-6
    # the error of a step is of order three, and so is its tolerance
    order = np.log(errors[0] / errors[1]) / np.log(runs[1].n_steps / runs[0].n_steps)
    assert 1.6 < order < 2.6


class Formula:
    """As much of an ImplicitFlow as RKC asks for."""

    def __init__(self, formula):
        self.formula = formula

    def velocity(self, point, pull=0.0):
        return self.formula(point)


def test_the_fastest_rate_is_that_of_the_flow_in_other_units():
    def rate(unit):
        flow = Formula(lambda y: -(3.0 * y + y * (y / unit) ** 2))
        return RKC(None, 0.0, unit * np.array([1.0, 0.5]), 1.0, structure=flow).rate

    assert rate(1.0) == pytest.approx(1.2 * 6.0, rel=0.1)
    for unit in (1e-12, 1e12):
        assert rate(unit) == pytest.approx(rate(1.0), rel=1e-6)


def test_the_fastest_rate_is_found_behind_a_stretch_of_constant_velocity():
    flow = Formula(lambda y: np.where(y > 1.0, -1.0, -1.0 - 100.0 * (y - 1.0)))
    solver = RKC(None, 0.0, np.array([2.0]), 3.0, structure=flow)
    assert solver.rate == 0.0
    while solver.status == "running":
        solver.step()
    assert solver.status == "finished"
    assert solver.rate == pytest.approx(1.2 * 100.0, rel=1e-3)
    assert solver.y[0] == pytest.approx(0.99, abs=1e-3)


def wide_network():
    """A network that is given as a function only, K of condition 30."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.standard_normal((6, 6)))[0]
    right = np.linalg.qr(rng.standard_normal((102, 6)))[0]
    inputs = (left * np.geomspace(1.0, 30.0, 6) ** -0.5) @ right.T
    targets = 40.0 * rng.standard_normal(6)

    def residual(params):
        features = inputs @ params.reshape((40, 102)).T
        return (features**3 / 3.0 + features).sum(axis=1) - targets

    network = mf.TwoLayerNetwork(inputs, targets, 40, "z**3/3 + z")
    return mf.CallableModel(residual, 4080), network


@pytest.mark.slow
def test_auto_follows_a_wide_function_to_the_end_that_is_known():
    model, network = wide_network()
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    start = manifold.random_point(rng=1)
    path = mf.integrate(flow, start, rtol=1e-2, gtol=1e-8)
    assert path.details["method"].startswith("RKC (auto: stabilised explicit, 4080")
    exact = mf.references.flattest_point(network, start)
    assert relative(path.end, exact) < 1e-5
    assert np.abs(path.residual).max() < 1e-10
    assert path.n_evaluations < 600
    # control: an explicit method that is not stabilised takes more for half of the way
    with pytest.raises(IntegrationError) as halted:
        mf.integrate(flow, start, method="RK23", rtol=1e-2, gtol=1e-8, max_steps=400)
    assert halted.value.trajectory.n_evaluations > 2 * path.n_evaluations
    assert relative(halted.value.trajectory.end, exact) > 1e-4


@pytest.mark.parametrize("name", ["diagonal", "matrix", "two-layer"])
def test_krylov_steps_agree_with_a_method_of_scipy(name):
    flow = trace_flow(MODELS[name](), rate=1.0)
    start = flow.manifold.random_point(rng=0)
    times = [0.02, 0.5]
    exact = mf.integrate(flow, start, times, method="DOP853", rtol=1e-11, atol=1e-13)
    errors = [
        np.abs(
            mf.integrate(
                flow, start, times, method="KrylovBDF", rtol=tol, atol=tol / 100
            ).points
            - exact.points
        ).max()
        for tol in (1e-4, 1e-6)
    ]
    assert errors[1] < 1e-5
    assert errors[1] < 0.1 * errors[0]


def test_krylov_reaches_the_l1_value_of_a_diagonal_network():
    model = diagonal(n=5, d=10)
    flow = trace_flow(model, rate=1.0)
    path = mf.integrate(
        flow, flow.manifold.random_point(rng=0), method="KrylovBDF", rtol=1e-5
    )
    assert path.status is mf.Status.STATIONARY
    exact = mf.references.flattest_value(model)
    assert path.sharpness[-1] == pytest.approx(exact, abs=1e-5)
    assert path.sharpness[0] > 1.1 * exact


def test_krylov_matrices_solve_with_the_riemannian_hessian():
    flow = trace_flow(MODELS["matrix"]())
    point = flow.manifold.random_point(rng=0)
    right = np.random.default_rng(0).standard_normal(point.size)
    krylov = flow.implicit()
    step, pull = 0.1 / krylov.fastest_rate(point), 1e3
    found = krylov.newton_matrix(point, pull).solver(step)(right)
    here = flow.manifold.linearize(point)
    hessian = flow.manifold.riemannian_hessian(flow.sharpness, point)
    back = found + step * (flow.rate * (hessian @ found))
    back += step * pull * (found - here.tangent_part(found))
    assert relative(back, right) < 0.02


# --- the choice -----------------------------------------------------------------------


def test_threads_go_by_the_work_of_a_velocity_by_krylov():
    flow = trace_flow(wide_network()[0])
    assert KrylovFlow(flow.manifold, flow.sharpness, flow.rate).work == 6**2 * 4080


def chosen(model, **options):
    flow = trace_flow(model)
    path = mf.integrate(flow, flow.manifold.random_point(rng=0), [1e-3], **options)
    return path.details["method"]


def test_auto_goes_by_structure_and_stiffness():
    assert chosen(two_layer()).startswith("ETDRK4 (auto: exponential")
    assert chosen(ill_conditioned(1e6)).startswith("StructuredBDF (auto: implicit")
    weights = [1.0, 2.0, -1.0, 3.0]
    assert chosen(two_layer(output_weights=weights)).startswith("StructuredBDF")
    assert chosen(two_layer(activation="tanh")).startswith("StructuredBDF")
    assert chosen(MODELS["dependent"]()).startswith("StructuredBDF")
    assert chosen(diagonal()).startswith("LSODA")


def test_a_structured_method_without_structure_is_refused():
    with pytest.raises(DataError, match="declares its structure"):
        chosen(diagonal(), method="ETDRK4")


def test_a_method_for_limiting_flows_is_refused_for_others():
    manifold = mf.ZeroLossManifold(diagonal())
    drift = mf.DriftFlow(manifold, noise=np.ones(manifold.model.n_residuals))
    for method in ("RKC", "KrylovBDF"):
        with pytest.raises(DataError, match="needs a LimitingFlow"):
            mf.integrate(drift, manifold.random_point(rng=0), [1.0], method=method)


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_inputs_of_any_scale(scale):
    """x ↦ s·x only changes the clock and the units of θ."""
    inputs, targets = mf.datasets.gaussian(3, 5, rng=0)
    unit = mf.TwoLayerNetwork(inputs, targets, 4)
    scaled = mf.TwoLayerNetwork(scale * inputs, targets, 4)
    start = mf.ZeroLossManifold(unit).random_point(rng=0)
    path = mf.integrate(trace_flow(scaled), start / scale, atol=1e-10 / scale)
    exact = mf.references.flattest_point(unit, start) / scale
    assert path.status is mf.Status.STATIONARY
    assert relative(path.end, exact) < 1e-6


@pytest.mark.parametrize("method", STRUCTURED)
def test_an_overflow_names_its_sample(method):
    model = two_layer(activation="sinh")
    structure = trace_flow(model).structured()
    far = np.zeros(model.n_params)
    far[: model.n_features] = 1e4 * model.inputs[1]
    with pytest.raises(NonFiniteError, match="sample"):
        structure.velocity(far)


@pytest.mark.parametrize("method", ["auto", *STRUCTURED, "RKC"])
def test_constant_sharpness_single_neurons_and_no_time(method):
    linear = trace_flow(two_layer(activation="linear"))
    start = linear.manifold.random_point(rng=0)
    path = mf.integrate(linear, start, [0.0, 1.0], method=method)
    assert relative(path.end, start) < 1e-12
    single = trace_flow(two_layer(n=3, d=5, width=1))
    start = single.manifold.random_point(rng=0)
    assert mf.integrate(single, start, method=method).n_steps == 0
    assert len(mf.integrate(single, start, [0.0], method=method)) == 1


@pytest.mark.parametrize("method", [*STRUCTURED, "KrylovBDF", "RKC"])
def test_times_far_shorter_than_a_step_and_far_longer_than_the_flow(method):
    flow = trace_flow(two_layer())
    start = flow.manifold.random_point(rng=0)
    times = [1e-12, 1e-9, 1e12]
    path = mf.integrate(flow, start, times, method=method, rtol=1e-5, atol=1e-7)
    assert path.times.tolist() == times
    assert relative(path.points[0], start) < 1e-9
    exact = mf.references.flattest_point(flow.manifold.model, start)
    assert relative(path.end, exact) < 1e-5


def test_rows_dependent_to_rounding():
    inputs, targets = mf.datasets.gaussian(4, 6, rng=0)
    inputs = np.vstack([inputs, inputs.sum(axis=0)])
    model = mf.TwoLayerNetwork(inputs, np.append(targets, 0.3), 6)
    flow = trace_flow(model)
    path = mf.integrate(flow, flow.manifold.random_point(rng=0))
    assert path.status is mf.Status.STATIONARY
    assert np.abs(path.residual).max() < 1e-10


def test_auto_is_implicit_where_a_neuron_waits_long():
    """φ' of e^z at −9 is 8000 times smaller: no rate is shared (theory notes §1.8)."""
    inputs = np.linalg.cholesky([[1.0, -0.8], [-0.8, 1.0]])
    features = np.array([[-9.0, 0.5, 0.2], [0.1, 0.3, -0.4]])
    point = np.linalg.solve(inputs, features).T.ravel()
    for activation, chosen in (("exp", "StructuredBDF"), ("sinh", "ETDRK4")):
        waiting = features if activation == "exp" else features / 9.0
        start = point if activation == "exp" else point / 9.0
        values = mf.Activation.of(activation)(waiting)
        model = mf.TwoLayerNetwork(inputs, values.sum(axis=1), 3, activation)
        flow = mf.LimitingFlow(mf.ZeroLossManifold(model), mf.HessianTrace())
        path = mf.integrate(flow, start, [0.1])
        assert path.details["method"].startswith(chosen)
