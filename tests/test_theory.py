"""Every statement holds, its control fails, and a planted error turns it red."""

import importlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import sympy

from theory import critical_points
from theory.__main__ import main
from theory.activations import Z, activation_of
from theory.catalogue import MODULES, UnknownStatementError, find
from theory.critical_points import (
    InfinitelyManyError,
    count_real_points,
    real_critical_points,
)
from theory.judging import judge_all
from theory.statement import Verdict, verify

ROOT = Path(__file__).parents[1]
STATEMENTS = find()
IDS = [claim.id for claim in STATEMENTS]
ROWS = [
    tuple(line.split(" | "))
    for line in (ROOT / "tests" / "mutations.txt").read_text("utf-8").splitlines()
    if not line.startswith("#")
]
#: planted in every run; the others are slow
QUICK = (
    *("gatmiry2024/lemma-1", "gatmiry2024/lemma-3", "gatmiry2024/riemannian-gradient"),
    *("gatmiry2024/theorem-1", "gatmiry2024/theorem-1-all-sizes"),
    *("gatmiry2024/theorem-2", "gatmiry2024/lemma-6", "gatmiry2024/exponential-rate"),
    *("li2021/general-law", "li2021/clock-full-batch", "slides2024/diagonal-trace"),
    *("finite-step/covariance", "stability/trace-bound", "diagonal/product-law"),
    *("matrix/quadratic-network", "deeplinear/balancedness", "relu/memoriser"),
)


# ------------------------------------------------------------------ what is stated


@pytest.fixture(scope="module")
def results():
    judged = judge_all(STATEMENTS, {}, jobs=min(2, os.cpu_count() or 1))
    return {result.id: result for result in judged}


@pytest.mark.parametrize("id", IDS)
def test_the_statement_holds_and_its_control_fails(results, id):
    result = results[id]
    assert result.verdict is Verdict.HOLDS, result.message
    assert result.control_failed is True
    assert result.parts
    # ten seconds on an idle machine; the suite may run on a busy one
    assert result.seconds < 30


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


# ------------------------------------------------------------------ planted errors


@pytest.fixture(scope="module")
def copy_of_theory(tmp_path_factory):
    """One for all plants, bytecode and all, so that little is compiled again."""
    folder = tmp_path_factory.mktemp("planted")
    shutil.copytree(ROOT / "theory", folder / "theory")
    return folder


@pytest.fixture
def planted(copy_of_theory, monkeypatch):
    """Return the copy of theory with one text replaced, imported afresh."""
    written = []

    def plant(module, right, wrong):
        name = f"theory/{module.replace('.', '/')}.py"
        path = copy_of_theory / name
        written.append((ROOT / name, path))
        source = path.read_text("utf-8")
        assert source.count(right) == 1, f"{right!r} is there {source.count(right)}×"
        path.write_text(source.replace(right, wrong), "utf-8")
        # bytecode of one plant must not be taken for that of the next
        monkeypatch.setattr(sys, "dont_write_bytecode", True)
        monkeypatch.syspath_prepend(copy_of_theory)
        for name in [name for name in sys.modules if name.split(".")[0] == "theory"]:
            monkeypatch.delitem(sys.modules, name)
        return (
            importlib.import_module("theory.catalogue"),
            importlib.import_module("theory.statement"),
        )

    yield plant
    for original, path in written:
        shutil.copy2(original, path)
    # the copy must not outlive the test; monkeypatch puts the originals back
    for name in [name for name in sys.modules if name.split(".")[0] == "theory"]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("id", "module", "right", "wrong"),
    [
        pytest.param(
            *row, id=row[0], marks=[] if row[0] in QUICK else [pytest.mark.slow]
        )
        for row in ROWS
    ],
)
def test_a_planted_error_turns_the_statement_red(planted, id, module, right, wrong):
    catalogue, judge = planted(module, right, wrong)
    assert catalogue.__file__ != importlib.util.find_spec("theory").origin
    result = judge.verify(catalogue.find([id])[0], time_limit=30)
    assert result.verdict.name == "VIOLATED"


def test_every_statement_has_a_planted_error():
    assert {row[0] for row in ROWS} == set(IDS)


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


# --------------------------------------------------------------- the command


def theory(*arguments, stdout=subprocess.PIPE):
    return subprocess.run(
        [sys.executable, "-m", "theory", *arguments],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        check=False,
    )


def test_a_line_per_statement(capsys):
    assert main(["gatmiry2024/lemma-3", "gatmiry2024/lemma-6", "--jobs", "1"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"HOLDS +gatmiry2024/lemma-3 +all n, m +control fails, as it must +[\d.]+ s",
        lines[0],
    )
    assert "2 statements: 2 HOLDS" in lines[-1]


def test_json_is_the_same_as_data(capsys):
    names = ["gatmiry2024/hidden-convexity", "relu/memoriser"]
    assert main([*names, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert [row["id"] for row in data] == names
    assert all(row["verdict"] == "HOLDS" for row in data)
    assert all(row["control"]["failed"] for row in data)


def test_list_prints_the_claims(capsys):
    assert main(["--list"]) == 0
    out = capsys.readouterr().out
    assert all(claim.id in out and claim.claim in out for claim in STATEMENTS)
    assert main(["--list", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == len(STATEMENTS)


def test_tanh_is_refused_with_the_bracket(capsys):
    assert main(["gatmiry2024/theorem-1", "--activation", "tanh"]) == 3
    out = capsys.readouterr().out
    assert "NOT_APPLICABLE" in out
    assert "changes sign between z = 0.6584" in out


def test_a_parameter_prints_its_condition(capsys):
    arguments = ["gatmiry2024/theorem-1", "--activation", "z**3 + a*z"]
    assert main([*arguments, "--n", "1", "--m", "2"]) == 0
    assert "\n    if a > 0\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no statement 'nothing'"),
        (["--activation", "__import__('os')"], "only arithmetic"),
        (["--activation", "z.real"], "only arithmetic"),
        (["relu", "--activation", "sinh"], "no chosen statement takes --activation"),
    ],
)
def test_bad_input_is_one_message_and_exit_status_2(arguments, said, capsys):
    assert main(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--n", "0"], "'0' is not one of 1..4"),
        (["--time-limit", "nan"], "not a positive time"),
    ],
)
def test_an_option_out_of_range_is_argparse_s_to_refuse(arguments, said, capsys):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["gatmiry2024/theorem-3"], "Did you mean gatmiry2024/theorem-"),
        (["relu", "--latex", "/nonexistent/x.tex"], "cannot write: /nonexistent"),
        (["relu", "--latex", "."], "cannot write: . is a folder"),
    ],
)
def test_the_process_ends_with_the_status_of_the_command(arguments, said):
    done = theory(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_reader_that_left_and_a_full_disk():
    code = f"{sys.executable} -m theory relu"
    left = subprocess.run(
        ["bash", "-c", f"{code} | head -1; exit ${{PIPESTATUS[0]}}"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (left.returncode, left.stderr) == (2, "")
    with open("/dev/full", "w") as full:
        lost = theory("relu/memoriser", stdout=full)
    assert lost.returncode == 2
    assert "theory: cannot write" in lost.stderr
    assert "Traceback" not in lost.stderr


def test_greek_letters_are_printed_on_any_terminal():
    done = subprocess.run(
        [sys.executable, "-m", "theory", "gatmiry2024/theorem-1", "--activation=tanh"],
        capture_output=True,
        cwd=ROOT,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 3
    assert b"Traceback" not in done.stderr


def test_an_interrupt_ends_the_workers_at_once():
    command = [sys.executable, "-m", "theory", "gatmiry2024/lemma-3"]
    command += ["gatmiry2024/theorem-1", "gatmiry2024/theorem-1-enumeration"]
    command += ["--n", "4", "--m", "4", "--jobs", "2"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert "gatmiry2024/lemma-3" in process.stdout.readline()  # both are at work now
    process.send_signal(signal.SIGINT)
    started = time.perf_counter()
    _, said = process.communicate(timeout=30)
    assert time.perf_counter() - started < 10
    assert process.returncode == 3
    assert "theory: stopped after 1" in said
    assert "Traceback" not in said


def test_out_of_time_is_no_verdict(capsys):
    assert main(["gatmiry2024/theorem-1-enumeration", "--time-limit", "0.2"]) == 3
    assert "UNDECIDED" in capsys.readouterr().out


def test_latex_is_written_whole(tmp_path, capsys):
    file = tmp_path / "claims.tex"
    arguments = ["gatmiry2024/theorem-1", "--activation", "z**3 + a*z"]
    assert main([*arguments, "--n", "1", "--m", "2", "--latex", str(file)]) == 0
    text = file.read_text("utf-8")
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"a z + z^{3}" in text
    assert "a > 0" in text
    assert [path.name for path in tmp_path.iterdir()] == ["claims.tex"]
    capsys.readouterr()
