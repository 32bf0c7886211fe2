"""Limiting flows of training algorithms on the zero-loss manifold.

manifold_flow builds the set of zero-loss parameters of an over-parametrised model as
a Riemannian manifold, follows the flow of a sharpness on it, runs the algorithms
whose limit that flow is on the same clock, and knows the exact answers where theorems
give them.  Names are loaded on first use, so that importing the package is cheap.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from manifold_flow import bounds, datasets, errors, references
    from manifold_flow.activations import Activation
    from manifold_flow.batches import Batches
    from manifold_flow.comparison import (
        Comparison,
        compare,
        convergence_order,
        deviation,
    )
    from manifold_flow.flow import (
        DriftFlow,
        Flow,
        GradientFlow,
        LimitingFlow,
        gradient_flow,
        integrate,
        limit_map,
    )
    from manifold_flow.limits import (
        LimitingDiffusion,
        Schedule,
        TrackingStep,
        finite_step_flow,
        integrate_sde,
        largest_tracking_step,
        limit_map_hessian,
        limiting_flow,
        schedule,
    )
    from manifold_flow.linearization import Linearization, RegularPoint
    from manifold_flow.loss import SquaredLoss
    from manifold_flow.manifold import ZeroLossManifold
    from manifold_flow.models import (
        CallableModel,
        DiagonalLinearNetwork,
        MatrixSensing,
        Model,
        TwoLayerNetwork,
    )
    from manifold_flow.optimizers import (
        SAM,
        GradientDescent,
        LabelNoiseSGD,
        MinibatchSGD,
        NormalizedGD,
        Optimizer,
        simulate,
    )
    from manifold_flow.sharpness import (
        FiniteStepTrace,
        HessianLogPseudoDeterminant,
        HessianLogTopEigenvalue,
        HessianTopEigenvalue,
        HessianTrace,
        Sharpness,
        stochastic_trace,
    )
    from manifold_flow.trajectory import Status, Trajectory, load
    from manifold_flow.verification import Report, verify

__all__ = [
    # data, activations, models
    "datasets",
    "Activation",
    "SquaredLoss",
    "Model",
    "CallableModel",
    "TwoLayerNetwork",
    "DiagonalLinearNetwork",
    "MatrixSensing",
    # geometry
    "ZeroLossManifold",
    "Linearization",
    "RegularPoint",
    "Sharpness",
    "HessianTrace",
    "HessianTopEigenvalue",
    "HessianLogTopEigenvalue",
    "HessianLogPseudoDeterminant",
    "FiniteStepTrace",
    "stochastic_trace",
    # what moves
    "Flow",
    "LimitingFlow",
    "DriftFlow",
    "integrate",
    "GradientFlow",
    "gradient_flow",
    "limit_map",
    "Optimizer",
    "Batches",
    "GradientDescent",
    "MinibatchSGD",
    "LabelNoiseSGD",
    "SAM",
    "NormalizedGD",
    "simulate",
    "limiting_flow",
    "finite_step_flow",
    "largest_tracking_step",
    "TrackingStep",
    "schedule",
    "Schedule",
    "LimitingDiffusion",
    "integrate_sde",
    "limit_map_hessian",
    # the one beside the other
    "compare",
    "Comparison",
    "deviation",
    "convergence_order",
    # results and exact answers
    "Trajectory",
    "Status",
    "load",
    "verify",
    "Report",
    "references",
    "bounds",
    "errors",
]

_HOME = {
    "Activation": "activations",
    "SquaredLoss": "loss",
    "Model": "models",
    "CallableModel": "models",
    "TwoLayerNetwork": "models",
    "DiagonalLinearNetwork": "models",
    "MatrixSensing": "models",
    "ZeroLossManifold": "manifold",
    "RegularPoint": "linearization",
    "Linearization": "linearization",
    "Sharpness": "sharpness",
    "HessianTrace": "sharpness",
    "HessianTopEigenvalue": "sharpness",
    "HessianLogTopEigenvalue": "sharpness",
    "HessianLogPseudoDeterminant": "sharpness",
    "FiniteStepTrace": "sharpness",
    "stochastic_trace": "sharpness",
    "Flow": "flow",
    "LimitingFlow": "flow",
    "DriftFlow": "flow",
    "integrate": "flow",
    "GradientFlow": "flow",
    "gradient_flow": "flow",
    "limit_map": "flow",
    "Optimizer": "optimizers",
    "Batches": "batches",
    "GradientDescent": "optimizers",
    "MinibatchSGD": "optimizers",
    "LabelNoiseSGD": "optimizers",
    "SAM": "optimizers",
    "NormalizedGD": "optimizers",
    "simulate": "optimizers",
    "limiting_flow": "limits",
    "finite_step_flow": "limits",
    "largest_tracking_step": "limits",
    "TrackingStep": "limits",
    "schedule": "limits",
    "Schedule": "limits",
    "LimitingDiffusion": "limits",
    "integrate_sde": "limits",
    "limit_map_hessian": "limits",
    "compare": "comparison",
    "Comparison": "comparison",
    "deviation": "comparison",
    "convergence_order": "comparison",
    "Trajectory": "trajectory",
    "Status": "trajectory",
    "load": "trajectory",
    "verify": "verification",
    "Report": "verification",
}


def __getattr__(name: str) -> Any:
    """Load a public name from its module on first use (PEP 562)."""
    if name == "__version__":
        from importlib import metadata

        return metadata.version("manifold_flow")
    if name not in __all__:
        raise AttributeError(f"module 'manifold_flow' has no attribute {name!r}")
    if name in _HOME:
        value = getattr(importlib.import_module(f"manifold_flow.{_HOME[name]}"), name)
    else:
        value = importlib.import_module(f"manifold_flow.{name}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
