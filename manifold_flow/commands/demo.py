"""``manifold-flow demo``: the main job on real data, with report.html."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from manifold_flow.commands.options import new_command, seed_of

__all__ = ["add_to", "run"]


def add_to(parsers: Any) -> None:
    """Add the command and its options."""
    add = new_command(
        parsers, "demo", run, "the main job on real data, with report.html"
    ).add_argument
    add("--n", type=int, default=40, help="number of images")
    add("--width", "--m", type=int, default=50, help="number of neurons")
    add("--replicas", type=int, default=64, help="runs of label-noise SGD")
    add("--seed", type=int, default=0, help="of images, start and noise")
    add("--out", default="manifold_flow_demo", help="folder of report and runs")


def run(options: argparse.Namespace) -> int:
    """Run the demo, write its report, print its table.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command ``demo``.

    Returns
    -------
    int
        Exit status 0.
    """
    from manifold_flow import storage
    from manifold_flow.demo import run_demo, write_demo

    storage.refuse_unwritable(Path(options.out) / "report.html")
    demo = run_demo(
        n=options.n,
        width=options.width,
        replicas=options.replicas,
        seed=seed_of(options),
        progress=False if options.quiet else None,
    )
    report = write_demo(demo, options.out)
    table = demo.table() | {"report": str(report)}
    if options.json:
        print(json.dumps(table))
    else:
        width = max(map(len, table))
        print("\n".join(f"{name:<{width}}  {value}" for name, value in table.items()))
    return 0
