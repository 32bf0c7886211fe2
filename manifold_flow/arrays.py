"""What an argument must be to become an array: real numbers, finite, not too many."""

from __future__ import annotations

import math
import reprlib

import numpy as np
from numpy.typing import ArrayLike, NDArray

from manifold_flow.errors import DataError, ShapeError

__all__ = ["MAX_ENTRIES", "as_finite", "as_real", "refuse_too_large"]

Array = NDArray[np.float64]

#: no array this library can work on holds more numbers; refused before allocating
MAX_ENTRIES = 500_000_000


def as_real(name: str, value: ArrayLike) -> Array:
    """Return ``value`` as a float64 array of any shape; one that is one already, as is.

    Parameters
    ----------
    name : str
        What the array is called in error messages.
    value : array-like
        Lists, ints and floats of any size are promoted.

    Returns
    -------
    array
        The same numbers.

    Raises
    ------
    DataError
        If it is not an array of real numbers.
    """
    try:
        array = np.asarray(value)
        if array.dtype.kind in "cmM":
            raise TypeError("complex numbers and dates have no order of size")
        return array.astype(float, copy=False)
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"{name} is not an array of real numbers: {error}.") from error


def as_finite(name: str, value: ArrayLike, ndim: int) -> Array:
    """Return ``value`` as a read-only float64 array after checking it.

    Parameters
    ----------
    name : str
        What the array is called in error messages.
    value : array-like
        Lists, ints and columns of shape (n, 1) (where ndim is 1) are promoted.
    ndim : int
        Number of dimensions wanted.

    Returns
    -------
    array
        A read-only copy.

    Raises
    ------
    DataError
        If it is not numeric or contains NaN or infinity; names the first place.
    ShapeError
        If it has another number of dimensions or is empty.
    """
    array = as_real(name, value).copy()
    if ndim == 1 and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.ndim != ndim or array.size == 0:
        wanted = f"({', '.join('abc'[:ndim])}{',' if ndim == 1 else ''}), not empty"
        raise ShapeError(name, wanted, array.shape)
    if not np.isfinite(array).all():
        place = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
        raise DataError(
            f"{name}{list(place)} is {array[place]}: NaN and infinity cannot be "
            "fitted. Remove or impute the sample."
        )
    array.setflags(write=False)
    return array


def refuse_too_large(what: str, *shape: int) -> None:
    """Raise before an array is allocated that no computation here could use.

    Parameters
    ----------
    what : str
        What the array would hold, for the message.
    *shape : int
        Its shape.

    Raises
    ------
    DataError
        If it has more than 5e8 entries (4 GB).
    """
    if math.prod(shape) > MAX_ENTRIES:
        sizes = " x ".join(reprlib.repr(size) for size in shape)
        raise DataError(
            f"{what} would take {sizes} numbers; more than {MAX_ENTRIES:.0e} are "
            "refused before memory is allocated for them. Use smaller sizes."
        )
