"""The registry of methods: one file each, found by name, imported when used.

A method's file has one function ``adapt(backbone, **hyperparameters)``.  It takes a frozen timm model whose
head alone is trainable, and returns a module with timm's ``get_classifier()`` that maps images to logits and
whose only trainable parameters are the method's own and the head.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable
from pathlib import Path

from wst.errors import InputError
from wst.records import OF_THE_TRIAL


def names() -> list[str]:
    """Names of all methods, without importing any."""
    return sorted(
        path.stem
        for path in Path(__file__).parent.iterdir()
        if not path.name.startswith(("_", ".")) and path.stem != "registry"
    )


def adapter(method: str) -> Callable[..., object]:
    """The method's ``adapt`` function.

    Raises:
        InputError: there is no such method.
    """
    if method not in names():
        raise InputError(f"method: expected one of {', '.join(names())}; found {method!r}")
    function: Callable[..., object] = importlib.import_module(f"wst.methods.{method}").adapt
    return function


def check_hyperparameters(method: str, hyperparameters: set[str]) -> None:
    """Compare hyperparameter names with the signature of the method.

    Raises:
        InputError: a name that the method does not take.
    """
    parameters = list(inspect.signature(adapter(method)).parameters)[1:]
    known = [*OF_THE_TRIAL, *parameters]
    for name in sorted(hyperparameters):
        if name not in known:
            raise InputError(
                f"hyperparameter of {method}: expected one of {', '.join(known)}; found {name!r}"
            )
