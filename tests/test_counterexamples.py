"""Counterexamples: the failure is seen, its numbers are the noted ones, a cure works.

A wrong constant planted in what is measured must turn every one of them around.
"""

import functools

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.verification.evidence import CHECKS, examine
from manifold_flow.verification.gatmiry2024 import counterexamples, existence, small
from manifold_flow.verification.gatmiry2024.small import SmallNetwork, by_differences
from theory.statement import Verdict

IDS = [
    f"gatmiry2024/{name}"
    for name in (
        "flat-spot",
        "sign-change",
        "zero-third-derivative",
        "negative-third-derivative",
        "dependent-inputs",
        "more-samples-than-features",
        "unattained-minimum",
        "slow-start",
        "unreachable-target",
        "out-of-scope-activations",
        "top-eigenvalue-not-collapsed",
    )
]


def judged(name):
    """Their own networks are examined, whatever the instance."""
    return examine(f"gatmiry2024/{name}", None)


@functools.cache
def unplanted(name):
    return judged(name)


def numbers(evidence):
    return {number.name: number.value for number in evidence.numbers}


@pytest.mark.parametrize("id", IDS)
def test_the_failure_is_seen_and_its_cure_works(id):
    evidence = unplanted(id.partition("/")[2])
    assert evidence.verdict is Verdict.HOLDS, evidence.message
    assert evidence.hypotheses
    assert evidence.measurements
    assert evidence.refinements
    assert evidence.control_failed


def test_every_counterexample_is_registered_where_it_is_tested():
    ours = {
        id
        for id, (_, function) in CHECKS.items()
        if function.__module__ in (counterexamples.__name__, existence.__name__)
    }
    assert ours == set(IDS)


# --- the numbers of theory notes §1.7, §1.12 and §1.13 --------------------------------


def test_flat_spot_numbers():
    found = numbers(unplanted("flat-spot"))
    assert found["F with a stuck neuron"] == pytest.approx(46.674, abs=5e-4)
    assert found["F*"] == pytest.approx(40.773, abs=5e-4)


def test_sign_change_numbers():
    found = numbers(unplanted("sign-change"))
    assert found["Hess_M F at u = 0.3"] == pytest.approx(-4.84, abs=5e-3)
    assert found["Hess_M F at u = 0.57"] == pytest.approx(-0.092, abs=5e-4)
    assert found["Hess_M F at u = 0.58"] == pytest.approx(0.032, abs=5e-4)


def test_slow_start_slope():
    found = numbers(unplanted("slow-start"))
    assert found["slope of 1/p from z = -9"] == pytest.approx(-1.44, abs=5e-4)


def test_two_different_local_minima_for_more_samples_than_features():
    found = numbers(unplanted("more-samples-than-features"))
    assert found["F at the end of start 0"] == pytest.approx(106.558, abs=1e-3)
    assert found["F at the end of start 3"] == pytest.approx(106.806, abs=1e-3)


def test_global_geodesic_convexity_fails_by_the_noted_number():
    network = SmallNetwork.through([[10.0, 1.0]], "cubic")
    gradients = network.model.jacobian(network.point)[0]
    tangent = [-gradients[1], gradients[0]]
    assert network.hessian(tangent) == pytest.approx(-29.77, abs=5e-3)
    evidence = judged("global-geodesic-convexity-fails")
    assert evidence.verdict is Verdict.HOLDS
    assert numbers(evidence)["delta*"] == pytest.approx(4.5, abs=1e-9)


# --- planted errors -------------------------------------------------------------------


def scaled(owner, attribute, factor):
    """Return a plant that multiplies what a method gives."""
    right = getattr(owner, attribute)
    return owner, attribute, lambda *given, **more: factor * right(*given, **more)


HESSIAN = scaled(mf.ZeroLossManifold, "riemannian_hessian", 1.001)
CONCAVE = scaled(mf.ZeroLossManifold, "riemannian_hessian", -1.0)
TRACE = scaled(mf.HessianTrace, "value", 1.01)


PLANTS = {
    "flat-spot": TRACE,
    "sign-change": HESSIAN,
    "zero-third-derivative": TRACE,
    "negative-third-derivative": HESSIAN,
    "dependent-inputs": TRACE,
    "more-samples-than-features": CONCAVE,
    "unattained-minimum": TRACE,
    "slow-start": (existence, "PREDICTED", -1.5),
    "unreachable-target": (TwoLayerNetwork, "_check_reachable", lambda _: None),
    "out-of-scope-activations": (existence, "flattest_point", lambda _: None),
    "top-eigenvalue-not-collapsed": scaled(mf.HessianTopEigenvalue, "value", 1.001),
}


@pytest.mark.parametrize("name", PLANTS)
def test_a_planted_error_is_a_violation(name, monkeypatch):
    monkeypatch.setattr(*PLANTS[name])
    evidence = judged(name)
    assert evidence.verdict is Verdict.VIOLATED
    assert evidence.message


@pytest.mark.parametrize(
    "name",
    [
        "flat-spot",
        "sign-change",
        "dependent-inputs",
        pytest.param("more-samples-than-features", marks=pytest.mark.slow),
        "unattained-minimum",
    ],
)
def test_without_a_cure_nothing_is_claimed(name, monkeypatch):
    """A control that passes would mean that the dropped hypothesis does not matter."""
    monkeypatch.setattr(small, "flattest_value", lambda _: 1.0)
    evidence = judged(name)
    assert evidence.verdict is Verdict.UNDECIDED
    assert "the control did not fail" in evidence.message


def test_a_premise_that_does_not_fail_makes_it_not_applicable(monkeypatch):
    monkeypatch.setattr(existence, "OUT_OF_SCOPE", ("tanh", "sinh"))
    evidence = judged("out-of-scope-activations")
    assert evidence.verdict is Verdict.NOT_APPLICABLE
    assert evidence.message == "sinh: phi' positive, phi''' positive"


# --- the small networks ---------------------------------------------------------------


def test_the_point_of_a_small_network_is_on_its_manifold():
    inputs = [[1.0, 0.5, 0.0], [-0.3, 1.2, 0.7]]
    network = SmallNetwork.through(
        [[1.0, 0.4], [0.2, -1.1]], "sinh", inputs=inputs, output_weights=[1.0, -2.0]
    )
    assert network.manifold.belongs(network.point)
    features = network.model.features(network.point)
    assert np.abs(features - [[1.0, 0.4], [0.2, -1.1]]).max() < 1e-14


def test_differences_that_approach_something_else_are_no_refinement():
    def quartic(h):
        return h**4 + 3 * h**2

    assert by_differences("quartic", quartic, 6.0, 0.1).holds
    assert not by_differences("quartic", quartic, 6.1, 0.1).holds
