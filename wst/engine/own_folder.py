"""A study's folder for what Ray keeps while it runs: sockets, logs, spilled objects."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from wst.errors import InputError
from wst.files import locked

_NAME = "wst-run-"
_LOCK = ".lock"
RAY = "ray"
"""Ray's part of the folder; Ray opens what it is given to everybody, which the folder around keeps shut."""
_SOCKET = f"/{RAY}/session_2026-01-31_23-59-59_999999_4194304/sockets/plasma_store.1"
"""The longest path that Ray listens on in its folder."""
_LONGEST = (103 if sys.platform == "darwin" else 107) - len(f"/{_NAME}12345678{_SOCKET}")
"""Bytes of the path of the folder around, since a socket's path is short by the kernel's rule."""
_PATIENCE_S = 10.0


@contextmanager
def own_folder() -> Iterator[Path]:
    """A new folder that only this user can enter, and that goes with the block.

    It lies in ``RAY_TMPDIR`` or ``TMPDIR`` where that is short enough for Ray's sockets, else in ``/tmp``.
    What killed studies of this user left in any of these goes first: the lock in a folder is held while its
    study lives, and the operating system frees it.

    Raises:
        InputError: none of them has room for it.
    """
    places = _places()
    for place in places:
        _clear(place)
    fitting = [place for place in places if len(os.fsencode(place)) <= _LONGEST and os.access(place, os.W_OK)]
    if not fitting:
        raise InputError(
            f"TMPDIR: expected a folder that can be written to, with a path of at most {_LONGEST} bytes; "
            f"found {', '.join(map(str, places))}"
        )
    new = Path(tempfile.mkdtemp(prefix=f".{_NAME}", dir=fitting[0]))
    with locked(new / _LOCK):
        # It gets the name by which it is found when it is locked already, so that nobody clears it away.
        folder = new.rename(new.with_name(new.name[1:]))
        try:
            yield folder
        finally:
            _remove(folder)


def _places() -> list[Path]:
    """Where such folders lie, the user's choice first."""
    asked = os.environ.get("RAY_TMPDIR")
    places = [*([Path(asked).absolute()] if asked else []), Path(tempfile.gettempdir()), Path("/tmp")]
    return [place for place in dict.fromkeys(places) if place.is_dir()]


def _clear(place: Path) -> None:
    """Remove the folders of this user's studies that live no more."""
    with suppress(OSError):  # others' folders come and go
        for folder in place.glob(f"{_NAME}*"):
            if folder.is_symlink() or not folder.is_dir() or folder.stat().st_uid != os.getuid():
                continue
            with suppress(InputError), locked(folder / _LOCK, wait=False) as ours:
                if ours:
                    shutil.rmtree(folder, ignore_errors=True)


def _remove(folder: Path) -> None:
    """Remove it, though processes that are ending may still write there."""
    deadline = time.monotonic() + _PATIENCE_S
    while folder.exists():
        shutil.rmtree(folder, ignore_errors=True)
        if time.monotonic() > deadline:
            return  # the next study's start has another try
        time.sleep(0.05)
