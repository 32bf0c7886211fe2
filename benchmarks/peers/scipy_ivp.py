"""SciPy's solve_ivp, on the closed-form field in θ and on the reduced field in Z.

Its documentation says: explicit methods for non-stiff problems, DOP853 "for solving
with high precision", implicit ones (or LSODA, which switches) for stiff problems; stop
by a terminal event.
https://docs.scipy.org/doc/scipy/reference/generated/scipy.integrate.solve_ivp.html
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.integrate import solve_ivp

from benchmarks.coordinates import COORDINATES, Coordinates
from benchmarks.peer import Peer, Solve, features_of_params, features_themselves
from benchmarks.problem import Problem

__all__ = ["PEERS", "integrate"]

Array = NDArray[np.float64]

#: rows of a dense Newton matrix that fit in memory: BDF and Radau hold several, LSODA
#: uses its one only where it finds the problem stiff
LARGEST_NEWTON = {"LSODA": 30_000, "BDF": 10_000, "Radau": 10_000}


def integrate(
    flow: Coordinates, problem: Problem, task: str, rtol: float, method: str
) -> Array:
    """Return the states at the times, or θ where the event stops the run."""

    def rates(time: float, state: Array) -> Array:
        return flow.rates(state)

    def excess(time: float, state: Array) -> float:
        return float(np.log(flow.gradient(state) / problem.aim))

    excess.terminal = True  # type: ignore[attr-defined]  # solve_ivp's way to ask
    options = {"method": method, "rtol": rtol, "atol": 1e-2 * rtol}
    if task == "trajectory":
        span = (0.0, problem.times[-1])
        run = solve_ivp(rates, span, flow.start, t_eval=problem.times, **options)
        return np.asarray(run.y.T)
    # t_eval=() keeps nothing on the way; the state of the event is kept all the same
    span = (0.0, np.inf)
    run = solve_ivp(rates, span, flow.start, events=excess, t_eval=(), **options)
    return flow.finish(run.y_events[0][-1])


def prepare(group: str, method: str, problem: Problem, task: str, rtol: float) -> Solve:
    """Return what is timed, from building the field on."""
    return lambda: integrate(COORDINATES[group](problem), problem, task, rtol, method)


def refuses(group: str, method: str, problem: Problem) -> str | None:
    """Refuse dense Newton matrices that do not fit in memory."""
    size = problem.m * (problem.d if group == "closed form" else problem.n)
    if size > LARGEST_NEWTON.get(method, size):
        return f"out of memory: a dense {size} x {size} matrix"
    return None


PEERS = [
    Peer(
        f"scipy {method}, {where}",
        group,
        partial(prepare, group, method),
        f"solve_ivp(method={method!r}, atol=rtol/100, terminal event on |grad|)",
        rtol={"endpoint": 1e-8, "trajectory": 1e-5 if method == "LSODA" else 1e-6},
        features=features,
        refuses=partial(refuses, group, method),
    )
    for group, where, features in (
        ("closed form", "θ", features_of_params),
        ("reduced", "Z", features_themselves),
    )
    for method in ("DOP853", "RK45", *LARGEST_NEWTON)
]
