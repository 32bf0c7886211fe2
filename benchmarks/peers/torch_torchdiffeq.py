"""torchdiffeq: a field by automatic differentiation (torch.func), and in closed form.

Its documentation says: the default dopri5 is a good choice for most problems; ending at
an event is odeint_event.
https://github.com/rtqichen/torchdiffeq/blob/master/README.md
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coordinates import parameters
from benchmarks.peer import Peer, Solve
from benchmarks.problem import Problem

__all__ = ["PEERS"]

Array = NDArray[np.float64]


def automatic(problem: Problem, inputs: Any, targets: Any) -> Callable[[Any], Any]:
    """Return −grad_M F of what a user writes down: the residual and F."""
    import torch

    value, slope = {
        "cubic": (lambda z: z**3 / 3.0 + z, lambda z: z**2 + 1.0),
        "sinh": (torch.sinh, torch.cosh),
    }[problem.activation]
    weights = (inputs**2).sum(dim=1)

    def residual(params: Any) -> Any:
        return value(inputs @ params.T).sum(dim=1) - targets

    def sharpness(params: Any) -> Any:
        return (weights[:, None] * slope(inputs @ params.T) ** 2).sum()

    def velocity(params: Any) -> Any:
        gradient = torch.func.grad(sharpness)(params).reshape(-1)
        jacobian = torch.func.jacrev(residual)(params).reshape(problem.n, -1)
        normal = torch.linalg.cholesky(jacobian @ jacobian.T)
        pushed = (jacobian @ gradient)[:, None]
        multipliers = torch.cholesky_solve(pushed, normal)[:, 0]
        return -(gradient - multipliers @ jacobian).reshape(params.shape)

    return velocity


def closed_form(problem: Problem, inputs: Any, targets: Any) -> Callable[[Any], Any]:
    """Return −grad_M F by the formula of :mod:`benchmarks.field`."""
    import torch

    gram = inputs @ inputs.T
    weights = gram.diagonal()

    def jet(z: Any) -> tuple[Any, Any]:
        if problem.activation == "cubic":
            return z * z + 1.0, 2.0 * z
        return torch.cosh(z), torch.sinh(z)

    def velocity(params: Any) -> Any:
        slope, second = jet(inputs @ params.T)
        free = 2.0 * weights[:, None] * slope * second
        normal = torch.linalg.cholesky(gram * (slope @ slope.T))
        pushed = (slope * (gram @ free)).sum(dim=1, keepdim=True)
        dual = free - torch.cholesky_solve(pushed, normal) * slope
        return -dual.T @ inputs

    return velocity


FIELDS = {"autograd": automatic, "closed form": closed_form}


def integrate(group: str, problem: Problem, task: str, rtol: float) -> Array:
    """Return θ at the times, or where the event stops the run."""
    import torch
    from torchdiffeq import odeint, odeint_event

    inputs, targets, start = map(
        torch.from_numpy, (problem.inputs, problem.targets, problem.start)
    )
    velocity = FIELDS[group](problem, inputs, targets)
    options = {"rtol": rtol, "atol": 1e-2 * rtol, "method": "dopri5"}

    def rates(time: Any, params: Any) -> Any:
        return velocity(params)

    def excess(time: Any, params: Any) -> Any:
        return torch.log(torch.linalg.norm(velocity(params)) / problem.aim)

    with torch.no_grad():
        if task == "trajectory":
            times = torch.from_numpy(np.append(0.0, problem.times))
            return odeint(rates, start, times, **options)[1:].numpy()
        zero = torch.tensor(0.0, dtype=torch.float64)
        _, states = odeint_event(rates, start, zero, event_fn=excess, **options)
    return parameters(problem).finish(states[-1].numpy().ravel())


def prepare(group: str, problem: Problem, task: str, rtol: float) -> Solve:
    """Import PyTorch, on one thread."""
    import torch
    import torchdiffeq  # noqa: F401  # imports are not timed

    torch.set_num_threads(1)
    return lambda: integrate(group, problem, task, rtol)


PEERS = [
    Peer(
        f"torchdiffeq dopri5, {where}",
        group,
        partial(prepare, group),
        "odeint(method='dopri5'), odeint_event on |grad|, float64, no_grad",
        requires=("torchdiffeq", "torch"),
        rtol={"endpoint": 1e-8, "trajectory": 1e-7},
    )
    for group, where in (("autograd", "AD in θ"), ("closed form", "θ"))
]
