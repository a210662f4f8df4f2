"""A trial's state as a file: what it needs to go on after an interruption.

A line with a checksum comes first, then what torch wrote: whose state it is, and the state.  A file that does
not hold, or that another trial left, is said in one line and not used; the trial then begins again, with the
numbers of one that was never interrupted.
"""

from __future__ import annotations

import hashlib
import io
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from wst.files import replacing

_log = logging.getLogger(__name__)
_FIRST = b"wst trial state 1 "


def save(path: Path, identity: Mapping[str, Any], parts: Mapping[str, Any]) -> None:
    """Keep a state in an older one's place: whole or not at all.

    Args:
        path: the file.
        identity: what the trial is, in plain values.
        parts: its state, of tensors and plain values.
    """
    body = io.BytesIO()
    torch.save({"identity": dict(identity), "parts": dict(parts)}, body)
    content = body.getbuffer()
    # a file of Python's, whose errors say what is the matter, such as a full disk
    with replacing(path) as aside, aside.open("wb") as file:
        file.write(_first_line(content))
        file.write(content)


def make_way(path: Path) -> None:
    """Lay aside what keeps states from being saved at a path: a folder there, or a file where its folder
    belongs.  It is renamed beside its place, which is said in one line."""
    for place, folder in ((path.parent, True), (path, False)):
        if place.is_dir() == folder or not os.path.lexists(place):
            continue
        aside = place.with_name(f"{place.name}.{uuid4().hex[:8]}.aside")
        place.rename(aside)
        wanted, found = ("a folder", "a file") if folder else ("the state of a trial", "a folder")
        _log.warning("wst: %s: expected %s; found %s: laid aside as %s", place, wanted, found, aside.name)


def load(path: Path, identity: Mapping[str, Any]) -> dict[str, Any] | None:
    """The parts of the state at a path, on the CPU; None where none was kept, or none that holds.

    Args:
        path: the file.
        identity: that it must have been saved with.
    """
    try:
        content = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        left_out(path, f"one that cannot be read ({error.strerror})")
        return None
    length = len(_FIRST) + 64 + 1
    if bytes(content[:length]) != _first_line(content[length:]):
        left_out(path, "a damaged file, or another one")
        return None
    try:
        kept = torch.load(io.BytesIO(content[length:]), map_location="cpu", weights_only=True)
        found, parts = kept["identity"], kept["parts"]
    except MemoryError:
        raise
    except Exception as error:  # of another version of torch, say; each has errors of its own
        left_out(path, f"one that cannot be read ({type(error).__name__})")
        return None
    differs = [key for key in {**identity, **found} if found.get(key) != identity.get(key)]
    if differs:
        left_out(path, f"that of another trial ({', '.join(differs)})")
        return None
    state: dict[str, Any] = parts
    return state


def left_out(path: Path, found: str) -> None:
    """Say that a state is not used."""
    _log.warning("wst: %s: expected the state of this trial; found %s; it begins again", path, found)


def _first_line(body: memoryview) -> bytes:
    return _FIRST + hashlib.sha256(body).hexdigest().encode() + b"\n"
