"""Decoded splits: each image read, decoded and resized once, kept as uint8 in one memory-mapped file.

An entry is a folder named after the content of the images and the preprocessing, with ``images.npy`` and a
record ``entry.json`` that holds the SHA-256 of the pixels.  It is filled aside and renamed into place; one
process fills it while the others wait at its lock, and an entry whose pixels do not have the recorded hash is
made again.  The folder stays below ``$WST_CACHE_LIMIT``: what was unused for longest goes first.
"""

from __future__ import annotations

import hashlib
import json
import math
import mmap
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from pydantic import ByteSize, TypeAdapter, ValidationError

from wst.data.decode import Preprocessing, decode_all
from wst.data.hashes import cache_folder, images_hash
from wst.data.lists import ImageList
from wst.errors import InputError
from wst.files import locked, remove_folder, replacing_folder

DEFAULT_LIMIT = "64GB"


@dataclass(frozen=True)
class DecodedSplit:
    """A split in memory-mapped form.

    Attributes:
        images: (N, 3, size, size) uint8, read only.
        labels: (N,) int64.
    """

    images: np.ndarray
    labels: np.ndarray
    _mapping: mmap.mmap = field(repr=False)

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and labels, ``size`` at a time, copied; what was read leaves the process's memory again.

        So a test split of any size takes the memory of one batch.
        """
        for start in range(0, len(self.labels), size):
            yield np.array(self.images[start : start + size]), self.labels[start : start + size]
            self._mapping.madvise(mmap.MADV_DONTNEED)


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


def load(listed: ImageList, preprocessing: Preprocessing) -> DecodedSplit:
    """The decoded split, from the cache or put there now.

    Raises:
        InputError: an image that cannot be read, or too little room for the split.
    """
    words, size = preprocessing.words, preprocessing.size
    shape = (len(listed.images), 3, size, size)
    entry = _splits() / hashlib.sha256(f"{words}\n{images_hash(listed)}".encode()).hexdigest()[:32]
    found = _open(entry, shape)
    if found is None:
        with locked(_lock_file(entry.name)):
            found = _open(entry, shape)
            if found is None:
                _fill(entry, listed, preprocessing)
                found = _open(entry, shape)
    if found is None:
        raise InputError(f"{entry}: expected the pixels just written; found others (a failing disk?)")
    images, mapping = found
    return DecodedSplit(images, np.array(listed.labels, np.int64), mapping)


def entries() -> list[CacheEntry]:
    """What is in the cache, the longest unused first."""
    found = []
    for record in _splits().glob("*/entry.json"):
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
    """Remove every decoded split, remembered hash and index of a folder; return the splits' bytes.

    Processes that are using a split keep it until they end; one that is just being filled stays.
    """
    freed = 0
    for folder in (child for child in _splits().glob("*") if child.is_dir()):
        key = folder.name.lstrip(".").split(".")[0]
        with locked(_lock_file(key), wait=False) as mine:
            if mine:
                freed += _size(folder)
                remove_folder(folder)
    for kind in ("hashes", "folders"):
        shutil.rmtree(cache_folder() / kind, ignore_errors=True)
    return freed


def _splits() -> Path:
    return cache_folder() / "splits"


_verified: dict[Path, tuple[int, int, int]] = {}
"""Inode, size and modification time of the files whose hash this process has checked."""


def _open(entry: Path, shape: tuple[int, ...]) -> tuple[np.ndarray, mmap.mmap] | None:
    """The entry's images and their mapping, or None if it is not there or damaged."""
    try:
        record = json.loads((entry / "entry.json").read_text())
        with (entry / "images.npy").open("rb") as file:
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            start, status = file.tell(), os.fstat(file.fileno())
            whole = found == shape and not fortran and dtype == np.dtype(np.uint8)
            if not whole or status.st_size != start + math.prod(shape):
                return None
            stamp = (status.st_ino, status.st_size, status.st_mtime_ns)
            if _verified.get(entry) != stamp:
                if hashlib.file_digest(file, "sha256").hexdigest() != record["sha256"]:
                    return None
                _verified[entry] = stamp
            mapping = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ)
        os.utime(entry / "entry.json")  # for eviction: used now
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return np.frombuffer(mapping, np.uint8, offset=start).reshape(shape), mapping


def _lock_file(key: str) -> Path:
    return _splits() / f"{key}.lock"


def _fill(entry: Path, listed: ImageList, preprocessing: Preprocessing) -> None:
    """Decode a split into ``entry``; the caller holds its lock."""
    for left in entry.parent.glob(f".{entry.name}.*/"):
        remove_folder(left)  # by a process that died while it decoded
    remove_folder(entry)
    shape = (len(listed.images), 3, preprocessing.size, preprocessing.size)
    _make_room(math.prod(shape), listed.file)
    with replacing_folder(entry) as aside:
        digest = hashlib.sha256()
        with (aside / "images.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(
                file, {"descr": "|u1", "fortran_order": False, "shape": shape}
            )
            for pixels in decode_all(listed.images, preprocessing):
                content = pixels.tobytes()
                digest.update(content)
                file.write(content)
        record = {
            "sha256": digest.hexdigest(),
            "shape": shape,
            "preprocessing": preprocessing.words,
            "source": str(listed.file),
        }
        (aside / "entry.json").write_text(json.dumps(record, indent=1))


def _make_room(needed: int, source: Path) -> None:
    """Evict what was unused for longest until ``needed`` bytes fit.

    Raises:
        InputError: they never will, or the disk is full.
    """
    limit = cache_limit()
    if needed > limit:
        raise InputError(
            f"WST_CACHE_LIMIT: expected at least {_gigabytes(needed)}, which {source} takes when decoded; "
            f"found {_gigabytes(limit)}"
        )
    present = entries()
    total = sum(entry.size for entry in present)
    for entry in present:
        if total + needed <= limit:
            break
        remove_folder(entry.folder)
        total -= entry.size
    free = shutil.disk_usage(_splits()).free
    if free < needed:
        raise InputError(
            f"{cache_folder()}: expected {_gigabytes(needed)} free on the disk for {source} when decoded; "
            f"found {_gigabytes(free)} (WST_CACHE names another folder)"
        )


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.3g} GB"


def _size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
