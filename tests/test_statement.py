"""The words of the project, and how a statement is judged."""

import dataclasses
import json
import math
import signal
import time

import pytest
import sympy

from theory.deadline import OutOfTime, deadline
from theory.presentation import as_data
from theory.statement import (
    Decision,
    Hypothesis,
    Scope,
    Statement,
    Undecided,
    Verdict,
    statement,
    verify,
)

x = sympy.Symbol("x", real=True)


def binomial(factor=2):
    """Expand the square."""
    yield "(1 + x)²", (1 + x) ** 2 - (1 + factor * x + x**2)


def declared(check=binomial, wrong=None, **changes):
    values = {
        "id": "algebra/binomial",
        "title": "The binomial formula",
        "claim": r"(1 + x)^2 = 1 + 2x + x^2",
        "hypotheses": (),
        "reference": "school",
        "scope": Scope.ALL_SIZES,
        "check": check,
        "wrong": {"factor": 3} if wrong is None else wrong,
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
        declared().claim = "something else"


def test_group_is_the_source_and_idea_the_docstring():
    assert declared().group == "algebra"
    assert declared().idea == "Expand the square."


@pytest.mark.parametrize("bad", ["theorem-1", "a/b/c", "Gatmiry/theorem", "a/", ""])
def test_malformed_ids_are_refused(bad):
    with pytest.raises(ValueError, match="group/name"):
        declared(id=bad)


def test_two_hypotheses_of_one_name_are_refused():
    twice = (Hypothesis("signs", "one"), Hypothesis("signs", "two"))
    with pytest.raises(ValueError, match="share an id"):
        declared(hypotheses=twice)


@pytest.mark.parametrize("wrong", [{}, {"divisor": 2}])
def test_a_control_must_change_a_constant(wrong):
    with pytest.raises(ValueError, match="control must change a constant"):
        declared(wrong=wrong)


def test_a_true_claim_with_a_false_control_holds():
    result = verify(declared())
    assert result.verdict is Verdict.HOLDS
    assert result.control_failed is True
    assert result.parts == (("(1 + x)²", True),)
    assert result.control == "factor = 3 for 2"


def test_a_false_claim_is_violated_and_named():
    def wrong(factor=3):
        yield from binomial(factor)

    result = verify(declared(wrong, {"factor": 4}))
    assert result.verdict is Verdict.VIOLATED
    assert "(1 + x)²" in result.message


def test_a_control_that_passes_makes_the_statement_fail():
    def blind(factor=2):
        del factor
        yield "nothing", sympy.S.Zero

    result = verify(declared(blind))
    assert result.verdict is Verdict.VIOLATED
    assert result.control_failed is False
    assert "the control passes" in result.message


def test_a_check_that_yields_nothing_is_violated():
    def empty(factor=2):
        yield from () if factor == 2 else binomial(3)

    assert verify(declared(empty)).verdict is Verdict.VIOLATED


def test_what_is_not_settled_is_undecided_never_false():
    def open_question(factor=2):
        condition = sympy.Function("f", real=True)(x) > 0
        yield "an unknown sign", condition if factor == 2 else sympy.false

    result = verify(declared(open_question))
    assert result.verdict is Verdict.UNDECIDED
    assert "an unknown sign" in result.message


def test_a_check_may_say_that_it_cannot_decide():
    def gives_up(factor=2):
        raise Undecided(f"no method for {factor}")
        yield

    result = verify(declared(gives_up))
    assert (result.verdict, result.message) == (Verdict.UNDECIDED, "no method for 2")


def test_out_of_time_is_undecided():
    def endless(factor=2):
        while True:
            factor += 1
        yield

    result = verify(declared(endless), time_limit=0.05)
    assert result.verdict is Verdict.UNDECIDED
    assert "0.05 s" in result.message
    assert result.seconds < 5


@pytest.mark.parametrize(
    ("bug", "error"),
    [
        (lambda: x.no_such_attribute, AttributeError),
        (lambda: sympy.sin(x, x), TypeError),
        (lambda: no_such_name, NameError),  # noqa: F821
        (lambda: sympy.Matrix([x])[1], IndexError),
        (lambda: {x: 1}[2], KeyError),
    ],
)
@pytest.mark.parametrize("place", ["claim", "control", "hypothesis"])
def test_a_mistake_in_a_check_is_raised_and_no_open_question(bug, error, place):
    def check(factor=2):
        if place == "claim" or (place == "control" and factor == 3):
            bug()
        yield from binomial(factor)

    asked = (Hypothesis("signs", "?", lambda activation: bug()),)
    changes = {"hypotheses": asked, "any_activation": True}
    broken = declared(check, **(changes if place == "hypothesis" else {}))
    setting = {"activation": x} if place == "hypothesis" else {}
    with pytest.raises(error):
        verify(broken, **setting)


@pytest.mark.parametrize(
    ("question", "words"),
    [
        (lambda: sympy.Poly(1 / x, x), "PolynomialError: 1/x contains an element"),
        (
            lambda: sympy.solve(sympy.sin(x) + x - 2, x),
            "NotImplementedError",
        ),
        (lambda: sympy.Matrix([[0]]).inv(), "NonInvertibleMatrixError: Matrix det"),
        (lambda: sympy.Rational(1) // 0, "ZeroDivisionError"),
    ],
)
def test_what_sympy_cannot_do_is_undecided_in_its_words(question, words):
    def check(factor=2):
        question()
        yield from binomial(factor)

    result = verify(declared(check))
    assert result.verdict is Verdict.UNDECIDED
    assert result.message.startswith(words)


@pytest.mark.parametrize(
    ("decision", "verdict"),
    [
        (Decision(True), Verdict.HOLDS),
        (Decision(False, "x = -1 is negative"), Verdict.NOT_APPLICABLE),
        (Decision(None, "the sign is open"), Verdict.UNDECIDED),
        (Decision(None, "positive if x > 0", x > 0), Verdict.HOLDS),
    ],
)
def test_hypotheses_on_the_activation_are_decided_first(decision, verdict):
    asked = (Hypothesis("signs", "φ' > 0", lambda activation: decision),)
    result = verify(declared(hypotheses=asked, any_activation=True), activation=x)
    assert result.verdict is verdict
    assert result.condition == ("x > 0" if decision.condition is not None else None)
    if verdict is not Verdict.HOLDS:
        assert result.message == f"signs: {decision.reason}"


def test_a_failing_hypothesis_outweighs_an_open_one():
    asked = (
        Hypothesis("open", "?", lambda activation: Decision(None, "open")),
        Hypothesis("fails", "no", lambda activation: Decision(False, "fails")),
    )
    result = verify(declared(hypotheses=asked, any_activation=True), activation=x)
    assert (result.verdict, result.message) == (Verdict.NOT_APPLICABLE, "fails: fails")


def test_a_setting_the_statement_does_not_take_is_refused():
    with pytest.raises(TypeError, match="algebra/binomial takes nothing, not n"):
        verify(declared(), n=2)


def test_the_decorator_makes_a_statement():
    made = statement(
        "algebra/binomial",
        title="t",
        claim="c",
        reference="r",
        scope=Scope.FIXED_SIZE,
        control={"factor": 1},
    )(binomial)
    assert isinstance(made, Statement)
    assert verify(made).verdict is Verdict.HOLDS


def test_results_are_data_for_json():
    made = declared()
    data = json.loads(json.dumps(as_data(made, verify(made))))
    assert data["verdict"] == "HOLDS"
    assert data["control"] == {"variant": "factor = 3 for 2", "failed": True}
    assert data["parts"] == [{"name": "(1 + x)²", "holds": True}]


def test_deadlines_nest():
    def outlast_the_outer_one():
        with deadline(0.05):
            with deadline(60.0):
                sum(range(10))
            while time.perf_counter() - started < 5:
                pass

    started = time.perf_counter()
    with pytest.raises(OutOfTime, match=r"0\.05"):
        outlast_the_outer_one()
    assert time.perf_counter() - started < 2


def test_an_infinite_deadline_is_none():
    with deadline(math.inf):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    with deadline(60.0):
        assert signal.getitimer(signal.ITIMER_REAL)[0] > 50.0
