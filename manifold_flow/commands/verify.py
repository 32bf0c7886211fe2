"""``manifold-flow verify``: check theorems in symbols and in numbers."""

from __future__ import annotations

import argparse
import json
from typing import Any

from manifold_flow.commands.options import data_of, new_command, seed_of

__all__ = ["add_to", "run"]


def add_to(parsers: Any) -> None:
    """Add the command and its options."""
    add = new_command(
        parsers, "verify", run, "check theorems in symbols and in numbers"
    ).add_argument
    add(
        "statements",
        nargs="*",
        metavar="STATEMENT",
        help="ids or groups, see `python -m theory --list`; gatmiry2024 without",
    )
    add("--n", type=int, default=3, help="number of samples, unless from a file")
    add("--width", "--m", type=int, default=4, help="number of neurons")
    add("--d", type=int, default=5, help="number of features (gaussian, uniform)")
    add("--starts", type=int, default=3, help="random points of M to start from")
    add("--seed", type=int, default=0, help="of data, starts and probes")
    add("--activation", help="a name, or an expression in z; cubic without")
    add("--data", default="gaussian", help="gaussian, uniform, digits, or a file")
    add("--slow-time", type=float, help="where flows end; at stationarity without")
    add("--no-symbolic", action="store_true", help="numbers only")
    add("--out", metavar="FILE.html", help="write a page with a card a statement")


def run(options: argparse.Namespace) -> int:
    """Judge statements, print a line for each, and return the verdicts' status.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command ``verify``.

    Returns
    -------
    int
        Exit status 0 all hold, 1 one is violated, 3 no verdict on one.
    """
    import numpy as np

    import manifold_flow as mf
    from manifold_flow import storage
    from manifold_flow.solvers.progress import reporter

    if options.out is not None:
        storage.refuse_unwritable(options.out)
    seed = np.random.SeedSequence(seed_of(options))
    drawn = options.data in ("gaussian", "uniform")
    model = None
    if not drawn:
        inputs, targets = data_of(options, seed.spawn(1)[0])
        phi = "cubic" if options.activation is None else options.activation
        model = mf.TwoLayerNetwork(inputs, targets, options.width, phi)
    report = mf.verify(
        options.statements or "gatmiry2024",
        model=model,
        n=options.n,
        m=options.width,
        d=options.d,
        starts=options.starts,
        activation=options.activation,
        design=options.data if drawn else "gaussian",
        rng=seed,
        slow_time=options.slow_time,
        symbolic=not options.no_symbolic,
        progress=reporter(False if options.quiet else None),
    )
    if options.out is not None:
        report.to_html(options.out)
    print(json.dumps(report.as_data()) if options.json else report)
    return report.exit_code
