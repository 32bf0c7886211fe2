r"""What a numerical check finds, and the one function that turns it into a verdict.

A check is a generator registered under the id of its statement.  It reads as the
theorem: the decorator names the hypotheses, the body yields what was found on the
instance, in any order.

    @check("gatmiry2024/lemma-3", nonzero_weights)
    def lemma_3(instance: Instance) -> Findings:
        # Tr ∇²L = 2 Σ w Σ a²φ'² on M
        ...
        yield Measurement("|Tr ∇²L - F| / F", deviation, 1e-12)
        yield Refinement("by differences, h halved", coarse, fine, factor=4.0)
        yield Control("1 in place of the 2", failed=abs(trace - 0.5 * F) > 1e-12 * F)

A hypothesis is a function of the instance that returns a `HypothesisCheck`.  The check
is not run past one that fails, so starts and flows are computed only where they make
sense.  Yield `NotReached` for a run that ended too early.  A counterexample builds its
own small instance, measures the *failure*, and its control is the cure.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np

from manifold_flow.errors import IntegrationError, NonFiniteError
from manifold_flow.solvers.status import Status
from theory.statement import Verdict

if TYPE_CHECKING:
    from manifold_flow.verification.instance import Instance

__all__ = [
    "CHECKS",
    "Check",
    "Control",
    "Evidence",
    "Finding",
    "Findings",
    "HypothesisCheck",
    "Measurement",
    "NotReached",
    "Number",
    "Refinement",
    "check",
    "examine",
    "judge",
]

#: share of the expected factor that a refinement must win
SLACK = 0.6


@dataclass(frozen=True)
class HypothesisCheck:
    """A hypothesis as it was found on the instance.

    Attributes
    ----------
    id : str
        As in the statement, such as ``"independent-inputs"``.
    holds : bool or None
        None when it could not be settled.
    text : str
        The same with its numbers.
    """

    id: str
    holds: bool | None
    text: str


@dataclass(frozen=True)
class Measurement:
    """A number and what the instance's own constants allow.

    Attributes
    ----------
    name : str
        What was measured; a formula where there is one.
    value : float
        The number.
    bound : float
        What it must not pass.
    relation : {"<=", ">="}
        On which side of the bound the value must be.
    """

    name: str
    value: float
    bound: float
    relation: Literal["<=", ">="] = "<="

    @property
    def holds(self) -> bool | None:
        """Whether the value is on the right side; None for NaN."""
        if math.isnan(self.value) or math.isnan(self.bound):
            return None
        return bool(self.room >= 0)

    @property
    def room(self) -> float:
        """Distance to the bound, positive on the right side."""
        if self.value == self.bound:
            return 0.0
        sign = 1.0 if self.relation == "<=" else -1.0
        return sign * (self.bound - self.value)

    @property
    def margin(self) -> float:
        """The same relative to the larger of the two, between -2 and 2.

        Examples
        --------
        >>> Measurement("gap", 1.0, 4.0).margin, Measurement("ratio", 2.0, 1.0).margin
        (0.75, -0.5)
        """
        scale = max(abs(self.value), abs(self.bound))
        return (
            self.room / scale if 0 < scale < math.inf else math.copysign(1, self.room)
        )

    def __str__(self) -> str:
        return (
            f"{self.name} = {self.value:.4g} (must be {self.relation} {self.bound:.4g})"
        )


@dataclass(frozen=True)
class Number:
    """A constant of the instance that the check used."""

    name: str
    value: float


@dataclass(frozen=True)
class NotReached:
    """A run that ended before the conclusion could be judged, and why."""

    text: str


@dataclass(frozen=True)
class Refinement:
    """The same deviation computed coarsely and finely.

    Attributes
    ----------
    name : str
        What was refined.
    coarse, fine : float
        The deviation before and after.
    factor : float
        By which it should fall, such as 4 for a second difference with h halved.
    floor : float
        Rounding: a fine deviation below it counts as fallen.
    """

    name: str
    coarse: float
    fine: float
    factor: float
    floor: float = 0.0

    @property
    def holds(self) -> bool:
        """Whether the deviation fell as it should."""
        return self.fine <= max(self.floor, self.coarse / (SLACK * self.factor))

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.coarse:.2g} -> {self.fine:.2g} "
            f"(expected a factor of {self.factor:.3g})"
        )


@dataclass(frozen=True)
class Control:
    """The same claim with a hypothesis or a constant removed: it must fail.

    Attributes
    ----------
    text : str
        What was changed, and what was then seen, with its number.
    failed : bool
        Whether the false claim was refuted.
    """

    text: str
    failed: bool


Finding = HypothesisCheck | Measurement | Number | NotReached | Refinement | Control
Findings = Iterator[Finding]
Hypothesis = Callable[["Instance"], HypothesisCheck]
Body = Callable[["Instance"], Findings]


class Check(NamedTuple):
    """The hypotheses of a statement, and the generator that measures it."""

    needs: tuple[Hypothesis, ...]
    body: Body


@dataclass(frozen=True)
class Evidence:
    """How a statement was judged on an instance, in plain data.

    Attributes
    ----------
    id : str
        Of the statement.
    verdict : Verdict
        Of everything below.
    message : str
        Why, where it does not simply hold.
    findings : tuple
        What the check yielded, in order.
    seconds : float
        Wall time.
    """

    id: str
    verdict: Verdict
    message: str
    findings: tuple[Finding, ...]
    seconds: float

    @property
    def hypotheses(self) -> tuple[HypothesisCheck, ...]:
        """The hypotheses, each with its numbers."""
        return tuple(f for f in self.findings if isinstance(f, HypothesisCheck))

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        """What was measured, each with what the instance's constants allow."""
        return tuple(f for f in self.findings if isinstance(f, Measurement))

    @property
    def numbers(self) -> tuple[Number, ...]:
        """The instance's constants that were used."""
        return tuple(f for f in self.findings if isinstance(f, Number))

    @property
    def refinements(self) -> tuple[Refinement, ...]:
        """The refinement tests."""
        return tuple(f for f in self.findings if isinstance(f, Refinement))

    @property
    def controls(self) -> tuple[Control, ...]:
        """The controls."""
        return tuple(f for f in self.findings if isinstance(f, Control))

    @property
    def margin(self) -> float | None:
        """The smallest relative margin of all measurements; None without any."""
        return min(map(_tightness, self.measurements), default=None)

    def tightest(self) -> list[tuple[Measurement, int]]:
        """Return, for every name, the measurement of least margin and their number."""
        named: dict[str, list[Measurement]] = {}
        for measurement in self.measurements:
            named.setdefault(measurement.name, []).append(measurement)
        return [(min(group, key=_tightness), len(group)) for group in named.values()]

    @property
    def control_failed(self) -> bool | None:
        """Whether every control failed, as it must; None without any."""
        return all(c.failed for c in self.controls) if self.controls else None


def _tightness(measurement: Measurement) -> float:
    """Order by margin, with what is not a number first."""
    return -math.inf if measurement.holds is None else measurement.margin


#: hypotheses and check of every statement that has a numerical one, by its id
CHECKS: dict[str, Check] = {}


def check(id: str, *needs: Hypothesis) -> Callable[[Body], Check]:
    """Register a check under the id of its statement.

    Parameters
    ----------
    id : str
        Such as ``"gatmiry2024/theorem-1"``.
    *needs : callable
        The hypotheses, looked at in this order before the check runs.

    Returns
    -------
    callable
        The decorator; makes a `Check` of the generator.

    Raises
    ------
    ValueError
        If the id has a check already.
    """

    def register(body: Body) -> Check:
        if id in CHECKS:
            raise ValueError(f"{id} has two numerical checks")
        CHECKS[id] = Check(needs, body)
        return CHECKS[id]

    return register


def examine(id: str, instance: Instance) -> Evidence:
    """Run the check of a statement on an instance and judge what it found.

    Parameters
    ----------
    id : str
        A key of `CHECKS`.
    instance : Instance
        What to check it on.

    Returns
    -------
    Evidence
    """
    needs, body = CHECKS[id]
    started = time.perf_counter()
    found: list[Finding] = []
    try:
        with np.errstate(divide="ignore", invalid="ignore"):
            for finding in chain((need(instance) for need in needs), body(instance)):
                found.append(finding)
                if isinstance(finding, HypothesisCheck) and finding.holds is not True:
                    break
    except IntegrationError as error:
        if error.trajectory.status is not Status.OUT_OF_BUDGET:
            raise
        found.append(NotReached(error.reason))
    except (
        NonFiniteError,
        ZeroDivisionError,
    ) as error:  # a slope that vanishes, a step that overflows
        found.append(HypothesisCheck("computable", None, f"not computable: {error}"))
    verdict, message = judge(found)
    return Evidence(id, verdict, message, tuple(found), time.perf_counter() - started)


def judge(findings: Iterable[Finding]) -> tuple[Verdict, str]:
    """Return the verdict on what a check found, and why.

    A failing hypothesis comes first, because nothing is claimed without it.  A
    measurement beyond its bound is a violation even in a run that ended early: the
    bound is what the constants allow at the point reached.  Nothing holds without a
    refinement that won and a control that failed (theory notes §13, honesty rule).

    Parameters
    ----------
    findings : iterable of Finding
        What the check yielded.

    Returns
    -------
    verdict : Verdict
        The verdict.
    message : str
        Empty when it holds.

    Examples
    --------
    >>> verdict, why = judge([Measurement("gap", 3.0, 2.0)])
    >>> verdict.name, why
    ('VIOLATED', 'gap = 3 (must be <= 2)')
    """
    seen = Evidence("", Verdict.UNDECIDED, "", tuple(findings), 0.0)
    outcomes = (
        (Verdict.NOT_APPLICABLE, [h.text for h in seen.hypotheses if h.holds is False]),
        (Verdict.UNDECIDED, [h.text for h in seen.hypotheses if h.holds is None]),
        (Verdict.VIOLATED, [str(m) for m in seen.measurements if m.holds is False]),
        (
            Verdict.NOT_REACHED,
            [f.text for f in seen.findings if isinstance(f, NotReached)],
        ),
        (Verdict.UNDECIDED, _missing(seen)),
    )
    for verdict, reasons in outcomes:
        if reasons:
            more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
            return verdict, reasons[0] + more
    return Verdict.HOLDS, ""


def _missing(seen: Evidence) -> list[str]:
    """Return what keeps a check without a violation from holding."""
    reasons = [
        f"{m.name} is not a number" for m in seen.measurements if m.holds is None
    ]
    reasons += [f"did not fall: {r}" for r in seen.refinements if not r.holds]
    reasons += [
        f"the control did not fail, so the check shows nothing here: {c.text}"
        for c in seen.controls
        if not c.failed
    ]
    kinds = {
        "measurement": seen.measurements,
        "refinement": seen.refinements,
        "control": seen.controls,
    }
    return reasons + [f"the check has no {name}" for name in kinds if not kinds[name]]
