"""Which solver to take, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import scipy.integrate as ode
from numpy.typing import NDArray

from manifold_flow.errors import DataError, UnknownNameError
from manifold_flow.solvers.exponential import ETDRK4
from manifold_flow.solvers.implicit import StructuredBDF
from manifold_flow.structure import StructuredFlow

__all__ = ["METHODS", "STRUCTURED", "Choice", "choose_method"]

Array = NDArray[np.float64]

METHODS: Mapping[str, type[ode.OdeSolver]] = MappingProxyType(
    {
        "RK23": ode.RK23,
        "RK45": ode.RK45,
        "DOP853": ode.DOP853,
        "Radau": ode.Radau,
        "BDF": ode.BDF,
        "LSODA": ode.LSODA,
    }
)
#: for flows that declare their structure
STRUCTURED: Mapping[str, type[ode.OdeSolver]] = MappingProxyType(
    {"ETDRK4": ETDRK4, "StructuredBDF": StructuredBDF}
)

#: above this many parameters a dense p x p Newton matrix costs more than small steps
LARGEST_DENSE_IMPLICIT = 4000
#: ratio of rates up to which one linear part shared by all neurons pays
LARGEST_SHARED = 300.0


@dataclass(frozen=True)
class Choice:
    """A solver, and why it was taken.

    Attributes
    ----------
    name, reason : str
        The reason is empty where the user chose.
    solver : callable
        What makes the solver: a class of ``OdeSolver``, or one with its structure.
    attracts : bool
        Whether the solver keeps to M by itself, to its own tolerance.
    """

    name: str
    reason: str
    solver: Callable[..., ode.OdeSolver]
    attracts: bool = False

    @property
    def label(self) -> str:
        """Name and reason, as a trajectory prints them."""
        return f"{self.name} ({self.reason})" if self.reason else self.name


def choose_method(
    method: str, start: Array, structure: StructuredFlow | None = None
) -> Choice:
    """Return the solver and, for ``"auto"``, why it was chosen.

    Parameters
    ----------
    method : str
        A name of SciPy's solvers or of our own, or "auto".
    start : array, shape (p,)
        Where the flow starts, in (reduced) parameters.
    structure : StructuredFlow, optional
        The flow in its model's own structure, if it has one.

    Returns
    -------
    Choice

    Raises
    ------
    UnknownNameError
        Names the nearest method.
    DataError
        For a structured method where the flow declares no structure.
    """
    if method == "auto":
        return _automatic(start, structure)
    if method in METHODS:
        return Choice(method, "", METHODS[method])
    if method not in STRUCTURED:
        raise UnknownNameError("method", method, ("auto", *METHODS, *STRUCTURED))
    if structure is None:
        raise DataError(
            f"method={method!r} needs a flow that declares its structure: HessianTrace "
            "on a TwoLayerNetwork. Use method='auto'."
        )
    return _structured(method, "", structure)


def _structured(name: str, reason: str, structure: StructuredFlow) -> Choice:
    solver = partial(STRUCTURED[name], structure=structure)
    return Choice(name, reason, solver, attracts=True)


def _automatic(start: Array, structure: StructuredFlow | None) -> Choice:
    if structure is not None:
        ratio = structure.stiffness(start)
        if ratio <= LARGEST_SHARED and structure.spread(start) == 0.0:
            why = f"auto: the neurons share their stiff part, ratio of rates {ratio:.2g}"
            return _structured("ETDRK4", why, structure)
        why = f"auto: Newton matrices in the model's structure, ratio {ratio:.2g}"
        return _structured("StructuredBDF", why, structure)
    if start.size <= LARGEST_DENSE_IMPLICIT:
        reason = "auto: implicit where stiff, reaches stationarity"
        return Choice("LSODA", reason, METHODS["LSODA"])
    reason = f"auto: explicit, {start.size} parameters are too many for Newton"
    return Choice("DOP853", reason, METHODS["DOP853"])
