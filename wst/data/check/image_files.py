"""What is in an image file: does it decode whole, and to what?"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import Literal

from PIL import Image

ImageProblem = Literal["unreadable", "16-bit", "CMYK", "palette", "alpha"]
UNUSABLE: frozenset[ImageProblem] = frozenset({"unreadable", "16-bit"})
"""Problems with which an image must not be used; the others are converted to RGB by Pillow."""


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


def examine(content: bytes) -> Examined:
    """Decode the content of an image file."""
    digest = hashlib.sha256(content).digest()
    if not content:
        return Examined(digest, problem="unreadable", detail="0 bytes")
    try:
        with Image.open(BytesIO(content)) as image:
            mode, form, size = image.mode, image.format or "", image.size
            pixels = pixel_hash(image)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        return Examined(digest, problem="unreadable", detail=f"{len(content)} bytes ({error})")
    problem, detail = _problem(mode, form, content)
    return Examined(digest, pixels, form, size, problem, detail)


def pixel_hash(image: Image.Image) -> bytes:
    """SHA-256 of an image's size and RGB pixels."""
    width, height = image.size
    return hashlib.sha256(f"{width}x{height}\n".encode() + image.convert("RGB").tobytes()).digest()


def _problem(mode: str, form: str, content: bytes) -> tuple[ImageProblem | None, str]:
    deep_png = form == "PNG" and content[24] == 16  # bit depth, in the header chunk
    if mode.startswith(("I", "F")) or deep_png:
        return "16-bit", f"mode {mode}: its values do not fit into 8 bits"
    if mode == "CMYK":
        return "CMYK", "converted to RGB without a colour profile"
    if mode in ("P", "PA"):
        return "palette", "converted to RGB"
    if mode in ("RGBA", "LA", "La", "RGBa", "RGBX"):
        return "alpha", f"mode {mode}: transparency is dropped"
    return None, ""
