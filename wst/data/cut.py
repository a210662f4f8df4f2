"""Splits that a folder does not say, cut out of its training images: class by class, in the order of the MD5
of the paths, the same on every machine.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

Images = list[tuple[str, int]]
"""Paths from the task's folder on, with ``/`` between their parts, and labels."""


def shares_of(given: Iterable[str], cut: tuple[float, float]) -> dict[str, float]:
    """What is cut out of ``train`` for the splits that are not given."""
    return {split: share for split, share in zip(("val", "test"), cut, strict=True) if split not in given}


def taken_from(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many of a class's images go to each missing split."""
    taken, room = {}, total - 1  # one image at least is left for training
    for split in ("test", "val"):  # test first, so that two images of a class give train and test
        if split in shares:
            taken[split] = min(max(1, round(total * shares[split])), room)
            room -= taken[split]
    return taken


def fill_up(parts: dict[str, Images], cut: tuple[float, float]) -> dict[str, Images]:
    """Cut the splits that are missing out of the training images, class by class."""
    shares = shares_of(parts, cut)
    if not shares:
        return parts
    by_class: dict[int, Images] = {}
    for image, label in parts["train"]:
        by_class.setdefault(label, []).append((image, label))
    left: Images = []
    cut_off: dict[str, Images] = {split: [] for split in shares}
    for label in sorted(by_class):
        images = sorted(by_class[label], key=lambda item: _digest(item[0]))
        start = 0
        for split, count in taken_from(len(images), shares).items():
            cut_off[split] += images[start : start + count]
            start += count
        left += images[start:]
    parts = {**parts, **cut_off, "train": left}
    return {split: sorted(images, key=_in_order) for split, images in parts.items()}


def _in_order(image: tuple[str, int]) -> tuple[list[str], int]:
    path, label = image
    return path.split("/"), label


def _digest(path: str) -> bytes:
    return hashlib.md5(path.encode(errors="surrogateescape"), usedforsecurity=False).digest()
