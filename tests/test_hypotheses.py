"""What a report says of a hypothesis: the fact that fails, with its number."""

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow.verification import hypotheses
from manifold_flow.verification.instance import Instance


def check(name, activation):
    model = mf.TwoLayerNetwork(np.eye(2), [1.0, 1.5], width=3, activation=activation)
    return getattr(hypotheses, name)(Instance(model, 1, np.random.SeedSequence(0)))


@pytest.mark.parametrize(
    ("name", "activation", "fact"),
    [
        ("increasing", "relu", "phi'(-1) = 0 of relu is not positive; the"),
        ("increasing", "gelu", "phi'(-1) = -0.0833155 of gelu is not positive, its "),
        ("increasing", "square", "phi'(-1) = -2 of square is not positive"),
        ("increasing", "(z - 1)**3", "phi'(1) = 0 of (z - 1)**3 is not positive"),
        ("convex_slope", "softplus", "phi'''(1) = -0.0908577 of softplus"),
        ("convex_slope", "tanh", "phi'''(0) = -2 of tanh is not positive, its sign "),
        ("convex_slope", "linear", "phi'''(-1) = 0 of linear is not positive; the"),
    ],
)
def test_a_failing_hypothesis_names_a_point_and_its_value(name, activation, fact):
    seen = check(name, activation)
    assert seen.holds is False
    assert seen.text.startswith(fact)
    assert "> 0 on the whole line" in seen.text
    assert "undecided" not in seen.text


def test_control_what_holds_or_is_open_names_no_point():
    assert "is positive on" in check("increasing", "cubic").text
    undecided = check("convex_slope", "relu(z)^4 + exp(z)")
    assert undecided.holds is None
    assert "of undecided sign" in undecided.text
