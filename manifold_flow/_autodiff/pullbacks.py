"""One reverse sweep for many cotangents: a Jacobian without n sweeps.

Autograd pulls one cotangent back at a time.  Here the sweep itself is traced: every
value in it that depends on the cotangent carries that of all others along, stacked in
front, and each primitive is applied to the stack by its own rule.  What has no rule is
applied to one after the other, so that nearly every sweep can be followed: not one that
indexes a tuple, as those of eigh and slogdet do, whose residuals fall back to one row
at a time.  The stacks are ordinary values of an enclosing trace, so that the result can
be differentiated again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import autograd.numpy as anp
import numpy as np
from autograd.core import VSpace, sparse_add
from autograd.numpy import numpy_vjps
from autograd.tracer import Node, trace
from autograd.util import func, subvals

__all__ = ["pull_back"]


def pull_back(vjp: Callable[[Any], Any], cotangents: Any) -> Any:
    """Return ``vjp`` of every row, in one sweep.

    Parameters
    ----------
    vjp : callable
        ``cotangent (n,) -> (p,)``, linear, as autograd's ``make_vjp`` returns it.
    cotangents : array, shape (k, n)
        One a row.

    Returns
    -------
    array, shape (k, p)
        Values of the enclosing trace, if there is one.
    """
    # the first row is met as a value and in the stack: a primitive that writes into its
    # argument would otherwise do so twice
    first, end = trace(_Stacked.new_root(cotangents), vjp, cotangents[0].copy())
    if end is None:  # a derivative that vanishes
        return np.zeros((len(cotangents), *np.shape(first)))
    return end.stack


@dataclass(frozen=True, eq=False)
class _Call:
    """A primitive met in the sweep.

    Attributes
    ----------
    primitive, args, kwargs
        The call for the first cotangent.
    stacks : mapping
        Position of an argument -> its values for all k cotangents, shape (k, ...).
    """

    primitive: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    stacks: Mapping[int, Any]

    def values(self) -> Iterator[Any]:
        """Yield the values for one cotangent after the other."""
        for row in range(len(next(iter(self.stacks.values())))):
            mine = [(argnum, stack[row]) for argnum, stack in self.stacks.items()]
            yield self.primitive(*subvals(self.args, mine), **self.kwargs)

    def aligned(self, ndim: int) -> Any:
        """Call once, every stack with so many dimensions behind its first."""
        wide = [
            (argnum, _widened(stack, ndim)) for argnum, stack in self.stacks.items()
        ]
        return self.primitive(*subvals(self.args, wide), **self.kwargs)


class _Stacked(Node):  # type: ignore[misc]  # autograd is untyped
    """The values for all cotangents; the value of the box is that of the first."""

    __slots__ = ("stack",)
    stack: Any

    def __init__(
        self,
        value: Any,
        primitive: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        parent_argnums: tuple[int, ...],
        parents: tuple[_Stacked, ...],
    ) -> None:
        own = [parent.stack for parent in parents]
        stacks = dict(zip(parent_argnums, own, strict=True))
        rule = RULES.get(
            primitive, _elementwise if _is_ufunc(primitive) else _one_by_one
        )
        self.stack = rule(_Call(primitive, args, kwargs, stacks))

    def initialize_root(self, cotangents: Any) -> None:
        self.stack = cotangents


def _is_ufunc(primitive: Any) -> bool:
    raw = getattr(primitive, "fun", None)
    return isinstance(raw, np.ufunc) and raw.signature is None


def _widened(stack: Any, ndim: int) -> Any:
    count, *shape = anp.shape(stack)
    missing = ndim - len(shape)
    return anp.reshape(stack, (count, *[1] * missing, *shape)) if missing else stack


# --- rules ----------------------------------------------------------------------------


def _one_by_one(call: _Call) -> Any:
    return anp.stack(list(call.values()))


def _elementwise(call: _Call) -> Any:
    return call.aligned(max(anp.ndim(arg) for arg in call.args))


def _matmul(call: _Call) -> Any:
    ndims = [anp.ndim(arg) for arg in call.args]
    return call.aligned(max(ndims)) if min(ndims) >= 2 else _one_by_one(call)


def _sum(call: _Call) -> Any:
    if set(call.kwargs) - {"axis", "keepdims"} or len(call.args) > 1:
        return _one_by_one(call)
    axis, ndim = call.kwargs.get("axis"), anp.ndim(call.args[0])
    axes = range(ndim) if axis is None else np.atleast_1d(axis)
    behind = tuple(int(a) % ndim + 1 for a in axes)
    return anp.sum(call.stacks[0], **(call.kwargs | {"axis": behind}))


def _reshaped(call: _Call) -> Any:
    """Change the shape and keep the numbers in their order."""
    before_order = 1 if call.primitive is anp.ravel else 2
    if call.kwargs.get("order") not in (None, "C") or len(call.args) > before_order:
        return _one_by_one(call)
    shape = anp.shape(call.primitive(*call.args, **call.kwargs))
    return anp.reshape(call.stacks[0], (len(call.stacks[0]), *shape))


def _transpose(call: _Call) -> Any:
    ndim = anp.ndim(call.args[0])
    axes = call.kwargs.get("axes", call.args[1] if len(call.args) > 1 else None)
    order = range(ndim)[::-1] if axes is None else [int(a) % ndim for a in axes]
    return anp.transpose(call.stacks[0], (0, *(a + 1 for a in order)))


def _swapaxes(call: _Call) -> Any:
    array, *axes = call.args
    return anp.swapaxes(call.stacks[0], *(a % anp.ndim(array) + 1 for a in axes))


def _dot_adjoint(call: _Call) -> Any:
    """Apply the adjoints of A ↦ A·B and B ↦ A·B, for matrices: G Bᵀ and Aᵀ G."""
    factor, pulled = call.args[:2]
    if anp.ndim(factor) != 2 or anp.ndim(pulled) != 2 or set(call.stacks) != {1}:
        return _one_by_one(call)
    if call.primitive is numpy_vjps.dot_adjoint_0:
        return anp.matmul(call.stacks[1], anp.transpose(factor))
    return anp.matmul(anp.transpose(factor), call.stacks[1])


def _accumulated(call: _Call) -> Any:
    """Add what several paths pull back to one value; the first may be None."""
    first, second = (call.stacks.get(i, call.args[i]) for i in (1, 2))
    return second if first is None else first + second


def _scattered(call: _Call) -> Any:
    """Pull back through an index: sparse for one cotangent, dense for many."""
    space = call.args[2]
    return anp.stack([sparse_add(space, None, value) for value in call.values()])


RULES: dict[Any, Callable[[_Call], Any]] = {
    anp.sum: _sum,
    anp.reshape: _reshaped,
    anp.ravel: _reshaped,
    anp.expand_dims: _reshaped,
    anp.squeeze: _reshaped,
    anp.transpose: _transpose,
    anp.swapaxes: _swapaxes,
    anp.matmul: _matmul,
    numpy_vjps.dot_adjoint_0: _dot_adjoint,
    numpy_vjps.dot_adjoint_1: _dot_adjoint,
    func(VSpace.add): _accumulated,
    func(VSpace.mut_add): _accumulated,
    sparse_add: _accumulated,
    numpy_vjps.untake: _scattered,
}
