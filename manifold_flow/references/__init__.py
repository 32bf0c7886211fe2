"""Exact answers where they are known: what a flow must end at, and a flow in full."""

from manifold_flow.references.diagonal_flow import exact_flow
from manifold_flow.references.flattest import flattest_point, flattest_value

__all__ = ["exact_flow", "flattest_point", "flattest_value"]
