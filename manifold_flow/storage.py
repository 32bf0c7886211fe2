"""Arrays and a JSON receipt in one .npz file, written whole or not at all.

Nothing is ever unpickled, and the size a file declares is checked before memory is
allocated for it.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifold_flow.errors import FileFormatError
from manifold_flow.npz import UNREADABLE, read_arrays

__all__ = [
    "provenance",
    "read",
    "refuse_unwritable",
    "run_file",
    "write",
    "write_bytes",
    "write_text",
]

SCHEMA = "manifold_flow/1"
RECEIPT = "receipt"
MAX_BYTES = 16 * 2**30
PACKAGES = ("manifold_flow", "numpy", "scipy", "geomstats", "autograd")


def provenance() -> dict[str, Any]:
    """Return versions and, in a checkout, the commit that computed a result."""
    here = Path(__file__).resolve().parent
    try:
        done = subprocess.run(
            ["git", "-C", str(here), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            timeout=5,
            check=False,
        )
        commit = done.stdout.strip() if done.returncode == 0 else None
    except (OSError, subprocess.TimeoutExpired):
        commit = None
    versions = {}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = "not installed"
    return {"commit": commit, "versions": versions}


def write(
    path: str | Path, arrays: Mapping[str, NDArray[Any]], receipt: Mapping[str, Any]
) -> Path:
    """Write arrays and their receipt to one file.

    Parameters
    ----------
    path : str or Path
        Target; the suffix .npz is added if missing.
    arrays : mapping of str to array
        Numeric arrays only.
    receipt : mapping
        Anything JSON can hold: configuration, seed, status, loss normalisation.

    Returns
    -------
    Path
        The file written.
    """
    path = run_file(path)
    text = json.dumps({"schema": SCHEMA, **receipt}, allow_nan=True)
    packed = np.frombuffer(text.encode(), dtype=np.uint8)
    with _replacing(path) as temporary, open(temporary, "wb") as stream:
        np.savez_compressed(stream, allow_pickle=False, **{RECEIPT: packed, **arrays})
    return path


def write_text(path: str | Path, text: str) -> Path:
    """Write a text file whole or not at all; return its path."""
    return write_bytes(path, text.encode())


def write_bytes(path: str | Path, content: bytes) -> Path:
    """Write a file whole or not at all; return its path."""
    path = Path(path)
    with _replacing(path) as temporary:
        temporary.write_bytes(content)
    return path


def run_file(path: str | Path) -> Path:
    """Return the name under which a run is saved: with the suffix .npz.

    Parameters
    ----------
    path : str or Path
        As the user gave it.

    Returns
    -------
    Path
        The same, or with .npz added.

    Raises
    ------
    FileFormatError
        If it names no file.
    """
    path = Path(path)
    if path.suffix == ".npz":
        return path
    if os.path.isdir(path):  # never raises; "" is the folder we are in
        raise FileFormatError(
            f"cannot write {path}: it is a directory. Name a file in it, such as "
            f"{path / 'run.npz'}."
        )
    return path.with_name(path.name + ".npz")


def refuse_unwritable(path: str | Path) -> None:
    """Raise where a file could not be written; called before the work it is to hold.

    Parameters
    ----------
    path : str or Path
        The file; folders on the way are made.

    Raises
    ------
    FileFormatError
        If the name is a directory or too long, or its folder takes no file.
    """
    _temporary_beside(Path(path)).unlink()


def _temporary_beside(path: Path) -> Path:
    """Make an empty file in the folder of the target."""
    try:
        # lstat, because is_dir and exists may hide that a name is too long
        with suppress(FileNotFoundError):
            if stat.S_ISDIR(path.lstat().st_mode):
                raise IsADirectoryError("it is a directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".manifold_flow.")
    except (OSError, ValueError) as error:
        raise FileFormatError(f"cannot write {path}: {error}") from error
    os.close(handle)
    return Path(name)


@contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give a temporary name beside the target that replaces it on success only."""
    temporary = _temporary_beside(path)
    try:
        yield temporary
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    except OSError as error:
        raise FileFormatError(f"cannot write {path}: {error}") from error
    finally:
        temporary.unlink(missing_ok=True)


def read(path: str | Path) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read what :func:`write` wrote.

    Parameters
    ----------
    path : str or Path
        A saved run.

    Returns
    -------
    arrays : dict of str to array
        Without the receipt.
    receipt : dict
        The JSON receipt.

    Raises
    ------
    FileFormatError
        If the file is missing, no saved run, of an unknown schema, or declares absurd
        shapes.
    """
    path = Path(path)
    try:
        arrays = read_arrays(path, MAX_BYTES)
        if RECEIPT not in arrays:
            raise FileFormatError(
                f"{path} has no receipt: it was not written by manifold_flow. To read "
                "data, use manifold_flow.datasets.load."
            )
        receipt = json.loads(arrays.pop(RECEIPT).tobytes().decode())
    except FileFormatError:
        raise
    except UNREADABLE as error:
        raise FileFormatError(f"cannot read {path} as a saved run: {error}") from error
    if not isinstance(receipt, dict) or receipt.get("schema") != SCHEMA:
        found = receipt.get("schema") if isinstance(receipt, dict) else type(receipt)
        raise FileFormatError(
            f"{path} has schema {found!r}; this version reads {SCHEMA!r}. Read it with "
            "the version that wrote it."
        )
    return arrays, receipt
