"""``manifold-flow doctor``: versions, threads and a self-check."""

from __future__ import annotations

import argparse
import json
from typing import Any

from manifold_flow.commands.options import NUMERICAL_FAILURE, new_command

__all__ = ["add_to", "run"]


def add_to(parsers: Any) -> None:
    """Add the command and its options."""
    new_command(parsers, "doctor", run, "versions, threads and a self-check")


def run(options: argparse.Namespace) -> int:
    """Print versions and threads, and check a small flow against its exact answer.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command ``doctor``.

    Returns
    -------
    int
        0, or 4 where the self-check fails.
    """
    found = _diagnosis()
    if options.json:
        print(json.dumps(found))
    else:
        width = max(map(len, found))
        print("\n".join(f"{name:<{width}}  {value}" for name, value in found.items()))
    return 0 if found["self-check"].startswith("ok") else NUMERICAL_FAILURE


def _diagnosis() -> dict[str, str]:
    import platform

    import numpy as np
    import scipy.linalg
    from threadpoolctl import threadpool_info

    from manifold_flow.storage import provenance

    del scipy  # imported for its BLAS to be listed
    found = {"python": platform.python_version(), **provenance()["versions"]}
    pools = {
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    }
    found["BLAS"] = f"{'; '.join(sorted(pools))} (1 is used while integrating)"
    patched = "as is" if hasattr(np, "trapz") else "with the name NumPy 2.4 removed"
    found["geomstats bridge"] = f"imports {patched}"
    found["self-check"] = _self_check()
    return found


def _self_check() -> str:
    """Follow a small flow and compare its end with the exact answer."""
    import manifold_flow as mf

    inputs, targets = mf.datasets.gaussian(n=2, d=4, rng=0)
    model = mf.TwoLayerNetwork(inputs, targets, width=3, activation="cubic")
    manifold = mf.ZeroLossManifold(model)
    flow = mf.LimitingFlow(manifold, mf.HessianTrace())
    path = mf.integrate(flow, manifold.random_point(rng=0), progress=False)
    assert path.sharpness is not None
    error = abs(path.sharpness[-1] / mf.references.flattest_value(model) - 1.0)
    word = "ok" if error < 1e-8 else "FAILED"
    return (
        f"{word}: flow on n=2, m=3, d=4 ends within {error:.1e} of the exact minimum "
        f"({path.seconds:.2f} s)"
    )
