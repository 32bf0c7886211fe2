"""One place that decides whether an argument is a usable number, or a count."""

from __future__ import annotations

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.errors import DataError, ShapeError

__all__ = [
    "LARGEST",
    "count",
    "generator",
    "number",
    "positive",
    "representable",
    "slow_times",
]

Rng = None | int | np.random.Generator | np.random.SeedSequence
Array = NDArray[np.float64]

SMALLEST, LARGEST = 1e-150, 1e150


def number(name: str, value: object, advice: str = "") -> float:
    """Return a finite real number as a float.

    Parameters
    ----------
    name : str
        What the argument is called.
    value : object
        A Python or NumPy number; booleans, strings and complex numbers are none.
    advice : str
        What to pass instead, at the end of the message.

    Returns
    -------
    float
        The number.

    Raises
    ------
    DataError
        If it is not real or not finite.

    Examples
    --------
    >>> number("rate", np.float32(0.5))
    0.5
    """
    array = np.asarray(value)
    if array.ndim != 0 or array.dtype.kind not in "iuf":
        raise DataError(f"{name} = {value!r}: must be a real number. {advice}".rstrip())
    real = float(array)
    if not np.isfinite(real):
        raise DataError(f"{name} = {value!r}: must be finite. {advice}".rstrip())
    return real


def positive(name: str, value: object, advice: str = "") -> float:
    """Return a finite number above 0; parameters and errors as in :func:`number`."""
    real = number(name, value, advice)
    if real <= 0.0:
        raise DataError(f"{name} = {value!r}: must be positive. {advice}".rstrip())
    return real


def representable(name: str, value: object, advice: str = "") -> float:
    """Return a positive number whose square is one; as :func:`positive` otherwise.

    Solvers compare squares and reciprocals of times and rates, and search for ever
    where those underflow.

    Parameters
    ----------
    name : str
        What the argument is called.
    value : object
        Between 1e-150 and 1e150.
    advice : str
        What to pass instead, at the end of the message.

    Returns
    -------
    float
        The number.

    Raises
    ------
    DataError
        If it is not positive, or its square is no float64.
    """
    real = positive(name, value, advice)
    if not SMALLEST <= real <= LARGEST:
        raise DataError(
            f"{name} = {value!r}: its square is no float64, and no solver can resolve "
            f"it. Choose units in which it is between {SMALLEST:g} and {LARGEST:g}."
        )
    return real


def count(name: str, value: object, least: int = 1, advice: str = "") -> int:
    """Return an integer of at least ``least``.

    Parameters
    ----------
    name : str
        What the argument is called.
    value : object
        A Python or NumPy integer; 2.0, "2" and True are none.
    least : int
        The smallest one allowed.
    advice : str
        What to pass instead, at the end of the message.

    Returns
    -------
    int
        The integer.

    Raises
    ------
    DataError
        If it is no integer, or too small.

    Examples
    --------
    >>> count("width", np.int64(3))
    3
    """
    try:
        if isinstance(value, bool | np.bool_):
            raise TypeError
        whole = operator.index(value)  # type: ignore[arg-type]  # raises TypeError
    except TypeError:
        whole = least - 1
    if whole < least:
        wanted = "a positive integer" if least == 1 else f"an integer, {least} or more"
        raise DataError(f"{name} = {value!r}: must be {wanted}. {advice}".rstrip())
    return whole


def generator(rng: Rng) -> np.random.Generator:
    """Return NumPy's generator for a seed, or the one that is given.

    Parameters
    ----------
    rng : None, int, Generator or SeedSequence
        Source of randomness.

    Returns
    -------
    numpy.random.Generator
        New for a seed; the same object for a generator.

    Raises
    ------
    DataError
        For anything else, and for negative seeds.
    """
    try:
        return np.random.default_rng(rng)
    except (TypeError, ValueError) as error:
        raise DataError(
            f"rng = {rng!r}: {error}. Pass None, a seed of 0 or more, a "
            "numpy.random.Generator or a SeedSequence."
        ) from error


def slow_times(times: ArrayLike) -> Array:
    """Return requested slow times as an increasing array.

    Parameters
    ----------
    times : array, shape (T,), or float
        Finite, not negative and strictly increasing.

    Returns
    -------
    array, shape (T,)
        The times.

    Raises
    ------
    DataError
        If they are not real numbers, or not in this order.
    ShapeError
        If there are none, or they have two dimensions.
    """
    asked = np.atleast_1d(np.asarray(times))
    if asked.dtype.kind not in "iuf":
        raise DataError(
            f"times = {times!r}: must be real numbers. Slow time is a float."
        )
    asked = asked.astype(float)
    if asked.ndim != 1 or asked.size == 0:
        raise ShapeError("times", "(T,) with T >= 1", asked.shape)
    if not np.isfinite(asked).all() or asked[0] < 0 or (np.diff(asked) <= 0).any():
        raise DataError(
            f"times must be finite, not negative and strictly increasing; got "
            f"{np.array2string(asked, threshold=6)}. Slow time starts at 0."
        )
    for time in asked[asked > 0.0][[0, -1]] if asked[-1] > 0.0 else ():
        representable("times", float(time))
    return asked
