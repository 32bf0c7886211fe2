"""The loop: steps in windows, with a look at the iterates after each."""

from __future__ import annotations

import time as clock
from collections.abc import Callable, Iterator
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from manifold_flow.optimizers.abstract import Draw, Optimizer

__all__ = ["overrun", "windows"]

Array = NDArray[np.float64]

#: steps between two looks: a look costs as much as a tenth of a step
WINDOW = 64
#: bytes which, freed once, teach glibc to keep what a step frees for the next one
HOARD = 2**24
#: seconds, or share of the time limit, after which the speed of a run is known
MEASURED, SHARE = 1.0, 0.05


def windows(
    optimizer: Optimizer,
    params: Array,
    n_steps: int,
    every: int,
    rng: np.random.Generator,
    diverged: Callable[[int, Array], Exception],
) -> Iterator[tuple[int, Array]]:
    """Step, and yield (step, params) at multiples of ``every`` and wherever it looks.

    Parameters
    ----------
    optimizer : Optimizer
        What steps.
    params : array, shape (R, p)
        Where it starts; not written to.
    n_steps, every : int
        How far, and how often to yield at least.
    rng : Generator
        Source of the draws.
    diverged : callable
        Takes the last step with finite iterates and these; returns what to raise.

    Yields
    ------
    tuple
        The step, and the parameters of shape (R, p).
    """
    # Without this every array of more than 128 kB is unmapped when a step frees it and
    # faulted in again by the next one, which took 6 times as long (mallopt(3)).
    np.empty(HOARD, dtype=np.uint8)
    params = np.asfortranarray(params)  # contiguous replicas
    draws = optimizer.draws(len(params), n_steps, rng)
    velocity, step = np.zeros_like(params), 0
    for stop in _stops(n_steps, every):
        before, window = (params, velocity), list(islice(draws, stop - step))
        # a diverging replica is told by its infinities, not by warnings
        with np.errstate(all="ignore"):
            for draw in window:
                params, velocity = optimizer.step(params, velocity, draw)
            if not np.isfinite(params).all():
                taken, last = _last_finite(optimizer, *before, window)
                raise diverged(step + taken, last)
        step = stop
        yield step, params


def _stops(n_steps: int, every: int) -> Iterator[int]:
    """Yield where to look: soon, then regularly, and at every step to keep."""
    stop, window = 0, 1
    while stop < n_steps:
        stop = min(stop + window, (stop // every + 1) * every, n_steps)
        window = min(2 * window, WINDOW)
        yield stop


def _last_finite(
    optimizer: Optimizer, params: Array, velocity: Array, window: list[Draw]
) -> tuple[int, Array]:
    """Take the steps of a window again, up to the last finite params."""
    for taken, draw in enumerate(window):
        last = params
        params, velocity = optimizer.step(params, velocity, draw)
        if not np.isfinite(params).all():
            return taken, last
    raise AssertionError("the same draws led to other iterates")


def overrun(step: int, n_steps: int, began: float, time_limit: float) -> str | None:
    """Say how long a run would take, if that is known and too long.

    Parameters
    ----------
    step, n_steps : int
        Steps taken and wanted.
    began : float
        When the first began, on the monotonic clock.
    time_limit : float
        Seconds allowed.

    Returns
    -------
    str or None
        A sentence, or None while there is hope.
    """
    passed = clock.monotonic() - began
    wanted = passed * n_steps / step
    if passed < min(MEASURED, SHARE * time_limit) or wanted <= time_limit:
        return None
    return (
        f"{n_steps} steps would take {wanted:.3g} s at {1e6 * passed / step:.3g} µs a "
        f"step (measured on the first {step}), and time_limit = {time_limit:g} s. Use "
        f"n_steps <= {int(n_steps * time_limit / wanted)}, fewer replicas or a longer "
        "time_limit"
    )
