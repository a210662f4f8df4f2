"""The method ``wst``: wavelet-based multi-scale tuning."""

from wst.methods.wst.adapt import adapt

__all__ = ["adapt"]
