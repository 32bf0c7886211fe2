"""What is being trained: parameters to residuals on fixed data, with derivatives."""

from manifold_flow.models.diagonal import DiagonalLinearNetwork
from manifold_flow.models.free_form import CallableModel
from manifold_flow.models.matrix import MatrixSensing
from manifold_flow.models.model import Model, Reduction
from manifold_flow.models.two_layer import TwoLayerNetwork

__all__ = [
    "CallableModel",
    "DiagonalLinearNetwork",
    "MatrixSensing",
    "Model",
    "Reduction",
    "TwoLayerNetwork",
]
