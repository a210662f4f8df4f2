"""A user's own suite: a folder of pictures, or a YAML file that names several.

A task is a folder in one of three forms:

* list files ``train.txt``, ``val.txt`` and ``test.txt`` (or VTAB-1K's names), lines ``path label``;
* ``train/``, ``val/`` and ``test/``, with a subfolder a class;
* a subfolder a class, nothing else: it is split by us.

Names of splits count in any case and with their usual synonyms (:mod:`wst.data.split_folders`).

Whatever split is missing is cut out of the training images, class by class, in the order of the MD5 of the
paths: the same on every machine, whatever the order in which a file system lists them.

What it costs: a folder of classes is walked once (:mod:`wst.data.picture_index`), and after that, in every
process, costs one look at each of its folders until one of them changes.  List files are read each time, and
each image that they name is looked for.
"""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from wst.data.class_folders import check_classes, class_folders, in_classes, pictures_of, sizes_of
from wst.data.class_names import check_names, unfit
from wst.data.list_files import (
    check_folders_named,
    check_nothing_unread,
    count_labels,
    list_files,
    read_lists,
)
from wst.data.lists import CLASS_NAMES, ImageList, Split, names_in_file
from wst.data.picture_index import is_image
from wst.data.split_folders import holds_pictures, split_folders, subfolders
from wst.data.tasks import Group, Suite, Task
from wst.errors import InputError
from wst.files import is_folder, read_text, readable
from wst.yaml_files import LARGEST, Strict, first_error, read_yaml

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
    with readable(path):
        return _own_suite(Path(os.path.realpath(path)))  # which takes links in a circle


def _own_suite(path: Path) -> Suite:
    if any(map(unfit, path.parts)):
        raise InputError(f"suite: expected a path in UTF-8 without control characters; found {str(path)!a}")
    if path.is_file():
        return _from_yaml(path)
    if not path.is_dir():
        raise InputError(f"suite: expected a folder or a YAML file; found {path}, a pipe or a device")
    if (path / SUITE_FILE).is_file():
        return _from_yaml(path / SUITE_FILE)
    if _layout(path) is not None:
        return Suite(path.name, path.name, (_task(path, _name(path.name), "."),), location=path.parent)
    children = subfolders(path)
    folders = [child for child in children if _layout(child) is not None]
    if not folders:
        raise InputError(
            f"suite {path}: expected list files, a subfolder a class, or a folder a task; found none of them"
        )
    deeper = [child.name for child in children if child not in folders and holds_pictures(child)]
    if deeper:
        raise InputError(
            f"suite {path}: expected list files or a subfolder a class in each folder with pictures; found "
            f"some in {deeper[0]!r} that lie elsewhere"
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
        parts = read_lists(folder, task.classes, task.cut)
        file = list_files(folder).get(split, folder)
    else:
        parts = in_classes(pictures_of(folder, task.class_names), task.class_names, task.cut)
        file = folder
    found = parts["train"] + parts["val"] if split == "trainval" and split not in parts else parts[split]
    if not found:
        raise InputError(
            f"data of task {task.name!r}: expected at least one image in {split!r}; found none in {folder}"
        )
    return ImageList(file, tuple(folder / path for path, _ in found), tuple(label for _, label in found))


def _from_yaml(file: Path) -> Suite:
    data = read_yaml(read_text(file, LARGEST), str(file))
    try:
        entry = _SuiteFile.model_validate(data)
    except ValidationError as error:
        raise first_error(error, str(file), data) from None
    counts = Counter(task.name for task in entry.tasks)
    twice = sorted(name for name, count in counts.items() if count > 1)
    if twice:
        raise InputError(f"{file}: tasks: expected each name once; found {twice[0]!r} twice")
    tasks = []
    for given in entry.tasks:
        relative = given.folder or given.name
        if not is_folder(file.parent / relative):
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
    if wanted:
        check_names(wanted, f"classes of task {name!r}")
    if layout == "lists":
        parts = read_lists(folder, len(wanted) if wanted else None, cut)
        check_nothing_unread(folder, list_files(folder), "lists")
        check_folders_named(folder, parts)
        names = wanted or names_in_file(folder)
        if names and not wanted:
            check_names(names, folder / CLASS_NAMES)
        count = len(names) or count_labels(folder, parts)
        sizes = {split: len(images) for split, images in parts.items()}
    else:
        pictures = pictures_of(folder, wanted)
        names = wanted or class_folders(folder, pictures)
        check_classes(folder, pictures, names)
        check_nothing_unread(folder, [split for split, part, _ in pictures if part], "classes")
        sizes, count = sizes_of(pictures, names, cut), len(names)
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
    if list_files(folder):
        return "lists"
    if split_folders(folder) or any(_holds_images(child) for child in subfolders(folder)):
        return "classes"
    return None


def _holds_images(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(is_image(entry.name) and entry.is_file() for entry in entries)
