"""Side by side: every peer in turns with us, and what came of it."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from benchmarks.contestant import Entry, Failure, Sample, is_accepted
from benchmarks.peer import all_peers
from benchmarks.problem import Problem

__all__ = ["Limits", "Row", "measure", "race", "sweep"]

Array = NDArray[np.float64]

#: a first run of fewer seconds is repeated before it is timed: caches, lazy imports
WARM = 2.0


@dataclass(frozen=True)
class Limits:
    """How long it may take.

    Attributes
    ----------
    run : float
        CPU seconds after which a run is given up; what it would have taken is more.
    pair : float
        Seconds that the repetitions of one pair may take together.
    repeats : int
        At most so many of them.
    """

    run: float = 600.0
    pair: float = 20.0
    repeats: int = 7


@dataclass
class Row:
    """What was measured of one peer beside us.

    Attributes
    ----------
    problem, task, peer, group : str
        What was measured.
    outcome : str
        "measured", or why not.
    lower_bound : float or None
        Seconds it took at least, where it was given up.
    seconds, walls, our_seconds : list of float
        Pairs of runs, CPU seconds (on one core: wall time without what others take).
    rtol, error : float
        Its tolerance and its accuracy.
    words : str
        The verdict.
    """

    problem: str
    task: str
    peer: str
    group: str
    outcome: str = "measured"
    lower_bound: float | None = None
    seconds: list[float] = field(default_factory=list)
    walls: list[float] = field(default_factory=list)
    our_seconds: list[float] = field(default_factory=list)
    rtol: float = 0.0
    error: float = float("nan")
    words: str = ""

    @property
    def median(self) -> float | None:
        """Median seconds, or None."""
        return statistics.median(self.seconds) if self.seconds else None

    @property
    def ratio(self) -> float | None:
        """Its median over ours of the same pairs; of its lower bound where given up."""
        theirs = self.median if self.median is not None else self.lower_bound
        if theirs is None or not self.our_seconds:
            return None
        return theirs / statistics.median(self.our_seconds)


def race(
    problem: Problem,
    task: str,
    name: str,
    ours: Entry | None,
    limits: Limits,
    expected: Array | None = None,
) -> Row:
    """Measure one peer alternately with us.

    Parameters
    ----------
    problem : Problem
        The job.
    task : str
        "endpoint" or "trajectory".
    name : str
        The peer.
    ours : Entry or None
        We, already started; None to measure the peer alone.
    limits : Limits
        Time.
    expected : array, optional
        Reference of a trajectory.

    Returns
    -------
    Row
        Measured, or with the reason why not.
    """
    peer = all_peers()[name]
    row = Row(problem.name, task, name, peer.group)
    obstacle = peer.obstacle(problem, task)
    if obstacle is not None:
        row.outcome = f"skipped: {obstacle}"
        return row
    entry = Entry(name, problem, task, expected)
    try:
        measure(row, entry, ours, limits)
    finally:
        entry.stop()
    return row


def sweep(
    problem: Problem,
    name: str,
    tolerances: Iterable[float],
    limits: Limits,
    expected: Array,
) -> list[Row]:
    """Measure one peer alone, on the trajectory, whatever its accuracy.

    Parameters
    ----------
    problem : Problem
        The job.
    name : str
        The peer.
    tolerances : iterable of float
        Its relative tolerances.
    limits : Limits
        Time.
    expected : array
        Reference of the trajectory.

    Returns
    -------
    list of Row
        One a tolerance, as far as it got.
    """
    peer = all_peers()[name]
    rows: list[Row] = []
    if peer.obstacle(problem, "trajectory") is not None:
        return rows
    entry = Entry(name, problem, "trajectory", expected)
    try:
        for entry.rtol in tolerances:
            if not entry.process.is_alive():
                break
            runs = [entry.run(limits.run) for _ in range(1 + limits.repeats)]
            samples = [run for run in runs[1:] if isinstance(run, Sample)]
            row = Row(problem.name, "trajectory", name, peer.group, rtol=entry.rtol)
            row.seconds = [run.seconds for run in samples]
            row.walls = [run.wall for run in samples]
            row.error = samples[0].verdict.error if samples else float("nan")
            rows.append(row)
    finally:
        entry.stop()
    return rows


def measure(row: Row, entry: Entry, ours: Entry | None, limits: Limits) -> None:
    """Fill a row, in turns, until the repeats or the seconds are used up."""
    answer = entry.first(limits.run)
    row.rtol, began = entry.rtol, time.monotonic()
    if is_accepted(answer) and answer.seconds < WARM:
        answer = entry.run(limits.run)
    while True:
        note(row, answer)
        if ours is not None and is_accepted(own := ours.run(limits.run)):
            row.our_seconds.append(own.seconds)
        enough = time.monotonic() - began > limits.pair
        if row.outcome != "measured" or len(row.seconds) >= limits.repeats or enough:
            return
        answer = entry.run(limits.run)


def note(row: Row, answer: Sample | Failure) -> None:
    """Write one run down, or why it does not count."""
    if isinstance(answer, Failure):
        row.outcome, row.lower_bound = answer.words, answer.lower_bound
        row.seconds = []
        return
    row.error, row.words = answer.verdict.error, answer.verdict.words
    row.seconds.append(answer.seconds)
    row.walls.append(answer.wall)
    if not answer.verdict.accepted:
        row.outcome, row.seconds = f"wrong: {row.words}", []
