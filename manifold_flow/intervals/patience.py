"""A budget of processor time for computations of SymPy, which cannot be stopped."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, ParamSpec, TypeVar

__all__ = ["within"]

#: the packages whose functions may be left at any call
INTERRUPTIBLE = ("sympy", "mpmath")

P = ParamSpec("P")
R = TypeVar("R")


class _OutOfTime(BaseException):
    """No Exception, or the computation might take it for one of its own."""


def within(
    seconds: float, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs
) -> R | None:
    """Return what a function that computes with SymPy returns, or None out of time.

    SymPy has no budget of its own.  An alarm of the operating system would be the
    caller's to set, and works in the main thread only; so the interpreter's profiling
    hook looks at the clock at every call.

    Parameters
    ----------
    seconds : float
        The budget of processor time, so that a busy machine changes no answer.
    function : callable
        Called with the other arguments.
    *args, **kwargs
        The arguments.

    Returns
    -------
    object or None
        Its result; None when out of time.

    Examples
    --------
    >>> within(1.0, sum, [1, 2])
    3
    """
    end, before = time.thread_time() + seconds, sys.getprofile()

    def look(frame: FrameType, event: str, argument: Any) -> None:
        # At Python calls only: leaving this function must not be interrupted.  And of
        # these packages only: what is raised in a callback of the garbage collector
        # is lost, and takes the hook with it.  So it is in a generator that is closed.
        module = frame.f_globals.get("__name__", "")
        late = event == "call" and time.thread_time() > end
        in_generator = frame.f_code.co_flags & inspect.CO_GENERATOR
        if late and not in_generator and module.startswith(INTERRUPTIBLE):
            raise _OutOfTime

    sys.setprofile(look)
    try:
        return function(*args, **kwargs)
    except _OutOfTime:
        return None
    finally:
        _hand_back(before)


def _hand_back(profiler: Any) -> None:
    """Let a profiler that was running go on: cProfile's hook is not callable."""
    if profiler is None or callable(profiler):
        sys.setprofile(profiler)
    else:
        sys.setprofile(None)
        getattr(profiler, "enable", lambda: None)()
