"""One module per command: its options, and what it does with them.

Heavy imports happen inside ``run``, so that ``--help`` is immediate.
"""
