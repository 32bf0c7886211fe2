"""Label-noise SGD: the update, the clock, and the flow it follows."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, diagonal, two_layer
from laws import OptimizerLaws, relative
from manifold_flow.errors import (
    DataError,
    DivergenceError,
    Interrupted,
    ShapeError,
    UnknownKeywordError,
    UnknownNameError,
)


class TestLabelNoiseSGD(OptimizerLaws):
    @pytest.fixture(params=["two-layer", "diagonal", "matrix", "callable"])
    def model(self, request):
        return MODELS[request.param]()

    @pytest.fixture(params=[1, 2, "n"])
    def optimizer(self, request, model):
        batch = model.n_residuals if request.param == "n" else request.param
        return mf.LabelNoiseSGD(
            model, learning_rate=0.01, noise_std=0.5, batch_size=batch, noise="gaussian"
        )

    @pytest.fixture
    def start(self, model):
        return mf.ZeroLossManifold(model).random_point(rng=0)


def naive_run(model, start, n_steps, rng, learning_rate, noise_std):
    """Batch 1 in a double loop, on the unreduced model, with the same draws."""
    params = start.copy()
    for _ in range(n_steps):
        s = int(rng.integers(model.n_residuals, size=(1, 1))[0, 0])
        noise = noise_std * (2.0 * rng.integers(2, size=(1, 1))[0, 0] - 1.0)
        error = model.residual(params)[s] - noise
        row = model.jacobian(params)[s]
        gradient = model.n_residuals * model.loss.curvatures[s] * error * row
        params = params - learning_rate * gradient
    return params


@pytest.mark.parametrize("name", ["two-layer", "signed-weighted", "diagonal", "matrix"])
def test_a_run_is_the_double_loop_in_unreduced_coordinates(name):
    model = MODELS[name]()
    start = mf.ZeroLossManifold(model).random_point(rng=1)
    sgd = mf.LabelNoiseSGD(model, learning_rate=0.005, noise_std=0.3)
    run = mf.simulate(sgd, start, 200, rng=7)
    twin = naive_run(model, start, 200, np.random.default_rng(7), 0.005, 0.3)
    assert relative(run.end, twin) < 1e-11
    assert relative(run.end, start) > 1e-3


@pytest.mark.parametrize("batch", [1, 2, 3])
@pytest.mark.parametrize("loss", ["half_mean", "mean", "sum"])
def test_the_step_is_unbiased_and_its_noise_is_matched_to_the_hessian(loss, batch):
    """E ξ = 0 and Σ = c ∇²L with c = 4·rate (theory notes §0.3-0.4), by Monte Carlo."""
    model = two_layer(n=3, d=3, width=2, loss=loss)
    point = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, learning_rate=1.0, noise_std=0.7, batch_size=batch)
    replicas = 200_000
    moved = sgd.step(np.tile(point, (replicas, 1)), np.random.default_rng(0)) - point
    covariance = moved.T @ moved / replicas
    jacobian = model.jacobian(point)
    hessian = jacobian.T @ (model.loss.curvatures[:, None] * jacobian)
    expected = 4 * model.loss.label_noise_rate(0.7, batch) * hessian
    scale = np.abs(expected).max()
    assert np.abs(moved.mean(axis=0)).max() < 4 * np.sqrt(scale / replicas)
    assert np.abs(covariance - expected).max() < 0.02 * scale
    assert np.abs(covariance - 1.1 * expected).max() > 0.05 * scale


@pytest.mark.parametrize("noise", ["rademacher", "gaussian", "uniform"])
def test_every_noise_has_the_stated_variance(noise):
    model = diagonal()
    sgd = mf.LabelNoiseSGD(model, 1.0, 1.0, noise=noise)
    drawn = sgd._draw_noise((100_000,), np.random.default_rng(0))
    assert drawn.mean() == pytest.approx(0.0, abs=0.02)
    assert drawn.var() == pytest.approx(1.0, abs=0.02)


def test_a_batch_holds_no_sample_twice():
    sgd = mf.LabelNoiseSGD(two_layer(n=5), 0.1, 0.1, batch_size=3)
    drawn = sgd._draw_samples(1000, np.random.default_rng(0))
    assert all(len(set(row)) == 3 for row in drawn.tolist())
    assert np.bincount(drawn.ravel()).min() > 500


def test_the_part_orthogonal_to_the_data_is_frozen_exactly():
    model = two_layer(n=3, d=7)
    start = mf.ZeroLossManifold(model).random_point(rng=2)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5)
    run = mf.simulate(sgd, start, 2000, replicas=2, rng=0)
    frozen = np.eye(7) - np.linalg.pinv(model.inputs) @ model.inputs
    change = (run.end - start).reshape(2, model.width, 7) @ frozen
    assert np.abs(change).max() < 1e-12


def test_product_identity_of_the_diagonal_network():
    """(u_k v_k)⁺ = u_k v_k (1 − 4η²e²x_ik²), exactly, for batch 1 and ½-mean loss."""
    model = diagonal()
    params = np.random.default_rng(0).standard_normal((1, model.n_params))
    sgd = mf.LabelNoiseSGD(model, learning_rate=0.03, noise_std=0.4)
    rng = np.random.default_rng(5)
    after = sgd.step(params, rng)
    again = np.random.default_rng(5)
    s = int(again.integers(model.n_residuals, size=(1, 1))[0, 0])
    noise = 0.4 * (2.0 * again.integers(2, size=(1, 1))[0, 0] - 1.0)
    error = model.residual(params[0])[s] - noise
    u, v = np.split(params[0], 2)
    new_u, new_v = np.split(after[0], 2)
    expected = u * v * (1 - 4 * 0.03**2 * error**2 * model.inputs[s] ** 2)
    assert relative(new_u * new_v, expected) < 1e-14


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
    """Label-noise SGD whose user presses Ctrl-C at its eleventh step."""

    def __init__(self, inner):
        self.model, self.inner, self.steps = inner.model, inner, 0

    @property
    def time_per_step(self):
        return self.inner.time_per_step

    def step(self, params, rng):
        self.steps += 1
        if self.steps > 10:
            raise KeyboardInterrupt
        return self.inner.step(params, rng)

    def on(self, model):
        return Impatient(self.inner.on(model))


def test_an_interrupted_run_is_kept_and_can_go_on():
    model = two_layer()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5)
    with pytest.raises(Interrupted, match="ran 10 of 50 steps") as caught:
        mf.simulate(
            Impatient(sgd), start, 50, every=5, replicas=3, rng=np.random.default_rng(1)
        )
    partial = caught.value.trajectory
    assert partial.points.shape == (3, 3, model.n_params)
    rng = np.random.default_rng(1)
    first = mf.simulate(sgd, start, 10, replicas=3, rng=rng)
    assert np.array_equal(first.end, partial.end)
    second = mf.simulate(sgd, first.end, 40, rng=rng)
    whole = mf.simulate(sgd, start, 50, replicas=3, rng=np.random.default_rng(1))
    assert relative(second.end, whole.end) < 1e-12


# --- what has no limit, and bad arguments ---------------------------------------------


def test_divergence_carries_the_step_and_the_last_finite_point():
    model = two_layer()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, learning_rate=50.0, noise_std=0.5)
    with pytest.raises(DivergenceError, match="2/lambda_max = ") as caught:
        mf.simulate(sgd, start, 100, every=1, rng=0)
    assert np.isfinite(caught.value.params).all()
    assert caught.value.params.shape == start.shape
    assert 0 <= caught.value.step < 100


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.0},
        {"learning_rate": np.nan},
        {"noise_std": -1.0},
        {"batch_size": 0},
        {"batch_size": 4},
    ],
)
def test_hyperparameters_out_of_bounds(options):
    with pytest.raises(DataError, match=next(iter(options))):
        mf.LabelNoiseSGD(
            two_layer(), **{"learning_rate": 0.1, "noise_std": 1.0} | options
        )


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
