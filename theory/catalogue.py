"""All statements, in the order of the sources."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable
from types import ModuleType

from theory.statement import Statement

__all__ = ["MODULES", "UnknownStatementError", "find", "statements"]

#: modules of theory, in the order of the sources; each opens with its definitions
MODULES = (
    "gatmiry2024.normal_space",
    "gatmiry2024.trace",
    "gatmiry2024.stationary_points",
    "gatmiry2024.convexity",
    "gatmiry2024.convergence",
    "gatmiry2024.extensions",
    "gatmiry2024.counterexamples",
    "gatmiry2024.existence",
    "li2021.projection",
    "li2021.drift",
    "li2021.clock",
    "li2021.momentum",
    "slides2024.descent",
    "slides2024.expansions",
    "slides2024.diagonal",
    "slides2024.corrections",
    "diagonal.flow",
    "diagonal.flattest",
    "diagonal.descent",
    "matrix.sensing",
    "matrix.deep",
    "deeplinear.sharpness",
    "deeplinear.dynamics",
    "finite_step",
    "stability.second_moment",
    "stability.univariate_relu",
    "relu",
)


class UnknownStatementError(ValueError):
    """No statement or group has this name."""


def statements() -> dict[str, Statement]:
    """Return every statement by its id, in the order of the sources."""
    found: dict[str, Statement] = {}
    for name in MODULES:
        for claim in _of(importlib.import_module(f"theory.{name}")):
            if claim.id in found:
                raise ValueError(f"{claim.id} is declared twice")
            found[claim.id] = claim
    return found


def _of(module: ModuleType) -> Iterable[Statement]:
    """Return the statements of a module in the order they are written."""
    return (value for value in vars(module).values() if isinstance(value, Statement))


def find(names: Iterable[str] = ()) -> list[Statement]:
    """Return the statements that names select: an id, or a group; all without names.

    Parameters
    ----------
    names : iterable of str
        Such as ``"gatmiry2024/theorem-1"`` or ``"gatmiry2024"``.

    Raises
    ------
    UnknownStatementError
        Naming the nearest.

    Examples
    --------
    >>> [claim.id for claim in find(["gatmiry2024/hidden-convexity"])]
    ['gatmiry2024/hidden-convexity']
    """
    known = statements()
    names = tuple(names)
    if not names:
        return list(known.values())
    groups = {claim.group for claim in known.values()}
    for name in names:
        if name not in known and name not in groups:
            near = difflib.get_close_matches(name, [*known, *groups], n=1, cutoff=0.4)
            hint = f" Did you mean {near[0]}?" if near else ""
            raise UnknownStatementError(
                f"no statement {name!r}.{hint} `python -m theory --list` shows all."
            )
    return [c for c in known.values() if c.id in names or c.group in names]
