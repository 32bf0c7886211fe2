"""geomstats on NumPy >= 2.4.

geomstats 2.8.0 imports the name ``trapz`` from NumPy and from ``autograd.numpy``;
NumPy 2.4 removed it in favour of ``trapezoid``.  The name is lent for the length
of the import and taken back, so no namespace is left changed.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from types import ModuleType

__all__ = ["import_geomstats"]


def import_geomstats(name: str) -> ModuleType:
    """Import one geomstats module, lending NumPy the name it still asks for.

    Parameters
    ----------
    name : str
        Module path below ``geomstats``, for instance ``"geometry.base"``.

    Returns
    -------
    module
        The imported module.

    Examples
    --------
    >>> import_geomstats("geometry.base").LevelSet.__name__
    'LevelSet'
    """
    import numpy

    lenders = [
        module
        for module in (numpy, importlib.import_module("autograd.numpy"))
        if not hasattr(module, "trapz")
    ]
    for module in lenders:
        module.trapz = module.trapezoid  # type: ignore[attr-defined]  # lent, see above
    # geomstats announces its backend through the root logger at import.
    previous = logging.root.manager.disable
    logging.disable(logging.INFO)
    try:
        with warnings.catch_warnings():
            # its backend is loaded by the old importer protocol
            warnings.simplefilter("ignore", ImportWarning)
            return importlib.import_module(f"geomstats.{name}")
    finally:
        logging.disable(previous)
        for module in lenders:
            del module.trapz
