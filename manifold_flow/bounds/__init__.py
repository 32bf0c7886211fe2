r"""The constants of an instance: what the theorems promise for these data.

For the two-layer network, with :math:`w_i = c_i \|x_i\|^2 / 2` (c the curvatures of
the loss, so that all values are in the model's own loss), theory notes §1.6 and §1.8.
"""

from manifold_flow.bounds.curvatures import hessian_coefficients, sample_curvatures
from manifold_flow.bounds.intervals import (
    curvature_ratio,
    slope_floor,
    sublevel_interval,
)
from manifold_flow.bounds.rates import convexity_threshold, local_rate, pl_rate

__all__ = [
    "convexity_threshold",
    "curvature_ratio",
    "hessian_coefficients",
    "local_rate",
    "pl_rate",
    "sample_curvatures",
    "slope_floor",
    "sublevel_interval",
]
