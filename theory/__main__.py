"""``python -m theory``: judge the statements, alone and without NumPy.

Exit status: 0 all hold, 1 one is violated, 2 unusable input, 3 no verdict on one.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from theory.catalogue import UnknownStatementError, find
from theory.expressions import ExpressionError
from theory.judging import exit_code, judge_all
from theory.presentation import (
    as_data,
    as_latex,
    as_lines,
    refuse_unwritable,
    write_latex,
)
from theory.statement import Result, Statement, Verdict

__all__ = ["main"]

UNUSABLE_INPUT = 2
NO_VERDICT = 3
LARGEST_SIZE = 4
MAX_JOBS = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.
    """
    _make_output_robust()
    options = _parser().parse_intermixed_args(arguments)
    try:
        chosen = find(options.statements)
        setting = _setting(options, chosen)
        if options.latex is not None:
            refuse_unwritable(options.latex)
        if options.list:
            _list(chosen, options)
            status = 0
        else:
            status = _run(chosen, setting, options)
        sys.stdout.flush()
        return status
    except (UnknownStatementError, ExpressionError) as error:
        print(f"theory: {error}", file=sys.stderr)
    except BrokenPipeError:
        _forget_output()  # the reader has left, and knows
    except OSError as error:
        _forget_output()
        print(f"theory: cannot write: {error}", file=sys.stderr)
    return UNUSABLE_INPUT


def _run(
    chosen: Sequence[Statement], setting: Mapping[str, Any], options: argparse.Namespace
) -> int:
    """Judge and print, and keep what there is when interrupted."""
    results: list[Result] = []
    try:
        for result in judge_all(
            chosen, setting, time_limit=options.time_limit, jobs=options.jobs
        ):
            results.append(result)  # first: what is printed is counted
            if not options.json:
                claim = chosen[len(results) - 1]
                lines = as_lines(claim, result, with_assumptions=bool(setting))
                print("\n".join(lines), flush=True)
            _progress(len(results), len(chosen))
    except KeyboardInterrupt:
        print(f"theory: stopped after {len(results)}", file=sys.stderr)
    pairs = list(zip(chosen, results, strict=False))
    if options.json:
        print(json.dumps([as_data(*pair) for pair in pairs], indent=1))
    else:
        print(_summary(results))
    if options.latex is not None:
        write_latex(options.latex, as_latex(pairs, setting))
    return exit_code(results) if len(results) == len(chosen) else NO_VERDICT


def _make_output_robust() -> None:
    """Print Greek letters anywhere, and nowhere where there is no output."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, io.StringIO())
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def _forget_output() -> None:
    """Let the interpreter end although what is buffered cannot be written."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _setting(
    options: argparse.Namespace, chosen: Sequence[Statement]
) -> dict[str, Any]:
    """Return the settings given on the command line, each taken by some statement."""
    setting = {
        name: getattr(options, name)
        for name in ("activation", "n", "m")
        if getattr(options, name) is not None
    }
    for name in setting:
        if not any(name in claim.settings for claim in chosen):
            taking = [claim.id for claim in find() if name in claim.settings]
            raise UnknownStatementError(
                f"no chosen statement takes --{name}; those that do: "
                f"{', '.join(taking)}."
            )
    if "activation" in setting:
        from theory.activations import activation_of

        setting["activation"] = activation_of(setting["activation"])
    return setting


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m theory",
        description="Prove the statements in symbols, and see their controls fail.",
        epilog="Exit status: 0 all hold, 1 violated, 2 unusable input, 3 no verdict.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("statements", nargs="*", help="ids or groups; all without")
    add("--activation", help="a name such as sinh, or a formula in z")
    add("--n", type=_size, help="number of samples")
    add("--m", type=_size, help="number of neurons")
    add("--list", action="store_true", help="print the claims, judge nothing")
    add("--json", action="store_true", help="a list of objects to stdout")
    add("--latex", metavar="FILE", help="write the claims and verdicts as LaTeX")
    add("--time-limit", type=_seconds, default=60.0, help="seconds per statement")
    cores = min(2, os.cpu_count() or 1)
    add("--jobs", type=_count, default=cores, help="processes")
    return parser


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LARGEST_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of 1..{LARGEST_SIZE}")
    return int(text)


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= MAX_JOBS:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of 1..{MAX_JOBS}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive time in seconds")
    return seconds


def _list(chosen: Sequence[Statement], options: argparse.Namespace) -> None:
    if options.json:
        print(json.dumps([as_data(claim) for claim in chosen], indent=1))
        return
    for claim in chosen:
        print(f"{claim.id}  {claim.title}\n    {claim.claim}")


def _progress(done: int, total: int) -> None:
    if sys.stderr.isatty() and not sys.stdout.isatty():
        end = "\n" if done == total else "\r"
        print(f"{done} of {total} statements", end=end, file=sys.stderr, flush=True)


def _summary(results: Sequence[Result]) -> str:
    counts = {
        verdict.name: sum(result.verdict is verdict for result in results)
        for verdict in Verdict
    }
    said = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    seconds = sum(result.seconds for result in results)
    return f"{len(results)} statements: {said} ({seconds:.1f} s of computation)"


if __name__ == "__main__":
    sys.exit(main())
