"""What the project has set itself to reach: ratios, on the machine of the run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from benchmarks.results import Results

__all__ = ["GOALS", "Goal", "Judged"]

REDUCED = r"^(scipy|diffrax) .*, Z$"
SUNDIALS = r"^sundials .*, Z$"
GEOMSTATS = r"^geomstats"
OTHERS = r"^(?!manifold_flow)"
AUTO = r"^manifold_flow auto$"
OURS_ON_A_FUNCTION = r"^manifold_flow CallableModel$"
ON_A_FUNCTION = 3.0

PASS, FAIL, OPEN, MISSING = "pass", "FAIL", "open", "not measured"


@dataclass(frozen=True)
class Judged:
    """A goal, judged.

    Attributes
    ----------
    goal : str
        The sentence.
    wanted : str
        The bound.
    value : float or None
        What was measured.
    verdict : str
        "pass", "FAIL", "open" (a peer was given up too early to tell), "not measured".
    against : str
        The best peer.
    """

    goal: str
    wanted: str
    value: float | None
    verdict: str
    against: str = ""


@dataclass(frozen=True)
class Measured:
    """A number, whether it is only a lower bound, and whose it is."""

    value: float
    is_bound: bool = False
    against: str = ""


@dataclass(frozen=True)
class Goal:
    """One sentence with a number in it.

    Attributes
    ----------
    text : str
        The sentence.
    bound : float
        The number.
    at_least : bool
        Whether more is better.
    measure : callable
        Results to what was measured, or None.
    unit : str
        Of the number.
    """

    text: str
    bound: float
    at_least: bool
    measure: Callable[[Results], Measured | None]
    unit: str = "x"

    def judge(self, results: Results) -> Judged:
        """Return the verdict: a lower bound can pass, but not fail."""
        wanted = f"{'>=' if self.at_least else '<='} {self.bound:g} {self.unit}"
        measured = self.measure(results)
        if measured is None:
            return Judged(self.text, wanted, None, MISSING)
        value = measured.value
        holds = value >= self.bound if self.at_least else value <= self.bound
        missed = OPEN if measured.is_bound and self.at_least else FAIL
        verdict = PASS if holds else missed
        return Judged(self.text, wanted, value, verdict, measured.against)


def against(problem: str, task: str, peers: str, bound: float, text: str) -> Goal:
    """Return a goal of the form: the best of these peers takes so many times longer."""

    def measure(results: Results) -> Measured | None:
        for ours in results.of(problem, task, AUTO):
            if ours.median is None:  # a goal that we do not finish is missed
                return Measured(0.0, against=f"ours: {ours.outcome}")
        best = results.best(problem, task, peers)
        return None if best is None else Measured(best.ratio, best.is_bound, best.name)

    return Goal(f"{task}, {problem}, against {text}", bound, True, measure)


def on_a_function(results: Results) -> Measured | None:
    """Return how much longer geomstats takes than CallableModel, or at most."""
    theirs = results.best("M", "endpoint", GEOMSTATS)
    ours = results.best("M", "endpoint", OURS_ON_A_FUNCTION)
    if theirs is None or ours is None:
        return None
    value = theirs.seconds / ours.seconds
    if ours.is_bound and (theirs.is_bound or value >= ON_A_FUNCTION):
        return None
    return Measured(value, theirs.is_bound, theirs.name)


def quotient(above: str, below: str) -> Callable[[Results], Measured | None]:
    """Return what measures the quotient of two single numbers."""

    def measure(results: Results) -> Measured | None:
        over, under = results.quantity(above), results.quantity(below)
        return None if over is None or under is None else Measured(over / under)

    return measure


def number(name: str, unit: float = 1.0) -> Callable[[Results], Measured | None]:
    """Return what reads a single number, in units."""

    def measure(results: Results) -> Measured | None:
        value = results.quantity(name)
        return None if value is None else Measured(value / unit)

    return measure


def above_floor(results: Results) -> Measured | None:
    """Return our seconds over those of the floor, at XL."""
    floor: Any = results.quantities.get("floor XL")
    ours = results.best("XL", "endpoint", AUTO)
    if not isinstance(floor, dict) or ours is None:
        return None
    return Measured(ours.seconds / floor["floor"])


DOP853 = r"^scipy DOP853, θ$"

GOALS = (
    against("L", "endpoint", DOP853, 15.0, "closed-form θ + SciPy DOP853"),
    against("XL", "endpoint", DOP853, 60.0, "closed-form θ + SciPy DOP853"),
    against("M", "endpoint", GEOMSTATS, 150.0, "geomstats + SciPy"),
    against("L", "endpoint", GEOMSTATS, 1000.0, "geomstats + SciPy"),
    against("L", "endpoint", REDUCED, 3.0, "SciPy and diffrax in Z"),
    against("XL", "endpoint", REDUCED, 3.0, "SciPy and diffrax in Z"),
    against("M cond 1e4", "endpoint", REDUCED, 100.0, "SciPy and diffrax in Z"),
    against("M cond 1e4", "endpoint", SUNDIALS, 12.0, "SUNDIALS in Z"),
    against("M cond 1e6", "endpoint", REDUCED, 300.0, "SciPy and diffrax in Z"),
    against("M cond 1e6", "endpoint", SUNDIALS, 10.0, "SUNDIALS in Z"),
    against("M", "trajectory", OTHERS, 3.0, "every peer"),
    against("L", "trajectory", OTHERS, 3.0, "every peer"),
    Goal("endpoint, XL, measured / floor", 3.0, False, above_floor),
    Goal("growth, doubling m at L", 2.1, False, quotient("auto L 2m", "auto L")),
    Goal("growth, doubling d at L", 1.05, False, quotient("auto L 2d", "auto L")),
    Goal(
        "autograd model, M, against geomstats + SciPy",
        ON_A_FUNCTION,
        True,
        on_a_function,
    ),
    Goal("ensemble, B = 1", 300.0, True, number("ensemble B=1", 1e6), "million/s"),
    Goal(
        "ensemble, full batch", 150.0, True, number("ensemble full", 1e6), "million/s"
    ),
    Goal("direct end point, XL", 5.0, False, number("direct XL", 1e-3), "ms"),
    Goal("memory above the inputs, XL", 300.0, False, number("memory XL", 1e6), "MB"),
)
