"""A contestant in a child process of its own: one core, one thread, killed on time.

A child prepares once (imports and compilation are not timed) and then runs whenever it
is told to, so that two of them can be measured alternately, and one that hangs or dies
takes nothing with it.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np
from numpy.typing import NDArray

from benchmarks.judge import Verdict, judge
from benchmarks.peer import Peer, Solve, all_peers
from benchmarks.problem import Problem

__all__ = ["Entry", "Failure", "Sample", "in_child", "is_accepted"]

Array = NDArray[np.float64]

#: one thread each, and no huge pages: a virtual machine may give them back in between,
#: and then one answer of 16 MB costs 57 ms of system time (measured), or 5
ALIKE = {
    "NUMPY_MADVISE_HUGEPAGE": "0",
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false",
    "JAX_PLATFORMS": "cpu",
}
#: seconds in which a contestant must have imported and compiled
PREPARATION = 600.0
#: times the limit, in which a process that gets only a part of its core must answer
PATIENCE = 3.0
#: tenfold smaller tolerances that are tried where the first is not accurate enough
TIGHTENINGS = 3


@contextlib.contextmanager
def alike() -> Iterator[None]:
    """Let children that are started inside the block run under the same settings."""
    before = dict(os.environ)
    os.environ.update(ALIKE)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


@dataclass(frozen=True)
class Sample:
    """One run: CPU seconds of its process, wall-clock seconds, and the verdict."""

    seconds: float
    wall: float
    verdict: Verdict


@dataclass(frozen=True)
class Failure:
    """Why a run gave nothing, and the CPU seconds it took at least."""

    words: str
    lower_bound: float | None = None


def in_child(function: Callable[..., Any], *arguments: Any, limit: float) -> Any:
    """Return what a function returns on one core and one thread.

    A string says why it returned nothing.
    """
    pipe, other = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_answer, args=(other, function, arguments), daemon=True
    )
    with alike():
        process.start()
    other.close()
    try:
        return pipe.recv() if pipe.poll(limit) else f"> {limit:.0f} s"
    except EOFError:
        return f"died (exit code {process.exitcode})"
    finally:
        process.kill()
        process.join()


def _answer(
    pipe: Connection, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    pin(last_core())
    try:
        pipe.send(function(*arguments))
    except Exception as error:
        pipe.send(f"{type(error).__name__}: {error}")


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
    prepared: dict[float, Solve] = {}
    while True:
        rtol, expected = pipe.recv()
        try:
            if rtol not in prepared:
                prepared = {rtol: contestant.prepare(problem, task, rtol)}
            pipe.send("prepared")
            pipe.send(sample(contestant, prepared[rtol], problem, task, expected))
        except Exception as error:
            pipe.send(Failure(f"{type(error).__name__}: {error}"))


def sample(
    peer: Peer, solve: Solve, problem: Problem, task: str, expected: Array | None
) -> Sample:
    """Run once and judge the answer."""
    wall, seconds = time.perf_counter(), time.process_time()
    answer = solve()
    seconds, wall = time.process_time() - seconds, time.perf_counter() - wall
    if task == "trajectory":
        answer = peer.features(problem, answer)
    return Sample(seconds, wall, judge(problem, task, answer, expected))


def cpu_seconds(pid: int) -> float:
    """Return what a process has used; on systems without /proc, the time of day."""
    stat = Path(f"/proc/{pid}/stat")
    if not stat.exists():
        return time.monotonic()
    ticks = stat.read_text("utf-8").rpartition(")")[2].split()[11:13]
    return sum(map(float, ticks)) / os.sysconf("SC_CLK_TCK")


def is_accepted(answer: Sample | Failure) -> TypeGuard[Sample]:
    """Whether there is a result, and it is accurate."""
    return isinstance(answer, Sample) and answer.verdict.accepted


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
        with alike():
            self.process.start()
        other.close()

    def run(self, limit: float) -> Sample | Failure:
        """Return a sample, or why there is none."""
        try:
            self.pipe.send((self.rtol, self.expected))
            answer = self._receive(PREPARATION)
            if answer != "prepared":
                return answer
            bound = self._wait(limit)
            if bound is None:
                return self.pipe.recv()
        except (EOFError, ConnectionError):
            self.stop()
            return Failure(f"died (exit code {self.process.exitcode})")
        self.stop()
        return Failure(f"> {bound:.0f} s", bound)

    def _wait(self, limit: float) -> float | None:
        """Return None when there is an answer, CPU seconds when it is given up."""
        pid = self.process.pid or 0
        began, deadline = cpu_seconds(pid), time.monotonic() + PATIENCE * limit
        while not self.pipe.poll(min(1.0, limit)):
            used = cpu_seconds(pid) - began
            if used > limit or time.monotonic() > deadline:
                return used
        return None

    def _receive(self, limit: float) -> Any:
        if self.pipe.poll(limit):
            return self.pipe.recv()
        self.stop()
        return Failure(f"was not prepared in {limit:.0f} s")

    def first(self, limit: float) -> Sample | Failure:
        """Return the first accepted sample, or the last that is refused."""
        answer = self.run(limit)
        for _ in range(TIGHTENINGS):
            if not self.process.is_alive() or is_accepted(answer):
                break
            self.rtol /= 10.0
            answer = self.run(limit)
        return answer

    def stop(self) -> None:
        """End the child process."""
        self.process.kill()
        self.process.join()
