"""A user's own task as folders of classes, with folders of splits round them or without."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

from wst.data.class_names import check_names
from wst.data.cut import Images, fill_up, shares_of, taken_from
from wst.data.list_names import unread_lists
from wst.data.lists import inside_of
from wst.data.picture_index import PictureIndex, is_image, picture_index
from wst.data.split_folders import MEANINGS, split_folders
from wst.data.tasks import Task
from wst.errors import InputError

Pictures = tuple[tuple[str, str, PictureIndex], ...]
"""Splits that a folder of classes says: name, folder in the task's (empty if it is that), pictures."""


def pictures_of(folder: Path, names: Sequence[str] | None) -> Pictures:
    """The pictures of a folder of classes, by the splits that it says: all in ``train`` where it says none.

    Args:
        folder: the task's.
        names: the classes; all when left out.

    Raises:
        InputError: a link of theirs leaves the folder.
    """
    parts = split_folders(folder) or {"train": folder}
    found = tuple(
        (split, parts[split].name if parts[split] != folder else "", picture_index(parts[split]))
        for split in ("train", "val", "test")
        if split in parts
    )
    is_inside = inside_of(folder)
    wanted = None if names is None else {name.split("/")[0] for name in names}
    for _, name, index in found:
        part = folder / name
        links = sorted(link for link in index.links if wanted is None or link.split("/")[0] in wanted)
        for path in (part, *(part / link for link in links)):
            if path != folder and not is_inside(path):
                raise InputError(f"{path}: expected a file inside {folder}; found a link out of it")
            if not (path.is_file() or path.is_dir()):
                raise InputError(f"{path}: expected a picture or a folder; found a link to none")
    return found


def class_folders(folder: Path, pictures: Pictures) -> tuple[str, ...]:
    """Names of the classes, sorted: the label is the place in this list.

    Raises:
        InputError: they are no names of classes, or those of a split without classes.
    """
    names = tuple(sorted({name for _, _, index in pictures for name in index.images}))
    if names and all(name.casefold() in MEANINGS for name in names):
        raise InputError(f"{folder}: expected a subfolder a class in {names[0]!r}; found pictures alone")
    check_names(names, folder)
    return names


def check_classes(folder: Path, pictures: Pictures, names: tuple[str, ...]) -> None:
    """Refuse classes that training lacks, and one that lies in another.

    Raises:
        InputError: naming the first.
    """
    parts = {split: (folder / part, index) for split, part, index in pictures}
    where, training = parts["train"]
    known = set(names)
    inside = next((name for name in names if not known.isdisjoint(_above(name))), None)
    if inside is not None:
        raise InputError(f"{folder}: expected classes apart from each other; found {inside!r} inside another")
    for name in names:
        if not _of_class(training, name):
            holder = next((part for part, index in parts.values() if _of_class(index, name)), None)
            found = f"it in {holder.name!r} alone" if holder is not None else "none"
            raise InputError(f"{where}: expected pictures of class {name!r}; found {found}")


def _above(name: str) -> Iterator[str]:
    """Folders that one lies in: of ``a/b/c`` it is ``a`` and ``a/b``."""
    return (name[:place] for place, sign in enumerate(name) if sign == "/")


def left_out(folder: Path, task: Task) -> list[str]:
    """What lies in a task's folder and is not read, by names from the folder on.

    Files among pictures that are none, links to folders there, pictures in no class, folders with
    nothing in them (their names end in ``/``), and files that look like lists.  What is hidden does not
    count, nor do pictures that no list file names.
    """
    unread = list(unread_lists(folder))
    if task.layout != "classes":
        return unread
    pictures, tops = pictures_of(folder, task.class_names), {name.split("/")[0] for name in task.class_names}
    found = []
    for _, part, index in pictures:
        prefix = f"{part}/" if part else ""
        found += [prefix + path for path in index.loose]
        # A folder of pictures that the user has not named as a class is left out on purpose.
        apart = set(index.images) - tops
        found += [prefix + path for path in index.others if path.split("/")[0] not in apart]
        # A class that lacks pictures in one split alone is said of that split.
        named = {path.split("/")[0] for path in index.others}
        empty = index.folders.keys() - index.images.keys() - tops - named - {""}
        found += sorted(f"{prefix}{path}/" for path in empty if "/" not in path)
    if any(part for _, part, _ in pictures):
        with os.scandir(folder) as entries:
            found += sorted(entry.name for entry in entries if is_image(entry.name) and entry.is_file())
    return found + unread


def _of_class(index: PictureIndex, name: str) -> Sequence[str]:
    """Images of a class: those below a subfolder, or below a folder in it such as ``animals/cat``."""
    top, _, rest = name.partition("/")
    images = index.images.get(top, ())
    return [path for path in images if path.startswith(f"{name}/")] if rest else images


def sizes_of(pictures: Pictures, names: tuple[str, ...], cut: tuple[float, float]) -> dict[str, int]:
    """Images of each split, counted without dividing them."""
    shares = shares_of([split for split, _, _ in pictures], cut)
    sizes = dict.fromkeys(shares, 0)
    for split, _, index in pictures:
        counts = [len(_of_class(index, name)) for name in names]
        sizes[split] = sum(counts)
        if split == "train":
            for count in filter(None, counts):
                for missing, taken in taken_from(count, shares).items():
                    sizes[missing] += taken
                    sizes["train"] -= taken
    return sizes


@lru_cache(maxsize=8)
def in_classes(pictures: Pictures, names: tuple[str, ...], cut: tuple[float, float]) -> dict[str, Images]:
    """The splits of a folder of classes.  Not to be changed: they are remembered while the indices hold."""
    parts: dict[str, Images] = {}
    for split, part, index in pictures:
        prefix = f"{part}/" if part else ""
        parts[split] = [
            (prefix + path, label) for label, name in enumerate(names) for path in _of_class(index, name)
        ]
    return fill_up(parts, cut)
