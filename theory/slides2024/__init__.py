"""Statements of the slides on implicit bias and sharpness, and their corrections."""
