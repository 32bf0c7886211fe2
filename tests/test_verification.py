"""The numerical witness: its verdicts, its controls, and that it sees what is wrong."""

import functools
import json
from dataclasses import replace

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow import bounds, cli, references
from manifold_flow.errors import (
    ArgumentError,
    DataError,
    UnknownKeywordError,
    UnknownNameError,
)
from manifold_flow.verification import drawn_model
from manifold_flow.verification.evidence import (
    CHECKS,
    Control,
    HypothesisCheck,
    Measurement,
    NotReached,
    Refinement,
    check,
    judge,
)
from manifold_flow.verification.gatmiry2024 import counterexamples, existence
from manifold_flow.verification.report import Report, Row

GROUP = "gatmiry2024"
OWN = (counterexamples.__name__, existence.__name__)
FINE = Measurement("gap", 1.0, 2.0)
FELL, CAUGHT = Refinement("h", 4.0, 1.0, 4.0), Control("wrong", failed=True)


@functools.cache
def holds_unplanted(name):
    return verdict(name) == "HOLDS"


def verdict(name, **options):
    report = mf.verify(f"{GROUP}/{name}", rng=0, symbolic=False, **options)
    return report.verdict.name


def run(capsys, *arguments):
    code = cli.main(["verify", *(str(a) for a in arguments)])
    return code, *capsys.readouterr()


# --- judging --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("findings", "name", "words"),
    [
        ([FINE, FELL, CAUGHT], "HOLDS", ""),
        ([Measurement("gap", 3.0, 2.0), FELL, CAUGHT], "VIOLATED", "gap = 3"),
        ([Measurement("ratio", 0.5, 1.0, ">=")], "VIOLATED", "must be >= 1"),
        ([HypothesisCheck("a", False, "rank 2"), FINE], "NOT_APPLICABLE", "rank 2"),
        ([HypothesisCheck("a", None, "kink"), FINE], "UNDECIDED", "kink"),
        ([FINE, NotReached("too short"), FELL, CAUGHT], "NOT_REACHED", "too short"),
        ([Measurement("gap", 3.0, 2.0), NotReached("short")], "VIOLATED", "gap"),
        ([Measurement("gap", np.nan, 2.0), FELL, CAUGHT], "UNDECIDED", "not a number"),
        ([FINE, Refinement("h", 4.0, 3.0, 4.0), CAUGHT], "UNDECIDED", "did not fall"),
        ([FINE, FELL, Control("c", failed=False)], "UNDECIDED", "shows nothing"),
        ([FINE, FELL], "UNDECIDED", "no control"),
        ([FINE, CAUGHT], "UNDECIDED", "no refinement"),
        ([FELL, CAUGHT], "UNDECIDED", "no measurement"),
    ],
)
def test_the_verdict_on_findings(findings, name, words):
    found, message = judge(findings)
    assert found.name == name
    assert words in message
    assert bool(message) == (name != "HOLDS")


def test_a_statement_has_one_check():
    with pytest.raises(ValueError, match="two numerical checks"):
        check(f"{GROUP}/theorem-1")(lambda instance: iter(()))


# --- the instance ---------------------------------------------------------------------


def test_every_check_holds_with_a_control_that_fails():
    report = mf.verify(rng=0, symbolic=False)
    judged = [row for row in report.rows if row.numeric is not None]
    assert {row.statement.id for row in judged} == set(CHECKS)
    for row in judged:
        assert row.numeric.verdict.name == "HOLDS", f"{row.statement.id}: {row.reasons}"
        assert row.numeric.control_failed is True
        assert row.numeric.margin >= 0
        assert row.numeric.refinements


def test_the_choice_of_statements_changes_no_number():
    alone = mf.verify(f"{GROUP}/lemma-6", rng=3, symbolic=False).rows[0].numeric
    among = mf.verify(
        [f"{GROUP}/lemma-5", f"{GROUP}/lemma-6"], rng=3, symbolic=False
    ).rows[1]
    assert alone.findings == among.numeric.findings


def test_other_activations_and_weights():
    model = drawn_model(3, 3, 4, "sinh", rng=1)
    weighted = mf.TwoLayerNetwork(
        model.inputs, model.targets, 3, "sinh", [1.0, 2.0, 0.5], [1.0, 2.0, 3.0], "sum"
    )
    for name in ("theorem-1", "theorem-2", "lemma-6", "exponential-rate", "lemma-3"):
        assert verdict(name, model=weighted) == "HOLDS"
    assert verdict("local-rate", model=weighted) == "NOT_APPLICABLE"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"activation": "relu"}, "phi'(-1) = 0 of relu is not positive"),
        ({"activation": "tanh"}, "sign changes near z = -0.65848"),
        ({"activation": "sinh", "n": 6, "d": 3}, "rank X = 3 of n = 6"),
        ({"m": 1, "d": 9}, "m = 1"),
    ],
)
def test_a_failing_hypothesis_is_named_with_its_number(options, words):
    report = mf.verify(f"{GROUP}/theorem-1", rng=0, symbolic=False, **options)
    assert report.verdict.name == "NOT_APPLICABLE"
    assert report.exit_code == 3
    assert words in str(report)


@pytest.mark.parametrize("activation", ["square", "linear", "relu", "tanh"])
def test_activations_out_of_scope_are_judged_to_the_end(activation):
    # the others examine networks of their own, whatever the activation
    names = [id for id, check in CHECKS.items() if check.body.__module__ not in OWN]
    report = mf.verify(names, activation=activation, rng=0, symbolic=False)
    verdicts = {row.numeric.verdict.name for row in report.rows}
    assert "VIOLATED" not in verdicts
    assert report.exit_code == 3


@pytest.mark.parametrize("name", ["theorem-1", "theorem-2", "limit-point", "lemma-4"])
def test_too_short_a_run_is_not_reached(name):
    assert verdict(name, slow_time=0.01) == "NOT_REACHED"
    assert verdict(name, slow_time=1e4) == "HOLDS"


def test_an_unknown_rate_is_undecided():
    assert verdict("exponential-rate", activation="exp") == "UNDECIDED"


# --- planted errors -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owner", "function", "factor", "name"),
    [
        (bounds, "pl_rate", 1.5, "theorem-2"),
        (bounds, "pl_rate", 1.5, "exponential-rate"),
        (bounds, "local_rate", 1.5, "local-rate"),
        (bounds, "curvature_ratio", 4.0, "hidden-convexity"),
        (bounds, "hessian_coefficients", 1.01, "lemma-6"),
        (references, "flattest_value", 1.01, "theorem-1"),
        (references, "flattest_value", 0.99, "theorem-1"),
        (references, "flattest_point", 1.01, "theorem-1"),
        (mf.HessianTrace, "slope", 1.1, "riemannian-gradient"),
        (mf.HessianTrace, "value", 1.001, "lemma-3"),
        (mf.TwoLayerNetwork, "jacobian", 1.001, "lemma-1"),
        (mf.TwoLayerNetwork, "contracted_hessian", 1.01, "unmatched-noise"),
    ],
)
def test_a_planted_constant_is_seen(monkeypatch, owner, function, factor, name):
    assert holds_unplanted(name)
    right = getattr(owner, function)
    monkeypatch.setattr(owner, function, lambda *args: factor * right(*args))
    assert verdict(name) == "VIOLATED"


def test_a_gradient_that_vanishes_too_early_is_seen(monkeypatch):
    right = mf.ZeroLossManifold.riemannian_gradient
    monkeypatch.setattr(
        mf.ZeroLossManifold, "riemannian_gradient", lambda *args: 1e-6 * right(*args)
    )
    assert verdict("theorem-1", slow_time=1.0) == "VIOLATED"


# --- the report -----------------------------------------------------------------------


def test_a_report_is_json_with_every_number():
    names = [f"{GROUP}/theorem-1", f"{GROUP}/theorem-1-enumeration"]
    report = mf.verify(names, m=2, n=1, d=3, rng=0)
    data = json.loads(json.dumps(report.as_data(), allow_nan=False))
    assert (data["verdict"], data["exit_status"]) == ("HOLDS", 0)
    first, second = data["statements"]
    assert first["symbolic"]["verdict"] == first["numeric"]["verdict"] == "HOLDS"
    assert first["numeric"].keys() == {
        "verdict",
        "message",
        "hypotheses",
        "numbers",
        "measurements",
        "refinements",
        "controls",
        "margin",
        "control_failed",
        "seconds",
    }
    for measured in first["numeric"]["measurements"]:
        assert measured.keys() == {
            "name",
            "value",
            "bound",
            "relation",
            "margin",
            "count",
        }
    assert {h["id"] for h in first["numeric"]["hypotheses"]} >= {
        "increasing",
        "convex-slope",
        "independent-inputs",
    }
    assert second["numeric"] is None
    assert "symbolic only" in str(report)
    assert repr(report).startswith("Report(HOLDS; 2 statements: 2 HOLDS")


def test_an_error_in_one_statement_decides_the_report():
    report = mf.verify([f"{GROUP}/lemma-3", f"{GROUP}/lemma-5"], rng=0, symbolic=False)
    wrong = replace(report.rows[0].numeric, verdict=judge([NotReached("x")])[0])
    rows = (Row(report.rows[0].statement, None, wrong), report.rows[1])
    mixed = Report(rows, report.model, report.loss)
    assert (mixed.verdict.name, mixed.exit_code) == ("NOT_REACHED", 3)
    empty = Report((Row(report.rows[0].statement, None, None),), "", "")
    assert (empty.verdict.name, empty.exit_code) == ("UNDECIDED", 3)


def test_the_page_is_escaped_and_has_a_card_a_statement(tmp_path):
    report = mf.verify(f"{GROUP}/lemma-3", rng=0, symbolic=False)
    row = report.rows[0]
    bad = replace(row, statement=replace(row.statement, title="<script>x</script>"))
    file = replace(report, rows=(bad, row), model="<b>").to_html(tmp_path / "r.html")
    page = file.read_text()
    assert "<script" not in page
    assert "<b>" not in page
    assert "&lt;script&gt;" in page
    assert page.count("<section>") == 2
    assert "control 1" in page


def test_arguments_that_cannot_be_used():
    with pytest.raises(UnknownNameError, match="did you mean 'gatmiry2024/theorem-1'"):
        mf.verify("gatmiry2024/theorm-1")
    with pytest.raises(ArgumentError, match="TwoLayerNetwork"):
        mf.verify(model=mf.DiagonalLinearNetwork([[1.0, 2.0]], [1.0]))
    with pytest.raises(DataError, match="starts = 0"):
        mf.verify(starts=0)
    with pytest.raises(DataError, match="slow_time = -1"):
        mf.verify(slow_time=-1.0)


def test_a_mistyped_name_is_answered_in_a_line():
    with pytest.raises(UnknownNameError, match="'gatmiry2024/theorem-1'") as caught:
        mf.verify("theorem-1")
    assert "python -m theory --list" in str(caught.value)
    assert len(str(caught.value)) < 160


def test_a_mistyped_keyword_is_answered_with_the_nearest():
    with pytest.raises(UnknownKeywordError, match="did you mean 'activation'"):
        mf.verify("gatmiry2024/theorem-1", actvation="sinh")


# --- the command ----------------------------------------------------------------------


def test_the_command_prints_a_line_a_statement(capsys, tmp_path):
    out = tmp_path / "report.html"
    code, text, err = run(capsys, f"{GROUP}/lemma-3", "--quiet", "--out", out)
    assert (code, err) == (0, "")
    assert "HOLDS       HOLDS" in text
    assert "fails, as it must" in text
    assert out.exists()


def test_exit_statuses_of_the_command(capsys, monkeypatch):
    assert run(capsys, f"{GROUP}/theorem-1", "--activation", "relu")[0] == 3
    assert (
        run(capsys, f"{GROUP}/theorem-1", "--no-symbolic", "--slow-time", 0.01)[0] == 3
    )
    assert run(capsys, "gatmiry2042")[0] == 2
    right = references.flattest_value
    monkeypatch.setattr(references, "flattest_value", lambda m: 1.1 * right(m))
    assert run(capsys, f"{GROUP}/theorem-1", "--no-symbolic")[0] == 1


def test_the_command_on_data_of_the_user(capsys, tmp_path):
    names = (f"{GROUP}/theorem-1", "--no-symbolic", "--json", "--data")
    rows = np.random.default_rng(0).standard_normal((3, 6))
    file = tmp_path / "x.csv"

    def save(table):
        np.savetxt(file, table, delimiter=",")
        return file

    code, text, _ = run(capsys, *names, save(rows))
    assert (code, json.loads(text)["verdict"]) == (0, "HOLDS")
    dependent = np.vstack([rows, rows[0] + rows[1]])
    code, text, _ = run(capsys, *names, save(dependent))
    assert (code, json.loads(text)["verdict"]) == (3, "NOT_APPLICABLE")
    assert "rank 3" in json.loads(text)["caveats"][0]
    code, _, err = run(capsys, *names, save(np.vstack([rows, rows[0]])))
    assert code == 2
    assert "are equal" in err
    below = rows.copy()
    below[:, -1] = -1.0
    code, _, err = run(capsys, *names, save(below), "--activation", "exp")
    assert code == 2
    assert "targets[0] = -1" in err


# --- many -----------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 200, 25))
def test_two_hundred_seeds_hold(first):
    names = [f"{GROUP}/theorem-1", f"{GROUP}/theorem-2"]
    for seed in range(first, first + 25):
        report = mf.verify(names, rng=seed, symbolic=False)
        assert report.verdict.name == "HOLDS", f"seed {seed}\n{report}"
