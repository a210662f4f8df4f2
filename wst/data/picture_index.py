"""Which image files lie below a folder's subfolders: walked once, and known until one of the folders changes.

An index is kept in this process and in the cache folder (``folders/<key>``), so that neither later commands
nor the processes of a study walk again.  It counts as long as every folder has the inode and the times that
it had: one look at each folder, none at a picture.  A folder that changed in the two seconds before the walk
may change again without another time to show for it (file systems count in coarse steps): that walk is not
kept.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from wst.data import memo
from wst.data.decode import endings
from wst.errors import InputError

_FORMAT = 3
_SYSTEM = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
"""What unpackers and desktops leave behind: hidden, whatever its name begins with."""
_MOST_OTHERS, _PER_PICTURE = 100_000, 10
"""Files and folders that are no pictures: so many of them, and so many for each picture found before them,
are those of a whole disk, which would be walked for minutes."""
_TOO_FRESH = 2.0
"""Seconds that must lie between a folder's last change and the walk."""


@dataclass(frozen=True, eq=False)
class PictureIndex:
    """The image files below the subfolders of a folder.

    Attributes:
        images: by subfolder that has any, in order of name: paths from the folder on, with ``/`` between
            their parts, sorted part by part.
        links: subfolders and image files that are symbolic links, named in the same way.
        loose: image files in the folder itself, in no subfolder.
        others: files below the subfolders that are no images (by their names, or as no regular files), and
            links to folders there; in the folder itself, what has an image's name and is no regular file.
        folders: the folder (an empty name) and every folder below it that was read: its inode, and the times
            in nanoseconds at which its entries and it itself changed last.
    """

    images: Mapping[str, tuple[str, ...]]
    links: frozenset[str]
    loose: tuple[str, ...]
    others: tuple[str, ...]
    folders: Mapping[str, tuple[int, int, int]]


def picture_index(folder: Path) -> PictureIndex:
    """The image files below a folder's subfolders.

    Subfolders may be links, those below them are not followed; hidden files and folders are left out at every
    depth, without a word.

    A first call walks; later ones, of other processes too, cost one look at each folder below (and one file
    read a process), however many pictures there are.
    """
    where = os.path.abspath(folder)  # noqa: PTH100 (links stay)
    known = _known.get(where) or _read(where)
    if known is None or not _unchanged(where, known):
        known = _walk(where)
        newest = max(changed for _, changed, _ in known.folders.values()) / 1e9
        if newest > time.time() - _TOO_FRESH:
            _known.pop(where, None)
            return known
        _write(where, known)
    _known[where] = known
    return known


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is passed over without a word."""
    return name.startswith(".") or name in _SYSTEM


def is_image(name: str) -> bool:
    """Whether a file of that name counts as an image."""
    return not is_hidden(name) and os.path.splitext(name)[1].lower() in endings()  # noqa: PTH122


def images_in(folder: Path) -> list[Path]:
    """All image files below a folder, at any depth, sorted; what is hidden is left out.

    What has an image's name and is no regular file is among them, for whoever opens it to refuse.

    Raises:
        InputError: a folder below it may not be read.
    """
    index = picture_index(folder)
    names = [*index.loose, *(path for paths in index.images.values() for path in paths)]
    strange = [name for name in index.others if is_image(name.rpartition("/")[2])]
    return [folder / name for name in _in_order([*names, *strange]) if not (folder / name).is_dir()]


def links_in(folder: Path) -> list[str]:
    """Links to folders below a folder's subfolders, which are not followed."""
    return [name for name in picture_index(folder).others if (folder / name).is_dir()]


_known: dict[str, PictureIndex] = {}
"""Indices that this process has made or read, by absolute path."""


def _walk(where: str) -> PictureIndex:
    walk = _Walk(where)
    subfolders, loose = [], []
    for entry in walk.entries(""):
        if entry.is_dir():
            subfolders.append(entry.name)
            if entry.is_symlink():
                walk.links.add(entry.name)
        elif is_image(entry.name) and entry.is_file():
            loose.append(entry.name)
            if entry.is_symlink():
                walk.links.add(entry.name)
        elif is_image(entry.name):
            walk.others.append(entry.name)
    images = {name: tuple(found) for name in sorted(subfolders) if (found := walk.images_below(name))}
    return PictureIndex(
        images, frozenset(walk.links), tuple(sorted(loose)), tuple(_in_order(walk.others)), walk.folders
    )


class _Walk:
    """A walk in progress; the attributes are those of the index."""

    def __init__(self, where: str):
        self._where = where
        self.links, self.others, self._pictures = set[str](), list[str](), 0
        self.folders: dict[str, tuple[int, int, int]] = {}

    def entries(self, inside: str) -> Iterator[os.DirEntry[str]]:
        """What lies in a folder and is not hidden.

        Raises:
            InputError: it may not be read.
        """
        folder = f"{self._where}/{inside}" if inside else self._where
        try:
            # Its times before its entries, so that what changes in between is seen the next time.
            self.folders[inside] = _stamp(folder)
            with os.scandir(folder) as entries:
                yield from (entry for entry in entries if not is_hidden(entry.name))
        except OSError as error:
            raise InputError(f"{folder}: expected a folder to read; found: {error.strerror}") from None

    def images_below(self, subfolder: str) -> list[str]:
        """Image files at any depth below a subfolder, in order."""
        found, waiting = list[str](), [subfolder]
        while waiting:
            inside = waiting.pop()
            before = len(found)
            self._check_others()
            for entry in self.entries(inside):
                path = f"{inside}/{entry.name}"
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                elif entry.is_symlink():
                    if entry.is_dir():
                        self.others.append(path)
                    else:
                        self._add_link(path, found)
                elif is_image(entry.name) and entry.is_file(follow_symlinks=False):
                    found.append(path)
                else:
                    self.others.append(path)
            self._pictures += len(found) - before
        return _in_order(found)

    def _check_others(self) -> None:
        """Refuse a folder that is no folder of pictures, before all of it has been walked.

        Raises:
            InputError: with what was found so far.
        """
        others = len(self.others) + len(self.folders)
        if others > _MOST_OTHERS and others > _PER_PICTURE * self._pictures:
            raise InputError(
                f"{self._where}: expected a folder of pictures; found {others:,} other files and folders "
                f"before {self._pictures:,} pictures"
            )

    def _add_link(self, path: str, found: list[str]) -> None:
        """A link counts by its name: where it leads to is looked at before it is used."""
        if is_image(path.rpartition("/")[2]):
            self.links.add(path)
            found.append(path)
        else:
            self.others.append(path)


def _in_order(paths: Iterable[str]) -> list[str]:
    return sorted(paths, key=lambda path: path.split("/"))


def _stamp(folder: str) -> tuple[int, int, int]:
    status = os.stat(folder)  # noqa: PTH116 (many folders)
    return status.st_ino, status.st_mtime_ns, status.st_ctime_ns


def _unchanged(where: str, index: PictureIndex) -> bool:
    try:
        return all(
            _stamp(f"{where}/{folder}" if folder else where) == stamp
            for folder, stamp in index.folders.items()
        )
    except OSError:
        return False


def _key(where: str) -> str:
    return hashlib.sha256(where.encode(errors="surrogateescape")).hexdigest()[:32]


def _made_by(where: str) -> dict[str, Any]:
    """What decides about an index besides the folders: another Pillow may open other formats."""
    return {"folder": where, "format": _FORMAT, "endings": sorted(endings())}


def _write(where: str, index: PictureIndex) -> None:
    """Keep an index in the cache; without room for it, the next process walks."""
    content = {**asdict(index), "links": sorted(index.links), **_made_by(where)}
    memo.keep(memo.FOLDERS, _key(where), content)


def _read(where: str) -> PictureIndex | None:
    """The index that the cache holds; None if it is not there, damaged, or of another version."""
    content = memo.recall(memo.FOLDERS, _key(where))
    wanted = _made_by(where)
    if content is None or {name: content.get(name) for name in wanted} != wanted:
        return None
    return PictureIndex(
        {name: tuple(paths) for name, paths in content["images"].items()},
        frozenset(content["links"]),
        tuple(content["loose"]),
        tuple(content["others"]),
        {name: tuple(stamp) for name, stamp in content["folders"].items()},
    )
