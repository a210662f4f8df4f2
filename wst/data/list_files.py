"""List files of a user's own task: which there are, and what they say together."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from pathlib import Path
from posixpath import normpath
from typing import Literal

from wst.data.cut import Images, fill_up
from wst.data.list_names import LIST_NAMES, unread_lists
from wst.data.lists import CLASS_NAMES, SPLITS, Split, read_file
from wst.data.split_folders import MEANINGS, holds_pictures, subfolders
from wst.errors import InputError


def list_files(folder: Path) -> dict[Split, Path]:
    """The list files of a task's folder, by split; none where there are none.

    Raises:
        InputError: two for one split, none for training, or something else under a list file's name.
    """
    found: dict[Split, Path] = {}
    strange: list[Path] = []
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(".txt"))
    for name in names:
        split, file = LIST_NAMES.get(name[:-4].casefold()), folder / name
        if split is not None and not file.is_file():
            strange.append(file)
        elif split is not None:
            if split in found:
                raise InputError(
                    f"{folder}: expected one list file for {split!r}; found {found[split].name} and {name}"
                )
            found[split] = file
    if found and strange:  # alone, a folder of that name may be a class
        what = "a folder" if strange[0].is_dir() else "something else"
        raise InputError(f"{strange[0]}: expected a list file; found {what}")
    if found and "train" not in found:
        beside = ", ".join(file.name for file in found.values())
        raise InputError(f"{folder}: expected a list file train.txt beside {beside}; found none")
    return found


def read_lists(folder: Path, classes: int | None, cut: tuple[float, float]) -> dict[str, Images]:
    """What the list files of a task say, and what is cut out of the training images beside that.

    Args:
        folder: the task's.
        classes: number of classes; None allows any label.
        cut: shares of a class for ``val`` and ``test``.

    Raises:
        InputError: a line of a file is wrong, or all training images have one label.
    """
    files = list_files(folder)
    parts: dict[str, Images] = {}
    for split in filter(files.__contains__, SPLITS):
        listed = read_file(files[split], classes)
        names = (path.as_posix().removeprefix(f"{folder.as_posix()}/") for path in listed.images)
        parts[split] = list(zip(names, listed.labels, strict=True))
    if len({label for _, label in parts["train"]}) < 2:
        label = parts["train"][0][1]
        raise InputError(f"{files['train']}: expected two classes at least; found no label but {label}")
    return fill_up(parts, cut)


def check_nothing_unread(folder: Path, said: Collection[str], layout: Literal["lists", "classes"]) -> None:
    """Refuse a task of which a split would be cut out of training though a file seems to say what it holds.

    Args:
        folder: the task's.
        said: the splits that need not be cut.
        layout: of the task.  Class folders say what is in them, so that a list of pictures beside them that
            is named after no split is nothing but a list.

    Raises:
        InputError: naming the first such file.
    """
    cut = {split for split in ("val", "test") if split not in said}
    for name, meant in unread_lists(folder).items() if cut else ():
        if meant & cut or (layout == "lists" and "test" in cut and not meant):
            split = "test" if "test" in meant & cut or not meant else "val"
            raise InputError(
                f"{folder}: expected a list file {split}.txt, or no list beside those that are read; found "
                f"{name}, which is not (rename it, or move it away and {split!r} is cut out of the training "
                "images)"
            )


def check_folders_named(folder: Path, parts: Mapping[str, Images]) -> None:
    """Refuse list files that name nothing of a folder that looks like a split: one of the two is wrong.

    Raises:
        InputError: naming the folder.
    """
    named = {normpath(path).partition("/")[0] for images in parts.values() for path, _ in images}
    for child in subfolders(folder):
        if child.name.casefold() in MEANINGS and child.name not in named and holds_pictures(child):
            raise InputError(
                f"{folder}: expected either list files or folders of splits; found list files that name no "
                f"picture in {child.name!r}"
            )


def count_labels(folder: Path, parts: Mapping[str, Images]) -> int:
    """Classes of list files where nothing names them: as many as the largest label says."""
    trained = {label for _, label in parts["train"]}
    for split, images in parts.items():
        strange = sorted({label for _, label in images} - trained)
        if strange:
            raise InputError(
                f"{folder}: expected the labels of 'train' in {split!r}; found {strange[0]} (name all "
                f"classes in {CLASS_NAMES} if it may lack some)"
            )
    count, total = 1 + max(trained), sum(map(len, parts.values()))
    if count > total:
        raise InputError(
            f"{folder}: expected no more classes than images ({total}), with labels from 0 on; found the "
            f"label {count - 1}"
        )
    return count
