"""The pictures that the micro backbone was pre-trained on.

Three sources, none of which shares an image, a renderer or a class with the mini suite:

* Fashion-MNIST's 60,000 training images (Debian package ``dataset-fashion-mnist``, MIT licence), ten classes;
* clip art (Debian package ``openclipart-png``, public domain), classified by folder.  Folders whose subjects
  are classes of the mini suite's emoji task (people, animals, plants, food, travel, flags) are left out;
* scenes drawn here with Pillow: one to three shapes over a textured ground.

Everything is returned as RGBA so that the training loop can put a fresh background behind it.
"""

from __future__ import annotations

import gzip
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
CLIP_ART = Path("/usr/share/openclipart/png")
LEFT_OUT = {"animals", "buildings", "food", "geography", "people", "plants", "transportation", "unsorted"}
LEFT_OUT_SUBFOLDERS = {"signs_and_symbols/flags", "signs_and_symbols/weather", "special/examples"}
CLIP_ART_SIZE = 48
MIN_IMAGES_PER_FOLDER = 25

SHAPES = ("triangle", "square", "pentagon", "hexagon", "star", "disc", "ring", "cross", "crescent", "bar")
GROUNDS = ("plain", "stripes", "checks", "dots", "gradient", "noise")
HUES = 8


@dataclass(frozen=True)
class Labelled:
    """Pictures (N, H, W, 4) uint8 with class indices (N,) int64."""

    images: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]


@dataclass(frozen=True)
class Scenes:
    """Drawn scenes (N, 32, 32, 3) uint8, shapes present (N, 10), hues present (N, 8), ground index (N,)."""

    images: np.ndarray
    shapes: np.ndarray
    hues: np.ndarray
    grounds: np.ndarray


def fashion_mnist(split: str = "train") -> Labelled:
    """Fashion-MNIST as RGBA of 28 x 28: grey level in RGB, opacity rising steeply with the grey level."""
    with gzip.open(FASHION_MNIST / f"{split}-images-idx3-ubyte.gz") as file:
        grey = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 28, 28)
    with gzip.open(FASHION_MNIST / f"{split}-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)
    opacity = np.minimum(grey.astype(np.int64) * 8, 255).astype(np.uint8)
    names = ("top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "boot")
    return Labelled(np.stack([grey, grey, grey, opacity], axis=-1), labels, names)


def _load_clip_art(path: Path) -> np.ndarray | None:
    try:
        with Image.open(path) as file:
            picture = file.convert("RGBA")
            picture.thumbnail((CLIP_ART_SIZE, CLIP_ART_SIZE), Image.Resampling.BICUBIC)
    except (OSError, ValueError, Image.DecompressionBombError):
        return None
    canvas = Image.new("RGBA", (CLIP_ART_SIZE, CLIP_ART_SIZE), (0, 0, 0, 0))
    canvas.paste(picture, ((CLIP_ART_SIZE - picture.width) // 2, (CLIP_ART_SIZE - picture.height) // 2))
    return np.asarray(canvas)


def clip_art(workers: int = 2) -> Labelled:
    """Clip art fitted into 48 x 48, labelled by folder; a folder of few pictures counts as its parent."""
    kept: list[tuple[Path, str, str]] = []
    for path in sorted(CLIP_ART.rglob("*.png")):
        parts = path.relative_to(CLIP_ART).parts
        if len(parts) < 2 or parts[0] in LEFT_OUT or "/".join(parts[:2]) in LEFT_OUT_SUBFOLDERS:
            continue
        kept.append((path, parts[0], "/".join(parts[:-1][:2])))
    sizes = Counter(folder for _, _, folder in kept)
    with ProcessPoolExecutor(workers) as pool:
        loaded = list(pool.map(_load_clip_art, [path for path, _, _ in kept], chunksize=64))
    named = [
        (image, folder if sizes[folder] >= MIN_IMAGES_PER_FOLDER else parent)
        for image, (_, parent, folder) in zip(loaded, kept, strict=True)
        if image is not None
    ]
    classes = tuple(sorted({name for _, name in named}))
    labels = np.array([classes.index(name) for _, name in named], np.int64)
    return Labelled(np.stack([image for image, _ in named]), labels, classes)


def _hsv(rng: np.random.Generator, hue: int) -> tuple[int, int, int]:
    angle = (hue + rng.uniform(-0.3, 0.3)) / HUES * 255
    pixel = (int(angle) % 256, int(rng.uniform(120, 256)), int(rng.uniform(110, 256)))
    red, green, blue = Image.new("HSV", (1, 1), pixel).convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    return red, green, blue


def _ground(rng: np.random.Generator, kind: str, size: int) -> Image.Image:
    first, second = rng.uniform(0, 255, (2, 3))
    second = first + (second - first) * 0.6
    y, x = np.mgrid[:size, :size].astype(float)
    angle, period = rng.uniform(0, np.pi), rng.uniform(8, 24)
    along, across = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    if kind == "plain":
        weight = np.zeros((size, size))
    elif kind == "stripes":
        weight = (along % period > period / 2).astype(float)
    elif kind == "checks":
        weight = ((along % period > period / 2) ^ (across % period > period / 2)).astype(float)
    elif kind == "dots":
        radius = np.hypot(along % period - period / 2, across % period - period / 2)
        weight = (radius < period * 0.3).astype(float)
    elif kind == "gradient":
        weight = (along - along.min()) / (np.ptp(along) + 1e-9)
    else:
        coarse = Image.fromarray(rng.integers(0, 256, (size // 8, size // 8), np.uint8))
        weight = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC)) / 255
    pixels = first + (second - first) * weight[..., None]
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def _turned(points: np.ndarray, centre: np.ndarray, radius: float, angle: float) -> list[tuple[float, float]]:
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return [(float(x), float(y)) for x, y in points @ turn.T * radius + centre]


def _regular(corners: int) -> np.ndarray:
    angles = np.arange(corners) * 2 * np.pi / corners
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def _shape_mask(kind: str, size: int, centre: np.ndarray, radius: float, angle: float) -> Image.Image:
    mask = Image.new("L", (size, size), 0)
    draw = ImageDraw.Draw(mask)
    box = [*(centre - radius), *(centre + radius)]
    if kind in ("triangle", "square", "pentagon", "hexagon"):
        corners = {"triangle": 3, "square": 4, "pentagon": 5, "hexagon": 6}[kind]
        draw.polygon(_turned(_regular(corners), centre, radius, angle), fill=255)
    elif kind == "star":
        draw.polygon(
            _turned(_regular(10) * np.tile([[1.0], [0.45]], (5, 1)), centre, radius, angle), fill=255
        )
    elif kind in ("disc", "ring", "crescent"):
        draw.ellipse(box, fill=255)
        if kind == "ring":
            draw.ellipse([*(centre - radius * 0.55), *(centre + radius * 0.55)], fill=0)
        elif kind == "crescent":
            bite = centre + 0.5 * radius * np.array([np.cos(angle), np.sin(angle)])
            draw.ellipse([*(bite - radius * 0.85), *(bite + radius * 0.85)], fill=0)
    else:
        arm = np.array([[-1, -0.3], [1, -0.3], [1, 0.3], [-1, 0.3]])
        draw.polygon(_turned(arm, centre, radius, angle), fill=255)
        if kind == "cross":
            draw.polygon(_turned(arm, centre, radius, angle + np.pi / 2), fill=255)
    return mask


def _draw_scenes(job: tuple[int, int]) -> Scenes:
    seed, count = job
    rng = np.random.default_rng(seed)
    images = np.empty((count, 32, 32, 3), np.uint8)
    shapes = np.zeros((count, len(SHAPES)), np.float32)
    hues = np.zeros((count, HUES), np.float32)
    grounds = rng.integers(0, len(GROUNDS), count)
    size = 96  # drawn at three times the final size for smooth edges
    for index in range(count):
        picture = _ground(rng, GROUNDS[grounds[index]], size)
        for shape in rng.choice(len(SHAPES), rng.integers(1, 4), replace=False):
            hue = int(rng.integers(HUES))
            centre, radius = rng.uniform(20, 76, 2), rng.uniform(12, 30)
            mask = _shape_mask(SHAPES[shape], size, centre, radius, rng.uniform(0, 2 * np.pi))
            picture.paste(_hsv(rng, hue), mask=mask)
            shapes[index, shape] = hues[index, hue] = 1
        images[index] = np.asarray(picture.resize((32, 32), Image.Resampling.BOX))
    return Scenes(images, shapes, hues, grounds)


def scenes(count: int, seed: int, workers: int = 2) -> Scenes:
    """``count`` drawn scenes; the same seed draws the same scenes."""
    part = 1000
    jobs = [(seed + start, min(part, count - start)) for start in range(0, count, part)]
    with ProcessPoolExecutor(workers) as pool:
        parts = list(pool.map(_draw_scenes, jobs))
    return Scenes(*(np.concatenate([getattr(p, f) for p in parts]) for f in Scenes.__dataclass_fields__))
