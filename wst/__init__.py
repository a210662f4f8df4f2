"""Wavelet-based multi-scale tuning (WST), and a search and benchmark harness around it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    __version__: str
    from wst.models.adapters import load_adapter as load_adapter
    from wst.models.create import create_model as create_model
    from wst.models.create import parameter_counts as parameter_counts
    from wst.models.merging import merge as merge
    from wst.models.peft_format import export_peft_adapter as export_peft_adapter
    from wst.models.released import export_released_adapter as export_released_adapter
    from wst.models.released import load_released_adapter as load_released_adapter

_WHERE = {
    "create_model": "wst.models.create",
    "export_peft_adapter": "wst.models.peft_format",
    "export_released_adapter": "wst.models.released",
    "load_adapter": "wst.models.adapters",
    "load_released_adapter": "wst.models.released",
    "merge": "wst.models.merging",
    "parameter_counts": "wst.models.create",
}

__all__ = [
    "create_model",
    "export_peft_adapter",
    "export_released_adapter",
    "load_adapter",
    "load_released_adapter",
    "merge",
    "parameter_counts",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use, so that ``import wst.ledger`` loads no torch."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("wst")
    raise AttributeError(f"module 'wst' has no attribute {name!r}")
