"""What arguments of the wrong kind are told: typed errors that name the argument."""

import pickle

import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, callable_model, diagonal, tanh_residual, two_layer
from manifold_flow import bounds
from manifold_flow.errors import (
    ArgumentError,
    DataError,
    DivergenceError,
    HypothesisError,
    ManifoldFlowError,
    NoLimitingFlowError,
    NonFiniteError,
    ProjectionError,
    ShapeError,
    UnknownKeywordError,
)
from manifold_flow.fluctuations import stability_threshold, stationary_covariance
from manifold_flow.projection import gauss_newton

NETWORK = two_layer()
MANIFOLD = mf.ZeroLossManifold(NETWORK)
START = MANIFOLD.random_point(rng=0)
FLOW = mf.LimitingFlow(MANIFOLD, mf.HessianTrace())
SGD = mf.LabelNoiseSGD(NETWORK, 0.01, 0.1)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mf.ZeroLossManifold(None), "model is None where a Model is needed"),
        (
            lambda: mf.LimitingFlow(NETWORK, mf.HessianTrace()),
            "manifold is of type TwoLayer",
        ),
        (lambda: mf.LimitingFlow(MANIFOLD, "trace"), "sharpness is 'trace' where a"),
        (
            lambda: mf.LimitingFlow(MANIFOLD, mf.HessianTrace),
            r"is the class HessianTrace .* Pass mf\.HessianTrace\(\)",
        ),
        (lambda: mf.LabelNoiseSGD(MANIFOLD, 0.1, 0.1), "model is of type ZeroLoss"),
        (lambda: mf.limiting_flow(SGD, NETWORK), "manifold is of type TwoLayerNetwork"),
        (lambda: mf.integrate(SGD, START), r"Optimizers run in mf\.simulate\(\)"),
        (lambda: mf.integrate(None, START), "flow is None where a Flow is needed"),
        (lambda: mf.simulate(FLOW, START, 3), r"followed by mf\.integrate\(\)"),
    ],
)
def test_objects_of_another_kind(call, message):
    with pytest.raises(ArgumentError, match=message) as caught:
        call()
    assert isinstance(caught.value, TypeError)


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda bad: two_layer(sample_weights=bad), "sample_weights"),
        (lambda bad: mf.CallableModel(tanh_residual, 12, check_at=bad), "check_at"),
        (lambda bad: mf.integrate(FLOW, bad), "start"),
        (lambda bad: mf.simulate(SGD, bad, 3), "start"),
        (NETWORK.residual, "params"),
    ],
)
@pytest.mark.parametrize("bad", ["abc", [1j, 2.0], [[1.0], [2.0, 3.0]], [10**400]])
def test_what_is_no_array_of_real_numbers(call, name, bad):
    with pytest.raises(DataError, match=f"^{name} is not an array of real numbers"):
        call(bad)


@pytest.mark.parametrize("name", MODELS)
def test_params_may_be_a_list(name):
    model = MODELS[name]()
    params = np.random.default_rng(0).standard_normal(model.n_params)
    for function in (model.residual, model.jacobian, model.loss_value):
        assert np.array_equal(function(params.tolist()), function(params))
    here = model.linearize(params.tolist())
    assert np.array_equal(here.gram, model.linearize(params).gram)
    with pytest.raises(ShapeError, match=r"^params"):
        model.residual([0.0])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mf.LabelNoiseSGD(NETWORK, lerning_rate=0.1, noise_std=1), "'learning"),
        (lambda: mf.LimitingFlow(MANIFOLD, mf.HessianTrace(), rat=2.0), "'rate'"),
        (lambda: mf.ZeroLossManifold(modl=NETWORK), "'model'"),
    ],
)
def test_mistyped_keywords_name_the_nearest(call, message):
    with pytest.raises(UnknownKeywordError, match=f"did you mean {message}"):
        call()


# --- sizes ----------------------------------------------------------------------------

HUGE = 10**12


@pytest.mark.parametrize(
    ("call", "what"),
    [
        (lambda: mf.datasets.gaussian(HUGE, 2), "the inputs"),
        (lambda: mf.datasets.uniform(2, 10**400), "the inputs"),
        (lambda: two_layer(width=HUGE), "the features"),
        (
            lambda: mf.TwoLayerNetwork(np.eye(2, 10**5), np.ones(2), width=10**4),
            "the parameters",
        ),
        (lambda: mf.CallableModel(tanh_residual, HUGE), "the parameters"),
        (
            lambda: mf.CallableModel(lambda t: t[:-1] - 1.0, 20_000),
            "the Gram matrix",
        ),
        (
            lambda: mf.CallableModel(lambda t: t[:1000] - 1.0, 10**6),
            "the Jacobian",
        ),
        (
            lambda: mf.MatrixSensing(np.eye(3)[None], np.ones(1), rank=HUGE),
            "the parameters",
        ),
        (lambda: mf.simulate(SGD, START, 3, replicas=HUGE), "the replicas"),
        (lambda: mf.simulate(SGD, START, HUGE, every=1), "the kept iterates"),
        (
            lambda: mf.simulate(SGD, START, 100, replicas=10**6),
            "the kept iterates",
        ),
        (
            lambda: mf.simulate(
                mf.LabelNoiseSGD(NETWORK, 0.01, 0.1, HUGE, replacement=True), START, 3
            ),
            "the batches",
        ),
        (lambda: mf.compare(SGD, MANIFOLD, START, replicas=HUGE), "the replicas"),
    ],
)
def test_sizes_are_refused_before_memory_is_allocated(call, what):
    with pytest.raises(DataError, match=rf"^{what} would take .* refused before"):
        call()


# --- optimizers, flows and diffusions -------------------------------------------------

CIRCLE = mf.CallableModel(lambda t: [t @ t - 1.0], n_params=2)
ON_CIRCLE = mf.LimitingDiffusion(mf.ZeroLossManifold(CIRCLE), 1.0)
TWINS = two_layer(), two_layer()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: mf.LabelNoiseSGD(NETWORK, 0.1, 1e200), "^noise_std = 1e.200: its squ"),
        (lambda: mf.LabelNoiseSGD(NETWORK, 0.1, 1.0, noise=[1]), "unknown noise"),
        (
            lambda: mf.SAM(NETWORK, 0.1, 0.1).with_learning_rate("a"),
            "^learning_rate = 'a'",
        ),
        (lambda: mf.simulate(SGD, START, 10**400), "^n_steps has 401 digits"),
        (
            lambda: mf.DriftFlow(MANIFOLD, np.full(NETWORK.n_residuals, 1e300)),
            "^noise has an entry of size 1e.300",
        ),
        (lambda: mf.LimitingDiffusion(MANIFOLD, 1e200), "^factor = 1e.200"),
        (
            lambda: mf.LimitingDiffusion(ON_CIRCLE.manifold, [[1e200], [0.0]]),
            "^factor has an entry of size 1e.200",
        ),
        (lambda: mf.limit_map(CIRCLE, [1e76, 0.0]), "gradient of the loss overflows"),
        (lambda: mf.limit_map(CIRCLE, [3.0, 4.0], rtol="a"), "^rtol = 'a'"),
        (lambda: ON_CIRCLE.manifold.projection([1e78, 0.0]), "after 100 iterations"),
        (lambda: ON_CIRCLE.drift("ab"), "^point is not an array"),
        (lambda: ON_CIRCLE.kick([1.0, 0.0], [1.0]), r"^increment: .* \(2,\)"),
        (
            lambda: mf.compare(SGD, MANIFOLD, START, time_limit=-1.0),
            "^time_limit = -1",
        ),
    ],
)
def test_numbers_that_overflow_and_words_that_are_none(call, message):
    with pytest.raises(ManifoldFlowError, match=message):
        call()


@pytest.mark.parametrize(
    "factor",
    [
        lambda point: np.ones((2, 1 + (abs(point[0] - 1.0) > 1e-9))),
        lambda point: np.ones((2, 1 + (point[1] > 0.5))),
    ],
)
def test_the_number_of_sources_is_the_same_everywhere(factor):
    diffusion = mf.LimitingDiffusion(ON_CIRCLE.manifold, factor)
    with pytest.raises(ManifoldFlowError, match="number is the same at every point"):
        mf.integrate_sde(diffusion, [1.0, 0.0], [5.0], dt=0.05, rng=0)


def test_a_flow_is_compared_with_an_optimizer_of_its_own_model():
    model, other = TWINS
    manifold, elsewhere = mf.ZeroLossManifold(model), mf.ZeroLossManifold(other)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.1)
    flow = mf.LimitingFlow(elsewhere, mf.HessianTrace())
    for where in (manifold, elsewhere):
        with pytest.raises(NoLimitingFlowError, match="different models"):
            mf.compare(sgd, where, START, flow=flow)


def test_divergence_is_told_where_the_start_has_no_threshold():
    start = np.zeros((2, 2))
    start[1] = 1.0, 2.0
    with pytest.raises(DivergenceError, match="2/lambda_max at the start"):
        mf.simulate(mf.GradientDescent(CIRCLE, 1e3), start, 100)
    with pytest.raises(DivergenceError, match="2/lambda_max, which overflows"):
        mf.simulate(mf.GradientDescent(CIRCLE, 1.0), [1e155, 1.0], 100)


def test_a_residual_that_overflows_at_finite_params_is_infinite():
    gd = mf.NormalizedGD(CIRCLE, 1e149)
    run = mf.simulate(gd, np.array([1.0, 2.0]), 1)
    assert np.isfinite(run.residual).all()
    model = mf.DiagonalLinearNetwork([[1.0, 1.0]], [1.0])
    with pytest.raises(DivergenceError) as caught:
        mf.simulate(mf.GradientDescent(model, 1e50, 0.5), np.ones(4) * 2.0, 100)
    run = mf.simulate(
        mf.GradientDescent(model, 1e50, 0.5), np.ones(4) * 2.0, caught.value.step
    )
    assert np.array_equal(run.end, caught.value.params)


def test_tiny_overlap_is_none():
    here = NETWORK.linearize(START)
    assert stability_threshold(here, 1e-20) == stability_threshold(here, 0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"overlap": -0.1}, "^overlap = -0.1"),
        ({"overlap": np.nan}, "^overlap = nan"),
        ({"overlap": 1.0, "residuals_per_sample": 0}, "^residuals_per_sample = 0"),
        ({"overlap": 1.0, "residuals_per_sample": 7}, "does not divide"),
    ],
)
def test_batches_that_are_none_have_no_fluctuations(options, message):
    here = NETWORK.linearize(START)
    noise = np.eye(NETWORK.n_residuals)
    with pytest.raises(DataError, match=message):
        stability_threshold(here, **options)
    with pytest.raises(DataError, match=message):
        stationary_covariance(here, noise, 0.01, **options)
    with pytest.raises(ShapeError, match=r"^noise"):
        stationary_covariance(here, np.diag(noise), 0.01)


def test_a_schedule_without_modes_says_so():
    model = two_layer(activation="z")
    manifold = mf.ZeroLossManifold(model)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5)
    plan = mf.schedule(sgd, manifold, manifold.random_point(rng=0))
    assert plan.steps_per_efold.shape == (0,)
    assert f"in all {plan.n_flat} directions" in str(plan)


@pytest.mark.parametrize("factor", [0.5, np.ones((START.size, 1))])
def test_diffusions_are_pickled(factor):
    diffusion = mf.LimitingDiffusion(MANIFOLD, factor)
    again = pickle.loads(pickle.dumps(diffusion))
    assert repr(again) == repr(diffusion)
    assert np.array_equal(again.drift(START), diffusion.drift(START))


def test_many_standard_deviations_are_one_line():
    inputs, targets = mf.datasets.gaussian(30, 40, rng=0)
    network = mf.TwoLayerNetwork(inputs, targets, 4)
    words = repr(mf.LabelNoiseSGD(network, 0.01, np.linspace(0.1, 0.2, 30)))
    assert "\n" not in words
    assert "..." in words
    assert len(words) < 200


# --- bounds ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda model: bounds.pl_rate(model, (0.0, 1.0)),
        lambda model: bounds.local_rate(model, np.zeros(12)),
        lambda model: bounds.hessian_coefficients(model, np.zeros(12)),
        lambda model: bounds.sublevel_interval(model, np.zeros(12)),
        bounds.sample_curvatures,
    ],
)
@pytest.mark.parametrize("model", [diagonal, callable_model])
def test_bounds_are_those_of_the_two_layer_network(call, model):
    with pytest.raises(HypothesisError, match="proved for TwoLayerNetwork, not for"):
        call(model())


@pytest.mark.parametrize(
    "interval", [(1.0, 0.0), (np.nan, 0.0), (-np.inf, 0.0), (0.0,), None]
)
def test_an_interval_has_two_finite_ends(interval):
    with pytest.raises(ManifoldFlowError, match=r"^interval"):
        bounds.pl_rate(NETWORK, interval)


def test_relu_has_no_rate():
    inputs, targets = mf.datasets.gaussian(3, 5, rng=0)
    network = mf.TwoLayerNetwork(inputs, np.abs(targets), 4, "relu")
    for interval in ((-1.0, 1.0), (0.5, 1.0), (-1.0, -0.5)):
        with pytest.raises(HypothesisError, match="relu has min phi'"):
            bounds.pl_rate(network, interval)


# --- where the geometry breaks down ---------------------------------------------------


class Breaks(mf.DiagonalLinearNetwork):
    """A model whose geometry does not exist at its first points."""

    def __init__(self, error, times):
        super().__init__([[1.0, 2.0]], [1.0])
        self.error, self.left = error, times

    def linearize(self, params):
        here = super().linearize(params)
        self.left -= 1
        if self.left < 0:
            return here
        if isinstance(self.error, NonFiniteError):
            raise self.error
        here.normal_solve = self._broken
        return here

    def _broken(self, residual):
        raise self.error


@pytest.mark.parametrize(
    "error", [NonFiniteError("overflow"), np.linalg.LinAlgError("no convergence")]
)
def test_a_random_point_is_drawn_again_after_a_breakdown(error):
    model = Breaks(error, times=3)
    with pytest.raises(ProjectionError, match=str(error)):
        gauss_newton(model, np.ones(4))
    manifold = mf.ZeroLossManifold(Breaks(error, times=3))
    assert manifold.belongs(manifold.random_point(rng=0))
