"""The table, as text for a terminal and as Markdown for the pages."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.goals import GOALS, Judged
from benchmarks.race import Row
from benchmarks.results import Results

__all__ = ["as_markdown", "as_text", "goal_lines", "row_cells"]

HEADER = ("peer", "given", "seconds", "spread", "x ours", "error", "rtol", "outcome")
GOAL_HEADER = ("goal", "wanted", "measured", "verdict", "best peer")


def row_cells(row: Row) -> tuple[str, ...]:
    """Return one line of the table.

    Parameters
    ----------
    row : Row
        What was measured.

    Returns
    -------
    tuple of str
        Under ``HEADER``.
    """
    spread = ratio = seconds = error = rtol = ""
    if row.median is not None:
        seconds = f"{row.median:.3g}"
        spread = f"{min(row.seconds):.3g} - {max(row.seconds):.3g}"
        error, rtol = f"{row.error:.0e}", f"{row.rtol:.0e}" if row.rtol else ""
    if row.ratio is not None:
        ratio = f"{'> ' if row.median is None else ''}{row.ratio:.3g}"
    return row.peer, row.group, seconds, spread, ratio, error, rtol, row.outcome


def goal_lines(results: Results) -> list[Judged]:
    """Return every goal, judged."""
    return [goal.judge(results) for goal in GOALS]


def _goal_cells(judged: Judged) -> tuple[str, ...]:
    value = "" if judged.value is None else f"{judged.value:.3g}"
    return judged.goal, judged.wanted, value, judged.verdict, judged.against


def _quantity_cells(results: Results) -> list[tuple[str, ...]]:
    cells: list[tuple[str, ...]] = []
    for name, value in results.quantities.items():
        parts = value if isinstance(value, dict) else {"": value}
        for part, entry in parts.items():
            shown = entry if isinstance(entry, str) else f"{entry:.4g}"
            cells.append((f"{name} {part}".strip(), shown))
    return cells


def _tables(results: Results) -> list[tuple[str, Sequence[str], list[tuple[str, ...]]]]:
    """Return (title, header, lines) of every table."""
    titles = dict.fromkeys((row.problem, row.task) for row in results.rows)
    tables: list[tuple[str, Sequence[str], list[tuple[str, ...]]]] = []
    for problem, task in titles:
        rows = sorted(
            results.of(problem, task),
            key=lambda row: row.median or row.lower_bound or float("inf"),
        )
        lines = [row_cells(row) for row in rows]
        tables.append((f"{problem}, {task}", HEADER, lines))
    numbers = _quantity_cells(results)
    tables.append(("single numbers (SI units)", ("quantity", "value"), numbers))
    goals = [_goal_cells(judged) for judged in goal_lines(results)]
    tables.append(("goals", GOAL_HEADER, goals))
    return tables


def _machine(results: Results) -> str:
    machine, busy = results.machine, results.contention()
    versions = ", ".join(f"{k} {v}" for k, v in machine["versions"].items())
    note = (
        f" Others used the core too: wall time was {busy:.1f} times CPU time."
        if busy > 1.1
        else ""
    )
    return (
        f"{machine['processor']}, {machine['system']}, Python {machine['python']}; "
        f"{versions}.{note}"
    )


def as_text(results: Results) -> str:
    """Return all tables for a terminal."""
    blocks = [_machine(results)]
    for title, header, lines in _tables(results):
        columns = zip(header, *lines, strict=True)
        widths = [max(len(cell) for cell in column) for column in columns]
        shown = [
            "  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True))
            for line in (header, *lines)
        ]
        blocks.append("\n".join([f"== {title}", *(line.rstrip() for line in shown)]))
    return "\n\n".join(blocks)


def as_markdown(results: Results) -> str:
    """Return all tables as Markdown."""
    blocks = [_machine(results)]
    for title, header, lines in _tables(results):
        body = [header, tuple("---" for _ in header), *lines]
        rows = [
            "| " + " | ".join(c.replace("|", "\\|") for c in r) + " |" for r in body
        ]
        blocks.append("\n".join([f"### {title[0].upper()}{title[1:]}", "", *rows]))
    return "\n\n".join(blocks) + "\n"
