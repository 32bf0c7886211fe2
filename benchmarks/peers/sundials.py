"""SUNDIALS through scikit-SUNDAE: CVODE in θ and in Z, IDA on the constrained system.

Its user guide says: BDF for stiff problems; an iterative linear solver (``gmres``)
where a dense Jacobian is too large; a preconditioner is optional, crude, and the user's
own affair: CVODE is given none, and IDA, which does not converge without, one that
leaves out the second derivatives.
https://scikit-sundae.readthedocs.io/en/latest/user_guide/linear_solvers.html
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coordinates import COORDINATES, Coordinates
from benchmarks.field import Field
from benchmarks.peer import Peer, Solve, features_of_params, features_themselves
from benchmarks.problem import Problem

__all__ = ["PEERS"]

Array = NDArray[np.float64]

#: CVODE wants a last time also where an event ends the run
FAR = 1e12
UNLIMITED = 10**8


def options(rtol: float) -> dict[str, Any]:
    """Return what both solvers are told."""
    return {
        "rtol": rtol,
        "atol": 1e-2 * rtol,
        "linsolver": "gmres",
        "max_num_steps": UNLIMITED,
    }


def last_state(run: Any) -> Array:
    """Return the state at the terminal event, or raise what stopped the solver."""
    if run.y_events is None:
        raise ArithmeticError(f"SUNDIALS: {run.message}")
    return np.asarray(run.y_events[-1])


def cvode(flow: Coordinates, problem: Problem, task: str, rtol: float) -> Array:
    """Return the states at the times, or θ where the event stops the run."""
    from sksundae.cvode import CVODE

    def rates(time: float, state: Array, out: Array) -> None:
        out[:] = flow.rates(state)

    def excess(time: float, state: Array, out: Array) -> None:
        out[0] = np.log(flow.gradient(state) / problem.aim)

    if task == "trajectory":
        solver = CVODE(rates, method="BDF", **options(rtol))
        return solver.solve(np.append(0.0, problem.times), flow.start).y[1:]
    solver = CVODE(rates, method="BDF", eventsfn=excess, num_events=1, **options(rtol))
    solver.init_step(0.0, flow.start)
    return flow.finish(last_state(solver.step(FAR)))


class Constrained:
    """θ̇ = −∇F + Jᵀα with J θ̇ = 0: a differential-algebraic system of index 1.

    Parameters
    ----------
    problem : Problem
        The job.
    """

    def __init__(self, problem: Problem) -> None:
        self.inputs, self.shape = problem.inputs, (problem.m, problem.d)
        self.n = problem.n
        self.field = Field.of(self.inputs, problem.targets, problem.activation)
        self.start = np.append(problem.start.ravel(), np.zeros(self.n))

    def split(self, y: Array) -> tuple[Array, Array, Array]:
        """Return φ' and −(∇F − Jᵀα) in the dual, and that velocity in θ."""
        features = self.inputs @ y[: -self.n].reshape(self.shape).T
        _, slope, second, _ = self.field.jet(features)
        free = 2.0 * self.field.weights[:, None] * slope * second
        dual = y[-self.n :, None] * slope - free
        return slope, dual, (dual.T @ self.inputs).ravel()

    def residual(self, time: float, y: Array, yp: Array, out: Array) -> None:
        """Fill the residual of the system."""
        slope, dual, velocity = self.split(y)
        out[: -self.n] = yp[: -self.n] - velocity
        out[-self.n :] = (slope * (self.field.gram @ dual)).sum(axis=1)

    def precondition(  # IDA's signature
        self,
        time: float,
        y: Array,
        yp: Array,
        residual: Array,
        right: Array,
        out: Array,
        cj: float,
        delta: float,
    ) -> None:
        """Solve with the Jacobian of cj θ − Jᵀα and G α, exact but for ∇²F."""
        slope, _, _ = self.split(y)
        normal = self.field.gram * (slope @ slope.T)
        multipliers = np.linalg.solve(normal, right[-self.n :])
        pulled = ((multipliers[:, None] * slope).T @ self.inputs).ravel()
        out[: -self.n] = (right[: -self.n] + pulled) / cj
        out[-self.n :] = multipliers


def ida(problem: Problem, task: str, rtol: float) -> Array:
    """Return θ at the times, or where the event stops the run."""
    from sksundae.ida import IDA, IDAPrecond

    system, flow = Constrained(problem), COORDINATES["closed form"](problem)
    n, size = problem.n, problem.m * problem.d

    def excess(time: float, y: Array, yp: Array, out: Array) -> None:
        out[0] = np.log(flow.gradient(y[:-n]) / problem.aim)

    told = options(rtol) | {
        "precond": IDAPrecond(None, system.precondition),
        "algebraic_idx": np.arange(size, size + n),
        "calc_initcond": "yp0",
    }
    rates = np.zeros(size + n)
    if task == "trajectory":
        times = np.append(0.0, problem.times)
        solver = IDA(system.residual, **told)
        return solver.solve(times, system.start, rates).y[1:, :-n]
    solver = IDA(system.residual, eventsfn=excess, num_events=1, **told)
    solver.init_step(0.0, system.start, rates)
    return flow.finish(last_state(solver.step(FAR))[:-n])


def prepare_cvode(group: str, problem: Problem, task: str, rtol: float) -> Solve:
    """Import SUNDIALS."""
    import sksundae.cvode  # noqa: F401  # imports are not timed

    return lambda: cvode(COORDINATES[group](problem), problem, task, rtol)


def prepare_ida(problem: Problem, task: str, rtol: float) -> Solve:
    """Import SUNDIALS."""
    import sksundae.ida  # noqa: F401  # imports are not timed

    return lambda: ida(problem, task, rtol)


RTOL = {"endpoint": 1e-5, "trajectory": 1e-6}

PEERS = [
    Peer(
        f"sundials CVODE, {where}",
        group,
        partial(prepare_cvode, group),
        "CVODE(method='BDF', linsolver='gmres'), terminal event on |grad|",
        requires=("sksundae",),
        rtol=RTOL,
        features=features,
    )
    for group, where, features in (
        ("closed form", "θ", features_of_params),
        ("reduced", "Z", features_themselves),
    )
] + [
    Peer(
        "sundials IDA, θ",
        "closed form",
        prepare_ida,
        "IDA(linsolver='gmres') on θ and the multipliers, index 1",
        requires=("sksundae",),
        rtol=RTOL,
    )
]
