"""Decoded splits: each image read, decoded and resized once, kept as uint8 in one file.

An entry is a folder named after the content of the images and the preprocessing, with ``images.npy`` and a
record ``entry.json`` that holds both as well, and a SHA-256 for every block of images.  What is decoded is
hashed on the way, so that an entry holds the very images that it is named after.  It is filled aside and
renamed into place; one process fills it while the others wait at its lock.  Blocks are compared with their
sums whenever they are read (:mod:`wst.data.decoded`); an entry that does not hold is made again, and a line
of the log says so.  The folder stays below ``$WST_CACHE_LIMIT``: what was unused for longest goes first,
never what is just being filled.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ByteSize, TypeAdapter, ValidationError

from wst.data import memo
from wst.data.decode import Preprocessing, decode_all
from wst.data.decoded import PIXELS, RECORD, DamagedError, DecodedSplit, PixelFile, block_size
from wst.data.hashes import images_hash, over
from wst.data.lists import ImageList
from wst.data.memo import cache_folder
from wst.errors import ChangedError, InputError
from wst.files import clear_place, locked, remove_folder, replacing_folder

DEFAULT_LIMIT = "64GB"
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class CacheEntry:
    """One decoded split in the cache.

    Attributes:
        source: list file (or folder) that it was made from.
        images: number of images.
        size: bytes on disk.
        used: time of the last use, seconds since the epoch.
    """

    folder: Path
    source: str
    images: int
    preprocessing: str
    size: int
    used: float


def cache_limit() -> int:
    """Bytes that decoded splits may take: ``$WST_CACHE_LIMIT``, such as ``20GB``.

    Raises:
        InputError: it is no size.
    """
    text = os.environ.get("WST_CACHE_LIMIT") or DEFAULT_LIMIT
    try:
        return TypeAdapter(ByteSize).validate_python(text)
    except ValidationError:
        raise InputError(f"WST_CACHE_LIMIT: expected a size such as 20GB; found {text!r}") from None


def load(listed: ImageList, preprocessing: Preprocessing, images: str | None = None) -> DecodedSplit:
    """The decoded split, from the cache or put there now.

    Args:
        listed: the images, and their labels.
        preprocessing: what is done to them.
        images: the images hash that they must have; the one that they have now where it is left out.

    Raises:
        ChangedError: an image that is to be decoded is no longer that of the hash.
        InputError: an image that cannot be read, or too little room for the split.
    """
    words, size = preprocessing.words, preprocessing.size
    shape = (len(listed.images), 3, size, size)
    made_of = {"preprocessing": words, "images": images or images_hash(listed)}
    entry = _splits() / hashlib.sha256(f"{words}\n{made_of['images']}".encode()).hexdigest()[:32]

    def make(broken: PixelFile | None = None, reason: str = "") -> PixelFile:
        clear_place(_splits(), folder=True)
        clear_place(_lock_file(entry.name), folder=False)
        with locked(_lock_file(entry.name)):
            found = _open(entry, shape, made_of, say=True)
            if found is not None and (broken is None or found.inode != broken.inode):
                return found  # made by another process, meanwhile
            if broken is not None:
                _say_damaged(entry, reason)
            _fill(entry, listed, preprocessing, made_of)
            found = _open(entry, shape, made_of)
        if found is None:
            raise InputError(f"{entry}: expected the pixels just written; found others (a failing disk?)")
        return found

    return DecodedSplit(_open(entry, shape, made_of) or make(), np.array(listed.labels, np.int64), make)


def entries() -> list[CacheEntry]:
    """What is in the cache, the longest unused first."""
    found = []
    for record in _splits().glob(f"*/{RECORD}"):
        if record.parent.name.startswith("."):
            continue  # just being filled
        try:
            described = json.loads(record.read_text())
            found.append(
                CacheEntry(
                    record.parent,
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
    """Remove every decoded split and whatever is remembered of images; return the splits' bytes.

    Processes that are using a split keep it until they end; one that is just being filled stays.
    """
    freed = 0
    for folder in (child for child in _splits().glob("*") if child.is_dir()):
        size = _size(folder)
        freed += size if _remove_unless_busy(folder) else 0
    for kind in (memo.HASHES, memo.CHECKS, memo.IMAGES, memo.FOLDERS):
        shutil.rmtree(cache_folder() / kind, ignore_errors=True)
    return freed


def _splits() -> Path:
    return cache_folder() / "splits"


def _open(
    entry: Path, shape: tuple[int, ...], made_of: Mapping[str, str], *, say: bool = False
) -> PixelFile | None:
    """The entry's pixels, or None if it is not there or damaged."""
    try:
        found = PixelFile(entry, shape, made_of)
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
    _log.warning("%s: expected a whole split; found %s: made again", entry, found)


def _lock_file(key: str) -> Path:
    return _splits() / f"{key}.lock"


def _fill(entry: Path, listed: ImageList, preprocessing: Preprocessing, made_of: Mapping[str, str]) -> None:
    """Decode a split into ``entry``; the caller holds its lock.

    Raises:
        ChangedError: what was decoded is not what the entry is made of.
    """
    for left in entry.parent.glob(f".{entry.name}.*/"):
        remove_folder(left)  # by a process that died while it decoded
    remove_folder(entry)
    clear_place(entry, folder=True)
    size = preprocessing.size
    shape = (len(listed.images), 3, size, size)
    _make_room(math.prod(shape), listed.file)
    block, sums, digest, files = block_size(shape), list[str](), hashlib.sha256(), list[bytes]()
    with replacing_folder(entry) as aside:
        with (aside / PIXELS).open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            for number, (pixels, of_file) in enumerate(decode_all(listed.images, preprocessing), start=1):
                files.append(of_file)
                content = pixels.tobytes()
                digest.update(content)
                file.write(content)
                if number % block == 0 or number == len(listed.images):
                    sums.append(digest.hexdigest())
                    digest = hashlib.sha256()
        if over(files) != made_of["images"]:
            raise ChangedError(
                f"{listed.file}: expected its images to stay as they were while they are decoded; "
                "found them changed"
            )
        record = {**made_of, "sums": sums, "shape": shape, "source": str(listed.file)}
        (aside / RECORD).write_text(json.dumps(record, indent=1))


def _make_room(needed: int, source: Path) -> None:
    """Evict what was unused for longest until ``needed`` bytes fit; what is being filled or made stays, and
    may take the folder above its limit for a while.

    Raises:
        InputError: they never will, or the disk is full.
    """
    limit = cache_limit()
    if needed > limit:
        raise InputError(
            f"WST_CACHE_LIMIT: expected at least {_gigabytes(needed)}, which {source} takes when decoded; "
            f"found {_gigabytes(limit)}"
        )
    for folder in _splits().glob(".*/"):
        _remove_unless_busy(folder)  # left by a process that died while it decoded
    present = entries()
    total = sum(entry.size for entry in present)
    for entry in present:
        if total + needed <= limit:
            break
        if _remove_unless_busy(entry.folder):
            total -= entry.size
    free = shutil.disk_usage(_splits()).free
    if free < needed:
        raise InputError(
            f"{cache_folder()}: expected {_gigabytes(needed)} free on the disk for {source} when decoded; "
            f"found {_gigabytes(free)} (WST_CACHE names another folder)"
        )


def _remove_unless_busy(folder: Path) -> bool:
    """Remove an entry, or what is left of one; False where a process fills or makes it at this moment."""
    with locked(_lock_file(folder.name.lstrip(".").split(".")[0]), wait=False) as mine:
        if mine:
            remove_folder(folder)
        return mine


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
