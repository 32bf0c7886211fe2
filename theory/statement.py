"""Claims as data, and the verb that judges them.

A statement is a function of its own constants: called with the right ones it yields
what must vanish or be true, called with wrong ones it must fail, and that is its
control.  The function's docstring is the idea of the proof.

    @statement("gatmiry2024/hidden-convexity", ..., control={"factor": 3})
    def hidden_convexity(factor=2):
        yield "g'' = 2φ'''/φ'", curvature - factor * third / first

Nothing here imports SymPy before a statement is judged, so the words (`Verdict`,
`Statement`) cost nothing.
"""

from __future__ import annotations

import inspect
import re
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from theory.deadline import OutOfTime, deadline

__all__ = [
    "Decision",
    "Hypothesis",
    "Result",
    "Scope",
    "Statement",
    "Undecided",
    "Verdict",
    "statement",
    "verify",
]

#: what a caller may choose; every other parameter of a check is one of its constants
SETTINGS = ("activation", "n", "m")
#: mistakes in the code of a check: they say nothing of its claim, so they are raised
BUGS = (TypeError, AttributeError, NameError, LookupError)


class Verdict(Enum):
    """How a statement was judged on an instance; the value is the sentence to print.

    ``VIOLATED`` is said only if the deviation exceeds what the instance's own constants
    allow; a run that stopped early is ``NOT_REACHED``, and a failed hypothesis makes a
    statement ``NOT_APPLICABLE``.  A counterexample holds when its failure is seen.
    """

    HOLDS = "holds: the conclusion was found within the instance's own constants"
    VIOLATED = "violated: the hypotheses hold and the conclusion fails"
    NOT_REACHED = "not reached: the run ended before the conclusion could be judged"
    NOT_APPLICABLE = "not applicable: a hypothesis fails"
    UNDECIDED = "undecided: the question could not be settled within its budget"

    @property
    def exit_code(self) -> int:
        """Exit status of a command that ends with this verdict: 0, 1, or 3.

        Examples
        --------
        >>> Verdict.HOLDS.exit_code, Verdict.VIOLATED.exit_code
        (0, 1)
        >>> Verdict.NOT_REACHED.exit_code
        3
        """
        return {Verdict.HOLDS: 0, Verdict.VIOLATED: 1}.get(self, 3)


class Scope(Enum):
    """For what a statement was shown; printed beside every verdict."""

    ALL_SIZES = "all n, m"
    FIXED_SIZE = "fixed size, all values"
    THIS_ACTIVATION = "this activation"
    RANDOM_POINTS = "random exact points"
    INSTANCE = "one instance"


class Undecided(Exception):
    """Raised by a check that meets a question it cannot settle."""


@dataclass(frozen=True)
class Decision:
    """Whether something was shown, and why.

    Attributes
    ----------
    holds : bool or None
        None when it could not be settled.
    reason : str
        One sentence, with the numbers.
    condition : sympy.Boolean or None
        What free parameters must satisfy for it to hold.
    """

    holds: bool | None
    reason: str = ""
    condition: Any = None


@dataclass(frozen=True)
class Hypothesis:
    """One named assumption, so that a check or a search can key on it.

    Attributes
    ----------
    id : str
        Short name, such as ``"independent-inputs"``.
    text : str
        The assumption in words.
    decide : callable or None
        Takes the value of a setting and returns a `Decision`; None for assumptions
        that are not about one.
    about : str
        That setting.
    """

    id: str
    text: str
    decide: Callable[[Any], Decision] | None = field(default=None, compare=False)
    about: str = "activation"


Check = Callable[..., Iterator[tuple[str, Any]]]


@dataclass(frozen=True)
class Statement:
    r"""A claim as data.

    Attributes
    ----------
    id : str
        ``"group/name"``, such as ``"gatmiry2024/theorem-1"``.
    title : str
        A few words.
    claim : str
        LaTeX.
    hypotheses : tuple of Hypothesis
        All that the claim needs.
    reference : str
        The statement's number in its source, and the section of the theory notes.
    scope : Scope
        For what it is shown.
    check : callable
        The claim as a function of its constants and settings; yields ``(text, value)``,
        where the value is an expression that must reduce to 0 or a boolean that must be
        true.  Its docstring is the idea of the proof.
    wrong : Mapping
        Values of the constants that make the claim false.
    any_activation : bool
        Whether the check is for an undefined φ, so that a given one matters to the
        hypotheses only.

    Raises
    ------
    ValueError
        If the id is not ``group/name``, two hypotheses share an id, or a wrong constant
        is none of the check's.
    """

    id: str
    title: str
    claim: str
    hypotheses: tuple[Hypothesis, ...]
    reference: str
    scope: Scope
    check: Check = field(repr=False)
    wrong: Mapping[str, Any]
    any_activation: bool = False

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", self.id):
            raise ValueError(
                f"statement id {self.id!r}: expected 'group/name' of lower-case "
                "letters, digits and hyphens, such as 'gatmiry2024/theorem-1'."
            )
        names = [hypothesis.id for hypothesis in self.hypotheses]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.id}: two hypotheses share an id in {names}.")
        unknown = set(self.wrong) - set(inspect.signature(self.check).parameters)
        if unknown or not self.wrong:
            raise ValueError(
                f"{self.id}: the control must change a constant of the check; "
                f"{sorted(unknown) or 'nothing'} is none."
            )

    @property
    def group(self) -> str:
        """The part of the id before the slash: the source."""
        return self.id.partition("/")[0]

    @property
    def idea(self) -> str:
        """The idea of the proof: the docstring of the check."""
        return inspect.getdoc(self.check) or ""

    @property
    def settings(self) -> tuple[str, ...]:
        """Which of activation, n and m a caller may choose."""
        taken = set(inspect.signature(self.check).parameters)
        if self.any_activation:
            taken.add("activation")
        return tuple(name for name in SETTINGS if name in taken)

    @property
    def false_variant(self) -> str:
        """The control in words: which constant is changed, from what to what."""
        right = inspect.signature(self.check).parameters
        return ", ".join(
            f"{name} = {value} for {right[name].default}"
            for name, value in self.wrong.items()
        )

    def defect(self, **setting: Any) -> Iterator[tuple[str, Any]]:
        """Yield what must reduce to 0 or be true, each with its name."""
        taken = inspect.signature(self.check).parameters
        return self.check(**{key: setting[key] for key in setting if key in taken})

    def control(self, **setting: Any) -> Iterator[tuple[str, Any]]:
        """Yield the same of a false variant, which must not all hold."""
        return self.defect(**(setting | dict(self.wrong)))


def statement(
    id: str,
    *,
    title: str,
    claim: str,
    reference: str,
    scope: Scope,
    control: Mapping[str, Any],
    hypotheses: tuple[Hypothesis, ...] = (),
    any_activation: bool = False,
) -> Callable[[Check], Statement]:
    """Make a statement of a check; the decorator's arguments are its data.

    Parameters
    ----------
    id, title, claim, reference, scope
        As in `Statement`.
    control : Mapping
        Constants of the check, changed so that it must fail.
    hypotheses : tuple of Hypothesis
        As in `Statement`.
    any_activation : bool
        As in `Statement`.

    Returns
    -------
    callable
        Takes the check, returns the `Statement`.
    """

    def declare(check: Check) -> Statement:
        return Statement(
            id,
            title,
            claim,
            hypotheses,
            reference,
            scope,
            check,
            control,
            any_activation,
        )

    return declare


@dataclass(frozen=True)
class Result:
    """How a statement was judged, in plain data.

    Attributes
    ----------
    id : str
        Of the statement.
    verdict : Verdict
        Of the statement together with its control.
    message : str
        Why, where it does not simply hold.
    condition : str or None
        What free parameters of the activation must satisfy.
    assumed : tuple of str
        The hypotheses that were not decided, by id.
    parts : tuple of (str, bool or None)
        Every defect by name, and whether it vanishes.
    control_failed : bool or None
        Whether the false variant was refuted, as it must be; None when it was not
        reached.
    control : str
        The false variant in words.
    seconds : float
        Wall time.
    """

    id: str
    verdict: Verdict
    message: str
    condition: str | None
    assumed: tuple[str, ...]
    parts: tuple[tuple[str, bool | None], ...]
    control_failed: bool | None
    control: str
    seconds: float


def verify(statement: Statement, *, time_limit: float = 60.0, **setting: Any) -> Result:
    """Judge a statement: its hypotheses, its defects, and its control.

    Parameters
    ----------
    statement : Statement
        The claim.
    time_limit : float
        Seconds after which the verdict is ``UNDECIDED``.
    **setting
        ``activation`` (a SymPy expression in ``z``), ``n``, ``m``, where the statement
        takes them.

    Returns
    -------
    Result

    Raises
    ------
    TypeError, AttributeError, NameError, LookupError
        If the statement does not take a setting, or as its check raises them: a
        mistake in code is no open question.
    """
    for name in setting:
        if name not in statement.settings:
            takes = ", ".join(statement.settings) or "nothing"
            raise TypeError(f"{statement.id} takes {takes}, not {name}")
    started = time.perf_counter()
    parts: list[tuple[str, bool | None]] = []
    failed: bool | None = None
    condition = None
    try:
        with deadline(time_limit):
            refusal, condition = _decide_hypotheses(statement, setting)
            if refusal is None:
                for part in _judged(statement.defect(**setting)):
                    parts.append(part)
                failed = _refuted(statement.control(**setting))
        verdict, message = refusal or _verdict(parts, failed)
    except (OutOfTime, Undecided) as error:
        verdict, message = Verdict.UNDECIDED, str(error)
    except BUGS:
        raise
    except Exception as error:  # what SymPy cannot do settles nothing
        verdict, message = Verdict.UNDECIDED, f"{type(error).__name__}: {error}"
    return Result(
        id=statement.id,
        verdict=verdict,
        message=message,
        condition=None if condition is None else str(condition),
        assumed=tuple(h.id for h in statement.hypotheses if _open(h, setting)),
        parts=tuple(parts),
        control_failed=failed,
        control=statement.false_variant,
        seconds=time.perf_counter() - started,
    )


def _decide_hypotheses(
    statement: Statement, setting: Mapping[str, Any]
) -> tuple[tuple[Verdict, str] | None, Any]:
    """Return why the statement is not judged, or None, and a condition."""
    decided = []
    for hypothesis in statement.hypotheses:
        if hypothesis.decide is not None and not _open(hypothesis, setting):
            decision = hypothesis.decide(setting[hypothesis.about])
            decided.append((f"{hypothesis.id}: {decision.reason}", decision))
    conditions = [d.condition for _, d in decided if d.condition is not None]
    # one that fails settles the matter, whatever is open about the others
    for why, decision in decided:
        if decision.holds is False:
            return (Verdict.NOT_APPLICABLE, why), None
    for why, decision in decided:
        if decision.holds is None and decision.condition is None:
            return (Verdict.UNDECIDED, why), None
    if not conditions:
        return None, None
    import sympy

    together = sympy.And(*conditions).simplify()
    if together is sympy.false:
        return (Verdict.NOT_APPLICABLE, "no value of the parameters will do"), None
    return None, None if together is sympy.true else together


def _open(hypothesis: Hypothesis, setting: Mapping[str, Any]) -> bool:
    """Whether nothing is known of what the hypothesis is about."""
    return hypothesis.decide is None or setting.get(hypothesis.about) is None


def _judged(defects: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, bool | None]]:
    from theory.reduction import holds

    for text, value in defects:
        yield text, holds(value)


def _refuted(defects: Iterator[tuple[str, Any]]) -> bool | None:
    """Whether some part of a false variant is refuted; None where none is settled."""
    answers = []
    for _, answer in _judged(defects):
        if answer is False:
            return True
        answers.append(answer)
    return None if None in answers else False


def _verdict(
    parts: list[tuple[str, bool | None]], control_failed: bool | None
) -> tuple[Verdict, str]:
    refuted = [text for text, answer in parts if answer is False]
    open_ = [text for text, answer in parts if answer is None]
    if refuted:
        return Verdict.VIOLATED, f"refuted: {'; '.join(refuted)}"
    if not parts:
        return Verdict.VIOLATED, "the check yields nothing, so it cannot fail"
    if control_failed is False:
        return Verdict.VIOLATED, "the control passes, so the check cannot fail"
    if open_:
        return Verdict.UNDECIDED, f"not reduced: {'; '.join(open_)}"
    if control_failed is None:
        return Verdict.UNDECIDED, "the control was neither refuted nor proved"
    return Verdict.HOLDS, ""
