"""Searches replayed on recorded learning curves, on a virtual clock."""
