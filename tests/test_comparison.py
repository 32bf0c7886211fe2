"""The algorithm beside its flow: the statistics, the verdicts, the halving tests."""

from dataclasses import replace

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow.comparison import Ensemble
from manifold_flow.comparison.statistics import extrapolated, fitted_rate, mean_of
from manifold_flow.errors import DataError, ShapeError
from theory.statement import Verdict

RATES = (0.04, 0.02, 0.01)
TIMES = np.linspace(0.1, 2.0, 20)


def curve(s, order=0):
    """An exact flow: S = 1 + exp(−s) at unit rate."""
    return (1.0 - order) + (-1.0) ** order * np.exp(-s)


def ensemble(learning_rate, bias, noise, rng, replicas=64, rate=0.5):
    """Replicas whose mean is the curve plus a bias, with noise that lasts in time."""
    shape = (len(TIMES), replicas)
    paths = np.cumsum(rng.standard_normal(shape), axis=0) / np.sqrt(len(TIMES))
    values = (curve(rate * TIMES) + bias)[:, None] + noise * paths
    return Ensemble(
        learning_rate=learning_rate,
        times=TIMES,
        sharpness=values,
        reference=curve(rate * TIMES),
        distance=np.zeros(len(TIMES)),
        rate=fitted_rate(TIMES, values, curve, np.linspace(0.0, 2.0, 50)),
        n_steps=round(2.0 / learning_rate**2),
        seconds=0.0,
    )


def comparison(bias, noise=0.002, rate=0.5, predicted=0.5, seed=0, **options):
    """Ensembles with the bias(η, t) that is planted."""
    rng = np.random.default_rng(seed)
    ensembles = tuple(
        ensemble(eta, bias(eta, TIMES), noise, rng, rate=rate, **options)
        for eta in RATES
    )
    if predicted != rate:
        reference = curve(predicted * TIMES)
        ensembles = tuple(replace(each, reference=reference) for each in ensembles)
    return mf.Comparison(ensembles, predicted, "algorithm", "flow", "model", "loss")


def first_order(eta, t):
    return -2.0 * eta * t * np.exp(-0.5 * t)


# --- orders and rates -----------------------------------------------------------------


@pytest.mark.parametrize("order", [0.5, 1.0, 2.0])
def test_an_exact_power_has_its_order(order):
    steps = np.array([0.4, 0.1, 0.2])
    found = mf.convergence_order(steps, -3.0 * steps**order, 1e-9 * steps)
    assert found.value == pytest.approx(order, abs=1e-12)
    assert found.half_width < 1e-6


def test_the_interval_of_an_order_holds_it_ninety_five_times_of_a_hundred():
    rng, steps = np.random.default_rng(0), np.array([0.4, 0.2, 0.1])
    noise = np.array([0.01, 0.01, 0.01])
    inside = []
    for _ in range(300):
        errors = 0.8 * steps + noise * rng.standard_normal(3)
        low, high = mf.convergence_order(steps, errors, noise).interval
        inside.append(low <= 1.0 <= high)
    assert 0.91 < np.mean(inside) < 0.985


def test_noise_of_the_size_of_the_errors_says_nothing_of_an_order():
    steps = np.array([0.04, 0.02, 0.01])
    assert mf.convergence_order(steps, steps, 0.5 * steps).half_width > 1.0
    assert mf.convergence_order(steps, steps, 0.01 * steps).half_width < 0.05


def test_few_samples_widen_the_standard_error_to_students_law():
    rng = np.random.default_rng(0)
    inside = []
    for _ in range(2000):
        low, high = mean_of(rng.standard_normal(4)).interval
        inside.append(low <= 0.0 <= high)
    assert np.mean(inside) == pytest.approx(0.95, abs=0.02)


def test_richardson_takes_a_first_order_away_for_any_two_step_sizes():
    steps = np.array([0.5, 0.3, 0.1])
    values = [mf.comparison.Estimate(7.0 + 4.0 * step, 0.1) for step in steps]
    found = extrapolated(steps, values)
    assert found.value == pytest.approx(7.0)
    assert found.standard_error == pytest.approx(0.1 * np.hypot(1.5, 0.5))


def test_a_rate_is_fitted_with_the_noise_of_all_times_together():
    found = [
        ensemble(0.1, 0.0, 0.05, np.random.default_rng(seed), rate=0.5).rate
        for seed in range(200)
    ]
    spread = np.std([rate.value for rate in found])
    assert np.mean([rate.value for rate in found]) == pytest.approx(0.5, abs=0.005)
    assert found[0].standard_error == pytest.approx(spread, rel=0.3)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (([0.1, 0.1], [1, 2], [1, 1]), DataError, "two different ones"),
        (([0.1, -0.1], [1, 2], [1, 1]), DataError, r"step_sizes\[1\] = -0.1"),
        (([0.1, 0.2], [1, 0], [1, 1]), DataError, r"\|errors\|\[1\] = 0"),
        (([0.1, 0.2], [1, 2], [1, 0]), DataError, r"standard_errors\[1\] = 0"),
        (([0.1, 0.2], [1, 2, 3], [1, 1]), ShapeError, "One per step size"),
    ],
)
def test_numbers_without_an_order(arguments, error, message):
    with pytest.raises(error, match=message):
        mf.convergence_order(*arguments)


# --- verdicts on planted ensembles ----------------------------------------------------


def test_a_bias_of_first_order_holds():
    found = comparison(first_order)
    assert found.verdict is Verdict.HOLDS
    assert found.fitted_order.value == pytest.approx(1.0, abs=0.05)
    assert abs(found.richardson.value) < found.evidence.tolerance
    assert found.rate_measured.value == pytest.approx(0.5, rel=0.05)
    assert "HOLDS: the error vanishes with order" in str(found)
    assert found.to_dict()["fitted_order_interval"] == list(found.fitted_order.interval)


@pytest.mark.parametrize("predicted", [1.0, 0.25, 0.55, 0.0])
def test_a_wrong_rate_is_violated(predicted):
    found = comparison(first_order, predicted=predicted)
    assert found.verdict is Verdict.VIOLATED
    assert "does not go to 0" in found.reason
    assert found.rate_measured.value == pytest.approx(0.5, rel=0.05)


def test_an_error_that_stays_but_no_rate_that_is_refuted_is_no_violation():
    found = comparison(lambda eta, t: 0.02 * np.cos(2 * np.pi * t) + 0.02 + 0 * eta)
    assert not found.evidence.error_vanishes
    assert found.verdict in (Verdict.VIOLATED, Verdict.UNDECIDED)


def test_noise_above_the_bias_is_not_reached_and_says_what_would_do():
    found = comparison(first_order, noise=0.5)
    assert found.verdict is Verdict.NOT_REACHED
    needed = found.evidence.replicas_needed
    assert f"About {needed} replicas would resolve them" in found.reason
    again = comparison(first_order, noise=0.5, replicas=2 * needed)
    assert again.verdict is Verdict.HOLDS


def test_learning_rates_beyond_the_leading_order_are_undecided():
    found = comparison(lambda eta, t: -300.0 * eta**2.5 * t * np.exp(-0.5 * t))
    assert found.fitted_order.value == pytest.approx(2.5, abs=0.1)
    assert found.verdict is Verdict.UNDECIDED
    assert "Use smaller ones" in found.reason


@pytest.mark.slow
def test_verdicts_do_not_depend_on_luck():
    """Of a hundred seeds none is violated where the flow is right, all where wrong."""
    right = [comparison(first_order, noise=0.02, seed=s).verdict for s in range(100)]
    assert Verdict.VIOLATED not in right
    assert right.count(Verdict.HOLDS) >= 90
    wrong = [
        comparison(first_order, noise=0.02, predicted=1.0, seed=s).verdict
        for s in range(100)
    ]
    assert set(wrong) == {Verdict.VIOLATED}
