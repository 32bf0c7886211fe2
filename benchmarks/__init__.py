"""Benchmarks: the job of a limiting flow, done by us and by what users pick today.

``python -m benchmarks`` prints the table; ``docs/benchmarks.md`` says how to read it.
"""
