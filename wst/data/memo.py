"""What was found out about data, kept in the cache folder until it is wanted again.

A memo is a file with two lines: the SHA-256 of the second, and a value as JSON.  One that does not hold its
sum (cut off, empty, something else) counts as none: whoever asks finds out anew and writes it again.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from wst.files import clear_place, replacing

HASHES, CHECKS, IMAGES, FOLDERS = "hashes", "checks", "images", "folders"
"""Folders of the cache that hold what was found out: hashes of lists, checks of tasks, what is in each image,
and which pictures a folder holds."""


def cache_folder() -> Path:
    """``$WST_CACHE``, or ``wst`` in the user's cache folder."""
    explicit = os.environ.get("WST_CACHE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wst"


def recall(kind: str, key: str) -> Any:
    """The value that was kept; None if there is none, or it is damaged.

    Args:
        kind: folder of the cache.
        key: name of the file.
    """
    try:
        digest, line, _ = (cache_folder() / kind / key).read_text(encoding="ascii").split("\n")
        return json.loads(line) if hashlib.sha256(line.encode()).hexdigest() == digest else None
    except (OSError, ValueError):
        return None


def keep(kind: str, key: str, value: Any) -> None:
    """Keep a value of JSON's; without room for it, nothing is kept."""
    line = json.dumps(value)  # ASCII, whatever bytes the names hold
    path = cache_folder() / kind / key
    with suppress(OSError):
        clear_place(path.parent, folder=True)
        clear_place(path, folder=False)
        with replacing(path, several=True) as aside:
            aside.write_text(f"{hashlib.sha256(line.encode()).hexdigest()}\n{line}\n")
