"""What TensorFlow Datasets does to pictures of SUN397 and Diabetic Retinopathy before it stores them.

It uses OpenCV; the same steps are done here with NumPy, SciPy and Pillow.  A resized value may differ by a
grey level, since OpenCV rounds in fixed point; subtracting the local average makes that four.
"""

from __future__ import annotations

import math
from io import BytesIO

import numpy as np
from PIL import Image

SUN397_PIXELS = 120_000
RADIUS = 300
_GREY = 128


def sun397(content: bytes) -> bytes:
    """Shrink a picture to about 120,000 pixels if it has more; JPEG of quality 95 in any case."""
    image = _rgb(content)
    height, width = image.shape[:2]
    if height * width > SUN397_PIXELS:
        factor = math.sqrt(SUN397_PIXELS / (height * width))
        image = _quantise(bilinear(image, factor))
    return _jpeg(image, 95)


def retinopathy(content: bytes, radius: int = RADIUS) -> bytes:
    """Configuration ``btgraham-300``: scale the eye to a radius of 300 pixels, subtract the local average,
    mask to nine tenths of the radius and crop to that; JPEG of quality 72.

    B. Graham, winner of the 2015 Kaggle competition; as in TensorFlow Datasets' ``diabetic_retinopathy``.
    """
    image = _rgb(content)
    image = _quantise(bilinear(image, radius / eye_radius(image)))
    sigma, kept = radius / 30, int(radius * 0.9)
    # What lies farther out than the blur reaches does not show in the end.
    height, width = image.shape[:2]
    margin = kept + math.ceil(3 * sigma) + 1
    top, left = max(height // 2 - margin, 0), max(width // 2 - margin, 0)
    near = image[top : height // 2 + margin, left : width // 2 + margin]
    sharpened = _subtract_local_average(near, sigma)
    return _jpeg(_crop_to_circle(sharpened, height // 2 - top, width // 2 - left, kept), 72)


def eye_radius(image: np.ndarray) -> float:
    """Half the bright pixels of the middle row of (H, W, 3): those above a tenth of the row's mean."""
    row = image[image.shape[0] // 2].sum(axis=1, dtype=np.int64)
    radius = float((row > row.mean() / 10).sum()) / 2
    return radius if radius >= 1 else image.shape[0] / 2


def bilinear(image: np.ndarray, factor: float) -> np.ndarray:
    """(H, W, 3) resized by ``factor`` with linear interpolation and no antialiasing; float32.

    Pixel centres lie at half-integers, and the border is repeated, as with OpenCV's ``INTER_LINEAR``.
    """
    rows = _taps(image.shape[0], factor)
    columns = _taps(image.shape[1], factor)
    low, high, weight = rows
    values = image.astype(np.float32)
    values = values[low] + (values[high] - values[low]) * weight[:, None, None]
    low, high, weight = columns
    result: np.ndarray = values[:, low] + (values[:, high] - values[:, low]) * weight[:, None]
    return result


def _taps(length: int, factor: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For every new pixel, the two old ones it lies between, and the weight of the second."""
    count = max(1, round(length * factor))
    place = np.clip((np.arange(count) + 0.5) / factor - 0.5, 0, length - 1)
    low = np.floor(place).astype(np.int64)
    return low, np.minimum(low + 1, length - 1), (place - low).astype(np.float32)


def _subtract_local_average(image: np.ndarray, sigma: float) -> np.ndarray:
    from scipy.ndimage import gaussian_filter1d

    # OpenCV's kernel reaches three sigma to either side, mirrors at the border, and rounds to bytes.
    blurred = image.astype(np.float32)
    for axis in (0, 1):
        blurred = gaussian_filter1d(blurred, sigma, axis=axis, mode="mirror", truncate=3.0)
    return _quantise(4 * image.astype(np.float32) - 4 * _quantise(blurred).astype(np.float32) + _GREY)


def _crop_to_circle(image: np.ndarray, y: int, x: int, radius: int) -> np.ndarray:
    height, width = image.shape[:2]
    rows, columns = np.ogrid[:height, :width]
    inside = (rows - y) ** 2 + (columns - x) ** 2 <= radius**2
    masked: np.ndarray = np.where(inside[..., None], image, np.uint8(_GREY))
    return masked[max(y - radius, 0) : y + radius, max(x - radius, 0) : x + radius]


def _quantise(values: np.ndarray) -> np.ndarray:
    rounded: np.ndarray = np.clip(np.rint(values), 0, 255).astype(np.uint8)
    return rounded


def _rgb(content: bytes) -> np.ndarray:
    with Image.open(BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def _jpeg(image: np.ndarray, quality: int) -> bytes:
    file = BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality, subsampling="4:2:0")
    return file.getvalue()
