"""Hashes of images and labels, remembered until a file changes on disk."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from wst.data import memo
from wst.data.decode import content_of
from wst.data.lists import ImageList
from wst.data.memo import cache_folder as cache_folder
from wst.errors import InputError
from wst.machine import usable_cpus


def content_hash(listed: ImageList) -> str:
    """SHA-256 over every image file's bytes and label, in order; remembered until a file changes on disk.

    Raises:
        InputError: a file is gone, or is none that can be read from front to back.
    """
    return _hashes(listed)[0]


def images_hash(listed: ImageList) -> str:
    """SHA-256 over every image file's bytes, in order: equal for tasks that share images.

    Raises:
        InputError: as :func:`content_hash`.
    """
    return _hashes(listed)[1]


def stamp(listed: ImageList) -> str:
    """A hash that changes when a list, or one of its files on disk, does; no file is read.

    It goes over each file's path and label, its size, and the times at which its content and it itself
    changed last.

    Raises:
        InputError: as :func:`content_hash`.
    """
    digest = hashlib.sha256()
    here = os.getcwd()  # noqa: PTH109 (as below: many files)
    for path, label in zip(listed.images, listed.labels, strict=True):
        name = os.path.join(here, path)  # noqa: PTH118
        try:
            status = os.stat(name)  # noqa: PTH116
        except OSError as error:
            raise InputError(f"{path}: expected an image file; found: {error.strerror}") from None
        if not stat.S_ISREG(status.st_mode):
            raise InputError(f"{path}: expected an image file; found something else")
        line = f"{name} {label} {status.st_size} {status.st_mtime_ns} {status.st_ctime_ns}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return digest.hexdigest()


def remember_hashes(listed: ImageList, stamped: str, digests: Sequence[bytes]) -> tuple[str, str]:
    """Content hash and images hash from each file's SHA-256, as if :func:`content_hash` had read them.

    Args:
        listed: the images.
        stamped: their :func:`stamp`, taken before they were read: what changed since shows.
        digests: SHA-256 of each file, in order.
    """
    content, images = hashlib.sha256(), hashlib.sha256()
    for digest, label in zip(digests, listed.labels, strict=True):
        content.update(digest + label.to_bytes(4, "big"))
        images.update(digest)
    found = content.hexdigest(), images.hexdigest()
    memo.keep(memo.HASHES, stamped[:32], found)
    return found


def _hashes(listed: ImageList) -> tuple[str, str]:
    stamped = stamp(listed)
    known = memo.recall(memo.HASHES, stamped[:32])
    if known is None:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            return remember_hashes(listed, stamped, list(pool.map(_file_hash, listed.images)))
    content, images = known
    return content, images


def _file_hash(path: Path) -> bytes:
    return hashlib.sha256(content_of(path)).digest()
