"""The words for claims: what is stated, on which hypotheses, and how it was judged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

__all__ = ["Hypothesis", "Scope", "Statement", "Verdict"]


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


@dataclass(frozen=True)
class Hypothesis:
    """One named assumption, so that a check or a search can key on it.

    Attributes
    ----------
    id : str
        Short name, such as ``"independent-inputs"``.
    text : str
        The assumption in words.
    """

    id: str
    text: str


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
        The statement's number in its source, and the section of theory.md.
    scope : Scope
        For what it is shown.

    Raises
    ------
    ValueError
        If the id is not ``group/name`` or two hypotheses share an id.

    Examples
    --------
    >>> convexity = Statement(
    ...     id="gatmiry2024/hidden-convexity",
    ...     title="Hidden convexity",
    ...     claim=r"g'' = 2 \varphi''' / \varphi' > 0",
    ...     hypotheses=(Hypothesis("signs", "phi' > 0 and phi''' > 0"),),
    ...     reference="theory.md 1.5",
    ...     scope=Scope.ALL_SIZES,
    ... )
    >>> convexity.group
    'gatmiry2024'
    """

    id: str
    title: str
    claim: str
    hypotheses: tuple[Hypothesis, ...]
    reference: str
    scope: Scope

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9-]+/[a-z0-9-]+", self.id):
            raise ValueError(
                f"statement id {self.id!r}: expected 'group/name' of lower-case "
                "letters, digits and hyphens, such as 'gatmiry2024/theorem-1'."
            )
        names = [hypothesis.id for hypothesis in self.hypotheses]
        if len(set(names)) < len(names):
            raise ValueError(f"{self.id}: two hypotheses share an id in {names}.")

    @property
    def group(self) -> str:
        """The part of the id before the slash: the source."""
        return self.id.partition("/")[0]
