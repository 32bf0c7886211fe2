"""What `verify` found: a table, data for JSON, and a page with a card a statement."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifold_flow import storage
from manifold_flow.report import Card, write_report
from manifold_flow.verification.evidence import Evidence
from theory.statement import Verdict

if TYPE_CHECKING:
    from theory.statement import Result, Statement

__all__ = ["Report", "Row"]

#: which verdict speaks for several, first found first
ORDER = (
    Verdict.VIOLATED,
    Verdict.NOT_APPLICABLE,
    Verdict.NOT_REACHED,
    Verdict.UNDECIDED,
    Verdict.HOLDS,
)


@dataclass(frozen=True)
class Row:
    """One statement and how it was judged.

    Attributes
    ----------
    statement : Statement
        The claim.
    symbolic : Result or None
        None where it was not asked for.
    numeric : Evidence or None
        None where the statement has no numerical check.
    """

    statement: Statement
    symbolic: Result | None
    numeric: Evidence | None

    @property
    def verdict(self) -> Verdict | None:
        """Of both together; None where neither was judged."""
        judged = [part.verdict for part in (self.symbolic, self.numeric) if part]
        return min(judged, key=ORDER.index, default=None)

    def cells(self) -> tuple[str, str, str, str, str]:
        """Return id, symbolic and numerical verdict, margin and control as text."""
        numeric = self.numeric
        margin = numeric.margin if numeric else None
        return (
            self.statement.id,
            self.symbolic.verdict.name if self.symbolic else "-",
            numeric.verdict.name if numeric else "symbolic only",
            "-" if margin is None else f"{margin:.2g}",
            _control(numeric.control_failed if numeric else None),
        )

    def line(self) -> str:
        """Return the row as a sentence of the page's table."""
        _, symbolic, numeric, margin, control = self.cells()
        return (
            f"in symbols {symbolic}; on the instance {numeric}; margin {margin}; "
            f"control {control}"
        )

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the verdicts are not HOLDS, one sentence for each."""
        parts = (("in symbols: ", self.symbolic), ("", self.numeric))
        return tuple(
            where + part.message
            for where, part in parts
            if part and part.verdict is not Verdict.HOLDS
        )

    def as_data(self) -> dict[str, Any]:
        """Return the row for JSON."""
        from theory.presentation import as_data

        return {
            "id": self.statement.id,
            "title": self.statement.title,
            "verdict": self.verdict.name if self.verdict else None,
            "symbolic": self.symbolic and as_data(self.statement, self.symbolic),
            "numeric": self.numeric and _evidence_data(self.numeric),
        }

    def card(self) -> Card:
        """Return the statement as a card of the page."""
        claim = self.statement
        lines = {"claim": claim.claim, "source": claim.reference}
        if self.symbolic:
            lines["in symbols"] = (
                f"{self.symbolic.verdict.name} ({claim.scope.value}) "
                f"{self.symbolic.message}".rstrip()
            )
        lines |= {} if self.numeric is None else _evidence_lines(self.numeric)
        verdict = self.verdict.name if self.verdict else "not judged"
        return Card(f"{claim.id}: {verdict}", claim.title, lines)


@dataclass(frozen=True, repr=False)
class Report:
    """The verdicts on several statements.

    Attributes
    ----------
    rows : tuple of Row
        In the order of the sources.
    model, loss : str
        The instance, and the normalisation of its loss.
    caveats : tuple of str
        Hypotheses that the model itself does not satisfy.
    """

    rows: tuple[Row, ...]
    model: str
    loss: str
    caveats: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """The one that speaks for all: a violation first, HOLDS only if all hold."""
        judged = [row.verdict for row in self.rows if row.verdict is not None]
        return min(judged, key=ORDER.index, default=Verdict.UNDECIDED)

    @property
    def exit_code(self) -> int:
        """0 where all hold, 1 where one is violated, else 3."""
        return self.verdict.exit_code

    @property
    def summary(self) -> str:
        """How many statements got which verdict."""
        counts = Counter(row.verdict.name if row.verdict else "-" for row in self.rows)
        said = ", ".join(f"{count} {name}" for name, count in counts.items())
        seconds = sum(
            part.seconds
            for row in self.rows
            for part in (row.symbolic, row.numeric)
            if part
        )
        return f"{len(self.rows)} statements: {said} ({seconds:.1f} s of computation)"

    def __str__(self) -> str:
        """Return a line for every statement, and why beneath."""
        head = ("statement", "in symbols", "on the instance", "margin", "control")
        table = [head, *(row.cells() for row in self.rows)]
        widths = [max(len(cells[k]) for cells in table) for k in range(len(head))]
        lines = [f"{self.model}, loss {self.loss}"]
        lines += [f"note: {caveat}" for caveat in self.caveats]
        reasons = [(), *(row.reasons for row in self.rows)]
        for cells, why in zip(table, reasons, strict=True):
            padded = (c.ljust(w) for c, w in zip(cells, widths, strict=True))
            lines.append("  ".join(padded).rstrip())
            lines += [f"    {reason}" for reason in why]
        return "\n".join([*lines, self.summary])

    def __repr__(self) -> str:
        """Return the verdict and the counts."""
        return f"Report({self.verdict.name}; {self.summary})"

    def as_data(self) -> dict[str, Any]:
        """Return everything as plain data: dictionaries, lists, strings and numbers.

        Numbers that are not finite are None, so that it is JSON.
        """
        data = {
            "verdict": self.verdict.name,
            "exit_status": self.exit_code,
            "model": self.model,
            "loss": self.loss,
            "caveats": list(self.caveats),
            "statements": [row.as_data() for row in self.rows],
            **storage.provenance(),
        }
        return _finite(data)

    def to_html(self, path: str | Path) -> Path:
        """Write a self-contained page with a card for every statement.

        Parameters
        ----------
        path : str or Path
            Target .html file, replaced whole or not at all.

        Returns
        -------
        Path
            The file written.
        """
        table = {"verdict": self.verdict.value, "model": self.model, "loss": self.loss}
        table |= {row.statement.id: row.line() for row in self.rows}
        receipt = storage.provenance()
        return write_report(
            path,
            "manifold_flow verify",
            [self.summary, *self.caveats],
            table,
            (),
            f"commit {receipt['commit']}, {receipt['versions']}",
            cards=[row.card() for row in self.rows],
        )


def _control(failed: bool | None) -> str:
    return {True: "fails, as it must", False: "PASSES", None: "-"}[failed]


def _evidence_data(evidence: Evidence) -> dict[str, Any]:
    return {
        "verdict": evidence.verdict.name,
        "message": evidence.message,
        "hypotheses": [vars(h) for h in evidence.hypotheses],
        "numbers": [vars(number) for number in evidence.numbers],
        "measurements": [
            vars(m) | {"margin": m.margin, "count": count}
            for m, count in evidence.tightest()
        ],
        "refinements": [vars(r) | {"holds": r.holds} for r in evidence.refinements],
        "controls": [vars(control) for control in evidence.controls],
        "margin": evidence.margin,
        "control_failed": evidence.control_failed,
        "seconds": evidence.seconds,
    }


def _evidence_lines(evidence: Evidence) -> Mapping[str, str]:
    """Return name and value of every line of a card."""
    lines = {"on the instance": f"{evidence.verdict.name} {evidence.message}".rstrip()}
    lines |= {f"hypothesis {h.id}": h.text for h in evidence.hypotheses}
    lines |= {number.name: f"{number.value:.6g}" for number in evidence.numbers}
    for m, count in evidence.tightest():
        times = f", the tightest of {count}" if count > 1 else ""
        lines[m.name] = f"{m.value:.4g} {m.relation} {m.bound:.4g}{times}"
    lines |= {f"refinement {k}": str(r) for k, r in enumerate(evidence.refinements, 1)}
    for k, control in enumerate(evidence.controls, 1):
        lines[f"control {k}"] = f"{control.text} ({_control(control.failed)})"
    return lines | {"seconds": f"{evidence.seconds:.2f}"}


def _finite(data: Any) -> Any:
    """Replace numbers that JSON does not have."""
    if isinstance(data, dict):
        return {key: _finite(value) for key, value in data.items()}
    if isinstance(data, list | tuple):
        return [_finite(value) for value in data]
    if isinstance(data, float) and not math.isfinite(data):
        return None
    return data
