"""List files in VTAB-1K's form: lines ``path label``, paths relative to the task's folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from wst.data.tasks import Task
from wst.errors import InputError

Split = Literal["train", "val", "trainval", "test"]
SPLITS: tuple[Split, ...] = get_args(Split)
VTAB_NAMES: dict[Split, str] = {
    "train": "train800",
    "val": "val200",
    "trainval": "train800val200",
    "test": "test",
}
"""What VTAB-1K calls the splits: its list files, and the folders of images in what we build."""
CLASS_NAMES = "classes.txt"


@dataclass(frozen=True)
class ImageList:
    """Image files and their labels, in the order of the list file."""

    file: Path
    images: tuple[Path, ...]
    labels: tuple[int, ...]


@dataclass(frozen=True)
class Problem:
    """What is wrong with a line of a list file.

    Attributes:
        kind: ``syntax``, ``label``, ``outside`` (the path leaves the task's folder) or ``missing``.
        line: line number from 1, or 0 for the file as a whole.
        text: expected and found, in words.
    """

    kind: Literal["syntax", "label", "outside", "missing"]
    line: int
    text: str


def read_file(file: Path, classes: int | None) -> ImageList:
    """Read one list file strictly; ``classes`` None allows any label.

    Raises:
        InputError: on the first problem, or when the list is empty.
    """
    listed, problems = scan_file(file, classes)
    if problems:
        first = problems[0]
        raise InputError(f"{file}{f', line {first.line}' if first.line else ''}: {first.text}")
    if not listed.images:
        raise InputError(f"{file}: expected at least one line 'path label'; found none")
    return listed


def scan_file(file: Path, classes: int | None) -> tuple[ImageList, list[Problem]]:
    """The good lines of a list file, and what is wrong with the others."""
    images: list[Path] = []
    labels: list[int] = []
    problems: list[Problem] = []
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return ImageList(file, (), ()), [Problem("syntax", 0, "expected UTF-8 text; found other bytes")]
    is_inside = inside_of(file.parent)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        path, _, label = line.rstrip().rpartition(" ")
        image = file.parent / path
        if not path or "\0" in path or not (label.isascii() and label.isdecimal()):
            problems.append(Problem("syntax", number, f"expected 'path label'; found {line!r}"))
        elif classes is not None and int(label) >= classes:
            problems.append(
                Problem("label", number, f"expected a label from 0 to {classes - 1}; found {label}")
            )
        elif not is_inside(image):
            problems.append(
                Problem("outside", number, f"expected a path inside {file.parent}; found {path!r}")
            )
        elif not image.is_file():
            problems.append(Problem("missing", number, f"expected an image file; found none at {image}"))
        else:
            images.append(image)
            labels.append(int(label))
    return ImageList(file, tuple(images), tuple(labels)), problems


def inside_of(folder: Path) -> Callable[[Path], bool]:
    """A test whether a path stays inside ``folder``, links followed; parents are resolved once each."""
    base = folder.resolve()
    parents: dict[Path, bool] = {}

    def is_inside(path: Path) -> bool:
        if path.is_symlink() or path.name in ("", ".", ".."):
            return path.resolve().is_relative_to(base)
        if path.parent not in parents:
            parents[path.parent] = path.parent.resolve().is_relative_to(base)
        return parents[path.parent]

    return is_inside


def class_names(folder: Path, task: Task) -> tuple[str, ...]:
    """Names of a task's classes: the registry's, else the lines of ``classes.txt``, else none."""
    if task.class_names:
        return task.class_names
    file = folder / CLASS_NAMES
    names = tuple(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()
    return names if len(names) == task.classes else ()
