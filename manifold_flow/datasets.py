"""Data: seeded generators, real images, and files read without trusting them.

Rows have unit norm by default, because the theorems weigh sample i by ``|x_i|²``.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_flow.arrays import MAX_ENTRIES, as_finite, refuse_too_large
from manifold_flow.errors import DataError, FileFormatError, ShapeError
from manifold_flow.npz import UNREADABLE, read_arrays, refuse_special_file

__all__ = ["digits", "gaussian", "load", "uniform"]

Array = NDArray[np.float64]
Rng = None | int | np.random.Generator | np.random.SeedSequence

#: bytes of a .csv; parsed as text, a cell takes twenty times the space of a number
MAX_TEXT = 100_000_000


def gaussian(
    n: int, d: int, *, normalize: bool = True, rng: Rng = None
) -> tuple[Array, Array]:
    """Draw standard normal inputs and targets.

    Parameters
    ----------
    n, d : int
        Number of samples and of features.
    normalize : bool
        Scale every row to unit norm.
    rng : None, int, Generator or SeedSequence
        Source of randomness.

    Returns
    -------
    inputs : array, shape (n, d)
        Unit rows unless ``normalize=False``.
    targets : array, shape (n,)
        Independent N(0, 1).

    Examples
    --------
    >>> inputs, targets = gaussian(3, 4, rng=0)
    >>> np.linalg.norm(inputs, axis=1).round(12).tolist(), targets.shape
    ([1.0, 1.0, 1.0], (3,))
    """
    generator = np.random.default_rng(rng)
    return _drawn(n, d, generator.standard_normal, normalize, generator)


def uniform(
    n: int, d: int, *, normalize: bool = True, rng: Rng = None
) -> tuple[Array, Array]:
    """Draw inputs uniform on [0, 1], as in the experiments of Gatmiry et al.

    Parameters
    ----------
    n, d : int
        Number of samples and of features.
    normalize : bool
        Scale every row to unit norm; the paper does not.
    rng : None, int, Generator or SeedSequence
        Source of randomness.

    Returns
    -------
    inputs : array, shape (n, d)
        Non-negative entries.
    targets : array, shape (n,)
        Independent N(0, 1).

    Examples
    --------
    >>> inputs, _ = uniform(2, 3, normalize=False, rng=0)
    >>> bool((inputs >= 0).all() and (inputs <= 1).all())
    True
    """
    generator = np.random.default_rng(rng)
    return _drawn(n, d, generator.random, normalize, generator)


def _drawn(
    n: int,
    d: int,
    draw: Callable[[tuple[int, int]], Any],
    normalize: bool,
    generator: np.random.Generator,
) -> tuple[Array, Array]:
    if n < 1 or d < 1:
        raise ShapeError("dataset", "n >= 1 and d >= 1", (n, d))
    refuse_too_large("the inputs", n, d)
    inputs = np.asarray(draw((n, d)), dtype=float)
    targets = generator.standard_normal(n)
    return (_unit_rows(inputs) if normalize else inputs), targets


def _unit_rows(inputs: Array) -> Array:
    lengths = np.linalg.norm(inputs, axis=1, keepdims=True)
    if (lengths == 0).any():
        raise DataError(
            f"inputs[{int(np.argmin(lengths))}] is zero and cannot be scaled to unit "
            "norm. Drop the sample or pass normalize=False."
        )
    scaled: Array = inputs / lengths
    return scaled


def digits(n: int = 20, *, rng: Rng = 0) -> tuple[Array, Array]:
    """Return n of scikit-learn's 1797 real 8x8 images of handwritten digits.

    Rows are scaled to unit norm.  The target is the digit, shifted and scaled to mean
    0 and variance 1 over the ten classes, so that one neuron's share of it is O(1).

    Parameters
    ----------
    n : int
        Number of images, drawn without replacement.
    rng : None, int, Generator or SeedSequence
        Which images; 0 by default, so that everyone sees the same ones.

    Returns
    -------
    inputs : array, shape (n, 64)
        Images as unit rows.
    targets : array, shape (n,)
        (digit − 4.5)/√8.25.

    Raises
    ------
    DataError
        If more images are asked for than there are.

    Examples
    --------
    >>> inputs, targets = digits(5)
    >>> inputs.shape, np.unique(np.round(targets * 8.25**0.5 + 4.5, 9)).max() <= 9
    ((5, 64), np.True_)
    """
    from sklearn.datasets import load_digits

    images = load_digits()
    if not 1 <= n <= len(images.data):
        raise DataError(f"digits has {len(images.data)} images; n = {n} was asked for.")
    chosen = np.random.default_rng(rng).choice(len(images.data), size=n, replace=False)
    targets = (images.target[chosen] - 4.5) / np.sqrt(8.25)
    return _unit_rows(images.data[chosen].astype(float)), targets


def load(path: str | Path, *, normalize: bool = False) -> tuple[Array, Array]:
    """Read inputs and targets from .csv, .npy or .npz, without pickle.

    In a .csv (with or without a header) and a .npy the last column is the target,
    except that a header column named ``y`` or ``target`` is.  A .npz holds either
    ``inputs`` (or ``X``) and ``targets`` (or ``y``), or one array like a .npy.

    Parameters
    ----------
    path : str or Path
        The file.
    normalize : bool
        Scale every row of the inputs to unit norm.

    Returns
    -------
    inputs : array, shape (n, d)
        The features.
    targets : array, shape (n,)
        The targets.

    Raises
    ------
    FileFormatError
        If the file is missing, unreadable, pickled or of another shape.
    DataError
        If an entry is NaN or infinite.
    """
    path = Path(path)
    readers: dict[str, Callable[[Path], tuple[Any, Any]]] = {
        ".csv": _read_csv,
        ".npy": _read_npy,
        ".npz": _read_npz,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise FileFormatError(
            f"cannot read {path.name!r}: the suffix {path.suffix!r} is not one of "
            f"{', '.join(readers)}. Save the data as .csv with the target last."
        )
    try:
        refuse_special_file(path)
        inputs, targets = reader(path)
    except (*UNREADABLE, csv.Error) as error:
        if isinstance(error, FileFormatError):
            raise
        raise FileFormatError(f"cannot read {path}: {error}") from error
    rows, values = as_finite("inputs", inputs, 2), as_finite("targets", targets, 1)
    if len(rows) != len(values):
        raise ShapeError(f"targets of {path.name}", (len(rows),), values.shape)
    return (_unit_rows(rows) if normalize else rows), values


def _read_csv(path: Path) -> tuple[Any, Any]:
    if path.stat().st_size > MAX_TEXT:
        raise FileFormatError(
            f"{path} has {path.stat().st_size} bytes; more than {MAX_TEXT} of text are "
            "refused. Save the array with numpy.save, as .npy."
        )
    rows = [row for row in csv.reader(io.StringIO(path.read_text("utf-8-sig"))) if row]
    if not rows:
        raise FileFormatError(
            f"{path} is empty. Expected rows of numbers, target last."
        )
    header: list[str] = []
    if not any(_is_number(cell) for cell in rows[0]):
        header, rows = [cell.strip().lower() for cell in rows[0]], rows[1:]
    width = len(header) or (len(rows[0]) if rows else 0)
    for number, row in enumerate(rows, start=2 if header else 1):
        if len(row) != width:
            raise FileFormatError(
                f"{path}:{number}: {len(row)} columns where the first row has {width}."
            )
        for cell in row:
            if not _is_number(cell):
                raise FileFormatError(f"{path}:{number}: {cell!r} is not a number.")
    return _split(np.array(rows, dtype=float), path, header)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_npy(path: Path) -> tuple[Any, Any]:
    # mmap reads the header only, so that an absurd shape is refused before allocation
    mapped = np.load(path, allow_pickle=False, mmap_mode="r")
    if mapped.size > MAX_ENTRIES:
        raise FileFormatError(
            f"{path} holds {mapped.size} numbers; too many to follow."
        )
    return _split(np.array(mapped), path)


def _read_npz(path: Path) -> tuple[Any, Any]:
    arrays = read_arrays(path, 8 * MAX_ENTRIES)
    names = {name.lower(): name for name in arrays}
    for x, y in (("inputs", "targets"), ("x", "y")):
        if x in names and y in names:
            return arrays[names[x]], arrays[names[y]]
    if len(names) == 1:
        (only,) = arrays.values()
        return _split(only, path)
    raise FileFormatError(
        f"{path} holds {sorted(arrays)}; expected 'inputs' and 'targets', 'X' and 'y', "
        "or a single array with the target in its last column."
    )


def _split(
    table: Array, path: Path, header: list[str] | None = None
) -> tuple[Any, Any]:
    if table.ndim != 2 or table.shape[1] < 2:
        raise FileFormatError(
            f"{path} holds an array of shape {table.shape}; expected (n, d + 1) with "
            "the target in the last column."
        )
    named = [i for i, name in enumerate(header or []) if name in ("y", "target")]
    column = named[0] if len(named) == 1 else table.shape[1] - 1
    return np.delete(table, column, axis=1), table[:, column]
