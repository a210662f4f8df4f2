"""A user's own suite: a folder of pictures, or a YAML file that names several.

A task is a folder in one of three forms:

* list files ``train.txt``, ``val.txt`` and ``test.txt`` (or VTAB-1K's names), lines ``path label``;
* ``train/``, ``val/`` and ``test/``, with a subfolder a class;
* a subfolder a class, nothing else: it is split by us.

Whatever split is missing is cut out of the training images, class by class, in the order of the MD5 of the
paths: the same on every machine, whatever the order in which a file system lists them.

What it costs: a folder of classes is walked once (:mod:`wst.data.picture_index`), and after that, in every
process, costs one look at each of its folders until one of them changes.  List files are read each time, and
each image that they name is looked for.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from wst.data.lists import CLASS_NAMES, ImageList, Split, inside_of, read_file
from wst.data.picture_index import PictureIndex, is_image, picture_index
from wst.data.tasks import Group, Suite, Task
from wst.errors import InputError
from wst.files import read_text
from wst.yaml_files import Strict, first_error, read_yaml

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


class _TaskEntry(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    folder: str | None = None
    group: Group = "own"
    about: str = ""
    classes: list[str] | None = None
    val: float = Field(_SHARES[0], gt=0, lt=1)
    test: float = Field(_SHARES[1], gt=0, lt=1)


class _SuiteFile(Strict):
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")
    caveat: str = ""
    tasks: list[_TaskEntry] = Field(min_length=1)


def own_suite(path: Path) -> Suite:
    """The suite that a folder or a YAML file describes; the module's docstring says what it costs.

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
    """The images of one split of a user's task; the module's docstring says what it costs.

    Raises:
        InputError: the split is empty, or a file lies outside the task's folder.
    """
    if task.layout == "lists":
        parts = _listed(folder, task.classes, task.cut)
        file = _list_file(folder, split) or folder
    else:
        parts = _in_classes(_pictures(folder, task.class_names), task.class_names, task.cut)
        file = folder
    found = parts["train"] + parts["val"] if split == "trainval" and split not in parts else parts[split]
    if not found:
        raise InputError(
            f"data of task {task.name!r}: expected at least one image in {split!r}; found none in {folder}"
        )
    return ImageList(file, tuple(folder / path for path, _ in found), tuple(label for _, label in found))


_Images = list[tuple[str, int]]
"""Paths from the task's folder on, with ``/`` between their parts, and labels."""
_Pictures = tuple[tuple[str, str, PictureIndex], ...]
"""Splits that a folder of classes says: name, folder in the task's (empty if it is that), pictures."""


def _from_yaml(file: Path) -> Suite:
    data = read_yaml(read_text(file), str(file))
    try:
        entry = _SuiteFile.model_validate(data)
    except ValidationError as error:
        raise first_error(error, str(file), data) from None
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
        sizes = {split: len(images) for split, images in parts.items()}
    else:
        pictures = _pictures(folder, wanted)
        names = wanted or _class_folders(folder, pictures)
        sizes, count = _sizes(pictures, names, cut), len(names)
    return Task(
        name,
        relative,
        given.group if given else "own",
        count,
        train=sizes["train"],
        val=sizes["val"],
        test=sizes["test"],
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
            names = (path.as_posix().removeprefix(f"{folder.as_posix()}/") for path in listed.images)
            parts[split] = list(zip(names, listed.labels, strict=True))
    return _fill_up(parts, cut)


def _split_folder(folder: Path, split: str) -> Path | None:
    return next((folder / name for name in _FOLDERS[split] if (folder / name).is_dir()), None)


def _pictures(folder: Path, names: Sequence[str] | None) -> _Pictures:
    """The pictures of a folder of classes, by the splits that it says: all in ``train`` where it says none.

    Args:
        folder: the task's.
        names: the classes; all when left out.

    Raises:
        InputError: a link of theirs leaves the folder.
    """
    parts = {split: part for split in _FOLDERS if (part := _split_folder(folder, split)) is not None}
    if "train" not in parts:
        parts = {"train": folder}
    found = tuple(
        (split, part.name if part != folder else "", picture_index(part)) for split, part in parts.items()
    )
    is_inside = inside_of(folder)
    wanted = None if names is None else {name.split("/")[0] for name in names}
    for part, index in zip(parts.values(), (index for _, _, index in found), strict=True):
        links = sorted(link for link in index.links if wanted is None or link.split("/")[0] in wanted)
        for path in (part, *(part / link for link in links)):
            if path != folder and not is_inside(path):
                raise InputError(f"{path}: expected a file inside {folder}; found a link out of it")
    return found


def _class_folders(folder: Path, pictures: _Pictures) -> tuple[str, ...]:
    """Names of the classes, sorted: the label is the place in this list."""
    names = {name for _, _, index in pictures for name in index.images}
    if not names:
        raise InputError(f"{folder}: expected a subfolder of images a class; found none")
    return tuple(sorted(names))


def _of_class(index: PictureIndex, name: str) -> Sequence[str]:
    """Images of a class: those below a subfolder, or below a folder in it such as ``animals/cat``."""
    top, _, rest = name.partition("/")
    images = index.images.get(top, ())
    return [path for path in images if path.startswith(f"{name}/")] if rest else images


def _sizes(pictures: _Pictures, names: tuple[str, ...], cut: tuple[float, float]) -> dict[str, int]:
    """Images of each split, counted without dividing them."""
    shares = _shares([split for split, _, _ in pictures], cut)
    sizes = dict.fromkeys(shares, 0)
    for split, _, index in pictures:
        counts = [len(_of_class(index, name)) for name in names]
        sizes[split] = sum(counts)
        if split == "train":
            for count in filter(None, counts):
                for missing, taken in _taken(count, shares).items():
                    sizes[missing] += taken
                    sizes["train"] -= taken
    return sizes


@lru_cache(maxsize=8)
def _in_classes(pictures: _Pictures, names: tuple[str, ...], cut: tuple[float, float]) -> dict[str, _Images]:
    """The splits of a folder of classes.  Not to be changed: they are remembered while the indices hold."""
    parts: dict[str, _Images] = {}
    for split, part, index in pictures:
        prefix = f"{part}/" if part else ""
        parts[split] = [
            (prefix + path, label) for label, name in enumerate(names) for path in _of_class(index, name)
        ]
    return _fill_up(parts, cut)


def _shares(given: Iterable[str], cut: tuple[float, float]) -> dict[str, float]:
    """What is cut out of ``train`` for the splits that are not given."""
    return {split: share for split, share in zip(("val", "test"), cut, strict=True) if split not in given}


def _taken(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """How many of a class's images go to each missing split."""
    taken, room = {}, total - 1  # one image at least is left for training
    for split in ("test", "val"):  # test first, so that two images of a class give train and test
        if split in shares:
            taken[split] = min(max(1, round(total * shares[split])), room)
            room -= taken[split]
    return taken


def _fill_up(parts: dict[str, _Images], cut: tuple[float, float]) -> dict[str, _Images]:
    """Cut the splits that are missing out of the training images, class by class."""
    shares = _shares(parts, cut)
    if not shares:
        return parts
    by_class: dict[int, _Images] = {}
    for image, label in parts["train"]:
        by_class.setdefault(label, []).append((image, label))
    left: _Images = []
    cut_off: dict[str, _Images] = {split: [] for split in shares}
    for label in sorted(by_class):
        images = sorted(by_class[label], key=lambda item: _digest(item[0]))
        start = 0
        for split, count in _taken(len(images), shares).items():
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


def _subfolders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _holds_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) and entry.is_file() for entry in entries)
