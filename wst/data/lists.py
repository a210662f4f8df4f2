"""List files in VTAB-1K's form: lines ``path label``, paths relative to the task's folder."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from wst.data.class_names import unfit
from wst.data.tasks import Task
from wst.errors import InputError
from wst.files import is_file, read_text

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
_DIGITS = 9
"""Of a label; more are no number of a class."""
_SHOWN = 500
"""Characters of a line that a message shows."""


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
        lines = lines_of(file)
    except InputError as error:
        return ImageList(file, (), ()), [
            Problem("syntax", 0, str(error).removeprefix(f"{file}").lstrip(":, "))
        ]
    is_inside = inside_of(file.parent)
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        path, _, label = line.rstrip().rpartition(" ")
        image = file.parent / path
        if not path or "\0" in path or not (label.isascii() and label.isdecimal()):
            problems.append(Problem("syntax", number, f"expected 'path label'; found {_short(line)}"))
        elif len(label) > _DIGITS or int(label) >= (classes or 10**_DIGITS):
            most = 10**_DIGITS if classes is None else classes
            text = f"expected a label from 0 to {most - 1}; found {label[:_SHOWN]}"
            problems.append(Problem("label", number, text))
        elif not is_inside(image):
            text = f"expected a path inside {file.parent}; found {_short(path)}"
            problems.append(Problem("outside", number, text))
        elif not is_file(image):  # a pipe of that name would never end
            text = f"expected an image file; found none at {str(image)[:_SHOWN]}"
            problems.append(Problem("missing", number, text))
        else:
            images.append(image)
            labels.append(int(label))
    return ImageList(file, tuple(images), tuple(labels)), problems


def lines_of(file: Path) -> list[str]:
    """The lines of a text file, whichever system's; other signs that Unicode counts as ends of lines are part
    of them.

    Raises:
        InputError: it is no UTF-8 text.
    """
    return re.split(r"\r\n|\n|\r", read_text(file))


def _short(text: str) -> str:
    return repr(text if len(text) <= _SHOWN else f"{text[:_SHOWN]}...")


def inside_of(folder: Path) -> Callable[[Path], bool]:
    """A test whether a path stays inside ``folder``, links followed; parents are resolved once each."""
    base = folder.resolve()
    parents: dict[Path, bool] = {}

    def is_inside(path: Path) -> bool:
        try:
            if path.is_symlink() or path.name in ("", ".", ".."):
                return path.resolve().is_relative_to(base)
            parent = path.parent
            if parent not in parents:
                parents[parent] = parent.resolve().is_relative_to(base)
        except (OSError, RuntimeError):  # a name that is too long; links in a circle
            return False
        return parents[parent]

    return is_inside


def class_names(folder: Path, task: Task) -> tuple[str, ...]:
    """Names of a task's classes, in the order of the labels: of a VTAB-1K export the lines of ``classes.txt``
    where these are fit to be shown; else those that the task is known by, or none.
    """
    if task.layout != "vtab":
        return task.class_names
    try:
        names = names_in_file(folder)
    except InputError:
        return task.class_names
    fit = len(names) == task.classes and not any(map(unfit, names))
    return names if fit else task.class_names


def names_in_file(folder: Path) -> tuple[str, ...]:
    """The lines of ``classes.txt``, empty ones at its end left out; none where there is no such file.

    Raises:
        InputError: it is no UTF-8 text.
    """
    file = folder / CLASS_NAMES
    if not file.is_file():
        return ()
    names = lines_of(file)
    while names and not names[-1].strip():
        names.pop()
    return tuple(names)
