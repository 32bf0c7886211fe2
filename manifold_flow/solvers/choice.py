"""Which solver to take, and why."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import scipy.integrate as ode

from manifold_flow.errors import UnknownNameError

__all__ = ["METHODS", "choose_method"]

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

#: above this many parameters a dense p x p Newton matrix costs more than small steps
LARGEST_DENSE_IMPLICIT = 4000


def choose_method(method: str, n_params: int) -> tuple[str, str]:
    """Return the solver's name and, for ``"auto"``, why it was chosen.

    Parameters
    ----------
    method : str
        A name of SciPy's solvers, or "auto".
    n_params : int
        Number of (reduced) parameters.

    Returns
    -------
    name, reason : str
        The reason is empty where the user chose.

    Raises
    ------
    UnknownNameError
        Names the nearest method.
    """
    if method == "auto":
        if n_params <= LARGEST_DENSE_IMPLICIT:
            return "LSODA", "auto: implicit where stiff, reaches stationarity"
        return (
            "DOP853",
            f"auto: explicit, {n_params} parameters are too many for Newton",
        )
    if method not in METHODS:
        raise UnknownNameError("method", method, ("auto", *METHODS))
    return method, ""
