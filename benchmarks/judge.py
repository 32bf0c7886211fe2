"""Whether an answer is the answer: no peer, and not we, win with a wrong result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.integrate
from numpy.typing import NDArray

from benchmarks.coordinates import preactivations
from benchmarks.problem import Problem

__all__ = ["Verdict", "judge", "reference"]

Array = NDArray[np.float64]

GRADIENT = 1e-8  # of |grad_M F(0)|
RESIDUAL = 1e-9
TRAJECTORY = 1e-6  # relative, in Z, at the worst of the times


@dataclass(frozen=True)
class Verdict:
    """What was found about an answer.

    Attributes
    ----------
    accepted : bool
        Whether it is accurate enough to be timed.
    error : float
        Relative distance from θ(∞) (endpoint), or from the reference (trajectory).
    words : str
        What is wrong with it, or the numbers.
    """

    accepted: bool
    error: float
    words: str


def reference(problem: Problem) -> Array:
    """Return Z at the times (T, n, m), by DOP853 at a relative tolerance of 1e-12."""
    flow = preactivations(problem)
    run = scipy.integrate.solve_ivp(
        lambda time, state: flow.rates(state),
        (0.0, problem.times[-1]),
        flow.start,
        method="DOP853",
        t_eval=problem.times,
        rtol=1e-12,
        atol=1e-14,
    )
    return np.asarray(run.y.T).reshape(-1, problem.n, problem.m)


def judge(problem: Problem, task: str, answer: Any, expected: Array | None) -> Verdict:
    """Return the verdict on an answer.

    Parameters
    ----------
    problem : Problem
        The job.
    task : str
        "endpoint" or "trajectory".
    answer : array
        θ (m, d), or Z (T, n, m).
    expected : array, shape (T, n, m), or None
        The reference of a trajectory.

    Returns
    -------
    Verdict
        Accepted or not.
    """
    if np.shape(answer) != np.shape(problem.start if expected is None else expected):
        return Verdict(False, np.inf, f"incomplete: shape {np.shape(answer)}")
    if not np.isfinite(answer).all():
        return Verdict(False, np.inf, "not finite")
    if expected is None:
        return _judge_end(problem, answer)
    return _judge_trajectory(answer, expected)


def _judge_end(problem: Problem, params: Array) -> Verdict:
    field, features = problem.field, problem.inputs @ params.T
    steepness = field.squared_gradient(field.dual(features)) ** 0.5
    gradient = steepness / problem.gradient_at_start
    residual = float(np.abs(field.residual(features)).max())
    distance = float(np.linalg.norm(params - problem.end))
    # near the limit |θ − θ(∞)| <= |grad| / (slowest rate), and no direction is free
    allowed = 4.0 * GRADIENT * problem.gradient_at_start / problem.slowest_rate
    allowed += 1e-9 * float(np.linalg.norm(problem.end))
    fails = [
        f"gradient {gradient:.1e} of its start" * (gradient > GRADIENT),
        f"residual {residual:.1e}" * (residual > RESIDUAL),
        f"{distance:.1e} from the end, {allowed:.1e} explained" * (distance > allowed),
    ]
    words = "; ".join(filter(None, fails))
    error = distance / float(np.linalg.norm(problem.end - problem.start))
    right = f"gradient {gradient:.1e}, residual {residual:.1e}"
    return Verdict(not words, error, words or right)


def _judge_trajectory(features: Array, expected: Array) -> Verdict:
    deviation = np.linalg.norm(features - expected, axis=(1, 2))
    error = float((deviation / np.linalg.norm(expected, axis=(1, 2))).max())
    return Verdict(error <= TRAJECTORY, error, f"error {error:.1e}")
