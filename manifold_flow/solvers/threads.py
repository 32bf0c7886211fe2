"""How many BLAS threads a small problem gets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from threadpoolctl import ThreadpoolController

__all__ = ["small_problem_on_one_thread"]

#: multiply-adds per velocity below which a second BLAS thread costs more than it brings
SMALL_PROBLEM = 20_000_000


@contextmanager
def small_problem_on_one_thread(work: int) -> Iterator[None]:
    """Limit BLAS to one thread inside the block, where more would cost time.

    Parameters
    ----------
    work : int
        Multiply-adds of one velocity, or step.

    Yields
    ------
    None
    """
    # a factor of 50-170 was measured between one and two BLAS threads on small matrices
    if work > SMALL_PROBLEM:
        yield
        return
    with _libraries().limit(limits=1, user_api="blas"):
        yield


@cache
def _libraries() -> ThreadpoolController:
    """Return the thread pools of this program; to find them takes a millisecond."""
    return ThreadpoolController()
