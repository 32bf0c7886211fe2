"""A peer: one way to do the job, with the library that it needs."""

from __future__ import annotations

import importlib
import importlib.util
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.problem import TASKS, Problem

__all__ = ["Peer", "Solve", "all_peers", "features_of_params"]

Array = NDArray[np.float64]
#: no arguments; does the whole job, from the arrays of the problem to the answer
Solve = Callable[[], Any]


def features_of_params(problem: Problem, answer: Any) -> Array:
    """Return Z (T, n, m) of parameters (T, m·d)."""
    params = np.asarray(answer).reshape(-1, problem.m, problem.d)
    return np.einsum("nd,tmd->tnm", problem.inputs, params, optimize=True)


def features_themselves(problem: Problem, answer: Any) -> Array:
    """Return Z (T, n, m) of preactivations (T, n·m)."""
    return np.asarray(answer).reshape(-1, problem.n, problem.m)


def never(problem: Problem) -> str | None:
    """Refuse nothing."""
    return None


@dataclass(frozen=True)
class Peer:
    """One way to do the job.

    Attributes
    ----------
    name : str
        Unique; the first word is the library.
    group : str
        What it is given: "ours", "autograd" (only the function), "closed form" (the
        field in θ) or "reduced" (our reduction to Z).
    prepare : callable
        ``(problem, task, rtol) -> solve``.  Imports and compiles; neither is timed.
        ``solve()`` goes from the arrays X, y and θ(0) to the answer: θ (m, d) for the
        end point, the method's own states at ``problem.times`` for the trajectory.
    told : str
        What the library was told to do, and where its documentation says so.
    requires : tuple of str
        Modules that must be installed.
    tasks : tuple of str
        Which tasks it can do.
    rtol : dict
        Task to the loosest power of ten with which its answer is accepted at size M.
    features : callable
        ``(problem, states) -> Z (T, n, m)``, not timed.
    refuses : callable
        ``problem -> reason or None``: what cannot end well is not begun.
    """

    name: str
    group: str
    prepare: Callable[[Problem, str, float], Solve]
    told: str
    requires: tuple[str, ...] = ()
    tasks: tuple[str, ...] = TASKS
    rtol: dict[str, float] = field(default_factory=dict)
    features: Callable[[Problem, Any], Array] = features_of_params
    refuses: Callable[[Problem], str | None] = never

    def obstacle(self, problem: Problem, task: str) -> str | None:
        """Return why it is skipped, or None."""
        missing = [name for name in self.requires if not _is_installed(name)]
        if missing:
            return f"{missing[0]} is not installed (pip install 'manifold_flow[bench]')"
        if task not in self.tasks:
            return f"has no {task}"
        return self.refuses(problem)


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def all_peers() -> dict[str, Peer]:
    """Return every peer of ``benchmarks/peers``, by name, ours first.

    Examples
    --------
    >>> next(iter(all_peers()))
    'manifold_flow auto'
    """
    import benchmarks.peers as package

    names = sorted(info.name for info in pkgutil.iter_modules(package.__path__))
    names.sort(key=lambda name: name != "ours")
    modules = [importlib.import_module(f"{package.__name__}.{name}") for name in names]
    return {peer.name: peer for module in modules for peer in module.PEERS}
