"""Numerical verdicts: on an instance, what theory states in symbols."""
