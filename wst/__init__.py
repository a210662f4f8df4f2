"""Wavelet-based multi-scale tuning (WST), and a search and benchmark harness around it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from wst import errors

if TYPE_CHECKING:
    __version__: str
    from wst.api.results import Results as Results
    from wst.api.results import open as open
    from wst.api.running import train as train
    from wst.api.running import tune as tune
    from wst.models.adapters import load_adapter as load_adapter
    from wst.models.create import create_model as create_model
    from wst.models.create import parameter_counts as parameter_counts
    from wst.models.merging import merge as merge
    from wst.models.peft_format import export_peft_adapter as export_peft_adapter
    from wst.models.released import export_released_adapter as export_released_adapter
    from wst.models.released import load_released_adapter as load_released_adapter
    from wst.study.study import Study as Study

_WHERE = {
    "Results": "wst.api.results",
    "Study": "wst.study.study",
    "create_model": "wst.models.create",
    "export_peft_adapter": "wst.models.peft_format",
    "export_released_adapter": "wst.models.released",
    "load_adapter": "wst.models.adapters",
    "load_released_adapter": "wst.models.released",
    "merge": "wst.models.merging",
    "open": "wst.api.results",
    "parameter_counts": "wst.models.create",
    "train": "wst.api.running",
    "tune": "wst.api.running",
}

__all__ = [
    "Results",
    "Study",
    "create_model",
    "errors",
    "export_peft_adapter",
    "export_released_adapter",
    "load_adapter",
    "load_released_adapter",
    "merge",
    "open",
    "parameter_counts",
    "train",
    "tune",
]


def __getattr__(name: str) -> Any:
    """Import what is asked for on first use, so that ``import wst.ledger`` loads no torch."""
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name == "__version__":
        return import_module("importlib.metadata").version("wst")
    from wst.suggest import hint

    raise AttributeError(f"module 'wst' has no attribute {name!r}{hint(name, __all__)}")


def __dir__() -> list[str]:
    """What is public, for completion: neither folders that are imported meanwhile nor what they need."""
    return [*__all__, "__version__"]
