"""What is in an image file: does it decode whole, and to what?"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass
from typing import get_args

from PIL import Image

from wst.data.decode import AS_STORED, Loss, Reading, UndecodableError, Unusable

ImageProblem = Unusable | Loss
UNUSABLE: frozenset[ImageProblem] = frozenset(get_args(Unusable))
"""Problems with which an image must not be used; the others are converted to RGB."""


looking_at = threading.local()
"""``digest``: SHA-256 of the image file that this thread looked at last."""


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
    digest = looking_at.digest = hashlib.sha256(content).digest()
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
