"""Gatmiry, Li, Reddi, Jegelka 2024: two-layer networks with a fixed second layer."""
