"""The command line: what it prints, what it refuses, with which exit status."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import manifold_flow as mf
from manifold_flow import cli
from manifold_flow.errors import IntegrationError, Interrupted

KEYS = {
    "status",
    "sharpness_initial",
    "sharpness_final",
    "flattest_sharpness",
    "residual",
    "neuron_spread",
    "n_evaluations",
    "seconds",
}


def run(capsys, *arguments):
    code = cli.main([str(a) for a in arguments])
    return code, *capsys.readouterr()


def refused(capsys, *arguments):
    """Arguments that argparse refuses leave by SystemExit."""
    with pytest.raises(SystemExit) as caught:
        cli.main([str(a) for a in arguments])
    return caught.value.code, capsys.readouterr().err


def test_flow_prints_one_json_object(capsys):
    code, out, err = run(capsys, "flow", "--json")
    found = json.loads(out)
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert found.keys() >= KEYS
    assert found["status"] == "STATIONARY"
    assert found["sharpness_final"] == pytest.approx(
        found["flattest_sharpness"], rel=1e-8
    )
    assert found["sharpness_initial"] > found["sharpness_final"]
    assert found["residual"] < 1e-10
    assert found["neuron_spread"] < 1e-6
    assert found["flow"] == "LimitingFlow(HessianTrace(), rate=1)"
    assert "sharpness" not in found


def test_the_name_of_the_status_is_said_once(capsys):
    code, out, _ = run(capsys, "flow", "--times", 0, 1)
    assert code == 0
    assert out.startswith("COMPLETED at slow time 1: reached the last requested time\n")


def test_flow_on_real_digits_with_an_expression(capsys):
    code, out, _ = run(
        capsys,
        *("flow", "--data", "digits", "--n", 15, "--width", 20),
        *("--activation", "z**3/6 + z/2", "--json"),
    )
    found = json.loads(out)
    assert (code, found["status"]) == (0, "STATIONARY")
    assert found["sharpness_final"] == pytest.approx(
        found["flattest_sharpness"], rel=1e-8
    )


def test_flow_prints_four_lines_and_the_exact_answer(capsys):
    code, out, _ = run(capsys, "flow", "--n", 2, "--d", 3, "--m", 3)
    lines = out.splitlines()
    assert code == 0
    assert lines[0].startswith("STATIONARY at slow time")
    assert lines[4].startswith("exact minimum")
    assert lines[5].startswith("neuron spread")


def test_other_models_and_sharpnesses(capsys):
    code, out, _ = run(capsys, "flow", "--model", "diagonal", "--json")
    found = json.loads(out)
    assert (code, found["neuron_spread"]) == (0, None)
    assert found["sharpness_final"] == pytest.approx(
        found["flattest_sharpness"], abs=1e-5
    )
    code, out, _ = run(
        capsys,
        *(
            "flow",
            "--sharpness",
            "log_pseudo_determinant",
            "--times",
            0,
            0.5,
            1,
            "--json",
        ),
    )
    found = json.loads(out)
    assert (code, found["status"], found["slow_time"]) == (0, "COMPLETED", 1.0)
    assert found["flattest_sharpness"] is None


def test_the_initial_sharpness_is_that_of_the_start_whatever_the_times(capsys):
    whole = json.loads(run(capsys, "flow", "--times", 0, 1, "--json")[1])
    late = json.loads(run(capsys, "flow", "--times", 1, "--json")[1])
    assert late["sharpness_initial"] == whole["sharpness_initial"]
    assert late["sharpness_final"] == pytest.approx(whole["sharpness_final"], rel=1e-7)


def test_an_option_equal_to_its_default_still_wins_over_the_file(capsys, tmp_path):
    file = tmp_path / "flow.toml"
    file.write_text("n = 2\n")
    assert "n=2" in json.loads(run(capsys, "flow", file, "--json")[1])["model"]
    found = json.loads(run(capsys, "flow", file, "--n", 5, "--json")[1])
    assert "n=5" in found["model"]


def test_dependent_rows_are_noted_on_stderr_and_in_the_json(capsys):
    code, out, err = run(capsys, "flow", "--n", 5, "--d", 3, "--width", 6, "--json")
    found = json.loads(out)
    assert code == 0
    assert "5 input rows have rank 3" in err
    assert "rank 3" in found["caveats"][0]
    assert found["flattest_sharpness"] is None
    assert err.count("rank 3") == 1
    # in words, the result says it; once is enough
    code, out, err = run(capsys, "flow", "--n", 5, "--d", 3, "--width", 6)
    assert (code, f"{out}{err}".count("rank 3")) == (0, 1)


def test_same_seed_same_numbers(capsys):
    first = json.loads(run(capsys, "flow", "--seed", 4, "--json")[1])
    second = json.loads(run(capsys, "flow", "--seed", 4, "--json")[1])
    other = json.loads(run(capsys, "flow", "--seed", 5, "--json")[1])
    del first["seconds"], second["seconds"]
    assert first == second
    assert first["sharpness_initial"] != other["sharpness_initial"]


def test_a_run_is_saved(capsys, tmp_path):
    file = tmp_path / "run.npz"
    code, out, _ = run(capsys, "flow", "--times", 0, 1, "--out", file)
    assert (code, mf.load(file).times.tolist()) == (0, [0.0, 1.0])
    assert f"saved {file}" in out
    out = run(capsys, "flow", "--times", 1, "--out", tmp_path / "bare", "--json")[1]
    assert json.loads(out)["out"] == str(tmp_path / "bare.npz")


def test_data_from_a_file(capsys, tmp_path):
    file = tmp_path / "x.csv"
    file.write_text("a,b,y\n1,0,0.5\n0,1,-1\n")
    code, out, _ = run(capsys, "flow", "--data", file, "--width", 3, "--json")
    assert (code, "n=2, d=2" in json.loads(out)["model"]) == (0, True)


# --- configuration files --------------------------------------------------------------


def test_a_config_file_gives_options_and_the_command_line_wins(capsys, tmp_path):
    file = tmp_path / "flow.toml"
    file.write_text('n = 2\nd = 4\nm = 3\nactivation = "sinh"\ntimes = [0, 1]\n')
    code, out, _ = run(capsys, "flow", file, "--d", 6, "--json")
    found = json.loads(out)
    assert (code, found["status"]) == (0, "COMPLETED")
    assert "n=2, d=6, width=3, Activation('sinh(z)')" in found["model"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("n = 3\n\nactivaton = 'sinh'\n", r":3: unknown key 'activaton'; did you mean"),
        ("n = 3\nd = 'four'\n", r":2: d = 'four': expected int"),
        ("n = 2.5\n", r":1: n = 2\.5: expected int"),
        ("json = 1\n", r":1: json = 1: expected bool"),
        ("times = ['a']\n", r":1: times = \['a'\]: expected a list of float"),
        ("n = [1, 2]\n", r":1: n = \[1, 2\]: expected int"),
        ("[model]\nn = 3\n", r":1: model = \{'n': 3\}: expected str"),
        ("n = = 3\n", r"not valid TOML: .*line 1"),
        (f"n = {'9' * 5000}\n", r"not valid TOML: .*digits"),
        (f"n = {'[' * 9000}{']' * 9000}\n", r"not valid TOML: .*recursion"),
        (f"rate = 1{'0' * 400}\n", r":1: rate = 1000+\.\.\.0+: int too large"),
        ("m = 3\n\nwidth = 4\n", r":3: width is another spelling"),
        ("max_steps = 3\nmax-steps = 4\n", r":2: max-steps is another spelling"),
        ("seed = -1\n", r"seed = -1: must be an integer, 0 or more"),
        ("# " * 60_000, r"longer than 100000 characters"),
    ],
)
def test_a_bad_config_names_line_and_nearest_key(capsys, tmp_path, text, message):
    file = tmp_path / "flow.toml"
    file.write_text(text)
    code, out, err = run(capsys, "flow", file)
    assert (code, out) == (2, "")
    assert re.search(message, err), err


def test_a_byte_order_mark_is_no_part_of_a_key(capsys, tmp_path):
    file = tmp_path / "flow.toml"
    file.write_text("\ufeffn = 2\n", "utf-8")
    code, out, _ = run(capsys, "flow", file, "--times", 1, "--json")
    assert (code, "n=2" in json.loads(out)["model"]) == (0, True)


def test_a_missing_config(capsys, tmp_path):
    code, _, err = run(capsys, "flow", tmp_path / "none.toml")
    assert (code, "cannot read" in err) == (2, True)


# --- bad input ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "rk4"], "did you mean 'RK45'"),
        (["--sharpness", "tracee"], "did you mean 'trace'"),
        (["--model", "two_layers"], "did you mean 'two-layer'"),
        (["--data", "digit"], "did you mean 'digits'"),
        (["--data", "none.csv"], "cannot read none.csv"),
        (["--activation", "gellu"], "did you mean 'gelu'"),
        (["--activation", "__import__('os').getpid()"], "__import__"),
        (["--activation", "z**3 + "], "ends after"),
        (["--loss", "summ"], "did you mean 'sum'"),
        (["--n", "0"], "n >= 1"),
        (["--width", "0"], "at least one neuron"),
        (["--n", "9", "--d", "8", "--width", "1"], "not over-parametrised"),
        (["--times", "2", "1"], "strictly increasing"),
        (["--rate", "0"], "the flow stands still"),
        (["--activation", "tanh", "--width", "1"], "no zero-loss point"),
        (["--activation", "z**2"], "z**2 maps into [0, inf)"),
        (["--activation", "exp(-z**2)"], "exp(-z**2) maps into (0, 1]"),
        (["--seed", "-1"], "seed = -1"),
        (["--n", "1000000000"], "the inputs would take"),
        (["--n", "1000000000000", "--data", "uniform"], "the inputs would take"),
        (["--width", "1000000000000"], "the features would take"),
        (["--data", "/dev/zero"], "unknown data '/dev/zero'"),
    ],
)
def test_unusable_input_has_exit_status_2(capsys, arguments, message):
    code, out, err = run(capsys, "flow", *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (".", "is a directory. Name a file in it"),
        ("/dev/null/run", "Not a directory"),
        ("/dev/null/run.npz", "Not a directory"),
        ("x" * 300, "File name too long"),
        ("x\0y", "null"),
    ],
)
def test_a_target_that_cannot_be_written_is_refused_before_the_work(
    capsys, monkeypatch, name, message
):
    monkeypatch.setattr(mf, "integrate", None)
    code, out, err = run(capsys, "flow", "--out", name)
    assert (code, out) == (2, "")
    assert message in err


def test_a_failure_is_an_object_where_json_is_asked_for(capsys, tmp_path):
    code, out, err = run(capsys, "flow", "--model", "two_layers", "--json")
    found = json.loads(out)
    assert (code, found["exit_status"], found["kind"]) == (2, 2, "UnknownNameError")
    assert found["error"] == err.removeprefix("manifold-flow: ").rstrip("\n")
    code, out, err = run(capsys, "flow", "--max-steps", 5, "--json")
    assert (code, json.loads(out)["kind"]) == (4, "IntegrationError")
    assert "Pass --out RUN.npz" in json.loads(out)["error"]


def test_a_path_that_cannot_be_kept_is_said_to_be_lost(capsys, tmp_path, monkeypatch):
    def full(*arguments, **options):
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", full)
    code, _, err = run(capsys, "flow", "--max-steps", 5, "--out", tmp_path / "run")
    assert code == 4
    assert "max_steps=5 reached" in err
    assert "path so far is lost: cannot write" in err


def test_unknown_options_and_commands_name_the_nearest(capsys):
    assert refused(capsys, "flow", "--widht", "3")[0] == 2
    assert "did you mean '--width'" in refused(capsys, "flow", "--widht", "3")[1]
    assert refused(capsys, "flwo")[0] == 2
    # abbreviations are not guessed
    assert refused(capsys, "flow", "--act", "sinh")[0] == 2


def test_numerical_failure_has_exit_status_4_and_keeps_the_path(capsys, tmp_path):
    file = tmp_path / "partial.npz"
    code, out, err = run(capsys, "flow", "--max-steps", 5, "--out", file)
    assert (code, out) == (4, "")
    assert "max_steps=5 reached" in err
    assert f"The path so far is in {file}" in err
    assert ".trajectory" not in err
    assert mf.load(file).n_steps == 5


def test_interruption_keeps_the_path(capsys, tmp_path, monkeypatch):
    file = tmp_path / "partial.npz"
    whole = mf.integrate

    def interrupted(flow, start, times, **options):
        def stop(time, point):
            raise KeyboardInterrupt

        return whole(flow, start, times, **options, callback=stop)

    monkeypatch.setattr(mf, "integrate", interrupted)
    code, _, err = run(capsys, "flow", "--out", file)
    assert (code, "interrupted" in err) == (4, True)
    assert mf.load(file).n_steps == 1
    assert issubclass(Interrupted, IntegrationError)


def test_interruption_before_there_is_a_path(capsys, monkeypatch):
    def interrupted(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(mf.ZeroLossManifold, "random_point", interrupted)
    code, out, err = run(capsys, "flow")
    assert (code, out) == (4, "")
    assert err == "manifold-flow: interrupted before there was a result.\n"


def version_into(stdout):
    return subprocess.run(
        [sys.executable, "-m", "manifold_flow", "--version"],
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        check=False,
    )


def test_a_closed_standard_output_leaves_the_status(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    assert cli.main(["doctor", "--json"]) == 0


def test_a_full_disk_and_a_reader_that_left():
    with open("/dev/full", "w") as full:
        done = version_into(full)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "standard output: [Errno 28] No space left" in done.stderr
    reading, writing = os.pipe()
    os.close(reading)
    done = version_into(writing)
    os.close(writing)
    assert (done.returncode, done.stderr) == (2, "")


@pytest.mark.parametrize("command", ["flow", "compare", "verify", "demo"])
@pytest.mark.parametrize("name", ["", "  "])
def test_an_empty_name_is_not_the_current_folder(
    command, name, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, command, "--out", name)
    assert (code, out) == (2, "")
    assert f"--out {name!r} names nothing" in err
    assert list(tmp_path.iterdir()) == []


def test_an_empty_name_in_a_file_of_options_is_refused_too(capsys, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text('out = ""\n')
    code, _, err = run(capsys, "flow", file)
    assert code == 2
    assert "--out '' names nothing" in err


# --- compare --------------------------------------------------------------------------

QUICK = (
    *("compare", "--model", "diagonal", "--n", 1, "--d", 2),
    *("--slow-time", 0.5, "--eta", 0.1, 0.05),
)


def test_compare_prints_order_and_rates_as_one_json_object(capsys):
    finer = ("--eta", 0.08, 0.04, 0.02, "--replicas", 100)
    code, out, err = run(capsys, *QUICK, *finer, "--json", "--quiet")
    found = json.loads(out)
    assert (code, out.count("\n"), err) == (0, 1, "")
    assert (found["verdict"], found["exit_status"]) == ("HOLDS", 0)
    low, high = found["fitted_order_interval"]
    assert low < found["fitted_order"] < high
    assert 0.8 < found["fitted_order"] < 1.25
    assert found["rate_predicted"] == 0.25
    assert found["rate_measured"] == pytest.approx(0.25, rel=0.05)
    assert [each["learning_rate"] for each in found["ensembles"]] == [0.08, 0.04, 0.02]


@pytest.mark.slow
def test_compare_of_the_issue(capsys):
    code, out, _ = run(
        capsys,
        *("compare", "--model", "two-layer", "--n", 3, "--d", 5, "--width", 4),
        *("--noise", 1, "--eta", 0.04, 0.02, 0.01, "--slow-time", 2),
        *("--replicas", 256, "--seed", 1, "--json"),
    )
    found = json.loads(out)
    assert (code, found["verdict"]) == (0, "HOLDS")
    assert 0.8 <= found["fitted_order"] <= 1.25
    assert found["rate_measured"] == pytest.approx(found["rate_predicted"], rel=0.05)


@pytest.mark.slow
def test_compare_by_default_makes_the_same_steps_in_every_normalisation(capsys):
    tiny = ("compare", "--n", 2, "--d", 3, "--width", 3, "--replicas", 4, "--json")
    half, whole = (
        json.loads(run(capsys, *tiny, "--loss", loss, "--quiet")[1])
        for loss in ("half-mean", "sum")
    )
    for one, other in zip(half["ensembles"], whole["ensembles"], strict=True):
        # to the two digits to which rates and slow time are rounded
        assert one["n_steps"] == pytest.approx(other["n_steps"], rel=0.05)
        ratio = one["learning_rate"] / other["learning_rate"]
        assert ratio == pytest.approx(4.0, rel=0.05)


def test_compare_prints_the_schedule_or_why_there_is_none(capsys):
    _, out, _ = run(capsys, *QUICK)
    assert re.search(r"at learning rate 0.05, one e-fold takes \S+ steps", out)
    _, out, _ = run(capsys, *QUICK, "--optimizer", "minibatch")
    assert "e-fold" not in out


@pytest.mark.parametrize(
    ("command", "smaller"),
    [
        ("compare", ("--replicas", 2, "--slow-time", 0.1)),
        ("flow", ("--n", 2, "--width", 3, "--times", 0.1)),
    ],
)
def test_the_example_configurations_are_read(capsys, command, smaller):
    file = Path(__file__).parents[1] / "docs" / "examples" / f"{command}.toml"
    code, _, err = run(capsys, command, file, *smaller, "--quiet")
    assert code in ((0, 3) if command == "compare" else (0,))
    assert err == ""


def test_the_advice_to_an_unstable_learning_rate_is_stable(capsys):
    tiny = ("compare", "--n", 2, "--d", 3, "--width", 3, "--replicas", 2)
    code, _, err = run(capsys, *tiny, "--eta", 5, 2)
    advised = re.search(r"--eta ([\d. e-]+),", err)[1].split()
    assert (code, len(advised)) == (2, 3)
    code, out, _ = run(capsys, *tiny, "--eta", *advised, "--slow-time", 0.2)
    assert code in (0, 3)
    assert f"{float(advised[-1]):g} " in out


def test_compare_with_a_wrong_rate_has_exit_status_1(capsys):
    code, out, _ = run(capsys, *QUICK, "--rate", 0.5)
    assert (code, "VIOLATED: the error does not go to 0" in out) == (1, True)
    assert "predicted 0.5" in out


def test_compare_without_a_verdict_has_exit_status_3(capsys):
    code, out, _ = run(capsys, *QUICK, "--replicas", 2)
    assert code == 3
    assert re.search(r"NOT_REACHED: .* About \d+ replicas would", out)


@pytest.mark.parametrize("suffix", ["png", "json", "folder"])
def test_compare_writes_a_picture_or_a_folder(capsys, tmp_path, suffix):
    out = tmp_path / f"found.{suffix}"
    code, text, _ = run(capsys, *QUICK, "--out", out)
    assert code in (0, 3)
    if suffix != "json":
        picture = out if suffix == "png" else out / "comparison.png"
        assert picture.read_bytes().startswith(b"\x89PNG")
        assert f"saved {picture}" in text
    if suffix != "png":
        table = out if suffix == "json" else out / "comparison.json"
        assert json.loads(table.read_text("utf-8"))["seed"] == 0
        assert f"saved {table}" in text


def test_compare_reads_a_config_and_other_optimizers(capsys, tmp_path):
    file = tmp_path / "compare.toml"
    file.write_text(
        'model = "matrix"\nn = 2\nd = 2\nwidth = 1\noptimizer = "sam_per_sample"\n'
        "eta = [0.02, 0.01]\nrho-ratio = 5\nslow-time = 0.01\nreplicas = 3\n"
    )
    code, out, _ = run(capsys, "compare", file, "--json")
    found = json.loads(out)
    assert code == found["exit_status"]
    assert "SAM(learning_rate=0.01, radius=0.05, batch_size=1" in found["optimizer"]
    assert "MatrixSensing" in found["model"]
    assert found["rate_predicted"] == 0.5


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--eta", "5", "2"], "learning_rate = 5 is not stable at the start"),
        (["--optimizer", "sgd"], "unknown optimizer 'sgd'"),
        (["--optimizer", "minibtach"], "did you mean 'minibatch'"),
        (["--eta", "0.01"], "at least two different"),
        (["--noise", "-1"], "noise_std = -1"),
        (["--slow-time", "-1"], "slow_time = -1"),
        (["--noise-law", "gaussain"], "did you mean 'gaussian'"),
        (["--batch-size", "9"], "batch_size = 9"),
        (["--momentum", "1"], "momentum = 1"),
        (["--optimizer", "sam", "--rho-ratio", "0"], "radius"),
        (["--eta", "1e-4", "1e-5"], "steps in all, about"),
        (["--out", "/dev/null/x"], "cannot write /dev/null/x/comparison.json"),
        (["--optimizer", "sam", "--batch-size", "2"], "--batch-size is of no use"),
        (["--optimizer", "minibatch", "--noise", "2"], "belongs to label-noise. Leave"),
        (["--rho-ratio", "3"], "belongs to sam and sam-per-sample"),
    ],
)
def test_compare_refuses_unusable_input(capsys, arguments, message):
    code, out, err = run(capsys, "compare", "--n", 2, "--d", 3, "--m", 3, *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_a_matrix_needs_a_square_number_of_columns(capsys, tmp_path):
    (tmp_path / "x.csv").write_text("a,b,c,y\n1,0,0,0.5\n0,1,0,-1\n")
    arguments = ("--model", "matrix", "--data", tmp_path / "x.csv")
    code, _, err = run(capsys, "compare", *arguments)
    assert (code, "the data have 3 columns" in err) == (2, True)


def test_a_crossing_ends_compare_with_status_4_and_keeps_the_flow(capsys, tmp_path):
    rng = np.random.default_rng(6)
    inputs, targets = rng.standard_normal((2, 4)), np.random.default_rng(56)
    table = np.column_stack([inputs, targets.standard_normal(2)])
    np.savetxt(tmp_path / "x.csv", table, delimiter=",")
    arguments = (
        "--model",
        "diagonal",
        "--data",
        tmp_path / "x.csv",
        "--eta",
        0.01,
        0.005,
    )
    code, _, err = run(
        capsys,
        *("compare", *arguments, "--optimizer", "sam", "--seed", 1, "--slow-time", 20),
        *("--out", tmp_path / "found.png"),
    )
    assert (code, "at a crossing the top eigenvalue" in err) == (4, True)
    assert mf.load(tmp_path / "found.npz").times[-1] > 0.0


# --- the other commands ---------------------------------------------------------------


def test_no_command_prints_the_help(capsys):
    code, out, _ = run(capsys)
    assert code == 2
    for command in ("demo", "flow", "compare", "doctor"):
        assert command in out


def test_version(capsys):
    code, out, _ = run(capsys, "--version")
    assert (code, out) == (0, f"manifold_flow {mf.__version__}\n")


def test_doctor_checks_itself(capsys):
    code, out, _ = run(capsys, "doctor")
    assert code == 0
    assert re.search(r"^self-check +ok: ", out, re.M)
    assert f"numpy{' ' * (out.index(np.__version__) - out.index('numpy') - 5)}" in out
    found = json.loads(run(capsys, "doctor", "--json")[1])
    assert {"python", "numpy", "BLAS", "geomstats bridge", "self-check"} <= found.keys()


def test_doctor_reports_a_broken_installation(capsys, monkeypatch):
    monkeypatch.setattr(mf.references, "flattest_value", lambda model: 1.0)
    code, out, _ = run(capsys, "doctor")
    assert (code, "FAILED" in out) == (4, True)


def test_demo_writes_a_report_with_four_pictures(capsys, tmp_path, monkeypatch):
    from manifold_flow import demo

    monkeypatch.setattr(demo, "LEARNING_RATE", 5e-4)
    code, out, _ = run(
        capsys,
        *("demo", "--n", 4, "--width", 5, "--replicas", 64, "--out", tmp_path / "run"),
    )
    page = (tmp_path / "run" / "report.html").read_text("utf-8")
    assert code == 0
    assert page.count('<img alt="') == 4
    assert page.count("data:image/png;base64,iVBOR") == 4
    assert "http" not in re.sub(r'base64,[^"]+', "", page)
    assert re.search(r"flow +STATIONARY", out)
    assert "bound kept at every step: yes" in out
    assert mf.load(tmp_path / "run" / "flow.npz").status is mf.Status.STATIONARY
    assert mf.load(tmp_path / "run" / "sgd.npz").points.shape[1] == 64
    start = float(re.search(r"sharpness at the start +(\S+)", out)[1])
    ends = re.search(r"SGD (\S+) \+/- (\S+) \(95 %\), flow (\S+);", out).groups()
    mean, error, limit = map(float, ends)
    assert abs(mean - limit) < 0.02 * start + error
    assert start - limit > 0.1 * start  # it has moved by more than that


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n", "60"], "input rows have rank 52"),
        (["--n", "50", "--width", "81"], "n * width = 4050"),
        (["--width", "1000000000000"], "takes hours"),
        (["--n", "0"], "n = 0 was asked for"),
        (["--n", "4", "--replicas", "1"], "needs at least 2"),
        (["--n", "4", "--replicas", "1000000000000"], "take hours"),
        (["--seed", "-1"], "seed = -1"),
        (["--out", "/dev/null"], "cannot write /dev/null/report.html"),
        (["--out", "/dev/null/deep"], "cannot write /dev/null/deep/report.html"),
    ],
)
def test_demo_refuses_before_it_computes(
    capsys, tmp_path, monkeypatch, arguments, message
):
    from manifold_flow import demo

    monkeypatch.setattr(demo, "integrate", None)
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, "demo", *arguments)
    assert (code, out) == (2, "")
    assert message in err


def test_python_m_is_the_same_program():
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "manifold_flow",
            "flow",
            "--n",
            "2",
            "--d",
            "3",
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout)["status"] == "STATIONARY"
