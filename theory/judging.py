"""Many statements judged in several processes, in order."""

from __future__ import annotations

import signal
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from multiprocessing import Pool
from typing import Any

from theory.catalogue import find
from theory.statement import Result, Statement, verify

__all__ = ["exit_code", "judge_all"]


def judge_all(
    chosen: Sequence[Statement],
    setting: Mapping[str, Any],
    *,
    time_limit: float = 60.0,
    jobs: int = 1,
) -> Iterator[Result]:
    """Yield the results in order, as they come.

    A statement is given those of the settings that it takes.

    Parameters
    ----------
    chosen : sequence of Statement
        From the catalogue.
    setting : Mapping
        ``activation``, ``n``, ``m``.
    time_limit : float
        Seconds for each.
    jobs : int
        Number of processes; 1 judges in this one.

    Yields
    ------
    Result
        Of each statement.
    """
    if jobs == 1 or len(chosen) == 1:
        for claim in chosen:
            yield _judge(claim.id, setting, time_limit)
        return
    work = partial(_judge, setting=dict(setting), time_limit=time_limit)
    # on leaving the block, also by Ctrl-C, the workers are ended where they are
    with Pool(jobs, initializer=_leave_interrupts_to_parent) as pool:
        yield from pool.imap(work, [claim.id for claim in chosen])


def exit_code(results: Sequence[Result]) -> int:
    """Return 1 if one is violated, else 3 if one has no verdict, else 0."""
    codes = {result.verdict.exit_code for result in results}
    return 1 if 1 in codes else max(codes, default=0)


def _judge(id: str, setting: Mapping[str, Any], time_limit: float) -> Result:
    # by id, because a statement is a function and those do not travel
    (claim,) = find([id])
    taken = {name: setting[name] for name in claim.settings if name in setting}
    return verify(claim, time_limit=time_limit, **taken)


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
