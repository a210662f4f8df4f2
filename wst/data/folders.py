"""A user's own suite: a folder of pictures, or a YAML file that names several.

A task is a folder in one of three forms:

* list files ``train.txt``, ``val.txt`` and ``test.txt`` (or VTAB-1K's names), lines ``path label``;
* ``train/``, ``val/`` and ``test/``, with a subfolder a class;
* a subfolder a class, nothing else: it is split by us.

Whatever split is missing is cut out of the training images, class by class, in the order of the MD5 of the
paths: the same on every machine, whatever the order in which a file system lists them.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from wst.data.lists import CLASS_NAMES, ImageList, Split, inside_of, read_file
from wst.data.tasks import Group, Suite, Task
from wst.errors import InputError
from wst.yaml_files import read_yaml

IMAGE_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
_FOLDERS: dict[str, tuple[str, ...]] = {
    "train": ("train",),
    "val": ("val", "valid", "validation"),
    "test": ("test",),
}
_LISTS: dict[str, tuple[str, ...]] = {
    "train": ("train.txt", "train800.txt"),
    "val": ("val.txt", "val200.txt"),
    "trainval": ("trainval.txt", "train800val200.txt"),
    "test": ("test.txt",),
}
SUITE_FILE = "suite.yaml"
_SHARES = (0.2, 0.2)


class _TaskEntry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    folder: str | None = None
    group: Group = "own"
    about: str = ""
    classes: list[str] | None = None
    val: float = Field(_SHARES[0], gt=0, lt=1)
    test: float = Field(_SHARES[1], gt=0, lt=1)


class _SuiteFile(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    caveat: str = ""
    tasks: list[_TaskEntry] = Field(min_length=1)


def own_suite(path: Path) -> Suite:
    """The suite that a folder or a YAML file describes.

    Raises:
        InputError: it is neither a task, nor a folder of tasks, nor a valid YAML file.
    """
    path = path.resolve()
    if path.is_file():
        return _from_yaml(path)
    if (path / SUITE_FILE).is_file():
        return _from_yaml(path / SUITE_FILE)
    if _layout(path) is not None:
        return Suite(path.name, path.name, (_task(path, _name(path.name), "."),), location=path.parent)
    folders = [child for child in _subfolders(path) if _layout(child) is not None]
    if not folders:
        raise InputError(
            f"suite {path}: expected list files, a subfolder a class, or a folder a task; found none of them"
        )
    tasks = tuple(_task(folder, _name(folder.name), folder.name) for folder in folders)
    twice = {task.name for task in tasks if sum(task.name == other.name for other in tasks) > 1}
    if twice:
        raise InputError(
            f"suite {path}: expected folders of different names; found {sorted(twice)[0]!r} twice"
        )
    return Suite(path.name, path.name, tasks, location=path.parent)


def read_own(folder: Path, task: Task, split: Split) -> ImageList:
    """The images of one split of a user's task.

    Raises:
        InputError: the split is empty, or a file lies outside the task's folder.
    """
    if task.layout == "lists":
        parts = _listed(folder, task.classes, task.cut)
        file = _list_file(folder, split) or folder
    else:
        parts = _in_classes(folder, task.class_names, task.cut)
        file = folder
    if "trainval" not in parts:
        parts["trainval"] = parts["train"] + parts["val"]
    found = parts[split]
    if not found:
        raise InputError(
            f"data of task {task.name!r}: expected at least one image in {split!r}; found none in {folder}"
        )
    return ImageList(file, tuple(path for path, _ in found), tuple(label for _, label in found))


_Images = list[tuple[Path, int]]


def _from_yaml(file: Path) -> Suite:
    data = read_yaml(file.read_text(encoding="utf-8"), str(file))
    try:
        entry = _SuiteFile.model_validate(data)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        key = ".".join(map(str, problem["loc"])) or "the file"
        found: Any = problem["input"]
        raise InputError(f"{file}: {key}: {problem['msg'].lower()}; found {found!r}") from None
    names = [task.name for task in entry.tasks]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError(f"{file}: tasks: expected each name once; found {twice[0]!r} twice")
    tasks = []
    for given in entry.tasks:
        relative = given.folder or given.name
        if not (file.parent / relative).is_dir():
            raise InputError(
                f"{file}: folder of task {given.name!r}: expected a folder; found none at {relative}"
            )
        tasks.append(_task(file.parent / relative, given.name, relative, given))
    return Suite(entry.name, ".", tuple(tasks), entry.caveat, location=file.parent)


def _task(folder: Path, name: str, relative: str, given: _TaskEntry | None = None) -> Task:
    layout = _layout(folder)
    if layout is None:
        raise InputError(
            f"data of task {name!r}: expected list files or a subfolder a class in {folder}; found neither"
        )
    cut = (given.val, given.test) if given else _SHARES
    wanted = tuple(given.classes) if given and given.classes else None
    if layout == "lists":
        parts = _listed(folder, len(wanted) if wanted else None, cut)
        names = wanted or _names_in_file(folder)
        count = len(names) or 1 + max((label for part in parts.values() for _, label in part), default=0)
    else:
        names = wanted or _class_folders(folder)
        parts, count = _in_classes(folder, names, cut), len(names)
    return Task(
        name,
        relative,
        given.group if given else "own",
        count,
        train=len(parts["train"]),
        val=len(parts["val"]),
        test=len(parts["test"]),
        about=given.about if given else "",
        class_names=names,
        layout=layout,
        cut=cut,
    )


def _name(folder: str) -> str:
    """A folder's name as a task's: signs that a trial's id cannot hold become underscores."""
    return "".join(sign if sign.isalnum() or sign in "_-" else "_" for sign in folder).lstrip("_-") or "task"


def _layout(folder: Path) -> Literal["lists", "classes"] | None:
    if _list_file(folder, "train") is not None:
        return "lists"
    if any((folder / name).is_dir() for name in _FOLDERS["train"]):
        return "classes"
    if any(_holds_images(child) for child in _subfolders(folder)):
        return "classes"
    return None


def _list_file(folder: Path, split: str) -> Path | None:
    return next((folder / name for name in _LISTS[split] if (folder / name).is_file()), None)


def _names_in_file(folder: Path) -> tuple[str, ...]:
    file = folder / CLASS_NAMES
    return tuple(file.read_text(encoding="utf-8").splitlines()) if file.is_file() else ()


def _listed(folder: Path, classes: int | None, cut: tuple[float, float]) -> dict[str, _Images]:
    parts: dict[str, _Images] = {}
    for split in _LISTS:
        file = _list_file(folder, split)
        if file is not None:
            listed = read_file(file, classes)
            parts[split] = list(zip(listed.images, listed.labels, strict=True))
    return _fill_up(folder, parts, cut)


def _split_folder(folder: Path, split: str) -> Path | None:
    return next((folder / name for name in _FOLDERS[split] if (folder / name).is_dir()), None)


def _class_folders(folder: Path) -> tuple[str, ...]:
    """Names of the classes, sorted: the label is the place in this list."""
    parts = [part for split in _FOLDERS if (part := _split_folder(folder, split)) is not None]
    if _split_folder(folder, "train") is None:
        parts = [folder]
    names = {child.name for part in parts for child in _subfolders(part) if any(_images_below(child))}
    if not names:
        raise InputError(f"{folder}: expected a subfolder of images a class; found none")
    return tuple(sorted(names))


def _in_classes(folder: Path, names: tuple[str, ...], cut: tuple[float, float]) -> dict[str, _Images]:
    divided = _split_folder(folder, "train") is not None
    is_inside = inside_of(folder)
    parts: dict[str, _Images] = {}
    for split in _FOLDERS if divided else ("train",):
        part = _split_folder(folder, split) if divided else folder
        if part is None:
            continue
        parts[split] = []
        for label, name in enumerate(names):
            for image in _images_below(part / name):
                if not is_inside(image):
                    raise InputError(f"{image}: expected a file inside {folder}; found a link out of it")
                parts[split].append((image, label))
    return _fill_up(folder, parts, cut)


def _fill_up(folder: Path, parts: dict[str, _Images], cut: tuple[float, float]) -> dict[str, _Images]:
    """Cut the splits that are missing out of the training images, class by class."""
    shares = {split: share for split, share in zip(("val", "test"), cut, strict=True) if split not in parts}
    if not shares:
        return parts
    by_class: dict[int, _Images] = {}
    for image, label in parts["train"]:
        by_class.setdefault(label, []).append((image, label))
    left: _Images = []
    cut_off: dict[str, _Images] = {split: [] for split in shares}
    for label in sorted(by_class):
        images = sorted(by_class[label], key=lambda item: _digest(folder, item[0]))
        total, start = len(images), 0
        for split in ("test", "val"):  # test first, so that two images of a class give train and test
            if split in shares:
                room = total - start - 1  # one image at least is left for training
                count = min(max(1, round(total * shares[split])), room)
                cut_off[split] += images[start : start + count]
                start += count
        left += images[start:]
    parts.update(cut_off, train=left)
    return {split: sorted(images) for split, images in parts.items()}


def _digest(folder: Path, image: Path) -> bytes:
    text = image.relative_to(folder).as_posix()
    return hashlib.md5(text.encode(errors="surrogateescape"), usedforsecurity=False).digest()


def _subfolders(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if child.is_dir() and not child.name.startswith("."))


def _holds_images(folder: Path) -> bool:
    return any(_is_image(child.name) and child.is_file() for child in folder.iterdir())


def _is_image(name: str) -> bool:
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_ENDINGS  # noqa: PTH122


def _images_below(folder: Path) -> Iterable[Path]:
    """Image files below a folder, sorted by path."""
    if not folder.is_dir():
        return []
    return sorted(
        Path(where) / name for where, _, names in os.walk(folder) for name in names if _is_image(name)
    )
