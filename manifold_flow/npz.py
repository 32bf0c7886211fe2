"""Arrays from .npz files, without pickle and without trusting what they declare."""

from __future__ import annotations

import lzma
import math
import stat
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import FileFormatError

__all__ = ["UNREADABLE", "read_arrays", "refuse_special_file"]

#: what missing, broken, encrypted or hostile files make the standard library raise
UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    MemoryError,
    RuntimeError,
    AttributeError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
)


def refuse_special_file(path: Path) -> None:
    """Raise for a pipe or a device: reading one may wait, or go on, for ever.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    FileFormatError
        If it is not a regular file; OSError if it is missing.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise FileFormatError(
            f"cannot read {path}: it is a directory, a pipe or a device. Save the "
            "data to a file."
        )


def read_arrays(path: Path, most_bytes: int) -> dict[str, NDArray[Any]]:
    """Read every array of an archive.

    Parameters
    ----------
    path : Path
        The .npz file.
    most_bytes : int
        What the arrays may take together.

    Returns
    -------
    dict of str to array
        By name.

    Raises
    ------
    FileFormatError
        If it is no regular file, or the headers inside declare objects or too many
        bytes; what else a broken file raises is in ``UNREADABLE``.
    """
    refuse_special_file(path)
    _refuse_absurd_shapes(path, most_bytes)
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _refuse_absurd_shapes(path: Path, most_bytes: int) -> None:
    total = 0
    with zipfile.ZipFile(path) as archive:
        for name in archive.namelist():
            with archive.open(name) as member:
                np.lib.format.read_magic(member)
                shape, _, dtype = np.lib.format.read_array_header_1_0(member)
            total += abs(math.prod(shape)) * dtype.itemsize
            if dtype.hasobject or total > most_bytes:
                raise FileFormatError(
                    f"{path}: {name} declares shape {shape} of {dtype}; refused before "
                    "any memory is allocated."
                )
