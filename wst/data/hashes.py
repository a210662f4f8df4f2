"""Hashes of images and labels, remembered until a file changes on disk."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

from PIL import Image

from wst.data.decode import UndecodableError, content_of, formats, unreadable
from wst.data.lists import ImageList
from wst.files import replacing
from wst.machine import usable_cpus


def cache_folder() -> Path:
    """``$WST_CACHE``, or ``wst`` in the user's cache folder."""
    explicit = os.environ.get("WST_CACHE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wst"


def content_hash(listed: ImageList) -> str:
    """SHA-256 over every image file's bytes and label, in order; remembered until a file changes on disk.

    Raises:
        InputError: a file that is no image.
    """
    return _hashes(listed)[0]


def images_hash(listed: ImageList) -> str:
    """SHA-256 over every image file's bytes, in order: equal for tasks that share images.

    Raises:
        InputError: a file that is no image.
    """
    return _hashes(listed)[1]


def remember_hashes(listed: ImageList, files: Sequence[bytes]) -> str:
    """Combine the SHA-256 digests of a split's files, keep the result, and return the content hash."""
    content, images = hashlib.sha256(), hashlib.sha256()
    for digest, label in zip(files, listed.labels, strict=True):
        content.update(digest + label.to_bytes(4, "big"))
        images.update(digest)
    with replacing(_memo(listed), several=True) as aside:
        aside.write_text(f"{content.hexdigest()} {images.hexdigest()}\n")
    return content.hexdigest()


def _memo(listed: ImageList) -> Path:
    digest = hashlib.sha256()
    for path, label in zip(listed.images, listed.labels, strict=True):
        status = path.stat()
        digest.update(
            f"{path.absolute()} {label} {status.st_size} {status.st_mtime_ns}\n".encode(
                errors="surrogateescape"
            )
        )
    return cache_folder() / "hashes" / digest.hexdigest()[:32]


def _hashes(listed: ImageList) -> tuple[str, str]:
    memo = _memo(listed)
    if not memo.is_file() or not re.fullmatch(
        r"[0-9a-f]{64} [0-9a-f]{64}\n", memo.read_text(errors="replace")
    ):
        with ThreadPoolExecutor(usable_cpus()) as pool:
            remember_hashes(listed, list(pool.map(_file_hash, listed.images)))
    content, images = memo.read_text().split()
    return content, images


def _file_hash(path: Path) -> bytes:
    content = content_of(path)
    try:
        with Image.open(BytesIO(content), formats=formats()) as image:
            image.verify()
    except Exception as error:  # Pillow's parsers fail in many ways on broken files
        reason = f"{len(content)} bytes ({str(error) or type(error).__name__})"
        raise unreadable(path, UndecodableError("unreadable", reason)) from None
    return hashlib.sha256(content).digest()
