"""The mini suite: five tasks in VTAB-1K's form on disk, built from embedded images and a renderer.

Every byte is the same on every machine: images are uncompressed BMP (no compressor's version shows), random
numbers come from NumPy's frozen legacy generator, and the renderer computes in integers.
"""

from __future__ import annotations

import filecmp
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from wst.data.lists import VTAB_NAMES, Split
from wst.data.tasks import Suite, Task
from wst.errors import InputError
from wst.files import flush, replacing_folder
from wst.shipped import ASSETS

Images = np.ndarray
Labels = np.ndarray

SIZE = 32
_FINE = 3  # subpixels a pixel and side
_UNIT = 1024  # a sprite's half width in its own coordinates
_SPRITES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "arrow": lambda u, v: (
        ((abs(v) <= 300) & (u >= -1000) & (u <= 150)) | ((u >= 100) & (10 * abs(v) <= 9 * (1000 - u)))
    ),
    "tee": lambda u, v: ((abs(v) <= 260) & (abs(u) <= 950)) | ((u >= 450) & (u <= 950) & (abs(v) <= 850)),
    "drop": lambda u, v: (
        ((u + 350) ** 2 + v**2 <= 600**2) | ((u >= -350) & (u <= 1000) & (9 * abs(v) <= 4 * (1000 - u)))
    ),
    "flag": lambda u, v: (
        ((abs(u) <= 1000) & (v >= -500) & (v <= -220)) | ((u >= 0) & (u <= 1000) & (v >= -300) & (v <= 600))
    ),
}


def build_mini(root: Path, force: bool = False) -> Path:
    """Write the mini suite to ``root/mini``, and return that folder.

    The folder is written aside and renamed, so a build that is cut off leaves nothing half done.

    Args:
        root: where to put it.
        force: replace whatever is there.

    Raises:
        InputError: something is there that this function did not write.
    """
    target = root / MINI.folder
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        found = "a link" if target.is_symlink() else "a file"
        raise InputError(f"{target}: expected a folder, or nothing; found {found}")
    with replacing_folder(target) as aside:
        for task in MINI.tasks:
            _write_task(aside / task.folder, task, *_images_of(task))
        other = None if force else _not_ours(target, aside)
        if other is not None:
            raise InputError(
                f"{target}: expected nothing but what this command makes; found {other} (--force replaces it)"
            )
    return target


def _not_ours(there: Path, ours: Path) -> str | None:
    """The first file in a folder that a build does not have byte for byte, by name."""
    for path in sorted(there.rglob("*")):
        same = ours / path.relative_to(there)
        if path.is_symlink() or not (
            same.is_dir() if path.is_dir() else same.is_file() and filecmp.cmp(path, same, shallow=False)
        ):
            return path.relative_to(there).as_posix()
    return None


def _images_of(task: Task) -> tuple[Images, Labels]:
    """All images of a task, (N, H, W[, 3]) uint8, in the order train, val, test."""
    rng = np.random.RandomState(list(task.name.encode()))
    count = task.train + task.val + task.test
    if task.name in ("digits", "emoji_group"):
        prefix = task.name.split("_")[0]
        with np.load(ASSETS / "mini.npz") as real:
            order = rng.permutation(count)
            return real[f"{prefix}_images"][order], real[f"{prefix}_labels"][order]
    labels = rng.randint(0, task.classes, count)
    render = {"sprite_loc": _location, "sprite_ori": _orientation, "sprite_count": _count}[task.name]
    return np.stack([render(rng, int(label)) for label in labels]), labels


def _write_task(folder: Path, task: Task, images: Images, labels: Labels) -> None:
    start = 0
    lines: dict[Split, list[str]] = {}
    sizes: tuple[tuple[Split, int], ...] = (
        ("train", task.train),
        ("val", task.val),
        ("test", task.test),
    )
    for split, count in sizes:
        (folder / "images" / VTAB_NAMES[split]).mkdir(parents=True)
        lines[split] = []
        for index in range(count):
            name = f"images/{VTAB_NAMES[split]}/{index:06d}.bmp"
            Image.fromarray(images[start + index]).save(folder / name)
            lines[split].append(f"{name} {labels[start + index]}\n")
        start += count
    lines["trainval"] = lines["train"] + lines["val"]
    for split, content in lines.items():
        file = folder / f"{VTAB_NAMES[split]}.txt"
        file.write_text("".join(content), newline="\n")
        flush(file)


def _ground(rng: np.random.RandomState) -> np.ndarray:
    """A dark, coarsely mottled ground (32, 32, 3), int64."""
    coarse = rng.randint(0, 90, (4, 4, 3))
    fine = rng.randint(0, 30, (SIZE, SIZE, 3))
    return coarse.repeat(8, axis=0).repeat(8, axis=1) + fine


def _place(
    picture: np.ndarray, rng: np.random.RandomState, x: int, y: int, radius: int, degrees: int, sprite: str
) -> None:
    """Draw a sprite of random bright colour into ``picture``; positions in subpixels."""
    cosine, sine = (round(f(math.radians(degrees)) * 4096) for f in (math.cos, math.sin))
    reach = 4 * radius // (3 * _FINE) + 1  # in pixels: no sprite is wider than 4/3 of its radius
    left, top = max(0, x // _FINE - reach), max(0, y // _FINE - reach)
    right, bottom = min(SIZE, x // _FINE + reach + 1), min(SIZE, y // _FINE + reach + 1)
    dx = np.arange(left * _FINE, right * _FINE) - x
    dy = np.arange(top * _FINE, bottom * _FINE)[:, None] - y
    u = (dx * cosine + dy * sine) * _UNIT // (4096 * radius)
    v = (dy * cosine - dx * sine) * _UNIT // (4096 * radius)
    fine = _SPRITES[sprite](u, v).reshape(bottom - top, _FINE, right - left, _FINE)
    covered = fine.sum(axis=(1, 3))[..., None]
    colour = rng.randint(110, 256, 3)
    part = picture[top:bottom, left:right]
    part[:] = (part * (_FINE**2 - covered) + colour * covered) // _FINE**2


def _sprite(rng: np.random.RandomState) -> str:
    return list(_SPRITES)[rng.randint(len(_SPRITES))]


def _location(rng: np.random.RandomState, label: int) -> np.ndarray:
    """Label: which eighth of the middle 24 pixels holds the sprite's x position."""
    picture = _ground(rng)
    x = _FINE * 4 + label * 3 * _FINE + rng.randint(0, 3 * _FINE)
    y, radius = rng.randint(4 * _FINE, 28 * _FINE), rng.randint(3 * _FINE, 5 * _FINE)
    _place(picture, rng, x, y, radius, rng.randint(360), _sprite(rng))
    return picture.astype(np.uint8)


def _orientation(rng: np.random.RandomState, label: int) -> np.ndarray:
    """Label: eighth of the full turn in which the sprite points."""
    picture = _ground(rng)
    x, y = rng.randint(11 * _FINE, 21 * _FINE, 2)
    radius = rng.randint(7 * _FINE, 11 * _FINE)
    _place(picture, rng, x, y, radius, 45 * label + rng.randint(-18, 19), _sprite(rng))
    return picture.astype(np.uint8)


def _count(rng: np.random.RandomState, label: int) -> np.ndarray:
    """Label: number of sprites less one; sprites sit in different ninths of the picture."""
    picture = _ground(rng)
    for cell in rng.permutation(9)[: label + 1]:
        x = (5 + 11 * (cell % 3)) * _FINE + rng.randint(-_FINE, _FINE + 1)
        y = (5 + 11 * (cell // 3)) * _FINE + rng.randint(-_FINE, _FINE + 1)
        _place(picture, rng, x, y, rng.randint(3 * _FINE, 5 * _FINE), rng.randint(360), _sprite(rng))
    return picture.astype(np.uint8)


MINI = Suite(
    name="mini",
    folder="mini",
    tasks=(
        Task(
            "digits",
            "digits",
            "natural",
            10,
            800,
            200,
            797,
            "handwritten digit (scikit-learn's 8 x 8 scans)",
            class_names=tuple(map(str, range(10))),
        ),
        Task(
            "emoji_group",
            "emoji_group",
            "specialized",
            6,
            800,
            200,
            261,
            "Unicode group of a Noto emoji",
            class_names=(
                "Smileys & Emotion",
                "People & Body",
                "Animals & Nature",
                "Food & Drink",
                "Travel & Places",
                "Flags",
            ),
        ),
        Task(
            "sprite_loc",
            "sprite_loc",
            "structured",
            8,
            800,
            200,
            1000,
            "x position of a rendered sprite",
            class_names=tuple(f"column {x} to {x + 2}" for x in range(4, 28, 3)),
        ),
        Task(
            "sprite_ori",
            "sprite_ori",
            "structured",
            8,
            800,
            200,
            1000,
            "orientation of a rendered sprite",
            class_names=("right", "down right", "down", "down left", "left", "up left", "up", "up right"),
        ),
        Task(
            "sprite_count",
            "sprite_count",
            "structured",
            6,
            800,
            200,
            1000,
            "number of rendered sprites, 1 to 6",
            class_names=("1 sprite", *(f"{count} sprites" for count in range(2, 7))),
        ),
    ),
    caveat="The mini suite is a small stand-in (32 x 32 images): not comparable with VTAB-1K.",
    build=build_mini,
)
