"""Hashes of images and labels, remembered until a file changes on disk."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from wst.data import memo
from wst.data.decode import content_of
from wst.data.lists import ImageList
from wst.errors import InputError
from wst.machine import usable_cpus


class Hashes(NamedTuple):
    """SHA-256 over a list's files.

    Attributes:
        content: every file's bytes and label, in order.
        images: every file's bytes, in order: equal for tasks that share images.
    """

    content: str
    images: str


def content_hash(listed: ImageList) -> str:
    """SHA-256 over every image file's bytes and label, in order; remembered until a file changes on disk.

    Raises:
        InputError: a file is gone, or is none that can be read from front to back.
    """
    return hashes(listed).content


def images_hash(listed: ImageList) -> str:
    """SHA-256 over every image file's bytes, in order: equal for tasks that share images.

    Raises:
        InputError: as :func:`content_hash`.
    """
    return hashes(listed).images


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


def remember_hashes(listed: ImageList, stamped: str, digests: Sequence[bytes]) -> Hashes:
    """Content hash and images hash from each file's SHA-256, as if :func:`content_hash` had read them.

    Args:
        listed: the images.
        stamped: their :func:`stamp`, taken before they were read: what changed since shows.
        digests: SHA-256 of each file, in order.
    """
    content = hashlib.sha256()
    for digest, label in zip(digests, listed.labels, strict=True):
        content.update(digest + label.to_bytes(4, "big"))
    found = Hashes(content.hexdigest(), over(digests))
    memo.keep(memo.HASHES, stamped[:32], found)
    return found


def over(digests: Iterable[bytes]) -> str:
    """The images hash of files with these SHA-256, in order."""
    images = hashlib.sha256()
    for digest in digests:
        images.update(digest)
    return images.hexdigest()


def hashes(listed: ImageList) -> Hashes:
    """Both hashes, of the same look at the disk; remembered until a file changes there.

    Raises:
        InputError: as :func:`content_hash`.
    """
    stamped = stamp(listed)
    known = memo.recall(memo.HASHES, stamped[:32])
    if known is None:
        with ThreadPoolExecutor(usable_cpus()) as pool:
            return remember_hashes(listed, stamped, list(pool.map(_file_hash, listed.images)))
    return Hashes(*known)


def _file_hash(path: Path) -> bytes:
    return hashlib.sha256(content_of(path)).digest()
