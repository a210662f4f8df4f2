"""Where a trial leaves its adapter, looked at while that costs nothing yet."""

from __future__ import annotations

import tempfile
from pathlib import Path

from wst.errors import InputError


def check_place(path: Path) -> None:
    """Make sure that an adapter can be kept at a path; its folder is made.

    It is looked at before the test split is read: what cannot be kept is not worth a read.

    Raises:
        InputError: it cannot; the message names what is in the way.
    """
    what = "expected a place for the adapter of a final trial"
    for place in (path, path.with_suffix(".json")):
        if place.is_dir():
            raise InputError(f"{place}: {what}; found a folder")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path.parent) as file:
            file.write(b"\0")
    except OSError as error:
        raise InputError(f"{path.parent}: {what}; found: {error.strerror or error}") from None
