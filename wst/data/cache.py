"""Decoded splits: each image read, decoded and resized once, kept as uint8 in one memory-mapped file.

The file's name is a hash over the list and over size and modification time of every image, so that a change
on disk makes a new entry.  An entry is a folder, filled aside and renamed into place; one process fills it
while the others wait at its lock.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from wst.data.vtab import ImageList
from wst.errors import InputError


@dataclass(frozen=True)
class DecodedSplit:
    """A split in memory-mapped form.

    Attributes:
        images: (N, 3, size, size) uint8, read only.
        labels: (N,) int64.
    """

    images: np.ndarray
    labels: np.ndarray


def cache_folder() -> Path:
    """``$WST_CACHE``, or ``wst`` in the user's cache folder."""
    explicit = os.environ.get("WST_CACHE")
    if explicit:
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "wst"


def preprocessing(size: int) -> str:
    """What is done to an image, in words that go into the ledger."""
    return f"RGB, {size} x {size}, bicubic, aspect ratio not kept"


def decode(content: bytes, size: int, path: Path) -> np.ndarray:
    """Decode an image file to RGB (3, size, size) uint8.

    Bicubic resizing by Pillow, which is what torchvision's ``Resize`` does to a PIL image; the aspect ratio
    is not kept, as in VTAB-1K.

    Raises:
        InputError: the file is no readable image.
    """
    try:
        with Image.open(BytesIO(content)) as image:
            resized = image.convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise _unreadable(path, content, error) from None
    return np.asarray(resized).transpose(2, 0, 1)


def load(listed: ImageList, size: int) -> DecodedSplit:
    """The decoded split, from the cache or put there now.

    Raises:
        InputError: an image that cannot be read.
    """
    entry = cache_folder() / "splits" / _key(listed, preprocessing(size))
    if not _whole(entry):
        with _locked(entry):
            if not _whole(entry):
                _fill(entry, listed, size)
    images = np.load(entry / "images.npy", mmap_mode="r")
    return DecodedSplit(images, np.array(listed.labels, np.int64))


def content_hash(listed: ImageList) -> str:
    """SHA-256 over every image file's bytes and label, in order; remembered until a file changes on disk.

    Raises:
        InputError: a file that is no image.
    """
    memo = cache_folder() / "hashes" / _key(listed, "hash")
    if memo.is_file():
        return memo.read_text()

    def read(path: Path) -> bytes:
        content = path.read_bytes()
        try:
            with Image.open(BytesIO(content)) as image:
                image.verify()
        except (OSError, ValueError, SyntaxError) as error:
            raise _unreadable(path, content, error) from None
        return hashlib.sha256(content).digest()

    digest = hashlib.sha256()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for file_hash, label in zip(pool.map(read, listed.images), listed.labels, strict=True):
            digest.update(file_hash + label.to_bytes(4, "big"))
    memo.parent.mkdir(parents=True, exist_ok=True)
    partial = memo.with_suffix(f".{os.getpid()}")
    partial.write_text(digest.hexdigest())
    partial.replace(memo)
    return digest.hexdigest()


def _unreadable(path: Path, content: bytes, error: Exception) -> InputError:
    return InputError(f"{path}: expected a readable image; found {len(content)} bytes ({error})")


def _key(listed: ImageList, purpose: str) -> str:
    digest = hashlib.sha256(f"{purpose}\n".encode())
    for path, label in zip(listed.images, listed.labels, strict=True):
        status = path.stat()
        digest.update(f"{path} {label} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:32]


def _whole(entry: Path) -> bool:
    return (entry / "images.npy").is_file()


@contextmanager
def _locked(entry: Path) -> Iterator[None]:
    entry.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(entry.with_suffix(".lock"), os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _fill(entry: Path, listed: ImageList, size: int) -> None:
    aside = Path(tempfile.mkdtemp(prefix=f"{entry.name}.", dir=entry.parent))
    try:
        shape = (len(listed.images), 3, size, size)
        images = np.lib.format.open_memmap(aside / "images.npy", mode="w+", dtype=np.uint8, shape=shape)
        # Pillow releases the interpreter's lock while it decodes and resizes.
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            for index, pixels in enumerate(
                pool.map(lambda p: decode(p.read_bytes(), size, p), listed.images)
            ):
                images[index] = pixels
        images.flush()
        shutil.rmtree(entry, ignore_errors=True)
        aside.replace(entry)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise
