"""Synthetic data folders for the tests."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
from PIL import Image

from wst.data.lists import VTAB_NAMES
from wst.data.suites import find_suite
from wst.data.tasks import Suite, Task


def small_vtab(names: list[str] | None = None) -> Suite:
    """VTAB-1K with all names and class counts, and few images."""
    full = find_suite("vtab1k")
    tasks = tuple(
        replace(task, train=max(24, task.classes), val=8, test=12)
        for task in full.tasks
        if names is None or task.name in names
    )
    return replace(full, tasks=tasks)


def write_task(root: Path, of: Suite, task: Task, ending: str = ".bmp", size: int = 4) -> Path:
    """A whole task of tiny images that are all different."""
    folder = root / of.folder / task.folder
    seed = list(f"{task.name}".encode())
    generator = np.random.RandomState(seed)
    lines: dict[str, list[str]] = {}
    for split, count in (("train", task.train), ("val", task.val), ("test", task.test)):
        (folder / "images" / VTAB_NAMES[split]).mkdir(parents=True)
        lines[split] = []
        for index in range(count):
            name = f"images/{VTAB_NAMES[split]}/{index:06d}{ending}"
            Image.fromarray(generator.randint(0, 256, (size, size, 3)).astype(np.uint8)).save(folder / name)
            lines[split].append(f"{name} {index % task.classes}\n")
    lines["trainval"] = lines["val"] + lines["train"]  # any order will do
    for split, content in lines.items():
        (folder / f"{VTAB_NAMES[split]}.txt").write_text("".join(content))
    return folder


def class_folders(folder: Path, counts: dict[str, int], size: int = 16) -> Path:
    """A folder of pictures with a subfolder a class; the classes differ in colour."""
    for label, (name, count) in enumerate(counts.items()):
        (folder / name).mkdir(parents=True)
        generator = np.random.RandomState([label, count])
        for index in range(count):
            pixels = generator.randint(0, 120, (size, size, 3))
            pixels[..., label % 3] += 120
            Image.fromarray(pixels.astype(np.uint8)).save(folder / name / f"p{index:03d}.png")
    return folder


def png_16_bit(size: int = 4) -> bytes:
    """A 16-bit colour PNG, which Pillow cannot write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = b"".join(b"\0" + bytes(range(6 * size)) for _ in range(size))
    header = struct.pack(">IIBBBBB", size, size, 16, 2, 0, 0, 0)
    parts = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + parts
