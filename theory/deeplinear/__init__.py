"""Deep linear regression."""
