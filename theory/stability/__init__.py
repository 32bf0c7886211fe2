"""Statements on the linear stability of gradient descent and SGD at a minimum."""
