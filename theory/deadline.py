"""A budget of wall time for computations that cannot be asked to stop."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["OutOfTime", "deadline"]

LONGEST = 1e8  # seconds; the system's timer takes no longer ones
AGAIN = 0.1


class OutOfTime(BaseException):
    """The budget of a `deadline` is used up.

    No `Exception`, because SymPy catches those in many places.
    """


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the block once it has run for some seconds.

    SymPy has no budget of its own, so this is an alarm of the operating system: it
    works in the main thread on systems that have ``SIGALRM``, and elsewhere the block
    runs to its end.  Deadlines nest: an outer alarm that falls due in the meantime
    rings when the inner block is left.

    Parameters
    ----------
    seconds : float
        The budget; infinite means none.

    Yields
    ------
    None
        The block runs here.

    Examples
    --------
    >>> with deadline(0.01):
    ...     while True:
    ...         pass
    Traceback (most recent call last):
    theory.deadline.OutOfTime: not settled within 0.01 s
    """
    main = threading.current_thread() is threading.main_thread()
    if not (main and hasattr(signal, "SIGALRM") and seconds < float("inf")):
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise OutOfTime(f"not settled within {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, ring)
    first = min(max(seconds, 1e-6), LONGEST)
    # it rings on, should something have caught the first ring
    outer, _ = signal.setitimer(signal.ITIMER_REAL, first, AGAIN)
    try:
        yield
    finally:
        left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)
        if outer:
            elapsed = max(seconds - left, 0.0)
            left_over = max(outer - elapsed, 1e-6)
            signal.setitimer(signal.ITIMER_REAL, left_over, AGAIN)
