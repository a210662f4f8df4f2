"""Which subfolders of a task's folder are its splits.

A subfolder is a split if it has a split's name, in any case, and class folders in it (subfolders with
pictures): three classes called ``car``, ``bus`` and ``train`` are three classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from wst.data.lists import Split
from wst.data.picture_index import is_hidden, picture_index
from wst.errors import InputError

MEANINGS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "eval": "val",
    "test": "test",
    "testing": "test",
}
"""What the names of folders and list files say, in lower case."""
_SHOWN = 5


def split_folders(folder: Path) -> dict[Split, Path]:
    """The folders of a task's splits, by split; none where the folder itself holds the classes.

    Raises:
        InputError: two folders for one split, no training folder beside the others, a split's folder without
            classes, or pictures that lie beside the splits.
    """
    children = subfolders(folder)
    named = [child for child in children if child.name.casefold() in MEANINGS]
    found = {child: MEANINGS[child.name.casefold()] for child in named if picture_index(child).images}
    splits: dict[Split, Path] = {}
    for child, split in found.items():
        if split in splits:
            raise InputError(
                f"{folder}: expected one folder for {split!r}; found {_listed((splits[split], child))}"
            )
        splits[split] = child
    if splits and "train" not in splits:
        raise InputError(
            f"{folder}: expected a folder 'train' beside {_listed(splits.values())}; found none (a class "
            "needs another name)"
        )
    if not splits:
        return {}
    empty = [child for child in named if child not in found]
    if empty:
        raise InputError(
            f"{empty[0]}: expected a subfolder of pictures a class, as in {splits['train'].name!r}; "
            "found none"
        )
    beside = [child for child in children if child not in found and holds_pictures(child)]
    if beside:
        raise InputError(
            f"{folder}: expected pictures in the folders of splits alone ({_listed(splits.values())}); found "
            f"some in {_listed(beside)}"
        )
    return splits


def subfolders(folder: Path) -> list[Path]:
    """Subfolders that are not hidden, sorted."""
    with os.scandir(folder) as entries:
        return sorted(Path(entry) for entry in entries if entry.is_dir() and not is_hidden(entry.name))


def holds_pictures(folder: Path) -> bool:
    """Whether there are pictures in a folder, at any depth."""
    index = picture_index(folder)
    return bool(index.images or index.loose)


def _listed(folders: Iterable[Path]) -> str:
    names = [repr(child.name) for child in folders]
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more
