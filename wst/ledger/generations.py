"""Generations of a ledger: whole copies, of which the symbolic link ``ledger`` names the one that counts.

``DIR/ledger`` leads to ``DIR/ledger-<n>``.  A ledger that has to be rewritten is written whole into a
hidden folder, flushed to the disk, named ``ledger-<n + 1>``, and put in place by renaming a new link over
the old: one step, before which every reader finds the old files and after which every reader finds the new
ones.  Files of several rows never have the same name in two generations, so that a reader that listed the
old files and opens them one by one finds one of them gone rather than old and new rows together.

A plain folder ``ledger``, as a copy that followed the link has it, or where a file system has no symbolic
links, is as good; there a switch is two renames, and a reader may find no ledger in between.  Whoever opens
the ledger for writing next puts right what a kill left behind.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from wst.errors import InputError
from wst.files import flush
from wst.ledger.schema import TABLES

_GENERATION = re.compile(r"ledger-(\d+)")
_HALF_WRITTEN = re.compile(r"\.ledger(-\d+)?")
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS}


def settle(folder: Path) -> None:
    """Put a study's ledger in place where there is none, and remove what is left of others.

    Raises:
        InputError: the link leads nowhere, and no other generation is there; or what is there is no ledger,
            while another generation is one.
    """
    current = folder / "ledger"
    if current.exists() and newest(folder) != current:  # removing the others would remove the ledger
        raise InputError(
            f"{current}: expected a link to the ledger's files; found {_found(current)} (wst repair {folder} "
            "lays it aside)"
        )
    for path in folder.iterdir():
        if _HALF_WRITTEN.fullmatch(path.name):
            _remove(path)
    if not current.exists():  # a new study, or one killed in the middle of a switch
        numbers = _numbers(folder)
        if numbers:
            _point(folder, folder / f"ledger-{max(numbers)}")
        elif current.is_symlink():
            raise InputError(
                f"{current}: expected a link to the ledger's files; found one to {current.readlink()}, "
                f"which is not there (wst repair {folder} lays it aside)"
            )
        else:
            with written(folder):
                pass
    _remove_others(folder)


def newest(folder: Path) -> Path | None:
    """The generation that counts, or would once the ledger is settled; None where there is none.

    What lies in the ledger's place and is none gives way to another generation that is one.
    """
    current = folder / "ledger"
    numbers = _numbers(folder) if folder.is_dir() else []
    other = folder / f"ledger-{max(numbers)}" if numbers else None
    if current.is_dir() and (_complete(current) or other is None or not _complete(other)):
        return current
    return other


def _complete(generation: Path) -> bool:
    """Whether it has a ledger's tables; one from before reads were kept has no ``reads``."""
    return all((generation / table).is_dir() for table in TABLES if table != "reads")


def _found(current: Path) -> str:
    return "a folder without its tables" if current.is_dir() else "a file"


@contextmanager
def written(folder: Path) -> Iterator[Path]:
    """A new generation: a hidden folder to write flushed files into, put in place at the end of the block.

    When the block raises, the new generation is removed and the one before it stays.
    """
    new = folder / f".ledger-{max(_numbers(folder), default=0) + 1}"
    try:
        for table in TABLES:
            (new / table).mkdir(parents=True)
        yield new
        for path in (*(new / table for table in TABLES), new):
            flush(path)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise
    named = new.with_name(new.name.removeprefix("."))
    new.rename(named)
    flush(folder)
    _point(folder, named)
    _remove_others(folder)


def _point(folder: Path, generation: Path) -> None:
    """Make a generation the one that counts."""
    current, link = folder / "ledger", folder / ".ledger"
    plain = current.is_dir() and not current.is_symlink()
    if plain:
        # Not above the new one's number: after a kill between the two renames the highest comes into place.
        current.rename(folder / "ledger-0")
    try:
        link.symlink_to(generation.name)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        generation.rename(current)
    else:
        link.replace(current)
    flush(folder)


def _numbers(folder: Path) -> list[int]:
    matches = (_GENERATION.fullmatch(path.name) for path in folder.iterdir())
    return [int(match[1]) for match in matches if match]


def _remove_others(folder: Path) -> None:
    current = (folder / "ledger").resolve()
    for number in _numbers(folder):
        path = folder / f"ledger-{number}"
        if path.resolve() != current:
            _remove(path)


def _remove(path: Path) -> None:
    if path.is_symlink():
        path.unlink()
    else:
        shutil.rmtree(path)
