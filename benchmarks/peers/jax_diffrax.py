"""diffrax, compiled by JAX: a field by automatic differentiation, in closed form, in Z.

Its documentation says: Tsit5 for non-stiff problems, Dopri8 at tight tolerances,
Kvaerno5 for stiff ones, always with a PIDController; an Event with t1 = inf and
max_steps=None for a steady state.
https://docs.kidger.site/diffrax/usage/how-to-choose-a-solver/
https://docs.kidger.site/diffrax/examples/steady_state/
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.coordinates import COORDINATES
from benchmarks.peer import Peer, Solve, features_of_params, features_themselves
from benchmarks.problem import Problem

__all__ = ["PEERS"]

Array = NDArray[np.float64]
#: (inputs, gram, targets, state) -> (rates of the state, |grad_M F|)
Motion = Callable[..., tuple[Any, Any]]

#: rows of the dense Newton matrix of Kvaerno5
LARGEST_NEWTON = 5000


def activation(name: str) -> Callable[[Any], Any]:
    """Return φ; its derivatives are JAX's affair."""
    import jax.numpy as jnp

    return {"cubic": lambda z: z * (z * z / 3.0 + 1.0), "sinh": jnp.sinh}[name]


def jet(name: str, z: Any) -> tuple[Any, Any]:
    """Return φ' and φ''."""
    import jax.numpy as jnp

    if name == "cubic":
        return z * z + 1.0, 2.0 * z
    return jnp.cosh(z), jnp.sinh(z)


def automatic(
    name: str, inputs: Any, gram: Any, targets: Any, params: Any
) -> tuple[Any, Any]:
    """Differentiate what a user writes down, residual and sharpness, in θ."""
    import jax
    import jax.numpy as jnp

    value = activation(name)
    weights = (inputs**2).sum(axis=1)

    def residual(theta: Any) -> Any:
        return value(inputs @ theta.T).sum(axis=1) - targets

    def sharpness(theta: Any) -> Any:
        slope = jax.vmap(jax.vmap(jax.grad(value)))(inputs @ theta.T)
        return (weights[:, None] * slope**2).sum()

    gradient = jax.grad(sharpness)(params).ravel()
    jacobian = jax.jacrev(residual)(params).reshape(len(targets), -1)
    normal = jax.scipy.linalg.cho_factor(jacobian @ jacobian.T)
    multipliers = jax.scipy.linalg.cho_solve(normal, jacobian @ gradient)
    tangent = gradient - multipliers @ jacobian
    return -tangent.reshape(params.shape), jnp.linalg.norm(tangent)


def dual(name: str, gram: Any, features: Any) -> Any:
    """Return B of :mod:`benchmarks.field`."""
    import jax
    import jax.numpy as jnp

    slope, second = jet(name, features)
    free = 2.0 * jnp.diag(gram)[:, None] * slope * second
    normal = jax.scipy.linalg.cho_factor(gram * (slope @ slope.T))
    pulled = (slope * (gram @ free)).sum(axis=1)
    multipliers = jax.scipy.linalg.cho_solve(normal, pulled)
    return free - multipliers[:, None] * slope


def closed_form(
    name: str, inputs: Any, gram: Any, targets: Any, params: Any
) -> tuple[Any, Any]:
    """Evaluate the formula of the field in θ."""
    import jax.numpy as jnp

    tangent = dual(name, gram, inputs @ params.T).T @ inputs
    return -tangent, jnp.linalg.norm(tangent)


def reduced(
    name: str, inputs: Any, gram: Any, targets: Any, features: Any
) -> tuple[Any, Any]:
    """Evaluate the formula of the field in Z; its norm is that of θ."""
    import jax.numpy as jnp

    inner = dual(name, gram, features)
    outer = gram @ inner
    return -outer, jnp.sqrt((inner * outer).sum())


MOTIONS: dict[str, Motion] = {
    "autograd": automatic,
    "closed form": closed_form,
    "reduced": reduced,
}


def program(
    problem: Problem, task: str, rtol: float, motion: Motion, solver: Any
) -> Callable[..., Any]:
    """Return the function that JAX compiles: (X, y, state, aim) to states."""
    import diffrax
    import jax.numpy as jnp

    term = diffrax.ODETerm(lambda t, state, data: motion(*data[:3], state)[0])
    event = diffrax.Event(
        lambda t, state, data, **kwargs: motion(*data[:3], state)[1] <= data[3]
    )
    ends = task == "endpoint"

    def run(inputs: Any, targets: Any, state: Any, aim: Any) -> Any:
        return diffrax.diffeqsolve(
            term,
            solver,
            t0=0.0,
            t1=jnp.inf if ends else problem.times[-1],
            dt0=None,
            y0=state,
            args=(inputs, inputs @ inputs.T, targets, aim),
            saveat=diffrax.SaveAt(t1=True)
            if ends
            else diffrax.SaveAt(ts=problem.times),
            stepsize_controller=diffrax.PIDController(rtol=rtol, atol=1e-2 * rtol),
            event=event if ends else None,
            max_steps=None,
            adjoint=diffrax.ImplicitAdjoint() if ends else diffrax.DirectAdjoint(),
        ).ys

    return run


def prepare(group: str, solver: str, problem: Problem, task: str, rtol: float) -> Solve:
    """Compile for these shapes; what is timed calls the compiled program."""
    import diffrax
    import jax

    jax.config.update("jax_enable_x64", True)
    motion = partial(MOTIONS[group], problem.activation)
    place = COORDINATES["reduced" if group == "reduced" else "closed form"]
    shape = (problem.n if group == "reduced" else problem.m, -1)
    run = program(problem, task, rtol, motion, getattr(diffrax, solver)())

    def arguments() -> tuple[Array, Array, Array, float]:
        start = place(problem).start.reshape(shape)
        return problem.inputs, problem.targets, start, problem.aim

    compiled = jax.jit(run).lower(*arguments()).compile()

    def solve() -> Array:
        states = np.asarray(compiled(*arguments()))
        if task == "trajectory":
            return states
        return place(problem).finish(states[-1].ravel())

    return solve


def refuses(group: str, solver: str, problem: Problem) -> str | None:
    """Refuse dense Newton matrices that do not fit in memory."""
    size = problem.m * (problem.n if group == "reduced" else problem.d)
    if solver.startswith("Kvaerno") and size > LARGEST_NEWTON:
        return f"a dense {size} x {size} Newton matrix at every step"
    return None


PEERS = [
    Peer(
        f"diffrax {solver}, {where}",
        group,
        partial(prepare, group, solver),
        f"diffeqsolve({solver}(), PIDController, Event on |grad|), jitted, float64",
        requires=("diffrax", "jax"),
        rtol={"endpoint": 1e-8, "trajectory": 1e-6},
        features=features,
        refuses=partial(refuses, group, solver),
    )
    for group, where, features, solvers in (
        ("autograd", "AD in θ", features_of_params, ("Tsit5", "Dopri8")),
        ("closed form", "θ", features_of_params, ("Tsit5", "Dopri8")),
        ("reduced", "Z", features_themselves, ("Tsit5", "Dopri8", "Kvaerno5")),
    )
    for solver in solvers
]
