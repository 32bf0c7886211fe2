"""What moves in steps, and ``simulate``."""

from manifold_flow.optimizers.abstract import Optimizer
from manifold_flow.optimizers.label_noise import LabelNoiseSGD
from manifold_flow.optimizers.simulation import simulate

__all__ = ["LabelNoiseSGD", "Optimizer", "simulate"]
