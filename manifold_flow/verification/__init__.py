"""Numerical verdicts: on an instance, what theory states in symbols.

`verify` looks at every statement twice: `theory` reduces it in symbols, and a check of
its own measures it on a network, with the hypotheses, the constants of that network, a
refinement test, and a control that must fail.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from manifold_flow.activations import Activation
from manifold_flow.errors import UnknownNameError, suggest_keywords
from manifold_flow.models.two_layer import TwoLayerNetwork
from manifold_flow.verification import gatmiry2024 as gatmiry2024  # its checks
from manifold_flow.verification.evidence import CHECKS, Evidence, examine
from manifold_flow.verification.instance import Instance, drawn_model
from manifold_flow.verification.report import Report, Row

__all__ = ["Evidence", "Instance", "Report", "drawn_model", "verify"]

Rng = None | int | np.random.Generator | np.random.SeedSequence


@suggest_keywords
def verify(  # noqa: PLR0913  # sizes and options, by name
    names: str | Iterable[str] = "gatmiry2024",
    *,
    model: TwoLayerNetwork | None = None,
    n: int = 3,
    m: int = 4,
    d: int = 5,
    starts: int = 3,
    activation: Activation | str | None = None,
    design: str = "gaussian",
    rng: Rng = None,
    slow_time: float | None = None,
    symbolic: bool = True,
    progress: Callable[[str], None] | None = None,
) -> Report:
    r"""Judge statements in symbols and on an instance.

    Parameters
    ----------
    names : str or iterable of str
        Ids such as ``"gatmiry2024/theorem-1"``, or a group.
    model : TwoLayerNetwork, optional
        What to check on; drawn from ``n``, ``m``, ``d``, ``activation`` and ``design``
        without.
    n, m, d : int
        Samples, neurons and features of a drawn model.
    starts : int
        Number of random points of M from which the flow is followed.
    activation : Activation or str, optional
        φ of a drawn model; ``"cubic"`` without.  Where it is given, the symbolic
        verdicts are about it; otherwise about every φ that satisfies the hypotheses.
    design : {"gaussian", "uniform"}
        Law of the drawn inputs.
    rng : None, int, Generator or SeedSequence
        Source of randomness.  Every check has its own stream, so that the choice of
        statements changes no number.
    slow_time : float, optional
        Where the flows end; at stationarity without.
    symbolic : bool
        Whether to judge the statements in symbols as well.
    progress : callable, optional
        Takes one line of text; an empty line ends the display.

    Returns
    -------
    Report
        A row for every statement, in the order of the sources.

    Raises
    ------
    UnknownNameError
        For a name that is no statement; names the nearest one.
    ArgumentError
        If the model is no two-layer network.

    Examples
    --------
    >>> import manifold_flow as mf
    >>> report = mf.verify("gatmiry2024/theorem-1", rng=0)
    >>> report.verdict.name, report.exit_code
    ('HOLDS', 0)
    >>> mf.verify("gatmiry2024/theorem-1", activation="tanh", rng=0).verdict.name
    'NOT_APPLICABLE'
    """
    chosen = _chosen(names)
    data, checks = _children(rng)
    if model is None:
        phi = "cubic" if activation is None else activation
        model = drawn_model(n, m, d, phi, design=design, rng=data)
    instance = Instance(model, starts, checks, slow_time)
    say = progress or (lambda text: None)
    results: dict[str, Any] = {}
    if symbolic:
        say(f"{len(chosen)} statements in symbols")
        results = _in_symbols(chosen, activation if activation is None else model)
    evidence: dict[str, Evidence] = {}
    for done, claim in enumerate(chosen, 1):
        say(f"{done} of {len(chosen)}: {claim.id}")
        if claim.id in CHECKS:
            evidence[claim.id] = examine(claim.id, instance)
    say("")
    rows = [Row(c, results.get(c.id), evidence.get(c.id)) for c in chosen]
    return Report(tuple(rows), repr(model), model.loss.formula, model.caveats)


def _chosen(names: str | Iterable[str]) -> list[Any]:
    """Return the statements of the catalogue that names select."""
    from theory import catalogue

    asked = (names,) if isinstance(names, str) else tuple(names)
    try:
        return catalogue.find(asked)
    except catalogue.UnknownStatementError:
        known = catalogue.statements()
        groups = dict.fromkeys(claim.group for claim in known.values())
        wrong = next(x for x in asked if x not in known and x not in groups)
        where = "`python -m theory --list` shows all."
        raise UnknownNameError("statement", wrong, [*groups, *known], where) from None


def _children(rng: Rng) -> tuple[np.random.SeedSequence, np.random.SeedSequence]:
    """Return the seeds of the data and of the checks."""
    if isinstance(rng, np.random.Generator):
        first, second = rng.bit_generator.seed_seq.spawn(2)  # type: ignore[attr-defined]
        return first, second
    sequence = np.random.SeedSequence
    first, second = (rng if isinstance(rng, sequence) else sequence(rng)).spawn(2)
    return first, second


def _in_symbols(chosen: list[Any], model: TwoLayerNetwork | None) -> dict[str, Any]:
    """Return the symbolic results by id, computed in worker processes."""
    from theory.judging import judge_all

    setting = {} if model is None else {"activation": model.activation.symbolic()}
    jobs = min(2, os.cpu_count() or 1, len(chosen))
    return {result.id: result for result in judge_all(chosen, setting, jobs=jobs)}
