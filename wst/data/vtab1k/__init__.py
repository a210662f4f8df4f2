"""VTAB-1K's construction from the original archives."""
