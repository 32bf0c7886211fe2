"""What arguments of the wrong kind are told: typed errors that name the argument."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import MODELS, callable_model, diagonal, tanh_residual, two_layer
from manifold_flow import bounds
from manifold_flow.errors import (
    ArgumentError,
    DataError,
    HypothesisError,
    ManifoldFlowError,
    NonFiniteError,
    ProjectionError,
    ShapeError,
    UnknownKeywordError,
)
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
    ],
)
def test_sizes_are_refused_before_memory_is_allocated(call, what):
    with pytest.raises(DataError, match=rf"^{what} would take .* refused before"):
        call()


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
