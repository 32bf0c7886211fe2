"""The algorithm beside its limiting flow, judged by orders of convergence."""

from manifold_flow.comparison.ensemble import Ensemble
from manifold_flow.comparison.measurement import deviation
from manifold_flow.comparison.procedure import compare
from manifold_flow.comparison.result import Comparison
from manifold_flow.comparison.statistics import Estimate, Order, convergence_order

__all__ = [
    "Comparison",
    "Ensemble",
    "Estimate",
    "Order",
    "compare",
    "convergence_order",
    "deviation",
]
