"""Wavelet-based multi-scale tuning (WST), and a search and benchmark harness around it."""

from importlib import import_module, metadata
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from wst.models import create_model as create_model
    from wst.models import parameter_counts as parameter_counts

_WHERE = {"create_model": "wst.models", "parameter_counts": "wst.models"}

__version__ = metadata.version("wst")
__all__ = ["create_model", "parameter_counts"]


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use, so that ``import wst.ledger`` loads no torch."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    raise AttributeError(f"module 'wst' has no attribute {name!r}")
