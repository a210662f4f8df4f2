"""List files in VTAB-1K's form: lines ``path label``, paths relative to the task's folder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from wst.data.tasks import Suite, Task
from wst.errors import InputError

Split = Literal["train800", "val200", "train800val200", "test"]


@dataclass(frozen=True)
class ImageList:
    """Image files and their labels, in the order of the list file."""

    file: Path
    images: tuple[Path, ...]
    labels: tuple[int, ...]


def task_folder(root: Path, suite: Suite, task: Task) -> Path:
    """The folder of a task.

    Raises:
        InputError: it does not exist.
    """
    folder = root / suite.folder / task.folder
    if not folder.is_dir():
        raise InputError(f"data of task {task.name!r}: expected a folder {folder}; found none")
    return folder


def read_list(root: Path, suite: Suite, task: Task, split: Split) -> ImageList:
    """Read and validate one list file.

    Raises:
        InputError: the file is missing, a line is not ``path label``, a label is out of range, or a path
            leaves the task's folder or names no file; the message names file and line.
    """
    folder = task_folder(root, suite, task)
    file = folder / f"{split}.txt"
    if not file.is_file():
        raise InputError(f"data of task {task.name!r}: expected a list file {file}; found none")
    base = folder.resolve()
    images, labels = [], []
    for number, line in enumerate(file.read_text().splitlines(), start=1):
        if not line.strip():
            continue
        path, _, label = line.rstrip().rpartition(" ")
        where = f"{file}, line {number}"
        if not path or not label.isdecimal():
            raise InputError(f"{where}: expected 'path label'; found {line!r}")
        if int(label) >= task.classes:
            raise InputError(f"{where}: expected a label from 0 to {task.classes - 1}; found {label}")
        image = folder / path
        if not image.resolve().is_relative_to(base):
            raise InputError(f"{where}: expected a path inside {folder}; found {path!r}")
        if not image.is_file():
            raise InputError(f"{where}: expected an image file; found none at {image}")
        images.append(image)
        labels.append(int(label))
    if not images:
        raise InputError(f"{file}: expected at least one line 'path label'; found none")
    return ImageList(file, tuple(images), tuple(labels))
