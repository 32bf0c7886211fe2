"""How large a step may be: the answer recomputed, its order, and what limits it."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import diagonal, two_layer
from manifold_flow.errors import ConvergenceError, DataError
from manifold_flow.limits import largest_step


def traces(flow, start, times):
    """Tr ∇²L along a flow, on a grid of times of its own."""
    path = mf.integrate(flow, start, times)
    here = map(flow.manifold.linearize, path.points)
    return np.array([mf.HessianTrace().value(at) for at in here])


def worst(model, start, step, slow_time, batch_size):
    """The definition of the deviation, without the search."""
    manifold = mf.ZeroLossManifold(model)
    times = slow_time * np.linspace(0, 1, 201) ** 3
    sgd = mf.LabelNoiseSGD(model, step, 1.0, batch_size)
    exact = traces(mf.limiting_flow(sgd, manifold), start, times)
    found = traces(mf.finite_step_flow(sgd, manifold), start, times)
    return np.abs(found - exact).max() / (exact[0] - exact[-1])


def largest(model, tolerance, batch_size, slow_time=4.0):
    start = mf.ZeroLossManifold(model).random_point(rng=0)
    step = mf.largest_tracking_step(
        model, tolerance, batch_size=batch_size, start=start, slow_time=slow_time
    )
    return step, start


@pytest.mark.parametrize("batch_size", [3, pytest.param(1, marks=pytest.mark.slow)])
def test_the_deviation_at_the_largest_step_is_the_tolerance(batch_size):
    model = two_layer(n=3, d=3, width=2)
    step, start = largest(model, 0.05, batch_size)
    assert step.limited_by == "tolerance"
    assert step.deviation == pytest.approx(0.05, rel=0.01)
    again = worst(model, start, step.learning_rate, 4.0, batch_size)
    assert again == pytest.approx(0.05, rel=0.01)
    assert step.learning_rate < step.stability_threshold
    assert step.n_steps == np.ceil(4.0 / step.learning_rate**2)
    # control: a step larger by a fifth does not
    assert worst(model, start, 1.2 * step.learning_rate, 4.0, batch_size) > 0.055


@pytest.mark.slow
@pytest.mark.parametrize(("build", "batch_size"), [(two_layer, 2), (diagonal, 1)])
def test_the_deviation_is_of_order_one_in_the_step(build, batch_size):
    model = build()
    steps = [largest(model, 0.01 / k, batch_size)[0].learning_rate for k in (1, 2, 4)]
    slope = np.polyfit(np.log(steps), np.log([4.0, 2.0, 1.0]), 1)[0]
    assert slope == pytest.approx(1.0, abs=0.05)


def test_a_tolerant_user_is_limited_by_stability():
    model = two_layer(n=2, d=2, width=2)
    step, start = largest(model, 5.0, 2)
    here = mf.ZeroLossManifold(model).linearize(start)
    assert step.limited_by == "stability"
    assert step.deviation < 5.0
    assert step.stability_threshold == pytest.approx(2 / here.hessian_eigenvalues[0])
    assert step.learning_rate == pytest.approx(step.stability_threshold, rel=2e-3)
    assert "Limited by stability, which ends at" in str(step)


@pytest.mark.slow
def test_noise_sets_the_clock_and_not_the_answer():
    model = mf.DiagonalLinearNetwork([[1.0, 0.5]], [1.0])
    loud, quiet = (
        mf.largest_tracking_step(model, noise_std=noise, start=[1.25, 1.0, 0.75, 1.0])
        for noise in (2.0, 0.5)
    )
    assert loud.learning_rate == pytest.approx(quiet.learning_rate, rel=5e-3)
    assert quiet.slow_time == pytest.approx(16 * loud.slow_time, rel=0.05)
    assert "Limited by the 0.05 allowed; SGD is stable up to" in str(loud)
    assert f"{loud.n_steps:.3g} steps" in str(loud)


def test_a_start_that_is_flattest_has_no_fall():
    model = two_layer(n=2, d=2, width=2)
    flattest = mf.references.flattest_point(model)
    with pytest.raises(DataError, match="no fall that a deviation"):
        mf.largest_tracking_step(model, start=flattest)


@pytest.mark.parametrize("name", ["tolerance", "noise_std", "slow_time"])
def test_bad_numbers(name):
    with pytest.raises(DataError, match=name):
        mf.largest_tracking_step(diagonal(), **{name: 0.0})


def test_a_tolerance_below_what_is_resolved():
    with pytest.raises(DataError, match="not resolved"):
        mf.largest_tracking_step(diagonal(), 1e-9)


def test_a_deviation_that_no_step_brings_down():
    """The controls of the search: infinite at any step, then unstable up to a step."""
    with pytest.raises(ConvergenceError, match="still deviate by more than"):
        largest_step._largest(lambda rate: np.inf, 0.1, 1.0)

    def unstable_above(rate):
        return 2.0 * rate if rate < 0.3 else np.inf

    found, limit = largest_step._largest(unstable_above, 0.1, 1.0)
    assert found == pytest.approx(0.05, rel=2e-3)
    assert limit == "tolerance"


@pytest.mark.slow
def test_a_path_that_ends_at_the_edge_of_the_manifold():
    """A sparse target: the flow loses rank, and the faster flow does so before."""
    inputs = np.array([[1.0, 1.0, 1.0], [1.0, -1.0, 1.0]])
    model = mf.DiagonalLinearNetwork(inputs, [1.0, 1.0])
    manifold = mf.ZeroLossManifold(model)
    start = manifold.random_point(rng=0)
    flow = mf.limiting_flow(mf.LabelNoiseSGD(model, 0.1, 1.0), manifold)
    assert mf.integrate(flow, start).status is mf.Status.RANK_LOSS
    step = mf.largest_tracking_step(model, start=start)
    assert step.limited_by == "tolerance"
    assert step.deviation == pytest.approx(0.05, rel=0.01)
