"""Numbers and counts: one checker, asked wherever a user may pass one."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import diagonal, two_layer
from manifold_flow import bounds, checks
from manifold_flow.errors import DataError, HypothesisError

NO_NUMBERS = [None, "1", True, np.nan, np.inf, 1j, [1.0], 10**400]
NO_COUNTS = [None, "3", True, 2.5, 2.0, np.nan, 0, -1, [1]]
NO_SOURCES = ["seed", 1.5, -1]

MODEL, INPUTS = diagonal(), np.eye(2, 3)
MANIFOLD = mf.ZeroLossManifold(MODEL)
START = MANIFOLD.random_point(rng=0)
FLOW = mf.LimitingFlow(MANIFOLD, mf.HessianTrace())
SGD = mf.LabelNoiseSGD(MODEL, 0.01, 0.5)

NUMBERS = {
    "rate": lambda x: mf.LimitingFlow(MANIFOLD, mf.HessianTrace(), rate=x),
    "learning_rate": lambda x: mf.LabelNoiseSGD(MODEL, x, 1.0),
    "noise_std": lambda x: mf.LabelNoiseSGD(MODEL, 0.1, x),
    "min_gap": lambda x: mf.HessianTopEigenvalue(min_gap=x),
    "bound": lambda x: MANIFOLD.random_point(bound=x, rng=0),
    "rtol": lambda x: mf.integrate(FLOW, START, [0.1], rtol=x),
    "atol": lambda x: mf.integrate(FLOW, START, [0.1], atol=x),
    "gtol": lambda x: mf.integrate(FLOW, START, [0.1], gtol=x),
}
OR_NONE = {
    "first_step": lambda x: mf.integrate(FLOW, START, [0.1], first_step=x),
    "time_limit": lambda x: mf.integrate(FLOW, START, [0.1], time_limit=x),
}
COUNTS = {
    "width": lambda x: mf.TwoLayerNetwork(INPUTS, [1.0, 2.0], x),
    "rank": lambda x: mf.MatrixSensing([np.eye(3)], [1.0], rank=x),
    "n_params": lambda x: mf.CallableModel(lambda t: t[:1], x),
    "batch_size": lambda x: mf.LabelNoiseSGD(MODEL, 0.1, 1.0, batch_size=x),
    "n_samples": lambda x: MANIFOLD.random_point(x, rng=0),
    "max_steps": lambda x: mf.integrate(FLOW, START, [0.1], max_steps=x),
    "num_matvecs": lambda x: mf.stochastic_trace(MODEL, START, num_matvecs=x),
    "n_steps": lambda x: mf.simulate(SGD, START, -1 if x == 0 else x),
}
SOURCES = {
    "random_point": lambda x: MANIFOLD.random_point(rng=x),
    "random_tangent_vec": lambda x: MANIFOLD.random_tangent_vec(START, rng=x),
    "stochastic_trace": lambda x: mf.stochastic_trace(MODEL, START, rng=x),
    "simulate": lambda x: mf.simulate(SGD, START, 1, rng=x),
}


@pytest.mark.parametrize("value", NO_NUMBERS, ids=repr)
@pytest.mark.parametrize("name", sorted(NUMBERS))
def test_what_is_no_number_is_refused_by_name(name, value):
    with pytest.raises(DataError, match=f"{name} = "):
        NUMBERS[name](value)


@pytest.mark.parametrize("value", NO_NUMBERS[1:], ids=repr)
@pytest.mark.parametrize("name", sorted(OR_NONE))
def test_optional_numbers_are_numbers_or_none(name, value):
    with pytest.raises(DataError, match=f"{name} = "):
        OR_NONE[name](value)


@pytest.mark.parametrize("value", NO_COUNTS, ids=repr)
@pytest.mark.parametrize("name", sorted(COUNTS))
def test_what_is_no_count_is_refused_by_name(name, value):
    with pytest.raises(DataError, match=f"{name} = "):
        COUNTS[name](value)


@pytest.mark.parametrize("value", NO_SOURCES, ids=repr)
@pytest.mark.parametrize("name", sorted(SOURCES))
def test_what_is_no_source_of_randomness_is_refused(name, value):
    with pytest.raises(DataError, match="rng = "):
        SOURCES[name](value)


@pytest.mark.parametrize("every", ["2", 0, 1.0])
def test_optional_counts_are_counts_or_none(every):
    with pytest.raises(DataError, match="every = "):
        mf.simulate(SGD, START, 2, every=every)
    with pytest.raises(DataError, match="replicas = "):
        mf.simulate(SGD, START, 2, replicas=every)


@pytest.mark.parametrize("value", [np.float32(0.25), np.int64(3), 2, 0.5])
def test_numpy_scalars_are_numbers(value):
    assert checks.positive("x", value) == float(value)


def test_numpy_integers_are_counts():
    assert mf.TwoLayerNetwork(INPUTS, [1.0, 2.0], np.int32(4)).width == 4


@pytest.mark.parametrize(
    "options", [{"rtol": 1e-15}, {"rtol": 1.0}, {"gtol": 1.0}, {"max_step": np.nan}]
)
def test_tolerances_that_control_nothing_are_refused(options):
    """rtol below 100 eps is raised by SciPy, gtol=1 stops at the start."""
    with pytest.raises(DataError, match=next(iter(options))):
        mf.integrate(FLOW, START, [0.1], **options)


@pytest.mark.parametrize("learning_rate", [1e-170, 1e170])
def test_a_learning_rate_without_a_clock_is_refused(learning_rate):
    with pytest.raises(DataError, match=r"learning_rate = .* square is no float64"):
        mf.LabelNoiseSGD(MODEL, learning_rate, 1.0)


@pytest.mark.parametrize("times", [[1e-300], [0.0, 1e-200, 1.0], [1.0, 1e300]])
def test_times_that_no_solver_resolves_are_refused(times):
    """LSODA searched for ever for a first step towards 1e-300."""
    with pytest.raises(DataError, match=r"times = .* no solver can resolve"):
        mf.integrate(FLOW, START, times)
    with pytest.raises(DataError, match=r"rate = .* no solver can resolve"):
        mf.LimitingFlow(MANIFOLD, mf.HessianTrace(), rate=1e-308)
    near = mf.integrate(FLOW, START, [1e-140])
    assert near.status is mf.Status.COMPLETED


def test_the_local_rate_is_refused_away_from_the_flattest_point():
    model = two_layer()
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    with pytest.raises(HypothesisError, match="not the flattest point"):
        bounds.local_rate(model, start)
    flattest = mf.references.flattest_point(model, start)
    assert bounds.local_rate(model, flattest) > 0


def test_a_flattest_point_from_a_start_that_is_nan_is_refused():
    model = two_layer()
    with pytest.raises(DataError, match=r"start\[0\] is nan"):
        mf.references.flattest_point(model, np.full(model.n_params, np.nan))
