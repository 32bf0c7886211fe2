"""What moves in steps, and ``simulate``."""

from manifold_flow.optimizers.abstract import Optimizer
from manifold_flow.optimizers.descent import GradientDescent, NormalizedGD
from manifold_flow.optimizers.sharpness_aware import SAM
from manifold_flow.optimizers.simulation import simulate
from manifold_flow.optimizers.stochastic import LabelNoiseSGD, MinibatchSGD

__all__ = [
    "SAM",
    "GradientDescent",
    "LabelNoiseSGD",
    "MinibatchSGD",
    "NormalizedGD",
    "Optimizer",
    "simulate",
]
