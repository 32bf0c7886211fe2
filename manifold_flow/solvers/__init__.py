"""The one door to scipy.integrate: a loop over its step-by-step solvers."""
