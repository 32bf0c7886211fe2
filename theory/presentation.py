"""Statements and results as lines of text, as plain data, and as LaTeX."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from theory.statement import Result, Statement, Verdict

__all__ = ["as_data", "as_latex", "as_lines", "refuse_unwritable", "write_latex"]


def as_lines(
    claim: Statement, result: Result, *, with_assumptions: bool = False
) -> list[str]:
    """Return a line with verdict, id, scope, control and seconds, and why beneath."""
    lines = [
        f"{result.verdict.name:<14}  {claim.id:<38}  {claim.scope.value:<22}  "
        f"{_control(result):<24}  {result.seconds:5.1f} s"
    ]
    if result.condition is not None:
        lines.append(f"    if {result.condition}")
    if result.message:
        lines.append(f"    {result.message}")
    if with_assumptions and result.verdict is Verdict.HOLDS and result.assumed:
        lines.append(f"    assuming {', '.join(result.assumed)}")
    return lines


def _control(result: Result) -> str:
    return {
        True: "control fails, as it must",
        False: "CONTROL PASSES",
        None: "control not judged",
    }[result.control_failed]


def as_data(claim: Statement, result: Result | None = None) -> dict[str, Any]:
    """Return a claim, and how it was judged, as data for JSON."""
    data: dict[str, Any] = {
        "id": claim.id,
        "title": claim.title,
        "claim": claim.claim,
        "hypotheses": {h.id: h.text for h in claim.hypotheses},
        "reference": claim.reference,
        "idea": claim.idea,
        "scope": claim.scope.value,
        "control": {"variant": claim.false_variant},
    }
    if result is None:
        return data
    control = data["control"] | {"failed": result.control_failed}
    return data | {
        "verdict": result.verdict.name,
        "message": result.message,
        "condition": result.condition,
        "assumed": list(result.assumed),
        "parts": [{"name": name, "holds": holds} for name, holds in result.parts],
        "control": control,
        "seconds": result.seconds,
    }


def as_latex(
    judged: Iterable[tuple[Statement, Result]], setting: Mapping[str, Any]
) -> str:
    """Return a document that states the claims, their hypotheses and verdicts."""
    body = "\n\n".join(_section(*pair, setting) for pair in judged)
    return (
        "\\documentclass{article}\n\\usepackage{amsmath,amssymb}\n"
        "\\usepackage{fontspec}\n"
        "\\setmainfont{DejaVu Serif} % for the Greek letters of the text; xelatex\n"
        f"\\begin{{document}}\n\n{body}\n\n\\end{{document}}\n"
    )


def _section(claim: Statement, result: Result, setting: Mapping[str, Any]) -> str:
    lines = [
        f"\\section*{{{_escaped(claim.title)}}}",
        f"\\[ {claim.claim} \\]",
        f"\\emph{{{_escaped(claim.reference)}. Scope: {claim.scope.value}.}}",
    ]
    if "activation" in setting and "activation" in claim.settings:
        from sympy import latex

        lines.append(f"\\[ \\varphi(z) = {latex(setting['activation'])} \\]")
    if claim.hypotheses:
        items = [f"\\item {_escaped(h.text)}" for h in claim.hypotheses]
        lines += ["\\begin{itemize}", *items, "\\end{itemize}"]
    lines.append(_escaped(claim.idea))
    verdict = f"\\textbf{{{result.verdict.name.replace('_', ' ')}}}"
    if result.condition is not None:
        verdict += f" if \\texttt{{{_escaped(result.condition)}}}"
    if result.message:
        verdict += f": {_escaped(result.message)}"
    if result.verdict is Verdict.HOLDS:
        verdict += f". Control ({_escaped(result.control)}) fails, as it must"
    lines.append(f"{verdict}.")
    return "\n\n".join(lines)


def _escaped(text: str) -> str:
    special = {c: f"\\{c}" for c in "&%$#_{}"}
    special |= {"\\": r"\textbackslash{}", "^": r"\^{}", "~": r"\~{}"}
    return "".join(special.get(c, c) for c in text)


def refuse_unwritable(path: str | Path) -> None:
    """Raise OSError where no file can be written, before the work is done."""
    path = Path(path)
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    if not os.access(path.parent, os.W_OK):
        raise FileNotFoundError(f"{path}: no file can be made in {path.parent}")


def write_latex(path: str | Path, text: str) -> None:
    """Write a file that appears whole or not at all."""
    path = Path(path)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".theory.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(name, 0o666 & ~umask)
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
