"""A trial's state as a file: what it needs to go on after an interruption."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from wst.files import replacing


def save(path: Path, state: Mapping[str, Any]) -> None:
    """Keep a state of tensors and plain values, in an older one's place: whole or not at all."""
    # a file of Python's, whose errors say what is the matter, such as a full disk
    with replacing(path) as aside, aside.open("wb") as file:
        torch.save(dict(state), file)


def load(path: Path) -> dict[str, Any] | None:
    """The state at a path, on the CPU; None where none was kept."""
    if not path.is_file():
        return None
    state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    return state
