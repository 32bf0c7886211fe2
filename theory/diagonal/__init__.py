"""The quadratically overparametrised linear model."""
