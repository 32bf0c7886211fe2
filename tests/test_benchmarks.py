"""Benchmarks: the judge, the peers, the table, and a guard that compares ratios."""

import json
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import manifold_flow as mf
from benchmarks.contestant import Entry, Failure, Sample, in_child
from benchmarks.coordinates import parameters, preactivations
from benchmarks.field import ACTIVATIONS
from benchmarks.goals import GOALS, against
from benchmarks.judge import Verdict, judge, reference
from benchmarks.peer import Peer, all_peers
from benchmarks.pictures import draw
from benchmarks.problem import Problem
from benchmarks.quantities import floor
from benchmarks.race import Limits, Row, measure
from benchmarks.results import Results
from benchmarks.table import HEADER, as_markdown, as_text, goal_lines, row_cells

SMALL = Problem.of("S")
SHAPES = [SMALL, Problem.of("S", "sinh"), Problem.of("S", condition=1e4)]
#: what the default run solves beside the tests; the rest is done in children, slowly
LIGHT = (
    "manifold_flow auto",
    "manifold_flow StructuredBDF",
    "scipy DOP853",
    "scipy LS",
)
CONTESTS = {
    light: [
        (name, task)
        for name, peer in all_peers().items()
        for task in peer.tasks
        if name.startswith(LIGHT) is light and peer.obstacle(SMALL, task) is None
    ]
    for light in (True, False)
}


# --------------------------------------------------------------------------- the job


@pytest.mark.parametrize("problem", SHAPES, ids=lambda problem: problem.name)
class TestProblem:
    def test_start_is_on_the_manifold(self, problem):
        assert np.abs(problem.field.residual(problem.features)).max() < 1e-9

    def test_field_is_the_gradient_of_our_own_manifold(self, problem):
        expression = ACTIVATIONS[problem.activation].expression
        model = mf.TwoLayerNetwork(
            problem.inputs, problem.targets, problem.m, expression, loss="sum"
        )
        expected = -0.5 * mf.ZeroLossManifold(model).riemannian_gradient(
            mf.HessianTrace(), problem.start.ravel()
        )
        scale = np.abs(expected).max()
        assert parameters(problem).rates(problem.start.ravel()) == pytest.approx(
            expected, abs=1e-9 * scale
        )

    def test_both_coordinates_move_alike(self, problem):
        inner, outer = preactivations(problem), parameters(problem)
        moved = outer.rates(outer.start).reshape(problem.start.shape)
        expected = (problem.inputs @ moved.T).ravel()
        scale = np.abs(expected).max()
        assert inner.rates(inner.start) == pytest.approx(expected, abs=1e-9 * scale)
        assert inner.gradient(inner.start) == pytest.approx(np.linalg.norm(moved))

    def test_closed_form_end_is_accepted_and_the_start_is_not(self, problem):
        assert judge(problem, "endpoint", problem.end, None).accepted
        assert not judge(problem, "endpoint", problem.start, None).accepted


def test_condition_number_and_trace_of_the_inputs():
    values = np.linalg.eigvalsh(Problem.of("M", condition=1e4).field.gram)
    assert values[-1] / values[0] == pytest.approx(1e4, rel=1e-6)
    assert values.sum() == pytest.approx(20)


def test_reference_ends_where_the_closed_form_says():
    late = reference(SMALL)[-1]
    early, limit = SMALL.features, SMALL.inputs @ SMALL.end.T
    left = np.linalg.norm(late - limit) / np.linalg.norm(early - limit)
    assert left < 10 * np.exp(-5.0)  # five lifetimes of the slowest mode


# ------------------------------------------------------------------------- the judge


def off_the_manifold(end):
    return end * (1 + 1e-9)


def in_a_frozen_direction(end):
    frozen = np.linalg.svd(SMALL.inputs)[2][-1]
    return end + 1e-5 * frozen


def not_stationary(end):
    along = SMALL.field.dual(SMALL.features).T @ SMALL.inputs
    ahead = end + 1e-6 * along
    return ahead + SMALL.field.projection(SMALL.inputs @ ahead.T).T @ SMALL.inputs


@pytest.mark.parametrize(
    ("planted", "words"),
    [
        (off_the_manifold, "residual"),
        (in_a_frozen_direction, "from the end"),
        (not_stationary, "gradient"),
        (lambda end: end[:-1], "incomplete"),
        (lambda end: np.full_like(end, np.nan), "not finite"),
    ],
)
def test_planted_wrong_end_is_marked(planted, words):
    verdict = judge(SMALL, "endpoint", planted(SMALL.end), None)
    assert not verdict.accepted
    assert words in verdict.words


@pytest.mark.parametrize(("shift", "accepted"), [(5e-7, True), (2e-6, False)])
def test_trajectory_is_judged_at_its_worst_time(shift, accepted):
    expected = np.ones((3, SMALL.n, SMALL.m))
    answer = expected.copy()
    answer[1] += shift
    verdict = judge(SMALL, "trajectory", answer, expected)
    assert verdict.accepted is accepted
    assert verdict.error == pytest.approx(shift)


# ------------------------------------------------------------------------- the peers


@pytest.fixture(scope="module")
def expected():
    return {"endpoint": None, "trajectory": reference(SMALL)}


@pytest.mark.parametrize(("name", "task"), CONTESTS[True])
def test_peer_solves_the_small_problem(name, task, expected):
    peer = all_peers()[name]
    answer = peer.prepare(SMALL, task, 1e-9)()
    if task == "trajectory":
        answer = peer.features(SMALL, answer)
    verdict = judge(SMALL, task, answer, expected[task])
    assert verdict.accepted, verdict.words


@pytest.mark.slow
@pytest.mark.parametrize(("name", "task"), CONTESTS[False])
def test_peer_in_a_child_solves_the_small_problem(name, task, expected):
    entry = Entry(name, SMALL, task, expected[task])
    answer = entry.first(limit=60.0)
    entry.stop()
    assert isinstance(answer, Sample), answer
    assert answer.verdict.accepted, answer.verdict.words


def test_every_peer_says_what_it_was_told():
    for peer in all_peers().values():
        assert peer.told
        assert set(peer.rtol) == set(peer.tasks)


def test_missing_library_is_a_reason():
    peer = replace(all_peers()["scipy RK45, Z"], requires=("no_such_library",))
    assert "no_such_library is not installed" in peer.obstacle(SMALL, "endpoint")


def test_hopeless_size_is_a_reason():
    peer = all_peers()["scipy BDF, θ"]
    assert peer.obstacle(Problem.of("M"), "endpoint") is None
    assert "out of memory" in peer.obstacle(Problem.of("L"), "endpoint")


# ------------------------------------------------------------------ measuring in turns


class Scripted:
    """An entry whose answers are written down."""

    rtol = 1e-8

    def __init__(self, *answers):
        self.answers = list(answers)

    def run(self, limit):
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]

    first = run


def took(seconds, accepted=True):
    return Sample(seconds, seconds, Verdict(accepted, 1e-9, "words"))


def measured(*answers, ours=0.5):
    row = Row("M", "endpoint", "scipy RK45, Z", "reduced")
    measure(row, Scripted(*answers), Scripted(took(ours)), Limits(repeats=3))
    return row


def test_ratio_is_of_medians_and_the_first_run_warms_up():
    row = measured(took(1.9), took(1.0), took(3.0), took(2.0))
    assert row.seconds == [1.0, 3.0, 2.0]
    assert row.our_seconds == [0.5, 0.5, 0.5]
    assert row.ratio == pytest.approx(4.0)


def test_wrong_answer_is_not_timed():
    row = measured(took(0.001, accepted=False))
    assert row.outcome == "wrong: words"
    assert row.median is row.ratio is None


def test_run_that_is_given_up_is_a_lower_bound():
    row = measured(Failure("> 60 s", 60.0))
    assert row.median is None
    assert row.ratio == pytest.approx(120.0)
    assert row_cells(row)[4] == "> 120"


def sleepy(problem, task, rtol):
    return lambda: time.sleep(60.0)


def lying(problem, task, rtol):
    return lambda: problem.start


@pytest.mark.slow
@pytest.mark.parametrize(
    ("prepare", "outcome"), [(sleepy, "> 0 s"), (lying, "wrong: gradient 1.0e+00")]
)
def test_planted_contestant_hangs_or_lies_in_its_child(prepare, outcome):
    peer = Peer("planted", "closed form", prepare, "", rtol={"endpoint": 1e-8})
    entry = Entry(peer, SMALL, "endpoint", None)
    row = Row("S", "endpoint", "planted", "closed form")
    measure(row, entry, None, Limits(run=1.0))
    entry.stop()
    assert row.outcome.startswith(outcome)
    assert row.ratio is None


@pytest.mark.slow
def test_floor_is_positive_and_below_a_second():
    found = in_child(floor, SMALL, limit=60.0)
    assert 0 < found["velocity"] < found["floor"] < 1


# ------------------------------------------------------------------- table and goals


def results(*ratios, bound=False):
    rows = [
        Row(
            "M cond 1e4",
            "endpoint",
            f"scipy RK{k}, Z",
            "reduced",
            lower_bound=ratio if bound else None,
            seconds=[] if bound else [ratio],
            our_seconds=[1.0],
        )
        for k, ratio in enumerate(ratios)
    ]
    return Results(rows)


@pytest.mark.parametrize(
    ("found", "verdict", "value"),
    [
        (results(120.0, 300.0), "pass", 120.0),
        (results(20.0, 300.0), "FAIL", 20.0),
        (results(120.0, bound=True), "pass", 120.0),
        (results(20.0, bound=True), "open", 20.0),
        (results(), "not measured", None),
    ],
)
def test_goal_is_judged_against_the_best_peer(found, verdict, value):
    goal = against("M cond 1e4", "endpoint", ", Z$", 100.0, "SciPy in Z")
    judged = goal.judge(found)
    assert (judged.verdict, judged.value) == (verdict, value)


def test_goal_that_we_do_not_finish_is_missed():
    found = results(120.0)
    ours = Row("M cond 1e4", "endpoint", "manifold_flow auto", "ours", "> 60 s", 60.0)
    found.rows.append(ours)
    judged = against("M cond 1e4", "endpoint", ", Z$", 100.0, "").judge(found)
    assert (judged.verdict, judged.against) == ("FAIL", "ours: > 60 s")


def test_goals_on_single_numbers():
    found = Results(quantities={"auto L": 1.0, "auto L 2m": 2.05, "direct XL": 9e-3})
    verdicts = {judged.goal: judged.verdict for judged in goal_lines(found)}
    assert verdicts["growth, doubling m at L"] == "pass"
    assert verdicts["direct end point, XL"] == "FAIL"
    assert verdicts["growth, doubling d at L"] == "not measured"
    assert len(verdicts) == len(GOALS)


def test_table_has_a_line_a_row_and_the_fastest_first():
    text = as_text(results(300.0, 20.0))
    lines = text.partition("== M cond 1e4, endpoint\n")[2].splitlines()
    assert lines[0].split()[:2] == list(HEADER[:2])
    assert lines[1].startswith("scipy RK1, Z")
    assert lines[2].startswith("scipy RK0, Z")
    assert "| scipy RK1, Z | reduced | 20 |" in as_markdown(results(300.0, 20.0))


def test_json_keeps_everything(tmp_path):
    found = results(300.0, 20.0)
    found.quantities = {"direct XL": 9e-3, "floor XL": {"floor": 0.1}, "x": "> 60 s"}
    path = tmp_path / "deep" / "benchmarks.json"
    found.write(path, [{"goal": "fast"}])
    kept = json.loads(path.read_text("utf-8"))
    assert set(kept) == {"machine", "rows", "precision", "quantities", "goals"}
    assert {"median", "ratio", "error", "rtol", "outcome"} < set(kept["rows"][0])
    assert as_text(Results.read(path)) == as_text(found)


def test_pictures_are_drawn_of_what_was_measured(tmp_path):
    assert draw(results(20.0), tmp_path) == []
    row = Row("M", "trajectory", "scipy RK45, Z", "reduced", seconds=[1.0], error=1e-6)
    rows = [replace(row, problem=size, task="endpoint") for size in "SM"]
    sizes = {"parameters S": 80.0, "parameters M": 1e4}
    found = Results(rows, [row, replace(row, error=1e-7)], sizes)
    drawn = [path.name for path in draw(found, tmp_path)]
    assert drawn == ["benchmarks_precision.png", "benchmarks_size.png"]


def test_one_command_prints_the_goals_and_writes_json(tmp_path):
    command = [sys.executable, "-m", "benchmarks", "--heats", "nothing of this name"]
    root = Path(__file__).resolve().parents[1]
    command += ["--out", str(tmp_path)]
    done = subprocess.run(
        command, cwd=root, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("not measured") == len(GOALS)
    assert json.loads((tmp_path / "benchmarks.json").read_text("utf-8"))["rows"] == []


def test_a_run_that_was_stopped_goes_on(tmp_path):
    """A row that is there is not measured again; what is written is never half."""
    kept = Results(rows=[Row("S", "endpoint", "a peer", "ours")])
    kept.quantities["floor L"] = {"floor": 1.0}
    kept.write(tmp_path / "benchmarks.json", [])
    command = [sys.executable, "-m", "benchmarks", "--heats", "^floor L", "--resume"]
    root = Path(__file__).resolve().parents[1]
    done = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=root, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    again = Results.read(tmp_path / "benchmarks.json")
    assert [row.peer for row in again.rows] == ["a peer"]
    assert again.quantities == {"floor L": {"floor": 1.0}}
    assert not list(tmp_path.glob("*.tmp"))


# ------------------------------------------------------------------------- the guard


def test_guard_end_point_beats_the_closed_form_with_scipy(benchmark):
    """Ratios of CPU seconds, in pairs; the measured one is above 4."""
    problem = Problem.of("M")
    peers = [all_peers()[name] for name in ("manifold_flow auto", "scipy DOP853, θ")]
    solves = [
        peer.prepare(problem, "endpoint", peer.rtol["endpoint"]) for peer in peers
    ]
    ratios = []

    def pair():
        marks = [time.process_time()]
        for solve in solves:
            solve()
            marks.append(time.process_time())
        ours, theirs = np.diff(marks)
        ratios.append(theirs / ours)

    benchmark.pedantic(pair, rounds=5, warmup_rounds=1)
    benchmark.extra_info["ratio"] = np.median(ratios)
    assert np.median(ratios) > 2.0
