"""One line of progress on standard error, off when nobody is looking."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

__all__ = ["Report", "reporter"]

#: takes one line of text; an empty line ends the display
Report = Callable[[str], None]


def reporter(progress: bool | Report | None) -> Report:
    """Return a function that shows a line of progress.

    Parameters
    ----------
    progress : bool, callable or None
        None shows it on a terminal only; a callable receives the text itself.

    Returns
    -------
    callable
        ``report(text)``, at most ten lines a second reach the terminal.
    """
    if callable(progress):
        return progress
    shown = sys.stderr.isatty() if progress is None else progress
    if not shown:
        return lambda text: None
    last = 0.0

    def write(text: str) -> None:
        nonlocal last
        now = time.monotonic()
        if text and now - last < 0.1:
            return
        last = now
        sys.stderr.write(f"\r\x1b[K{text}")
        sys.stderr.flush()

    return write
