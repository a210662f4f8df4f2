"""Pictures, drawn from numbers that were worked out before."""
