"""Which solver to take, and why."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import TypeVar

import numpy as np
import scipy.integrate as ode
from numpy.typing import NDArray

from manifold_flow.errors import DataError, UnknownNameError
from manifold_flow.solvers.exponential import ETDRK4
from manifold_flow.solvers.implicit import StructuredBDF
from manifold_flow.solvers.stabilized import RKC
from manifold_flow.structure import ImplicitFlow, StructuredFlow

__all__ = ["METHODS", "STRUCTURED", "Choice", "choose_method"]

Array = NDArray[np.float64]
Velocity = Callable[[Array], Array]

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
STRUCTURED: Mapping[str, Callable[..., ode.OdeSolver]] = MappingProxyType(
    {"ETDRK4": ETDRK4, "StructuredBDF": StructuredBDF}
)
#: for every limiting flow: explicit, and with products in place of a Newton matrix
ANY: Mapping[str, Callable[..., ode.OdeSolver]] = MappingProxyType(
    {"RKC": RKC, "KrylovBDF": StructuredBDF}
)

#: solvers that hover above the threshold of stationarity, limited by stability
HOVERING = ("RK23", "RK45", "DOP853", "ETDRK4")

#: above this many parameters a dense p x p Newton matrix costs more than small steps
LARGEST_DENSE_IMPLICIT = 4000
#: from here on RKC, of order two, takes fewer evaluations than BDF of order five
SMALLEST_STABILIZED = 1e-6
#: ratio of rates, times rtol to the power -1/4, up to which ETDRK4 is the faster one:
#: its steps shrink like that power, those of BDF hardly
LARGEST_SHARED = 1e5
#: evenness of the neurons below which they wait long before they share their rates
LEAST_EVEN = 1e-3


@dataclass(frozen=True)
class Choice:
    """A solver, and why it was taken.

    Attributes
    ----------
    name, reason : str
        The reason is empty where the user chose.
    solver : callable
        What makes the solver: a class of ``OdeSolver``, or one with its flow.
    flow : ImplicitFlow or None
        The flow in its model's structure; what the velocity is taken from.
    attracts : bool
        Whether the solver keeps to M by itself, to its own tolerance.
    """

    name: str
    reason: str
    solver: Callable[..., ode.OdeSolver]
    flow: ImplicitFlow | None = None
    attracts: bool = False

    @property
    def hovers(self) -> bool:
        """Whether the solver may stay above the threshold of stationarity."""
        return self.name in HOVERING

    @property
    def work(self) -> int | None:
        """Multiply-adds of one velocity, where they are known."""
        return None if self.flow is None else self.flow.work

    def velocity(self, plain: Velocity) -> Velocity:
        """Return the velocity to integrate: that of the flow where there is one."""
        return plain if self.flow is None else self.flow.velocity

    @property
    def label(self) -> str:
        """Name and reason, as a trajectory prints them."""
        return f"{self.name} ({self.reason})" if self.reason else self.name


def choose_method(
    method: str,
    start: Array,
    rtol: float,
    *,
    structured: Callable[[], StructuredFlow | None],
    implicit: Callable[[], ImplicitFlow | None],
) -> Choice:
    """Return the solver and, for ``"auto"``, why it was chosen.

    Parameters
    ----------
    method : str
        A name of SciPy's solvers or of our own, or "auto".
    start : array, shape (p,)
        Where the flow starts, in (reduced) parameters.
    rtol : float
        Relative tolerance.
    structured, implicit : callable
        Return the flow in its model's own structure, and with Newton matrices by
        Hessian-vector products; None where it has none.

    Returns
    -------
    Choice

    Raises
    ------
    UnknownNameError
        Names the nearest method.
    DataError
        For a method of our own where the flow does not declare what it needs.
    """
    known = ("auto", *METHODS, *STRUCTURED, *ANY)
    if method not in known:
        raise UnknownNameError("method", method, known)
    if method == "KrylovBDF":
        return _unstructured(method, "", _declared(method, implicit()))
    own = structured()
    if method == "RKC":  # asks for velocities only, which the structure has for less
        return _unstructured(method, "", _declared(method, own or implicit()))
    if method in STRUCTURED:
        return _structured(method, "", _declared(method, own))
    if method in METHODS:
        # what is seen of a point is remembered, for its velocity and its observation
        return Choice(method, "", METHODS[method], own or implicit())
    if own is not None:
        return _for_structure(start, rtol, own)
    return _for_any(start, rtol, implicit())


F = TypeVar("F", bound=ImplicitFlow)


def _declared(method: str, flow: F | None) -> F:
    if flow is None:
        wanted = (
            "a flow that declares its structure, such as HessianTrace on a "
            "TwoLayerNetwork"
            if method in STRUCTURED
            else "a LimitingFlow that moves"
        )
        raise DataError(f"method={method!r} needs {wanted}. Use method='auto'.")
    return flow


def _structured(name: str, reason: str, flow: StructuredFlow) -> Choice:
    solver = partial(STRUCTURED[name], structure=flow)
    return Choice(name, reason, solver, flow, attracts=True)


def _unstructured(name: str, reason: str, flow: ImplicitFlow) -> Choice:
    solver = partial(ANY[name], structure=flow)
    return Choice(name, reason, solver, flow, attracts=True)


def _for_structure(start: Array, rtol: float, flow: StructuredFlow) -> Choice:
    ratio = flow.stiffness(start)
    rates = f"rates differ by a factor {ratio:.2g}"
    shared = flow.splits_exactly and flow.evenness(start) >= LEAST_EVEN
    if shared and ratio <= LARGEST_SHARED * rtol**0.25:
        why = f"auto: exponential, exact in the stiff part; {rates}"
        return _structured("ETDRK4", why, flow)
    why = f"auto: implicit, Newton matrices in the model's structure; {rates}"
    return _structured("StructuredBDF", why, flow)


def _for_any(start: Array, rtol: float, flow: ImplicitFlow | None) -> Choice:
    if start.size <= LARGEST_DENSE_IMPLICIT:
        reason = "auto: implicit where stiff, reaches stationarity"
        return Choice("LSODA", reason, METHODS["LSODA"], flow)
    many = f"{start.size} parameters are too many for a Newton matrix"
    if flow is None:
        return Choice("DOP853", f"auto: explicit, {many}", METHODS["DOP853"])
    if rtol >= SMALLEST_STABILIZED:
        return _unstructured("RKC", f"auto: stabilised explicit, {many}", flow)
    why = f"auto: implicit by Hessian-vector products, {many}"
    return _unstructured("KrylovBDF", why, flow)
