"""Measure, print the table, write JSON and pictures: ``python -m benchmarks``."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from benchmarks import quantities
from benchmarks.contestant import Entry, in_child
from benchmarks.judge import reference
from benchmarks.peer import all_peers
from benchmarks.pictures import draw
from benchmarks.problem import TASKS, Problem
from benchmarks.race import Limits, race, sweep
from benchmarks.results import Results
from benchmarks.table import as_text, goal_lines

OURS = "manifold_flow auto"
#: those that can do an ill-conditioned problem in minutes
STIFF = r"^manifold_flow (?!Call)|^(?!scipy (BDF|Radau)|diffrax Kv).*, Z$|^pymanopt"
EVERYONE = ""
#: without automatic differentiation, which at XL takes hours
PLAIN = r"^manifold_flow (?!Call)|^(?!geomstats|scipy (BDF|Radau)).*, [θZ]$"
#: without dense Newton matrices, which at M take minutes already
PATIENT = r"^(?!scipy (BDF|Radau)|diffrax Kvaerno)"


@dataclass(frozen=True)
class Heat:
    """One problem and task, and who takes part."""

    problem: Problem
    task: str
    peers: str = EVERYONE


L = Problem.of("L")
QUICK = (
    *(Heat(Problem.of("M"), task, PATIENT) for task in TASKS),
    *(Heat(Problem.of("L"), task, PLAIN) for task in TASKS),
    Heat(Problem.of("M", condition=1e4), "endpoint", STIFF),
)
FULL = (
    *(Heat(Problem.of(size), "endpoint") for size in "SML"),
    *(Heat(Problem.of(size), "trajectory", PATIENT) for size in "SML"),
    Heat(Problem.of("XL"), "endpoint", PLAIN),
    *(
        Heat(Problem.of("M", condition=condition), "endpoint", STIFF)
        for condition in (1e2, 1e4, 1e6)
    ),
    Heat(Problem.of("M", condition=1e2), "trajectory", STIFF),
    Heat(Problem.of("M", condition=1e4), "trajectory", STIFF),
    *(Heat(Problem.of(size, "sinh"), task, PLAIN) for size in "SML" for task in TASKS),
    Heat(Problem.of("M", "sinh", 1e4), "endpoint", STIFF),
    *(
        Heat(problem, "endpoint", r"^manifold_flow auto|^diffrax .*, Z|DOP853, (Z|θ)")
        for problem in (
            *(replace(L, n=n) for n in (25, 100, 200)),
            *(replace(L, m=m) for m in (250, 1000, 2000)),
            *(replace(L, d=d) for d in (250, 1000, 2000)),
        )
    ),
)
#: the curves of the work-precision picture
CURVES = r"^manifold_flow (?!Call)|^(scipy (DOP|RK|LSODA)|diffrax [TD]|sundials).*, Z$"
TOLERANCES = tuple(10.0**-k for k in range(3, 11))

SINGLE: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
    "floor L": (quantities.floor, (L,)),
    "floor XL": (quantities.floor, (Problem.of("XL"),)),
    "auto L": (quantities.auto, (L,)),
    "auto L 2m": (quantities.auto, (replace(L, m=2 * L.m),)),
    "auto L 2d": (quantities.auto, (replace(L, d=2 * L.d),)),
    "direct XL": (quantities.direct, (Problem.of("XL"),)),
    "memory XL": (quantities.memory, (Problem.of("XL"),)),
    "ensemble B=1": (quantities.ensemble, (1,)),
    "ensemble full": (quantities.ensemble, (20,)),
    "label-noise SGD itself, S (extrapolated)": (
        quantities.label_noise,
        (Problem.of("S"),),
    ),
    "label-noise SGD itself, M (extrapolated)": (
        quantities.label_noise,
        (Problem.of("M"),),
    ),
}


def say(text: str) -> None:
    """Report on standard error: the table alone goes to standard output."""
    sys.stderr.write(f"{text}\n")


def run_heat(
    heat: Heat, peers: str, limits: Limits, results: Results, keep: Callable[[], None]
) -> None:
    """Measure everyone who takes part and is not yet measured, each beside us."""
    problem, task = heat.problem, heat.task
    measured = {row.peer for row in results.of(problem.name, task)}
    names = [
        name
        for name in all_peers()
        if re.search(heat.peers, name)
        and re.search(peers, name)
        and name not in measured
    ]
    if not names:
        return
    say(f"{problem.name}, {task}")
    expected = reference(problem) if task == "trajectory" else None
    ours = Entry(OURS, problem, task, expected)
    try:
        first = ours.first(limits.run)
        say(f"  ours: {first}")
        for name in names:
            row = race(problem, task, name, ours, limits, expected)
            results.rows.append(row)
            keep()
            say(f"  {name}: {row.outcome}, {row.median} s, ratio {row.ratio}")
    finally:
        ours.stop()
    results.quantities[f"parameters {problem.name}"] = float(problem.m * problem.d)


def run_precision(peers: str, limits: Limits, results: Results) -> None:
    """Measure the trajectory of M at every tolerance."""
    problem = Problem.of("M")
    expected = reference(problem)
    for name in all_peers():
        if re.search(CURVES, name) and re.search(peers, name):
            rows = sweep(problem, name, TOLERANCES, limits, expected)
            say("\n".join(f"  {name}: {row.error:.1e}, {row.median} s" for row in rows))
            results.precision += rows


def arguments() -> argparse.Namespace:
    """Return the command line."""
    parser = argparse.ArgumentParser("python -m benchmarks", allow_abbrev=False)
    parser.add_argument("--full", action="store_true", help="all sizes; takes hours")
    parser.add_argument("--peers", default="", help="only names that match this")
    parser.add_argument("--heats", default="", help="only problems that match this")
    parser.add_argument("--limit", type=float, help="seconds a run: 60 or 600")
    parser.add_argument(
        "--resume", action="store_true", help="go on from what --out has"
    )
    parser.add_argument("--out", type=Path, default=Path("build/benchmarks"))
    return parser.parse_args()


def main() -> int:
    """Run what was asked for; 1 where a goal is missed."""
    asked, results = arguments(), Results()
    target = asked.out / "benchmarks.json"
    if asked.resume and target.exists():
        results = Results.read(target)

    def keep() -> None:
        results.write(target, [asdict(goal) for goal in goal_lines(results)])

    limit = asked.limit or (600.0 if asked.full else 60.0)
    limits = (
        Limits(limit, pair=8.0) if asked.full else Limits(limit, pair=4.0, repeats=5)
    )
    for heat in FULL if asked.full else QUICK:
        if re.search(asked.heats, f"{heat.problem.name}, {heat.task}"):
            run_heat(heat, asked.peers, limits, results, keep)
    for name, (function, values) in SINGLE.items():
        if re.search(asked.heats, name) and name not in results.quantities:
            results.quantities[name] = in_child(function, *values, limit=limit)
            keep()
            say(f"{name}: {results.quantities[name]}")
    if asked.full and not results.precision:
        run_precision(asked.peers, replace(limits, pair=3.0, repeats=3), results)
    keep()
    for path in draw(results, asked.out):
        say(f"wrote {path}")
    print(as_text(results))
    return int(any(goal.verdict == "FAIL" for goal in goal_lines(results)))


if __name__ == "__main__":
    sys.exit(main())
