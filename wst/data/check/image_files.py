"""Looking at image files one by one, in parallel: do they open, and what is in them?"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from PIL import Image

from wst.data.ahead import ahead
from wst.data.decode import AS_STORED, Loss, Reading, UndecodableError, content_of
from wst.errors import InputError
from wst.machine import usable_cpus

ImageProblem = Literal["unreadable", "16-bit"] | Loss
UNUSABLE: frozenset[ImageProblem] = frozenset({"unreadable", "16-bit"})
"""Problems with which an image must not be used; the others are converted to RGB."""

_CHUNK = 32


@dataclass(frozen=True)
class Examined:
    """What one image file holds.

    Attributes:
        digest: SHA-256 of the file's bytes.
        pixels: SHA-256 of size and RGB pixels, the same for every lossless encoding; empty if unreadable.
        format: Pillow's name of the format, or an empty string.
        size: width and height in pixels.
        problem: what keeps it from being plain 8-bit RGB or grey, or None.
        detail: the problem in words.
    """

    digest: bytes
    pixels: bytes = b""
    format: str = ""
    size: tuple[int, int] = (0, 0)
    problem: ImageProblem | None = None
    detail: str = ""


def examine(content: bytes, reading: Reading = AS_STORED) -> Examined:
    """Decode the content of an image file, as it is for training."""
    digest = hashlib.sha256(content).digest()
    try:
        picture = reading(content)
    except UndecodableError as error:
        return Examined(digest, problem=error.kind, detail=error.found)
    return Examined(
        digest,
        pixel_hash(picture.rgb),
        picture.format,
        picture.rgb.size,
        picture.loss,
        picture.detail,
    )


def pixel_hash(rgb: Image.Image) -> bytes:
    """SHA-256 of an RGB image's size and pixels."""
    width, height = rgb.size
    return hashlib.sha256(f"{width}x{height}\n".encode() + rgb.tobytes()).digest()


def examine_all(
    paths: Sequence[Path],
    jobs: int | None = None,
    on_done: Callable[[int], None] = lambda count: None,
    reading: Reading = AS_STORED,
) -> Iterator[Examined]:
    """Examine many files in order, several at a time.

    Threads do: Pillow and hashlib let others run while they decode and hash.

    Args:
        paths: image files.
        jobs: threads; one a CPU when left out.
        on_done: told how many more are finished.
        reading: how they become pixels.
    """
    jobs = jobs or usable_cpus()
    chunks = [paths[start : start + _CHUNK] for start in range(0, len(paths), _CHUNK)]
    with ThreadPoolExecutor(jobs) as pool:
        for found in ahead(pool, lambda chunk: [_examine(path, reading) for path in chunk], chunks, 4 * jobs):
            on_done(len(found))
            yield from found


def _examine(path: Path, reading: Reading) -> Examined:
    try:
        return examine(content_of(path), reading)
    except InputError as error:
        return Examined(b"", problem="unreadable", detail=str(error).rpartition("; found ")[2])
