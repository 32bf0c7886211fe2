"""``manifold-flow compare``: an optimizer against its limiting flow."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifold_flow.commands.options import (
    add_model_options,
    model_of,
    new_command,
    seed_of,
)

if TYPE_CHECKING:
    from manifold_flow.arrays import Array
    from manifold_flow.comparison import Comparison
    from manifold_flow.linearization import Linearization
    from manifold_flow.manifold import ZeroLossManifold
    from manifold_flow.models import Model
    from manifold_flow.optimizers import Optimizer

__all__ = ["add_to", "run"]

#: largest learning rate of an optimizer that is stable at any
ANY_STABLE = 0.04
#: steps that the default slow time takes at the default's largest learning rate
DEFAULT_STEPS = 1250
#: budget of seconds for the end of the flow, which only the schedule needs
END_SECONDS = 10.0

OPTIMIZERS = ("label-noise", "minibatch", "sam", "sam-per-sample", "normalized-gd")
#: options that only some optimizers have
ONLY_OF = {
    "noise": OPTIMIZERS[:1],
    "noise_law": OPTIMIZERS[:1],
    "batch_size": OPTIMIZERS[:2],
    "replacement": OPTIMIZERS[:2],
    "momentum": OPTIMIZERS[:2],
    "rho_ratio": OPTIMIZERS[2:4],
}


def add_to(parsers: Any) -> None:
    """Add the command and its options."""
    command = new_command(
        parsers, "compare", run, "an optimizer against its limiting flow"
    )
    add_model_options(command)
    command.set_defaults(out_name="FOLDER")
    add = command.add_argument
    add("--optimizer", default="label-noise", help=" or ".join(OPTIMIZERS))
    add("--noise", type=float, default=1.0, help="standard deviation of label noise")
    add("--noise-law", default="rademacher", help="rademacher, gaussian or uniform")
    add("--batch-size", type=int, default=1, help="samples a step of SGD")
    add(
        "--replacement",
        action="store_true",
        help="draw batches with replacement",
    )
    add(
        "--momentum",
        type=float,
        default=0.0,
        help="of SGD alone",
    )
    add("--rho-ratio", type=float, default=2.5, help="SAM's radius over learning rate")
    add(
        "--eta",
        type=float,
        nargs="+",
        help="learning rates, best in ratios of 2 (default: 0.4, 0.2 and 0.1 of the "
        "threshold of stability at the start; 0.04, 0.02, 0.01 without one)",
    )
    add(
        "--slow-time",
        type=float,
        help="where flow and runs end (default: "
        f"{DEFAULT_STEPS} steps of the default's largest learning rate)",
    )
    add(
        "--replicas",
        type=int,
        default=64,
        help="runs at every learning rate",
    )
    add("--rate", type=float, help="test this rate of the flow, not the theorem's")
    add("--force", action="store_true", help="run unstable learning rates")
    add("--max-steps", type=int, default=2_000_000, help="budget of steps in all")
    add("--time-limit", type=float, help="budget of seconds, estimated before")
    add(
        "--out",
        metavar="FOLDER",
        help="for comparison.json and .png; or one file of either",
    )


def run(options: argparse.Namespace) -> int:
    """Compare, print the table, and return the verdict's status.

    Parameters
    ----------
    options : argparse.Namespace
        Of the command ``compare``.

    Returns
    -------
    int
        Exit status 0 the flow is followed, 1 it is not, 3 no verdict.
    """
    import numpy as np

    import manifold_flow as mf
    from manifold_flow import storage

    for target in _targets(options.out):
        storage.refuse_unwritable(target)
    _refuse_unused(options)
    data_seed, start_seed, noise_seed = np.random.SeedSequence(seed_of(options)).spawn(
        3
    )
    model = model_of(options, data_seed)
    manifold = mf.ZeroLossManifold(model)
    optimizer = _optimizer(options, model)
    flow = mf.limiting_flow(optimizer, manifold)
    if options.rate is not None:
        flow = mf.LimitingFlow(manifold, flow.sharpness, rate=options.rate)
    start = manifold.random_point(rng=start_seed)
    rates, slow_time = _range(options, optimizer, manifold.linearize(start))
    found = mf.compare(
        optimizer,
        manifold,
        start,
        slow_time=slow_time,
        learning_rates=rates,
        replicas=options.replicas,
        rng=noise_seed,
        flow=flow,
        force=options.force,
        max_steps=options.max_steps,
        time_limit=options.time_limit,
        progress=False if options.quiet else None,
    )
    plan = _schedule(optimizer.with_learning_rate(min(rates)), manifold, start)
    extra = {"schedule": plan, "seed": options.seed, **storage.provenance()}
    data = found.to_dict() | extra
    saved = _write(options.out, found, json.dumps(data, indent=1))
    said = [str(found), *([plan["summary"]] if plan else [])]
    text = "\n".join([*said, *(f"saved {path}" for path in saved)])
    print(json.dumps(data | {"out": saved}) if options.json else text)
    return found.verdict.exit_code


def _range(
    options: argparse.Namespace, optimizer: Optimizer, here: Linearization
) -> tuple[list[float], float]:
    """Return learning rates and slow time: those given or what suits the start.

    By default both scale with the threshold of stability, so that all normalisations
    of the loss make the same steps of SGD, to the digits that are kept.
    """
    import numpy as np

    from manifold_flow.comparison.procedure import tried_below

    # momentum β makes steps of η/(1 − β); with it the threshold is only a bound
    without = argparse.Namespace(**vars(options) | {"momentum": 0.0})
    calm = _optimizer(without, optimizer.model)
    threshold = (1.0 - options.momentum) * calm.stability(here)
    rates = [ANY_STABLE, ANY_STABLE / 2, ANY_STABLE / 4]
    if np.isfinite(threshold):
        rates = tried_below(threshold)
    step = optimizer.with_learning_rate(rates[0]).time_per_step
    slow_time = float(f"{DEFAULT_STEPS * step:.2g}")
    return (
        rates if options.eta is None else options.eta,
        slow_time if options.slow_time is None else options.slow_time,
    )


def _schedule(
    optimizer: Optimizer, manifold: ZeroLossManifold, start: Array
) -> dict[str, Any] | None:
    """Return the schedule near the flow's end, or why there is none.

    None if the flow does not move.
    """
    import manifold_flow as mf
    from manifold_flow.errors import IntegrationError, ManifoldFlowError

    flow = mf.limiting_flow(optimizer, manifold)
    if not flow.moves:
        return None
    try:
        path = mf.integrate(flow, start, time_limit=END_SECONDS, progress=False)
        plan = mf.schedule(optimizer, manifold, path.end)
    except IntegrationError as error:
        return {"summary": f"no schedule: {error.reason}."}
    except ManifoldFlowError as error:
        return {"summary": f"no schedule: {error}"}
    return {
        "learning_rate": optimizer.learning_rate,
        "steps_per_efold": plan.steps_per_efold.tolist(),
        "n_flat": plan.n_flat,
        "summary": f"near the end of the flow, at learning rate "
        f"{optimizer.learning_rate:g}, {plan.summary}",
    }


def _optimizer(options: argparse.Namespace, model: Model) -> Optimizer:
    import manifold_flow as mf
    from manifold_flow.errors import UnknownNameError

    kind = options.optimizer.replace("_", "-")
    rate = options.eta[0] if options.eta else 1.0  # none at all is refused later
    drawn = {
        "batch_size": options.batch_size,
        "replacement": options.replacement,
        "momentum": options.momentum,
    }
    radius = options.rho_ratio * rate
    if kind == "label-noise":
        noise = {"noise_std": options.noise, "noise": options.noise_law}
        return mf.LabelNoiseSGD(model, rate, **noise, **drawn)
    if kind == "minibatch":
        return mf.MinibatchSGD(model, rate, **drawn)
    if kind == "sam":
        return mf.SAM(model, rate, radius)
    if kind == "sam-per-sample":
        return mf.SAM(model, rate, radius, batch_size=1)
    if kind == "normalized-gd":
        return mf.NormalizedGD(model, rate)
    raise UnknownNameError("optimizer", options.optimizer, OPTIMIZERS)


def _refuse_unused(options: argparse.Namespace) -> None:
    """Raise for an option that the optimizer has no use for, or it would be lost."""
    from manifold_flow.errors import DataError

    kind = options.optimizer.replace("_", "-")
    for name, kinds in ONLY_OF.items():
        given = getattr(options, name) != options.command.get_default(name)
        if given and kind in OPTIMIZERS and kind not in kinds:
            raise DataError(
                f"--{name.replace('_', '-')} is of no use to the optimizer {kind}: it "
                f"belongs to {' and '.join(kinds)}. Leave it out, or choose such one."
            )


def _targets(out: str | None) -> list[Path]:
    """Return the files that --out asks for."""
    if out is None:
        return []
    target = Path(out)
    if target.suffix in {".png", ".json"}:
        return [target]
    return [target / "comparison.json", target / "comparison.png"]


def _write(out: str | None, found: Comparison, text: str) -> list[str]:
    from manifold_flow import plots, storage

    targets = _targets(out)
    for target in targets:
        picture = target.suffix == ".png"
        content = plots.png(found.plot()) if picture else text.encode()
        storage.write_bytes(target, content)
    return [str(target) for target in targets]
