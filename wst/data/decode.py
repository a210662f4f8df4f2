"""An image file's bytes to RGB pixels of one size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from wst.data.ahead import ahead
from wst.errors import InputError
from wst.machine import usable_cpus


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
        raise unreadable(path, content, error) from None
    return np.asarray(resized).transpose(2, 0, 1)


def unreadable(path: Path, content: bytes, error: Exception) -> InputError:
    """The line for an image file that Pillow cannot read."""
    return InputError(f"{path}: expected a readable image; found {len(content)} bytes ({error})")


def decode_all(images: Sequence[Path], size: int) -> Iterator[np.ndarray]:
    """Decoded images in order, a few ahead; Pillow lets other threads run while it decodes and resizes."""
    workers = usable_cpus()
    with ThreadPoolExecutor(workers) as pool:
        yield from ahead(pool, lambda path: decode(path.read_bytes(), size, path), images, 8 * workers)
