"""Every statement holds and its control fails; Theorem 1 at the sizes promised."""

import importlib
import re

import pytest
import sympy

from theory import critical_points
from theory.activations import Z, activation_of
from theory.catalogue import MODULES, UnknownStatementError, find
from theory.critical_points import (
    InfinitelyManyError,
    count_real_points,
    real_critical_points,
)
from theory.statement import Verdict, verify

STATEMENTS = find()
IDS = [claim.id for claim in STATEMENTS]
#: seconds each; judged by `make theory` and `make test-all`
SLOW = (
    *("gatmiry2024/theorem-1-enumeration", "gatmiry2024/out-of-scope-activations"),
    *("gatmiry2024/lq-reduction", "li2021/closed-form-projection"),
    *("li2021/normal-normal", "slides2024/sam-one-sample", "matrix/nuclear-norm"),
    *("matrix/one-measurement", "matrix/deep-minimum", "diagonal/closed-form"),
    *("diagonal/limit-is-l1", "deeplinear/sharpness", "deeplinear/balanced-scale"),
    *("deeplinear/polyak-lojasiewicz", "deeplinear/minimal-sharpness-algebraic"),
    *("deeplinear/first-bound", "deeplinear/whitened-attained"),
    *("finite-step/regulariser", "stability/top-eigenvalue-bound"),
)


# ------------------------------------------------------------------ what is stated


# in this process, because the statements share much of what SymPy remembers
@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(
            claim, id=claim.id, marks=[pytest.mark.slow] if claim.id in SLOW else []
        )
        for claim in STATEMENTS
    ],
)
def test_the_statement_holds_and_its_control_fails(claim):
    result = verify(claim)
    assert result.verdict is Verdict.HOLDS, result.message
    assert result.control_failed is True
    assert result.parts
    # ten seconds on an idle machine; the suite may run on a busy one
    assert result.seconds < 30


def test_most_of_every_group_is_judged_in_every_run():
    assert set(SLOW) < set(IDS)
    for group in {claim.group for claim in STATEMENTS}:
        names = {id for id in IDS if id.startswith(f"{group}/")}
        assert len(names - set(SLOW)) >= len(names) / 2


def test_there_are_enough_and_every_group_of_the_sources_is_there():
    assert len(STATEMENTS) >= 45
    assert {claim.group for claim in STATEMENTS} == {
        *("gatmiry2024", "li2021", "slides2024", "diagonal", "matrix"),
        *("deeplinear", "finite-step", "stability", "relu"),
    }


@pytest.mark.parametrize("claim", STATEMENTS, ids=IDS)
def test_claims_are_complete(claim):
    assert claim.title
    assert claim.idea
    assert "notes" in claim.reference
    assert claim.claim.count("{") == claim.claim.count("}")
    assert "$" not in claim.claim


def test_modules_of_the_catalogue_hold_statements():
    for name in MODULES:
        module = importlib.import_module(f"theory.{name}")
        assert any(claim.check.__module__ == module.__name__ for claim in STATEMENTS)


def test_names_select_ids_and_groups():
    assert [claim.id for claim in find(["relu/trace"])] == ["relu/trace"]
    assert {claim.group for claim in find(["relu"])} == {"relu"}
    with pytest.raises(UnknownStatementError, match="Did you mean gatmiry2024/lemma"):
        find(["gatmiry2024/lema-3"])


# ------------------------------------------------- Theorem 1 at the sizes promised


# (2, 3) is its own size, judged above
@pytest.mark.parametrize(
    ("n", "m"), [(1, 2), (2, 2), pytest.param(3, 2, marks=pytest.mark.slow)]
)
def test_theorem_1_for_an_undefined_activation(n, m):
    (claim,) = find(["gatmiry2024/theorem-1"])
    result = verify(claim, n=n, m=m)
    assert result.verdict is Verdict.HOLDS, result.message


@pytest.mark.parametrize("text", ["cubic", "sinh", "exp_plus_linear", "sinh(z)+z/5"])
def test_theorem_1_for_activations_of_the_theorem(text):
    (claim,) = find(["gatmiry2024/theorem-1"])
    result = verify(claim, n=1, m=2, activation=activation_of(text))
    assert result.verdict is Verdict.HOLDS, result.message
    assert result.condition is None


@pytest.mark.parametrize("text", ["tanh", "softplus", "relu", "gelu", "square"])
def test_theorem_1_does_not_speak_of_others(text):
    (claim,) = find(["gatmiry2024/theorem-1"])
    result = verify(claim, activation=activation_of(text))
    assert result.verdict is Verdict.NOT_APPLICABLE
    assert re.search("φ'+ = ", result.message)


def test_one_neuron_is_not_what_the_theorem_speaks_of():
    for name in ("theorem-1", "theorem-1-enumeration", "riemannian-gradient"):
        (claim,) = find([f"gatmiry2024/{name}"])
        result = verify(claim, m=1)
        assert result.verdict is Verdict.NOT_APPLICABLE
        assert result.message == "two-neurons: m = 1"


def test_what_is_only_assumed_is_said():
    (claim,) = find(["gatmiry2024/theorem-2"])
    result = verify(claim, activation=activation_of("exp"))
    assert result.verdict is Verdict.HOLDS
    assert set(result.assumed) >= {"independent-inputs", "interval"}
    assert "increasing" not in result.assumed


def test_a_check_of_one_activation_takes_no_other():
    (claim,) = find(["gatmiry2024/global-geodesic-convexity-fails"])
    assert claim.settings == ()


def test_letters_of_the_user_are_his_own():
    for name in ("lemma-3", "lemma-6", "hidden-convexity", "theorem-1-all-sizes"):
        (claim,) = find([f"gatmiry2024/{name}"])
        activation = activation_of("z**3 + y*z + q*z + b*z + a*z + w*z + beta*z")
        result = verify(claim, activation=activation)
        assert result.verdict in (Verdict.HOLDS, Verdict.UNDECIDED), result.message


@pytest.mark.parametrize(
    ("m", "most", "found"),
    [(2, 10, 15), pytest.param(4, 150, 195, marks=pytest.mark.slow)],
)
def test_too_many_solutions_are_undecided_not_a_crash(m, most, found, monkeypatch):
    monkeypatch.setattr(critical_points, "MAX_DIMENSION", most)
    (claim,) = find(["gatmiry2024/theorem-1-enumeration"])
    result = verify(claim, m=m, n=1)
    assert result.verdict is Verdict.UNDECIDED
    assert f"{found} complex solutions; at most {most}" in result.message


def test_a_free_parameter_gives_a_condition():
    (claim,) = find(["gatmiry2024/theorem-1"])
    result = verify(claim, n=1, m=2, activation=activation_of("z**3 + a*z"))
    assert (result.verdict, result.condition) == (Verdict.HOLDS, "a > 0")


# --------------------------------------------------------------- enumeration


def test_real_points_are_counted_exactly():
    x, y = sympy.symbols("x y")
    assert count_real_points([x**2 - 2, y**2 - 3], [x, y]) == 4
    assert count_real_points([x**3 - 2], [x]) == 1
    assert count_real_points([(x - 1) ** 2], [x]) == 1  # distinct ones
    assert count_real_points([x, x - 1], [x]) == 0
    # a real point that is close to another, and a pair that just misses the line
    assert count_real_points([x * (x - sympy.Rational(1, 10**12))], [x]) == 2
    assert count_real_points([x**2 + sympy.Rational(1, 10**24)], [x]) == 0
    with pytest.raises(InfinitelyManyError, match="y takes infinitely many"):
        count_real_points([x**2 - 1], [x, y])
    with pytest.raises(InfinitelyManyError, match="no equation"):
        count_real_points([x - x], [x])


def test_the_count_is_that_of_a_case_by_case_solution():
    # φ = z³/6 − z, y = 1/2, two neurons.  Each has φ'(z) = 0, so z = ±√2, or z = α/4.
    f, target, edge = Z**3 / 6 - Z, sympy.Rational(1, 2), sympy.sqrt(2)

    def solutions(output):
        roots = sympy.Poly(f - output, Z).nroots()
        return sum(1 for root in roots if abs(sympy.im(root)) < 1e-9)

    collapsed = solutions(target / 2)
    stuck = [solutions((target - f.subs(Z, at)).evalf(30)) for at in (edge, -edge)]
    assert real_critical_points(f, target, 2) == (collapsed + 2 * sum(stuck), collapsed)
    assert (collapsed, stuck) == (3, [1, 3])
