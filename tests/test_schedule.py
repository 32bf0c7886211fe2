"""Steps per e-fold: against the closed form, and against the flow itself."""

import numpy as np
import pytest

import manifold_flow as mf
from cases import matrix, two_layer
from laws import relative
from manifold_flow import bounds
from manifold_flow.errors import HypothesisError, OffManifoldError
from manifold_flow.limits import modes


def collapsed(**options):
    model = two_layer(**options)
    manifold = mf.ZeroLossManifold(model)
    start = manifold.random_point(rng=0)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5)
    return sgd, manifold, start, mf.references.flattest_point(model, start)


def closed_form(model, end):
    """λ(K diag(4 w φ'φ''')), each m − 1 times (theory notes §1.8, §1.14)."""
    stiffness = bounds.hessian_coefficients(model, end)[:, 0]
    values = np.linalg.eigvals(model.inputs_gram * stiffness).real
    return np.repeat(np.sort(values)[::-1], model.width - 1)


@pytest.mark.parametrize("d", [3, 5])
def test_a_collapsed_network_has_the_rates_of_the_closed_form(d):
    sgd, manifold, _, end = collapsed(d=d)
    plan = mf.schedule(sgd, manifold, end)
    rate = mf.limiting_flow(sgd, manifold).rate
    assert relative(plan.rates, rate * closed_form(manifold.model, end)) < 1e-9
    assert plan.n_flat == 0
    assert relative(plan.steps_per_efold * plan.rates, 1e4 * np.ones(9)) < 1e-12
    local = bounds.local_rate(manifold.model, end)
    assert 2 * plan.rates[-1] == pytest.approx(rate * local, rel=1e-9)


def test_the_flow_decays_at_the_slowest_rate():
    sgd, manifold, start, end = collapsed()
    plan = mf.schedule(sgd, manifold, end)
    times = np.array([6.0, 8.0]) / plan.rates[-1]
    flow = mf.limiting_flow(sgd, manifold)
    path = mf.integrate(flow, start, times, rtol=1e-11, atol=1e-13)
    left = np.linalg.norm(path.points - end, axis=1)
    measured = np.log(left[0] / left[1]) / np.diff(times)[0]
    assert measured == pytest.approx(plan.rates[-1], rel=1e-2)
    # control: the next slower mode is not what is seen
    assert measured != pytest.approx(plan.rates[-4], rel=0.1)


def test_symmetries_are_flat():
    """UUᵀ does not change when U is rotated: one flat direction for rank 2."""
    model = matrix(symmetric=True)
    manifold = mf.ZeroLossManifold(model)
    sgd = mf.LabelNoiseSGD(model, 0.01, 0.5)
    flow = mf.limiting_flow(sgd, manifold)
    end = mf.integrate(flow, manifold.random_point(rng=0)).end
    plan = mf.schedule(sgd, manifold, end)
    assert plan.n_flat == 1
    assert len(plan.rates) + 1 == manifold.dim
    assert "Flat directions: 1." in str(plan)


def test_both_ends_of_a_large_spectrum(monkeypatch):
    sgd, manifold, _, end = collapsed(n=3, d=3, width=8)
    whole = mf.schedule(sgd, manifold, end).rates
    monkeypatch.setattr(modes, "LARGEST_DENSE", 0)
    ends = mf.schedule(sgd, manifold, end).rates
    assert relative(ends, np.concatenate([whole[:6], whole[-6:]])) < 1e-8


def test_the_schedule_in_words():
    sgd, manifold, _, end = collapsed()
    plan = mf.schedule(sgd, manifold, end)
    whose, words, *rest = str(plan).split("\n")
    assert whose == f"{sgd!r}:"
    assert f"takes {plan.steps_per_efold[0]:.3g} steps in the fastest of 9" in words
    assert f"and {plan.steps_per_efold[-1]:.3g} in the slowest" in words
    assert rest == []
    slow = mf.schedule(sgd.with_learning_rate(1e-4), manifold, end)
    assert relative(slow.steps_per_efold, 1e4 * plan.steps_per_efold) < 1e-12
    assert "Warning: the slowest mode needs more than 1e+07 steps" in str(slow)


def test_points_and_flows_without_modes():
    sgd, manifold, start, end = collapsed()
    with pytest.raises(HypothesisError, match="not stationary and has no modes"):
        mf.schedule(sgd, manifold, start)
    with pytest.raises(OffManifoldError):
        mf.schedule(sgd, manifold, end + 0.1)
    still = mf.MinibatchSGD(manifold.model, 0.01)
    drifting = mf.LabelNoiseSGD(manifold.model, 0.01, np.array([0.1, 0.2, 0.3]))
    for optimizer in (still, drifting):
        with pytest.raises(HypothesisError, match="has no schedule"):
            mf.schedule(optimizer, manifold, end)


def test_a_saddle_has_no_schedule():
    """The steep end (0, 1) of an ellipse is stationary too."""
    model = mf.CallableModel(lambda t: [t[0] ** 2 + 4 * t[1] ** 2 - 4.0], n_params=2)
    sgd = mf.LabelNoiseSGD(model, 0.01, 1.0)
    with pytest.raises(HypothesisError, match="a saddle"):
        mf.schedule(sgd, mf.ZeroLossManifold(model), [0.0, 1.0])
