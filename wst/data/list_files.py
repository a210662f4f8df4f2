"""List files of a user's own task: which there are, and what they say together."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from wst.data.cut import Images, fill_up
from wst.data.lists import CLASS_NAMES, SPLITS, VTAB_NAMES, Split, read_file
from wst.data.split_folders import MEANINGS
from wst.errors import InputError

_NAMES: dict[str, Split] = {
    **MEANINGS,
    "trainval": "trainval",
    **{name: split for split, name in VTAB_NAMES.items()},
}
"""What the names of list files say, in lower case and without ``.txt``."""


def list_files(folder: Path) -> dict[Split, Path]:
    """The list files of a task's folder, by split; none where there are none.

    Raises:
        InputError: two for one split, or none for training.
    """
    found: dict[Split, Path] = {}
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(".txt"))
    for name in names:
        split, file = _NAMES.get(name[:-4].casefold()), folder / name
        if split is not None and file.is_file():
            if split in found:
                raise InputError(
                    f"{folder}: expected one list file for {split!r}; found {found[split].name} and {name}"
                )
            found[split] = file
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
