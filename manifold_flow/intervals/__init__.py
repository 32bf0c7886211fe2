"""Deciding the sign of a function on an interval, with proof."""

from manifold_flow.intervals.signs import SignDecision, decide_sign

__all__ = ["SignDecision", "decide_sign"]
