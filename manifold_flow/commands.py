"""What the commands do, from parsed options to an exit status."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

    from manifold_flow.models import Model
    from manifold_flow.sharpness import Sharpness
    from manifold_flow.trajectory import Trajectory

__all__ = [
    "MODELS",
    "NUMERICAL_FAILURE",
    "SHARPNESS",
    "demo",
    "doctor",
    "flow",
    "verify",
]

NUMERICAL_FAILURE = 4
SHARPNESS = {
    "trace": "HessianTrace",
    "top-eigenvalue": "HessianTopEigenvalue",
    "log-pseudo-determinant": "HessianLogPseudoDeterminant",
}
MODELS = ("two-layer", "diagonal")


def flow(options: argparse.Namespace) -> int:
    """Integrate one limiting flow and print how it ended.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command ``flow``.

    Returns
    -------
    int
        Exit status 0; what goes wrong is raised.
    """
    import numpy as np

    import manifold_flow as mf
    from manifold_flow import storage

    if options.out is not None:
        storage.refuse_unwritable(storage.run_file(options.out))
    data_seed, start_seed = np.random.SeedSequence(_seed(options)).spawn(2)
    model = _model(options, data_seed)
    if options.json:  # in words, the result itself ends with them
        for caveat in model.caveats:
            print(f"note: {caveat}", file=sys.stderr)
    manifold = mf.ZeroLossManifold(model)
    sharpness = _sharpness(options.sharpness)
    start = manifold.random_point(rng=start_seed)
    path = mf.integrate(
        mf.LimitingFlow(manifold, sharpness, rate=options.rate),
        start,
        options.times,
        method=options.method,
        rtol=options.rtol,
        atol=options.atol,
        gtol=options.gtol,
        max_steps=options.max_steps,
        time_limit=options.time_limit,
        progress=False if options.quiet else None,
    )
    saved = None if options.out is None else str(path.save(options.out))
    # requested times need not contain 0
    initial = sharpness.value(manifold.linearize(start))
    summary = {
        **_summary(model, path, options),
        "sharpness_initial": initial,
        "out": saved,
    }
    print(json.dumps(summary) if options.json else _flow_text(path, summary))
    return 0


def _seed(options: argparse.Namespace) -> int:
    from manifold_flow.errors import DataError

    seed: int = options.seed
    if seed < 0:
        raise DataError(f"seed = {seed}: must be an integer, 0 or more.")
    return seed


def _model(options: argparse.Namespace, rng: np.random.SeedSequence) -> Model:
    import manifold_flow as mf
    from manifold_flow.errors import UnknownNameError

    kind = options.model.replace("_", "-")
    if kind not in MODELS:
        raise UnknownNameError("model", options.model, MODELS)
    inputs, targets = _data(options, rng)
    if kind == "diagonal":
        return mf.DiagonalLinearNetwork(inputs, targets, loss=options.loss)
    return mf.TwoLayerNetwork(
        inputs, targets, options.width, options.activation, loss=options.loss
    )


def _data(options: argparse.Namespace, rng: np.random.SeedSequence) -> Any:
    from manifold_flow import datasets
    from manifold_flow.errors import UnknownNameError

    name = options.data
    if name == "digits":
        return datasets.digits(options.n, rng=rng)
    if name in ("gaussian", "uniform"):
        return getattr(datasets, name)(options.n, options.d, rng=rng)
    if not Path(name).suffix:
        known = ("gaussian", "uniform", "digits", "a .csv, .npy or .npz file")
        raise UnknownNameError("data", name, known)
    return datasets.load(name)


def _sharpness(name: str) -> Sharpness:
    import manifold_flow as mf
    from manifold_flow.errors import UnknownNameError

    kind = name.replace("_", "-")
    if kind not in SHARPNESS:
        raise UnknownNameError("sharpness", name, SHARPNESS)
    sharpness: Sharpness = getattr(mf, SHARPNESS[kind])()
    return sharpness


def _summary(
    model: Model, path: Trajectory, options: argparse.Namespace
) -> dict[str, Any]:
    assert path.sharpness is not None
    assert path.residual is not None
    return {
        "status": path.status.name,
        "message": path.message,
        "slow_time": float(path.times[-1]),
        "sharpness_final": float(path.sharpness[-1]),
        "flattest_sharpness": _flattest(model, options.sharpness),
        "residual": float(path.residual[-1]),
        "neuron_spread": _neuron_spread(model, path),
        "n_evaluations": path.n_evaluations,
        "seconds": path.seconds,
        "drift": path.drift,
        "method": path.details["method"],
        "flow": path.details["mover"],
        "model": repr(model),
        "loss": model.loss.formula,
        "caveats": list(model.caveats),
        "seed": options.seed,
    }


def _flattest(model: Model, sharpness: str) -> float | None:
    """Return the exact minimum, or None where no theorem gives one."""
    from manifold_flow import references
    from manifold_flow.errors import HypothesisError

    if sharpness != "trace":
        return None
    try:
        return references.flattest_value(model)
    except HypothesisError as error:
        if not model.caveats:  # they say the same
            print(f"note: {error}", file=sys.stderr)
        return None


def _neuron_spread(model: Model, path: Trajectory) -> float | None:
    """Largest max_j z_ij − min_j z_ij at the end; None without neurons."""
    import numpy as np

    from manifold_flow.models import TwoLayerNetwork

    if not isinstance(model, TwoLayerNetwork):
        return None
    return float(np.ptp(model.features(path.end), axis=1).max())


def _flow_text(path: Trajectory, summary: dict[str, Any]) -> str:
    lines = [repr(path)]
    if summary["flattest_sharpness"] is not None:
        lines.append(f"exact minimum {summary['flattest_sharpness']:.10g}")
    if summary["neuron_spread"] is not None:
        lines.append(f"neuron spread {summary['neuron_spread']:.1e}")
    if summary["out"] is not None:
        lines.append(f"saved {summary['out']}")
    return "\n".join(lines)


def verify(options: argparse.Namespace) -> int:
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
    seed = np.random.SeedSequence(_seed(options))
    drawn = options.data in ("gaussian", "uniform")
    model = None
    if not drawn:
        inputs, targets = _data(options, seed.spawn(1)[0])
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


# --- demo and doctor ------------------------------------------------------------------


def demo(options: argparse.Namespace) -> int:
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
        seed=_seed(options),
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


def doctor(options: argparse.Namespace) -> int:
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
