"""Optimizers: the updates, their noise, their clocks, and when they let go."""

import itertools
import pickle
import time

import autograd.numpy as anp
import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, diagonal, two_layer
from laws import OptimizerLaws, StochasticLaws, naive_gradient, relative, replica_draws
from manifold_flow.errors import (
    DataError,
    DivergenceError,
    HypothesisError,
    IntegrationError,
    Interrupted,
    ModelError,
    ShapeError,
    StabilityError,
    UnknownKeywordError,
    UnknownNameError,
)
from manifold_flow.optimizers.abstract import stretched
from test_batches import every_batch


@pytest.fixture
def start(optimizer):
    """A point beside M, where every optimizer has a direction."""
    manifold = mf.ZeroLossManifold(optimizer.model)
    point = manifold.random_point(rng=0)
    return point + 0.05 * manifold.normal_basis(point).sum(axis=0)


class TestGradientDescent(OptimizerLaws):
    is_random = False

    @pytest.fixture(params=["two-layer", "callable"])
    def optimizer(self, request):
        return mf.GradientDescent(MODELS[request.param](), 0.01, momentum=0.3)

    @staticmethod
    def direction(optimizer, params, drawn, noise):
        return naive_gradient(optimizer.model, params, drawn, noise)


class TestNormalizedGD(OptimizerLaws):
    is_random = False

    @pytest.fixture(params=["signed-weighted"])
    def optimizer(self, request):
        return mf.NormalizedGD(MODELS[request.param](), 0.01)

    @staticmethod
    def direction(optimizer, params, drawn, noise):
        gradient = naive_gradient(optimizer.model, params, drawn, noise)
        return gradient / np.linalg.norm(gradient)


class TestSAM(OptimizerLaws):
    @pytest.fixture(params=["two-layer"])
    def model(self, request):
        return MODELS[request.param]()

    @pytest.fixture(params=[1, 2])
    def batch_size(self, request):
        return request.param

    @pytest.fixture(params=[True, False])
    def optimizer(self, request, model, batch_size):
        normalized = request.param
        return mf.SAM(model, 0.01, 0.05, batch_size, normalized=normalized)

    @staticmethod
    def direction(optimizer, params, drawn, noise):
        ascent = naive_gradient(optimizer.model, params, drawn, noise)
        length = np.linalg.norm(ascent) if optimizer.normalized else 1.0
        uphill = params + optimizer.radius / length * ascent
        return naive_gradient(optimizer.model, uphill, drawn, noise)


class TestFullBatchSAM(TestSAM):
    is_random = False

    @pytest.fixture
    def batch_size(self):
        return None


class TestMinibatchSGD(StochasticLaws):
    @pytest.fixture(params=["signed-weighted", "matrix"])
    def model(self, request):
        return MODELS[request.param]()

    @pytest.fixture(params=[False, True])
    def optimizer(self, request, model):
        return mf.MinibatchSGD(
            model, 0.005, batch_size=2, replacement=request.param, momentum=0.5
        )

    @pytest.fixture
    def outcomes(self, optimizer):
        return every_batch(optimizer.batches), None


ROWS = [  # batch size, replacement, shared noise
    (1, False, False),
    (2, False, False),
    (3, False, False),
    (2, True, False),
    (2, True, True),
    (3, True, True),
]


class TestLabelNoiseSGD(StochasticLaws):
    @pytest.fixture(params=["weighted", "diagonal"])
    def model(self, request):
        weighted = two_layer(sample_weights=[1.0, 2.0, 0.5], loss="sum")
        return weighted if request.param == "weighted" else MODELS[request.param]()

    @pytest.fixture(params=ROWS, ids=str)
    def optimizer(self, request, model):
        size, replacement, shared = request.param
        return mf.LabelNoiseSGD(
            model,
            0.003,
            noise_std=np.array([0.3, 0.5, 0.4]),
            batch_size=size,
            replacement=replacement,
            shared_noise=shared,
            momentum=0.2,
        )

    @pytest.fixture
    def outcomes(self, optimizer):
        """Every batch with every choice of signs of its noise."""
        drawn, noise = [], []
        owners = 3 if optimizer.shared_noise else optimizer.batch_size
        for batch in every_batch(optimizer.batches):
            for signs in itertools.product([-1.0, 1.0], repeat=owners):
                own = np.array(signs)[batch if optimizer.shared_noise else slice(None)]
                drawn.append(batch)
                noise.append(optimizer.noise_std[batch] * own)
        return np.array(drawn), np.array(noise)


# --- what is drawn --------------------------------------------------------------------


@pytest.mark.parametrize("law", ["rademacher", "gaussian", "uniform"])
@pytest.mark.parametrize("batch_size", [2, 3])
def test_every_noise_has_the_stated_moments(law, batch_size):
    std = np.array([0.5, 1.0, 2.0])
    sgd = mf.LabelNoiseSGD(diagonal(), 0.1, std, batch_size=batch_size, noise=law)
    draws = list(sgd.draws(100, 1000, np.random.default_rng(0)))
    noise = np.array([noise for _, noise in draws])
    drawn = np.array([np.arange(3) if i is None else i for i, _ in draws])
    drawn = np.broadcast_to(drawn.reshape(1000, -1, batch_size), noise.shape)
    for i, sigma in enumerate(std):
        mine = noise[drawn == i] / sigma
        assert mine.mean() == pytest.approx(0.0, abs=0.02)
        assert mine.var() == pytest.approx(1.0, abs=0.02)
    kurtosis = {"rademacher": 1.0, "gaussian": 3.0, "uniform": 9 / 5}[law]
    assert np.mean((noise / std[drawn]) ** 4) == pytest.approx(kurtosis, rel=0.03)


@pytest.mark.parametrize("shared", [False, True])
def test_repeated_draws_share_their_noise_only_if_told_so(shared):
    sgd = mf.LabelNoiseSGD(
        diagonal(),
        0.1,
        0.7,
        batch_size=3,
        noise="gaussian",
        replacement=True,
        shared_noise=shared,
    )
    together = 0
    for drawn, noise in sgd.draws(10, 100, np.random.default_rng(0)):
        for indices, values in zip(drawn, noise, strict=True):
            _, first = np.unique(indices, return_index=True)
            repeated = len(first) < len(indices)
            together += repeated
            assert (len(np.unique(values)) == len(first)) == (shared or not repeated)
    assert together > 100


def test_a_batch_draws_samples_with_all_their_residuals():
    def residual(params):
        return anp.stack([params[0] * params[1] - 1, params[2], params[3], params[4]])

    model = mf.CallableModel(residual, n_params=6, residuals_per_sample=2)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5, batch_size=1)
    assert sgd.batches == mf.Batches(2, 1)
    drawn = np.array([d for d, _ in sgd.draws(3, 50, np.random.default_rng(0))])
    assert {tuple(row) for row in drawn.reshape(-1, 2).tolist()} == {(0, 1), (2, 3)}
    params = np.random.default_rng(1).standard_normal(6)
    halves = np.array([[0, 1], [2, 3]])
    pulls = sgd.direction(np.tile(params, (2, 1)), (halves, np.zeros((2, 2))))
    assert relative(pulls.mean(axis=0), model.linearize(params).loss_gradient()) < 1e-14
    assert np.allclose(sgd.noise_covariance, 2 * 0.25 / 4**2)
    with pytest.raises(ModelError, match="4 residuals are no whole number of samples"):
        mf.CallableModel(residual, n_params=6, residuals_per_sample=3)


# --- exact invariants -----------------------------------------------------------------


def unreduced(optimizer, start, n_steps, rng):
    """The same run without the reduction."""
    params = np.atleast_2d(start)
    velocity = np.zeros_like(params)
    for draw in optimizer.draws(len(params), n_steps, rng):
        params, velocity = optimizer.step(params, velocity, draw)
    return params


def orthogonal_change(model, change):
    data = np.linalg.pinv(model.inputs) @ model.inputs
    off = np.eye(model.n_features) - data
    return change.reshape(-1, model.width, model.n_features) @ off


@pytest.mark.parametrize(
    "n_steps", [2_000, pytest.param(100_000, marks=pytest.mark.slow)]
)
def test_the_part_orthogonal_to_the_data_is_frozen(n_steps):
    model = two_layer(n=3, d=7)
    start = mf.ZeroLossManifold(model).random_point(rng=2)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5)
    end = unreduced(sgd, start, n_steps, np.random.default_rng(0))
    assert np.abs(orthogonal_change(model, end - start)).max() < 1e-12
    run = mf.simulate(sgd, start, n_steps, replicas=2, rng=0)
    assert np.abs(orthogonal_change(model, run.end - start)).max() < 1e-14
    assert np.abs(end - start).max() > 0.01


def test_product_identity_of_the_diagonal_network():
    """(u_k v_k)⁺ = u_k v_k (1 − 4η²e²x_ik²), exactly, for batch 1 and ½-mean loss."""
    model = diagonal()
    start = np.random.default_rng(0).standard_normal(model.n_params)
    sgd = mf.LabelNoiseSGD(model, learning_rate=0.003, noise_std=0.4)
    run = mf.simulate(sgd, start, 300, every=1, rng=5)
    draws = replica_draws(sgd, 300, 1, 5, 0)
    u, v = np.split(run.points, 2, axis=1)
    for before, ((i,), (noise,)) in enumerate(draws):
        error = model.residual(run.points[before])[i] - noise
        shrink = 1 - 4 * sgd.learning_rate**2 * error**2 * model.inputs[i] ** 2
        after = u[before + 1] * v[before + 1]
        assert np.allclose(after, u[before] * v[before] * shrink, rtol=1e-13, atol=0)
        assert (shrink < 1.0).all()


# --- momentum and stability -----------------------------------------------------------


def phase_space_moments(learning_rate, momentum, curvature):
    """Stationary E[(δ, v)(δ, v)ᵀ] of heavy ball in one mode, noise of variance 1."""
    advance = np.array(
        [
            [1 - learning_rate * curvature, -learning_rate * momentum],
            [curvature, momentum],
        ]
    )
    kick = np.array([-learning_rate, 1.0])
    system = np.eye(4) - np.kron(advance, advance)
    return np.linalg.solve(system, np.outer(kick, kick).ravel()).reshape(2, 2), advance


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_the_clock_of_momentum_is_that_of_its_second_moments(momentum):
    """E δ² = γ/(2h) with γ = η/(1−β), and its exact form at finite η."""
    h = 1.7
    for eta in (0.1, 0.01):
        exact = eta * (1 + momentum) / (h * (1 - momentum))
        exact /= 2 * (1 + momentum) - eta * h
        found = phase_space_moments(eta, momentum, h)[0][0, 0]
        assert found == pytest.approx(exact, rel=1e-12)
    sgd = mf.LabelNoiseSGD(diagonal(), eta, 1.0, momentum=momentum)
    gamma = np.sqrt(sgd.time_per_step)
    assert found == pytest.approx(gamma / (2 * h), rel=0.01)


@pytest.mark.parametrize("momentum", [0.0, 0.5, 0.9])
def test_heavy_ball_lets_go_at_its_threshold(momentum):
    model = two_layer()
    here = model.linearize(mf.ZeroLossManifold(model).random_point(rng=0))
    threshold = mf.GradientDescent(model, 0.1, momentum).stability(here)
    for factor, stable in ((0.999, True), (1.001, False)):
        top = here.hessian_eigenvalues[0]
        advance = phase_space_moments(factor * threshold, momentum, top)[1]
        assert (np.abs(np.linalg.eigvals(advance)).max() < 1.0) == stable
    sgd = mf.MinibatchSGD(model, 0.1, momentum=momentum)
    assert sgd.stability(here) <= threshold
    assert (sgd.stability(here) < 0.99 * threshold) == (momentum == 0.0)


@pytest.mark.parametrize(
    "build",
    [
        mf.GradientDescent,
        lambda model, eta: mf.SAM(model, eta, 0.3, normalized=False),
        lambda model, eta: mf.GradientDescent(model, eta, momentum=0.6),
    ],
)
def test_distances_from_the_manifold_grow_beyond_the_threshold(build):
    model = two_layer()
    point = mf.ZeroLossManifold(model).random_point(rng=0)
    here = model.linearize(point)
    top = here.apply_transpose(
        np.sqrt(here.curvatures) * here.hessian_eigensystem[1][:, 0]
    )
    start = point + 1e-9 * top / np.linalg.norm(top)
    ends = []
    for factor in (0.95, 1.05):
        optimizer = build(model, factor * build(model, 0.1).stability(here))
        run = mf.simulate(optimizer, start, 60, every=60, force=True)
        ends.append(run.residual[-1] / run.residual[0])
    assert ends[0] < 0.5
    assert ends[1] > 2.0


def test_a_learning_rate_beyond_stability_is_refused_with_the_number():
    model = two_layer()
    manifold = mf.ZeroLossManifold(model)
    start = manifold.random_point(rng=0)
    sgd = mf.MinibatchSGD(model, 0.01)
    threshold = sgd.stability(model.linearize(start))
    assert threshold < 2 / model.linearize(start).hessian_eigenvalues[0]
    fast = sgd.with_learning_rate(1.01 * threshold)
    with pytest.raises(StabilityError, match="force=True") as caught:
        mf.simulate(fast, np.stack([1.1 * start, start]), 10)
    assert caught.value.threshold == pytest.approx(threshold, rel=1e-9)
    assert f"{caught.value.threshold:.6g}" in str(caught.value)
    mf.simulate(fast, start, 10, force=True, rng=0)
    mf.simulate(sgd.with_learning_rate(0.99 * threshold), start, 10, rng=0)
    mf.simulate(fast, 1.1 * start, 1, rng=0)  # off M there is no theorem


@pytest.mark.parametrize(
    "build",
    [lambda model: mf.SAM(model, 0.01, 0.1), lambda m: mf.NormalizedGD(m, 0.01)],
)
def test_a_start_without_a_direction_is_refused(build):
    model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    start = np.array([1.0, 0.5, 0.5, 0.0])
    optimizer = build(model)
    with pytest.raises(HypothesisError, match=r"max \|residual\| = 0\.0e\+00"):
        mf.simulate(optimizer, start, 10)
    forced = mf.simulate(optimizer, start, 10, force=True)
    assert np.array_equal(forced.end, start)  # no direction, no step, no NaN
    beside = mf.simulate(optimizer, start + 1e-3, 10)
    assert np.abs(beside.end - start - 1e-3).max() > 1e-6


def test_sam_that_is_not_normalised_rests_on_the_manifold():
    model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    start = np.array([1.0, 0.5, 0.5, 0.0])
    sam = mf.SAM(model, 0.01, 0.1, normalized=False)
    assert np.array_equal(mf.simulate(sam, start, 10).end, start)
    assert sam.time_per_step == 0.01


def test_gradients_too_short_for_a_direction_count_as_zero():
    tiny = np.array([[3e-200, 4e-200], [0.0, 0.0], [3e-100, 4e-100]])
    long = stretched(tiny, 5.0)
    assert np.abs(long[:2]).max() < 1e-48
    assert long[2] == pytest.approx([3.0, 4.0], rel=1e-14)


@pytest.mark.slow
@pytest.mark.parametrize("momentum", [0.5, 0.9])
def test_momentum_follows_the_flow_on_its_clock(momentum):
    """CHECK C0 with (η/(1−β))² a step: the deviation halves with the learning rate."""
    gaps = trace_gaps(
        lambda model, eta: mf.LabelNoiseSGD(
            model, (1 - momentum) * eta, 1.0, batch_size=3, momentum=momentum
        )
    )
    assert gaps[0] / gaps[1] == pytest.approx(2.0, abs=0.3)


def trace_gaps(build, slow_time=0.6):
    """Mean trace of the projected ends less the flow's, at two learning rates."""
    model = two_layer(n=3, d=3, width=4, loss="sum")
    manifold, trace = mf.ZeroLossManifold(model), mf.HessianTrace()
    start = manifold.random_point(rng=0)
    flow = mf.limiting_flow(build(model, 0.01), manifold)
    exact = mf.integrate(flow, start, [slow_time]).sharpness[-1]
    gaps = []
    for eta in (0.008, 0.004):
        optimizer = build(model, eta)
        steps = round(slow_time / optimizer.time_per_step)
        run = mf.simulate(optimizer, start, steps, every=steps, replicas=1500, rng=1)
        ends = manifold.projection(run.end)
        gaps.append(
            np.mean([trace.value(manifold.linearize(end)) for end in ends]) - exact
        )
    return gaps


@pytest.mark.slow
def test_the_deviation_from_the_flow_halves_with_the_learning_rate():
    """CHECK C0: an order of convergence, never closeness at one learning rate."""
    model = two_layer(n=3, d=3, width=4, loss="sum")
    manifold = mf.ZeroLossManifold(model)
    start = manifold.random_point(rng=0)
    slow_time, gaps = 0.6, []
    for learning_rate in (0.008, 0.004):
        sgd = mf.LabelNoiseSGD(
            model, learning_rate, 1.0, batch_size=3, noise="rademacher"
        )
        steps = round(slow_time / sgd.time_per_step)
        run = mf.simulate(sgd, start, steps, every=steps, replicas=1500, rng=1)
        flow = mf.limiting_flow(sgd, manifold)
        exact = mf.integrate(flow, start, [slow_time]).sharpness[-1]
        ends = manifold.projection(run.end)
        trace = mf.HessianTrace()
        values = [trace.value(manifold.linearize(end)) for end in ends]
        gaps.append(np.mean(values) - exact)
    drop = mf.integrate(flow, start, [slow_time]).sharpness[-1] - trace.value(
        manifold.linearize(start)
    )
    assert gaps[0] / gaps[1] == pytest.approx(2.0, abs=0.3)
    assert abs(gaps[1]) < 0.2 * abs(drop)


class Impatient(mf.Optimizer):
    """Another optimizer whose user presses Ctrl-C at its eleventh step."""

    def __init__(self, inner):
        self.model, self.learning_rate = inner.model, inner.learning_rate
        self.label_noise, self.batches = inner.label_noise, inner.batches
        self.inner, self.steps = inner, 0

    time_per_step = 1.0
    batches = None

    def direction(self, params, draw):
        self.steps += 1
        if self.steps > 10:
            raise KeyboardInterrupt
        return self.inner.direction(params, draw)

    def stability(self, here):
        return np.inf

    def on(self, model):
        return Impatient(self.inner.on(model))

    def with_learning_rate(self, learning_rate):
        return Impatient(self.inner.with_learning_rate(learning_rate))


def test_an_interrupted_run_is_kept_and_can_go_on():
    model = two_layer()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5)
    with pytest.raises(Interrupted, match="ran 10 of 50 steps") as caught:
        mf.simulate(Impatient(sgd), start, 50, every=5, replicas=3, rng=1)
    partial = caught.value.trajectory
    assert partial.points.shape == (3, 3, model.n_params)
    whole = mf.simulate(sgd, start, 50, every=10, replicas=3, rng=1)
    assert np.array_equal(whole.points[1], partial.end)
    rest = mf.simulate(sgd, partial.end, 40, rng=2)
    assert np.array_equal(rest.points[0], partial.end)
    assert rest.end.shape == (3, model.n_params)


def test_two_runs_from_one_generator_are_independent():
    model, rng = two_layer(), np.random.default_rng(1)
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5)
    first, second = (mf.simulate(sgd, start, 10, rng=rng).end for _ in range(2))
    assert np.array_equal(first, mf.simulate(sgd, start, 10, rng=1).end)
    assert not np.array_equal(first, second)


def test_noise_and_samples_come_from_streams_of_their_own():
    """The same batches, whatever is drawn for the noise."""
    model = two_layer()
    laws = [
        mf.MinibatchSGD(model, 0.1, 2),
        mf.LabelNoiseSGD(model, 0.1, 0.5, 2),
        mf.LabelNoiseSGD(model, 0.1, 0.5, 2, noise="gaussian"),
    ]
    seen = [
        np.array([drawn for drawn, _ in sgd.draws(2, 30, np.random.default_rng(0))])
        for sgd in laws
    ]
    assert np.array_equal(seen[0], seen[1])
    assert np.array_equal(seen[0], seen[2])


def test_optimizers_pickle():
    model = two_layer()
    start = mf.ZeroLossManifold(model).random_point(rng=0) + 0.01
    for optimizer in (
        mf.GradientDescent(model, 0.01, 0.5),
        mf.NormalizedGD(model, 0.01),
        mf.MinibatchSGD(model, 0.01, 2),
        mf.LabelNoiseSGD(model, 0.01, [0.1, 0.2, 0.3]),
        mf.SAM(model, 0.01, 0.1, 1),
    ):
        copy = pickle.loads(pickle.dumps(optimizer))
        ends = [mf.simulate(o, start, 20, rng=3).end for o in (optimizer, copy)]
        assert np.array_equal(*ends)
        assert repr(copy) == repr(optimizer)


# --- what has no limit, and bad arguments ---------------------------------------------


@pytest.mark.parametrize("every", [1, 17, 400])
def test_divergence_carries_the_step_and_the_last_finite_point(every):
    model = two_layer()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, learning_rate=3.0, noise_std=0.5)
    with pytest.raises(DivergenceError, match="2/lambda_max = ") as caught:
        mf.simulate(sgd, start, 400, every=every, rng=0, force=True)
    step, params = caught.value.step, caught.value.params
    before = mf.simulate(sgd, start, step, rng=0, force=True)
    assert np.array_equal(before.end, params)
    assert np.isfinite(params).all()
    assert params.shape == start.shape
    with pytest.raises(DivergenceError):
        mf.simulate(sgd, start, step + 1, rng=0, force=True)


def test_a_run_that_would_take_too_long_is_refused_before_the_time_is_spent():
    model = two_layer()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, 0.001, 0.5)
    began = time.monotonic()
    with pytest.raises(IntegrationError, match=r"10000000 steps would take") as caught:
        mf.simulate(sgd, start, 10_000_000, rng=0, time_limit=2.0)
    assert time.monotonic() - began < 1.0
    assert "Use n_steps <= " in str(caught.value)
    assert caught.value.trajectory.status is mf.Status.OUT_OF_BUDGET
    assert mf.simulate(sgd, start, 100, rng=0, time_limit=60.0).success


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.0},
        {"learning_rate": np.nan},
        {"noise_std": -1.0},
        {"batch_size": 0},
        {"batch_size": 4},
        {"noise_std": [0.1, -0.1, 0.1]},
        {"noise_std": np.inf},
        {"momentum": 1.0},
        {"momentum": -0.1},
    ],
)
def test_hyperparameters_out_of_bounds(options):
    with pytest.raises(DataError, match=next(iter(options))):
        mf.LabelNoiseSGD(
            two_layer(), **{"learning_rate": 0.1, "noise_std": 1.0} | options
        )


def test_the_other_hyperparameters_out_of_bounds():
    model = two_layer()
    for build in (
        lambda: mf.SAM(model, 0.1, radius=0.0),
        lambda: mf.SAM(model, 0.1, 0.1, batch_size=4),
        lambda: mf.MinibatchSGD(model, 0.1, 4),
        lambda: mf.GradientDescent(model, 0.1, momentum=np.nan),
        lambda: mf.NormalizedGD(model, -1.0),
    ):
        with pytest.raises(
            DataError, match=r"radius|batch_size|momentum|learning_rate"
        ):
            build()
    with pytest.raises(DataError, match="array of 3, one for every residual"):
        mf.LabelNoiseSGD(model, 0.1, [0.1, 0.2])


def test_names_that_are_nearly_right():
    model = diagonal()
    with pytest.raises(UnknownNameError, match="did you mean 'gaussian'"):
        mf.LabelNoiseSGD(model, 0.1, 1.0, noise="gausian")
    sgd = mf.LabelNoiseSGD(model, 0.1, 1.0)
    with pytest.raises(UnknownKeywordError, match="did you mean 'replicas'"):
        mf.simulate(sgd, np.zeros(model.n_params), 3, replicates=2)
    with pytest.raises(ShapeError):
        mf.simulate(sgd, np.zeros(3), 3)
    zeros = np.zeros(model.n_params)
    with pytest.raises(ShapeError, match=r"\(3, 12\)"):
        mf.simulate(sgd, np.zeros((2, model.n_params)), 1, replicas=3)
    with pytest.raises(DataError, match="start is not finite"):
        mf.simulate(sgd, zeros + np.nan, 1)
    for bad in ({"n_steps": -1}, {"every": 0}, {"replicas": 0}, {"n_steps": 2.5}):
        with pytest.raises(DataError, match=next(iter(bad))):
            mf.simulate(sgd, zeros, **{"n_steps": 3} | bad)
