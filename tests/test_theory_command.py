"""``python -m theory``: what it prints, and the status it ends with."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from theory.__main__ import main
from theory.catalogue import find
from theory.presentation import refuse_unwritable

ROOT = Path(__file__).parents[1]
STATEMENTS = find()


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
        (["relu", "--latex", "."], "cannot write: . is a folder"),
    ],
)
def test_the_process_ends_with_the_status_of_the_command(arguments, said):
    done = theory(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_folder_that_is_not_there_is_named_before_anything_is_judged(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file can be made in"):
        refuse_unwritable(str(tmp_path / "absent" / "x.tex"))


def test_a_reader_that_left_and_a_full_disk():
    code = f"{sys.executable} -m theory relu/memoriser relu/trace relu/population"
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
        [
            sys.executable,
            "-m",
            "theory",
            "--list",
            "gatmiry2024/runge-kutta-keeps-sums",
        ],
        capture_output=True,
        cwd=ROOT,
        check=False,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0
    assert re.search(rb"Runge.+Kutta", done.stdout)
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


def test_out_of_time_is_no_verdict():
    # a process of its own: an alarm that rings while hypothesis, in the one of pytest,
    # listens to the garbage collector is lost with a warning
    done = theory("gatmiry2024/theorem-1-enumeration", "--time-limit", "0.2")
    assert done.returncode == 3
    assert "UNDECIDED" in done.stdout


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
