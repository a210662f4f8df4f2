"""Files written where the user says: nothing else is replaced, and each is there whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from wst.errors import InputError
from wst.files import replacing

_OWN = ("study.yaml", "ledger", "adapters", "checkpoints", "tensorboard")
"""What a study keeps in its folder, besides hidden files and the ledger's generations."""


def check_output(option: str, path: Path, *, force: bool = False, endings: Sequence[str] = ()) -> None:
    """Refuse a place that a verb may not write to, before it does anything.

    Args:
        option: that gave the place, for the message.
        path: the file to be written.
        force: a file that exists may be replaced.
        endings: those that its name may have; any when empty.

    Raises:
        InputError: the name has another ending, something else is there, or the place is a study's own.
    """
    if endings and path.suffix.lower() not in endings:
        raise InputError(f"{option}: expected a file ending in {', '.join(endings)}; found {path.name!r}")
    check_no_study(option, path)
    if path.is_dir():
        raise InputError(f"{option}: {path}: expected a file; found a folder")
    if os.path.lexists(path):
        if not force:
            raise InputError(
                f"{option}: {path}: expected a new file; found one that exists (--force replaces it)"
            )
        if not path.is_file():
            raise InputError(f"{option}: {path}: expected a file; found something else")


def check_no_study(option: str, path: Path) -> None:
    """Refuse a place that is a study's own: its file, its ledger, its adapters and checkpoints.

    Raises:
        InputError: naming the study's folder.
    """
    for place in (path.absolute(), Path(os.path.realpath(path))):  # which takes links in a circle
        for above, first in enumerate(place.parts[1:], start=1):
            if first not in _OWN and not first.startswith((".", "ledger-")):
                continue
            folder = Path(*place.parts[:above])
            if (folder / "study.yaml").is_file() and (folder / "ledger").is_dir():
                raise InputError(
                    f"{option}: {path}: expected a place outside what a study keeps; "
                    f"found {first} of the one in {folder}"
                )


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write a file, with its ending, that takes its place when the block ends well."""
    with replacing(
        path, aside=path.with_name(f".{path.stem[:100]}.partial{path.suffix}"), durable=False
    ) as aside:
        yield aside
