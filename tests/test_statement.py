"""The words of the project: verdicts, scopes, statements."""

import dataclasses

import pytest

from theory.statement import Hypothesis, Scope, Statement, Verdict


def statement(**changes):
    values = {
        "id": "gatmiry2024/theorem-1",
        "title": "Stationary points are global minimisers",
        "claim": r"z_{ij} = \varphi^{-1}(y_i/m)",
        "hypotheses": (Hypothesis("signs", "phi' > 0 and phi''' > 0"),),
        "reference": "Theorem 1; theory.md 1.5",
        "scope": Scope.ALL_SIZES,
    }
    return Statement(**(values | changes))


def test_exit_codes_are_those_of_the_command_line():
    assert {verdict.name: verdict.exit_code for verdict in Verdict} == {
        "HOLDS": 0,
        "VIOLATED": 1,
        "NOT_REACHED": 3,
        "NOT_APPLICABLE": 3,
        "UNDECIDED": 3,
    }


def test_a_statement_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        statement().claim = "something else"


def test_group_is_the_source():
    assert statement().group == "gatmiry2024"


@pytest.mark.parametrize("bad", ["theorem-1", "a/b/c", "Gatmiry/theorem", "a/", ""])
def test_malformed_ids_are_refused(bad):
    with pytest.raises(ValueError, match="group/name"):
        statement(id=bad)


def test_two_hypotheses_of_one_name_are_refused():
    twice = (Hypothesis("signs", "one"), Hypothesis("signs", "two"))
    with pytest.raises(ValueError, match="share an id"):
        statement(hypotheses=twice)
