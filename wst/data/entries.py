"""Entries of the cache: what took long to compute, in rows of bytes, kept for the next process that wants it.

An entry is a folder named after all that its rows are made of, with ``images.npy`` and a record
``entry.json`` that says it as well, and a SHA-256 for every block of rows.  It is filled aside and renamed
into place; one process fills it while the others wait at its lock.  Blocks are compared with their sums
whenever they are read (:mod:`wst.data.decoded`); an entry that does not hold is made again, and a line of
the log says so.  The folder stays below ``$WST_CACHE_LIMIT``: what was unused for longest goes first, never
what is just being filled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import ByteSize, TypeAdapter, ValidationError

from wst.data import memo
from wst.data.decoded import PIXELS, RECORD, DamagedError, PixelFile, block_size
from wst.data.memo import cache_folder
from wst.errors import InputError
from wst.files import clear_place, locked, remove_folder, replacing_folder

DEFAULT_LIMIT = "64GB"
Kind = Literal["splits", "features"]
_KINDS: tuple[Kind, ...] = ("splits", "features")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheEntry:
    """One entry of the cache.

    Attributes:
        folder: where it is.
        kind: ``splits``: decoded images; ``features``: what a backbone makes of them.
        source: list file (or folder) that it was made from.
        images: number of images.
        preprocessing: what was done to them, in words.
        size: bytes on disk.
        used: time of the last use, seconds since the epoch.
    """

    folder: Path
    kind: Kind
    source: str
    images: int
    preprocessing: str
    size: int
    used: float


@dataclass(frozen=True)
class Contents:
    """What an entry is to hold.

    Attributes:
        kind: folder of the cache.
        shape: of all rows together, uint8.
        made_of: all that decides them, in words; has ``preprocessing`` and ``images``.
        source: list file that they come from, for people.
        rows: makes them, in order; what it raises leaves no entry.
    """

    kind: Kind
    shape: tuple[int, ...]
    made_of: Mapping[str, str]
    source: str
    rows: Callable[[], Iterator[np.ndarray]]

    @property
    def folder(self) -> Path:
        """Where they are kept."""
        words = "\n".join(self.made_of.values())  # alone: older entries are named so
        return cache_folder() / self.kind / hashlib.sha256(words.encode()).hexdigest()[:32]


def cache_limit() -> int:
    """Bytes that all entries may take: ``$WST_CACHE_LIMIT``, such as ``20GB``.

    Raises:
        InputError: it is no size.
    """
    text = os.environ.get("WST_CACHE_LIMIT") or DEFAULT_LIMIT
    try:
        return TypeAdapter(ByteSize).validate_python(text)
    except ValidationError:
        raise InputError(f"WST_CACHE_LIMIT: expected a size such as 20GB; found {text!r}") from None


def room() -> int:
    """Bytes that entries may take: below the limit, and free on the disk.

    Raises:
        InputError: as :func:`cache_limit`.
    """
    folder = cache_folder()
    while not folder.exists():
        folder = folder.parent
    return min(cache_limit(), shutil.disk_usage(folder).free)


def opened(contents: Contents) -> PixelFile:
    """The rows, from the cache or put there now.

    Raises:
        InputError: too little room, or what ``rows`` raises.
    """
    return _open(contents) or made(contents)


def made(contents: Contents, broken: PixelFile | None = None, reason: str = "") -> PixelFile:
    """The rows, put into the cache unless another process does so meanwhile.

    Args:
        contents: what to make.
        broken: what turned out not to hold.
        reason: why.

    Raises:
        InputError: as :func:`opened`.
    """
    entry = contents.folder
    clear_place(entry.parent, folder=True)
    clear_place(_lock_file(entry), folder=False)
    with locked(_lock_file(entry)):
        found = _open(contents, say=True)
        if found is not None and (broken is None or found.inode != broken.inode):
            return found  # made by another process, meanwhile
        if broken is not None:
            _say_damaged(entry, reason)
        _fill(contents)
        found = _open(contents)
    if found is None:
        raise InputError(f"{entry}: expected the bytes just written; found others (a failing disk?)")
    return found


def entries() -> list[CacheEntry]:
    """What is in the cache, the longest unused first."""
    found = []
    records = [(kind, one) for kind in _KINDS for one in (cache_folder() / kind).glob(f"*/{RECORD}")]
    for kind, record in records:
        if record.parent.name.startswith("."):
            continue  # just being filled
        try:
            described = json.loads(record.read_text())
            found.append(
                CacheEntry(
                    record.parent,
                    kind,
                    described["source"],
                    described["shape"][0],
                    described["preprocessing"],
                    _size(record.parent),
                    record.stat().st_mtime,
                )
            )
        except (OSError, ValueError, KeyError):
            continue  # evicted in the meantime, or damaged: the next use makes it again
    return sorted(found, key=lambda entry: entry.used)


def clear() -> int:
    """Remove every entry and whatever is remembered of images; return the entries' bytes.

    Processes that are using an entry keep it until they end; one that is just being filled stays.
    """
    freed = 0
    for folder in (child for kind in _KINDS for child in (cache_folder() / kind).glob("*") if child.is_dir()):
        size = _size(folder)
        freed += size if _remove_unless_busy(folder) else 0
    for kind in (memo.HASHES, memo.CHECKS, memo.IMAGES, memo.FOLDERS):
        shutil.rmtree(cache_folder() / kind, ignore_errors=True)
    return freed


def _open(contents: Contents, *, say: bool = False) -> PixelFile | None:
    """The entry's rows, or None if it is not there or damaged."""
    entry = contents.folder
    try:
        found = PixelFile(entry, contents.shape, contents.made_of)
    except FileNotFoundError:
        return None
    except DamagedError as error:
        if say:
            _say_damaged(entry, str(error))
        return None
    with suppress(OSError):  # evicted in the meantime: what is open stays
        os.utime(entry / RECORD)  # for eviction: used now
    return found


def _say_damaged(entry: Path, found: str) -> None:
    _log.warning("%s: expected whole %s; found %s: made again", entry, entry.parent.name, found)


def _lock_file(entry: Path) -> Path:
    return entry.with_name(f"{entry.name}.lock")


def _fill(contents: Contents) -> None:
    """Write an entry; the caller holds its lock."""
    entry, shape = contents.folder, contents.shape
    for left in entry.parent.glob(f".{entry.name}.*/"):
        remove_folder(left)  # by a process that died while it wrote
    remove_folder(entry)
    clear_place(entry, folder=True)
    _make_room(math.prod(shape), contents)
    number = 0
    block, sums, digest = block_size(shape), list[str](), hashlib.sha256()
    with replacing_folder(entry) as aside:
        with (aside / PIXELS).open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            for number, row in enumerate(contents.rows(), start=1):
                content = row.tobytes()
                digest.update(content)
                file.write(content)
                if number % block == 0 or number == shape[0]:
                    sums.append(digest.hexdigest())
                    digest = hashlib.sha256()
        if number != shape[0]:
            raise InputError(f"{entry}: expected {shape[0]} rows to keep; found {number}")
        record = {**contents.made_of, "sums": sums, "shape": shape, "source": contents.source}
        (aside / RECORD).write_text(json.dumps(record, indent=1))


def _make_room(needed: int, contents: Contents) -> None:
    """Evict what was unused for longest until ``needed`` bytes fit; what is being filled or made stays, and
    may take the folder above its limit for a while.

    Raises:
        InputError: they never will, or the disk is full.
    """
    limit = cache_limit()
    if needed > limit:
        raise InputError(
            f"WST_CACHE_LIMIT: expected at least {_gigabytes(needed)}, which the {contents.kind} of "
            f"{contents.source} take; found {_gigabytes(limit)}"
        )
    for folder in (left for kind in _KINDS for left in (cache_folder() / kind).glob(".*/")):
        _remove_unless_busy(folder)  # left by a process that died while it wrote
    present = entries()
    total = sum(entry.size for entry in present)
    # Features go first: they come from the splits.
    for entry in sorted(present, key=lambda entry: (entry.kind == "splits", entry.used)):
        if total + needed <= limit:
            break
        if _remove_unless_busy(entry.folder):
            total -= entry.size
    free = shutil.disk_usage(contents.folder.parent).free
    if free < needed:
        raise InputError(
            f"{cache_folder()}: expected {_gigabytes(needed)} free on the disk for the {contents.kind} of "
            f"{contents.source}; "
            f"found {_gigabytes(free)} (WST_CACHE names another folder)"
        )


def _remove_unless_busy(folder: Path) -> bool:
    """Remove an entry, or what is left of one; False where a process fills or makes it at this moment."""
    entry = folder.with_name(folder.name.lstrip(".").split(".")[0])
    with locked(_lock_file(entry), wait=False) as mine:
        if mine:
            remove_folder(folder)
        return mine


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
