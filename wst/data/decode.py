"""An image file's bytes to RGB pixels: the one decoder of cache, check, contact sheet and ``predict``.

What does not fit into 8 bits a sample is refused here, so that nothing downstream sees a picture that was
clipped on the way.
"""

from __future__ import annotations

import hashlib
import logging
import stat
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import ExifTags, Image, ImageColor, UnidentifiedImageError

from wst.data.ahead import ahead
from wst.errors import InputError
from wst.machine import usable_cpus
from wst.suggest import hint

_NO_PICTURES = frozenset({"PDF", "EPS", "WMF", "BUFR", "GRIB", "HDF5", "MPEG", "IPTC"})
"""Formats that are no pictures, that Pillow only identifies, or that take Ghostscript or Windows to open."""
_LARGEST_FILE = 2**30
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each stored orientation.  Not ``ImageOps.exif_transpose``, which writes the tags anew and fails
on those that are damaged elsewhere."""
_ONE_PICTURE = frozenset({"MPO", "PSD"})
"""Formats whose further frames are views or layers of the first."""

# Broken tags, many pixels: what Pillow only warns of decides nothing here; the check of data counts it.
warnings.filterwarnings("ignore", module=r"PIL\.")
logging.getLogger("PIL").addHandler(logging.NullHandler())


@cache
def formats() -> tuple[str, ...]:
    """Names of the formats that are read: those that Pillow opens by itself."""
    Image.init()
    return tuple(sorted(set(Image.OPEN) - _NO_PICTURES))


@cache
def endings() -> frozenset[str]:
    """Endings of the names of files in these formats: lower case, with the dot."""
    known = {*formats(), "MPO"}  # opened as JPEG
    return frozenset(ending for ending, form in Image.registered_extensions().items() if form in known)


Loss = Literal["CMYK", "palette", "alpha", "multi-frame"]
"""What a picture has and plain RGB has not: inks, a palette, transparency, frames after the first."""


Unusable = Literal["unreadable", "16-bit", "32-bit", "floating-point", "signed"]
"""What a picture is that cannot be read, or not without loss of its values."""


class UndecodableError(ValueError):
    """A picture that cannot be read, or not without loss of its values.

    Attributes:
        kind: which of them.
        found: what there is, in words.
    """

    def __init__(self, kind: Unusable, found: str):
        super().__init__(found)
        self.kind, self.found = kind, found


@dataclass(frozen=True)
class Picture:
    """A picture as it was read.

    Attributes:
        rgb: its pixels, in RGB.
        format: Pillow's name of the file's format.
        loss: what the file held besides; None for plain RGB or grey.
        detail: the same in words.
    """

    rgb: Image.Image
    format: str
    loss: Loss | None
    detail: str


@dataclass(frozen=True)
class Reading:
    """How a picture file becomes RGB pixels.

    Attributes:
        upright: apply the orientation that the file stores (EXIF), as viewers do.
        background: colour (:func:`opaque_colour`) that a transparent picture is laid on; None drops its
            transparency.
    """

    upright: bool = False
    background: str | None = None

    def __call__(self, content: bytes) -> Picture:
        """Read a picture whole; of several frames the first.

        Raises:
            UndecodableError: it is none, broken, or its values do not fit into 8 bits.
        """
        if not content:
            raise UndecodableError("unreadable", "0 bytes")
        try:
            with Image.open(BytesIO(content), formats=formats()) as image:
                if _deep(image, content):
                    raise UndecodableError(
                        _depth(image), f"mode {image.mode}: its values do not fit into 8 bits"
                    )
                image.load()
                loss, detail = self._loss(image)
                return Picture(self._rgb(image), image.format or "", loss, detail)
        except (UndecodableError, MemoryError):  # a lack of memory says nothing of the file
            raise
        except UnidentifiedImageError:
            reason = "in no format that is read"
        except Exception as error:  # Pillow's parsers fail in many ways on broken files
            reason = str(error).partition("\n")[0] or type(error).__name__
        raise UndecodableError("unreadable", f"{len(content)} bytes ({reason})")

    def of_image(self, image: Image.Image) -> Image.Image:
        """The pixels in RGB of a picture that is open.

        Raises:
            UndecodableError: it cannot be loaded, or its values do not fit into 8 bits.
        """
        if image.mode.startswith(("I", "F")):
            kind: Unusable = "floating-point" if image.mode == "F" else "32-bit"
            raise UndecodableError(kind, f"mode {image.mode}: its values do not fit into 8 bits")
        try:
            image.load()
            return self._rgb(image)
        except Exception as error:  # as when a file is read
            reason = str(error).partition("\n")[0] or type(error).__name__
            raise UndecodableError("unreadable", reason) from None

    def _rgb(self, image: Image.Image) -> Image.Image:
        if self.background is not None and image.has_transparency_data:
            if image.mode == "La":
                image = image.convert("LA")
            shown = image.convert("RGBA")
            rgb = Image.alpha_composite(Image.new("RGBA", shown.size, self.background), shown).convert("RGB")
        else:
            rgb = image.convert("RGB")
        turn = _UPRIGHT.get(_orientation(image)) if self.upright else None
        return rgb if turn is None else rgb.transpose(turn)

    def _loss(self, image: Image.Image) -> tuple[Loss | None, str]:
        if image.mode == "CMYK":
            return "CMYK", "converted to RGB without a colour profile"
        if image.has_transparency_data and self.background is None:
            return "alpha", f"mode {image.mode}: transparency is dropped"
        frames = 1
        if image.format not in _ONE_PICTURE:
            with suppress(Exception):  # broken after the first
                frames = getattr(image, "n_frames", 1)
        if frames > 1:
            return "multi-frame", f"{frames} frames: the first is read"
        if image.mode in ("P", "PA"):
            return "palette", "converted to RGB"
        return None, ""


AS_STORED = Reading()
"""As published results on VTAB-1K read its pictures."""


@dataclass(frozen=True)
class Preprocessing:
    """What is done to an image file before a model sees it.

    Attributes:
        size: side of the square image in pixels.
        reading: how the file becomes pixels.
    """

    size: int
    reading: Reading = AS_STORED

    @property
    def words(self) -> str:
        """The same as text, for the ledger and the cache."""
        parts = [f"RGB, {self.size} x {self.size}, bicubic, aspect ratio not kept"]
        if self.reading.upright:
            parts.append("stored orientation applied")
        if self.reading.background is not None:
            parts.append(f"transparency on {opaque_colour(self.reading.background)}")
        return ", ".join(parts)

    def decode(self, content: bytes, path: Path) -> np.ndarray:
        """Decode an image file to RGB (3, size, size) uint8.

        Bicubic resizing by Pillow, which is what torchvision's ``Resize`` does to a PIL image; the aspect
        ratio is not kept, as in VTAB-1K.

        Args:
            content: the file's bytes.
            path: its name in messages.

        Raises:
            InputError: the file is no readable image, or its values do not fit into 8 bits.
        """
        try:
            picture = self.reading(content)
        except UndecodableError as error:
            raise unreadable(path, error) from None
        return self.resized(picture.rgb)

    def resized(self, rgb: Image.Image) -> np.ndarray:
        """A picture in RGB as (3, size, size) uint8."""
        square = rgb.resize((self.size, self.size), Image.Resampling.BICUBIC)
        return np.asarray(square).transpose(2, 0, 1)


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (none) where the file's tags cannot be read."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:
        return 1


def _deep(image: Any, content: bytes) -> bool:
    """Whether a picture that is not loaded yet has values of more than 8 bits, which Pillow clips or cuts."""
    if image.mode.startswith(("I", "F")):
        return True
    match image.format:
        case "PNG":
            return content[24] == 16  # bit depth, in the header chunk
        case "TIFF":
            tags = image.tag_v2
            signed = not set(tags.get(ExifTags.Base.SampleFormat, (1,))) <= {1, 4}
            return signed or max(tags.get(ExifTags.Base.BitsPerSample, (1,))) > 8
        case "JPEG2000":
            start = content.find(b"\xff\x4f\xff\x51")  # the codestream's size marker
            return start >= 0 and (content[start + 42] & 0x7F) + 1 > 8
        case "SGI":
            return content[3] > 1  # bytes a value
        case "PPM":
            codec, _, _, arguments = image.tile[0]
            return bool(codec.startswith("ppm") and arguments[-1] > 255)  # the largest value
        case "DDS":
            codec, _, _, arguments = image.tile[0]
            return bool(codec == "bcn" and arguments[0] == 6)  # BC6H, of half floats
    return False


def _depth(image: Any) -> Unusable:
    """The word for a picture whose values do not fit into 8 bits, by how they are stored."""
    tags = image.tag_v2 if image.format == "TIFF" else {}
    kinds, bits = tags.get(ExifTags.Base.SampleFormat, (1,)), tags.get(ExifTags.Base.BitsPerSample, (16,))
    if image.mode.startswith("F") or 3 in kinds or image.format == "DDS":
        return "floating-point"
    return "32-bit" if max(bits) > 16 else "16-bit" if max(bits) > 8 else "signed"


def opaque_colour(text: str) -> str:
    """A colour that Pillow's ImageColor knows (``white``, ``#fff``, ``hsl(0, 0%, 100%)``), as ``#ffffff``.

    Raises:
        InputError: it knows none of that name, a value is beyond its range, or it is transparent itself.
    """
    try:
        red, green, blue, *alpha = ImageColor.getrgb(text)
    except ValueError:
        near = hint(text, ImageColor.colormap)
        raise InputError(f"expected a colour such as white or '#c0c0c0'; found {text!r}{near}") from None
    if max(red, green, blue) > 255:  # as Pillow takes rgb(256, 0, 0) and hsl(0, 0%, 200%)
        raise InputError(f"expected a colour of values up to 255 or 100 %; found {text!r}")
    if alpha and alpha != [255]:
        raise InputError(f"expected a colour that is not transparent itself; found {text!r}")
    return f"#{red:02x}{green:02x}{blue:02x}"


def content_of(path: Path) -> bytes:
    """An image file's bytes.  Only a regular file is opened: a pipe of that name would never end.

    Raises:
        InputError: there is none, or it cannot be read.
    """
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode) and status.st_size <= _LARGEST_FILE:
            return path.read_bytes()
    except (OSError, ValueError) as error:  # the latter for a name with a NUL
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: expected an image file; found none ({reason})") from None
    kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no regular file"
    found = f"{status.st_size:,} bytes" if stat.S_ISREG(status.st_mode) else kind
    raise InputError(f"{path}: expected an image file; found {found}")


def unreadable(path: object, error: UndecodableError) -> InputError:
    """The line for an image file that cannot be decoded."""
    what = "a readable image" if error.kind == "unreadable" else "8 bits a value"
    return InputError(f"{path}: expected {what}; found {error.found}")


def decode_all(images: Sequence[Path], preprocessing: Preprocessing) -> Iterator[tuple[np.ndarray, bytes]]:
    """Decoded images in order, a few ahead, each with the SHA-256 of the very bytes that were decoded.

    Pillow lets other threads run while it decodes and resizes.
    """
    workers = usable_cpus()

    def read(path: Path) -> tuple[np.ndarray, bytes]:
        content = content_of(path)
        return preprocessing.decode(content, path), hashlib.sha256(content).digest()

    with ThreadPoolExecutor(workers) as pool:
        yield from ahead(pool, read, images, 8 * workers)
