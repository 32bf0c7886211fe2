"""Side by side: each in its own child process, one core, one thread, in turns.

A child prepares once (imports and compilation are not timed) and then runs when it is
told to, so that two of them can be measured alternately, and one that hangs or dies
takes nothing with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge import Verdict, judge
from benchmarks.peer import Peer, all_peers
from benchmarks.problem import Problem

__all__ = ["Entry", "Limits", "Row", "one_thread", "race"]

Array = NDArray[np.float64]

THREADS = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
}
#: tenfold smaller tolerances that are tried where the first is not accurate enough
TIGHTENINGS = 3
#: a first run of fewer seconds is repeated before it is timed: caches, lazy imports
WARM = 2.0


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Let children that are started inside the block see one thread only."""
    before = dict(os.environ)
    os.environ.update(THREADS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Limits:
    """How long it may take.

    Attributes
    ----------
    run : float
        Seconds after which a run is given up; what it would have taken is more.
    pair : float
        Seconds that the repetitions of one pair may take together.
    repeats : int
        At most so many of them.
    """

    run: float = 600.0
    pair: float = 20.0
    repeats: int = 7


@dataclass(frozen=True)
class Sample:
    """One run: CPU seconds of its process, wall-clock seconds, and the verdict."""

    seconds: float
    wall: float
    verdict: Verdict


def pin(core: int | None) -> None:
    """Keep this process on one core, where the system can."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})


def last_core() -> int | None:
    """Return the core for the children, the same for all."""
    if hasattr(os, "sched_getaffinity"):
        return max(os.sched_getaffinity(0))
    return None


def child(pipe: Connection, peer: Peer | str, problem: Problem, task: str) -> None:
    """Serve runs: receives (rtol, reference), sends a Sample or what went wrong."""
    with open(os.devnull, "w") as nowhere:  # solvers in C complain on standard error
        os.dup2(nowhere.fileno(), 2)
    pin(last_core())
    contestant = all_peers()[peer] if isinstance(peer, str) else peer
    prepared: dict[float, Any] = {}
    while True:
        rtol, expected = pipe.recv()
        try:
            if rtol not in prepared:
                prepared = {rtol: contestant.prepare(problem, task, rtol)}
            pipe.send(sample(contestant, prepared[rtol], problem, task, expected))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")


def sample(
    peer: Peer, solve: Any, problem: Problem, task: str, expected: Array | None
) -> Sample:
    """Run once and judge the answer."""
    wall, seconds = time.perf_counter(), time.process_time()
    answer = solve()
    seconds, wall = time.process_time() - seconds, time.perf_counter() - wall
    if task == "trajectory":
        answer = peer.features(problem, answer)
    return Sample(seconds, wall, judge(problem, task, answer, expected))


class Entry:
    """A contestant in its child process.

    Parameters
    ----------
    peer : str or Peer
        Its name, or itself.
    problem : Problem
        The job.
    task : str
        Which part of it.
    expected : array or None
        Reference of a trajectory.
    """

    def __init__(
        self, peer: str | Peer, problem: Problem, task: str, expected: Array | None
    ) -> None:
        self.peer = all_peers()[peer] if isinstance(peer, str) else peer
        self.expected, self.rtol = expected, self.peer.rtol[task]
        self.pipe, other = multiprocessing.Pipe()
        self.process = multiprocessing.get_context("spawn").Process(
            target=child, args=(other, peer, problem, task), daemon=True
        )
        with one_thread():
            self.process.start()
        other.close()

    def run(self, limit: float) -> Sample | str:
        """Return a sample, or why there is none."""
        self.pipe.send((self.rtol, self.expected))
        try:
            if not self.pipe.poll(limit):
                self.stop()
                return f"> {limit:.0f} s"
            answer: Sample | str = self.pipe.recv()
        except (EOFError, ConnectionError):
            return f"died (exit code {self.process.exitcode})"
        return answer

    def first(self, limit: float) -> Sample | str:
        """Return the first accepted sample, or the last refused one."""
        answer = self.run(limit)
        for _ in range(TIGHTENINGS):
            if isinstance(answer, str) or answer.verdict.accepted:
                break
            self.rtol /= 10.0
            answer = self.run(limit)
        return answer

    def stop(self) -> None:
        """End the child process."""
        self.process.kill()
        self.process.join()


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


def measure(row: Row, entry: Entry, ours: Entry | None, limits: Limits) -> None:
    """Fill a row, in turns, until the repeats or the seconds are used up."""
    answer = entry.first(limits.run)
    row.rtol, began = entry.rtol, time.monotonic()
    if isinstance(answer, Sample) and answer.verdict.accepted and answer.seconds < WARM:
        answer = entry.run(limits.run)
    while True:
        note(row, answer, limits)
        own = None if ours is None else ours.run(limits.run)
        if isinstance(own, Sample) and own.verdict.accepted:
            row.our_seconds.append(own.seconds)
        enough = time.monotonic() - began > limits.pair
        if row.outcome != "measured" or len(row.seconds) >= limits.repeats or enough:
            return
        answer = entry.run(limits.run)


def note(row: Row, answer: Sample | str, limits: Limits) -> None:
    """Write one run down, or why it does not count."""
    if isinstance(answer, str):
        row.outcome, row.seconds = answer, []
        row.lower_bound = limits.run if answer.startswith(">") else None
        return
    row.error, row.words = answer.verdict.error, answer.verdict.words
    row.seconds.append(answer.seconds)
    row.walls.append(answer.wall)
    if not answer.verdict.accepted:
        row.outcome, row.seconds = f"wrong: {row.words}", []
