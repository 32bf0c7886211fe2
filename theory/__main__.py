"""``python -m theory``: judge the statements, alone and without NumPy.

Exit status: 0 all hold, 1 one is violated, 2 unusable input, 3 no verdict on one.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from theory.catalogue import UnknownStatementError, find
from theory.expressions import ExpressionError
from theory.presentation import as_data, as_latex, as_lines, write_latex
from theory.statement import Result, Statement, Verdict, verify

__all__ = ["exit_code", "judge_all", "main"]

UNUSABLE_INPUT = 2
LARGEST_SIZE = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit status.

    Parameters
    ----------
    arguments : sequence of str, optional
        Those of the process by default.
    """
    options = _parser().parse_args(arguments)
    try:
        chosen = find(options.statements)
        setting = _setting(options, chosen)
    except (UnknownStatementError, ExpressionError) as error:
        print(f"theory: {error}", file=sys.stderr)
        return UNUSABLE_INPUT
    if options.list:
        _list(chosen, options.json)
        return 0
    results = []
    try:
        judged = judge_all(
            chosen, setting, time_limit=options.time_limit, jobs=options.jobs
        )
        for claim, result in zip(chosen, judged, strict=True):
            results.append(result)
            if not options.json:
                print("\n".join(as_lines(claim, result)), flush=True)
            _progress(len(results), len(chosen))
    except KeyboardInterrupt:
        print(f"theory: stopped after {len(results)}", file=sys.stderr)
    pairs = list(zip(chosen, results, strict=False))
    if options.json:
        print(json.dumps([as_data(*pair) for pair in pairs], indent=1))
    else:
        print(_summary(results))
    if options.latex is not None:
        try:
            write_latex(options.latex, as_latex(pairs, setting))
        except OSError as error:
            print(f"theory: cannot write {options.latex}: {error}", file=sys.stderr)
            return UNUSABLE_INPUT
    return exit_code(results) if len(results) == len(chosen) else 3


def judge_all(
    chosen: Sequence[Statement],
    setting: dict[str, Any],
    *,
    time_limit: float = 60.0,
    jobs: int = 1,
) -> Iterator[Result]:
    """Yield the results in order, judged in several processes.

    A statement is given those of the settings that it takes.

    Parameters
    ----------
    chosen : sequence of Statement
        From the catalogue.
    setting : dict
        ``activation``, ``n``, ``m``.
    time_limit : float
        Seconds for each.
    jobs : int
        Number of processes; 1 judges in this one.
    """
    if jobs == 1 or len(chosen) == 1:
        for claim in chosen:
            yield _judge(claim.id, setting, time_limit)
        return
    with ProcessPoolExecutor(jobs) as pool:
        futures: list[Future[Result]] = [
            pool.submit(_judge, claim.id, setting, time_limit) for claim in chosen
        ]
        try:
            yield from (future.result() for future in futures)
        finally:
            pool.shutdown(cancel_futures=True)


def exit_code(results: Sequence[Result]) -> int:
    """Return 1 if one is violated, else 3 if one has no verdict, else 0."""
    codes = {result.verdict.exit_code for result in results}
    return 1 if 1 in codes else max(codes, default=0)


def _judge(id: str, setting: dict[str, Any], time_limit: float) -> Result:
    (claim,) = find([id])
    taken = {name: setting[name] for name in claim.settings if name in setting}
    return verify(claim, time_limit=time_limit, **taken)


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
    add("--jobs", type=_size, default=cores, help="processes")
    return parser


def _size(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text) <= LARGEST_SIZE:
        raise argparse.ArgumentTypeError(f"{text!r} is not one of 1..{LARGEST_SIZE}")
    return int(text)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is not a positive time in seconds")
    return seconds


def _list(chosen: Sequence[Statement], as_json: bool) -> None:
    if as_json:
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
