"""An image file's bytes to RGB pixels of one size: the one decoder of cache, check, contact sheet and
``predict``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from wst.data.ahead import ahead
from wst.errors import InputError


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image file before a model sees it.

    Attributes:
        size: side of the square image in pixels.
        upright: apply the orientation that the file stores (EXIF), as viewers do.
        background: colour (:func:`opaque_colour`) that a transparent picture is laid on; None drops its
            transparency.
    """

    size: int
    upright: bool = False
    background: str | None = None

    @property
    def words(self) -> str:
        """The same as text, for the ledger and the cache."""
        parts = [f"RGB, {self.size} x {self.size}, bicubic, aspect ratio not kept"]
        if self.upright:
            parts.append("stored orientation applied")
        if self.background is not None:
            parts.append(f"transparency on {opaque_colour(self.background)}")
        return ", ".join(parts)

    def decode(self, content: bytes, path: Path) -> np.ndarray:
        """Decode an image file to RGB (3, size, size) uint8.

        Bicubic resizing by Pillow, which is what torchvision's ``Resize`` does to a PIL image; the aspect
        ratio is not kept, as in VTAB-1K.

        Args:
            content: the file's bytes.
            path: its name in messages.

        Raises:
            InputError: the file is no readable image.
        """
        try:
            with Image.open(BytesIO(content)) as image:
                resized = image.convert("RGB").resize((self.size, self.size), Image.Resampling.BICUBIC)
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise unreadable(path, content, error) from None
        return np.asarray(resized).transpose(2, 0, 1)


def opaque_colour(text: str) -> str:
    """A colour that Pillow's ImageColor knows (``white``, ``#fff``, ``hsl(0, 0%, 100%)``), as ``#ffffff``.

    Raises:
        InputError: it knows none of that name, or it is transparent itself.
    """
    try:
        red, green, blue, *alpha = ImageColor.getrgb(text)
    except ValueError:
        raise InputError(f"expected a colour such as white or '#c0c0c0'; found {text!r}") from None
    if alpha and alpha != [255]:
        raise InputError(f"expected a colour that is not transparent itself; found {text!r}")
    return f"#{red:02x}{green:02x}{blue:02x}"


def unreadable(path: Path, content: bytes, error: Exception) -> InputError:
    """The line for an image file that Pillow cannot read."""
    return InputError(f"{path}: expected a readable image; found {len(content)} bytes ({error})")


def decode_all(images: Sequence[Path], preprocessing: Preprocessing) -> Iterator[np.ndarray]:
    """Decoded images in order, a few ahead; Pillow lets other threads run while it decodes and resizes."""
    workers = os.cpu_count() or 1
    with ThreadPoolExecutor(workers) as pool:
        yield from ahead(
            pool, lambda path: preprocessing.decode(path.read_bytes(), path), images, 8 * workers
        )
