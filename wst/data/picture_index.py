"""Which image files lie below a folder's subfolders: walked once, and known until one of the folders changes.

An index is kept in this process and in the cache folder (``folders/<key>``), so that neither later commands
nor the processes of a study walk again.  It counts as long as every folder has the inode and the times that
it had: one look at each folder, none at a picture.  A folder that changed in the two seconds before the walk
may change again without another time to show for it (file systems count in coarse steps): that walk is not
kept.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from wst.data.hashes import cache_folder
from wst.files import replacing

IMAGE_ENDINGS = frozenset(
    {".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2"}
)
_FORMAT = 1
_TOO_FRESH = 2.0
"""Seconds that must lie between a folder's last change and the walk."""


@dataclass(frozen=True, eq=False)
class PictureIndex:
    """The image files below the subfolders of a folder.

    Attributes:
        images: by subfolder that has any, in order of name: paths from the folder on, with ``/`` between
            their parts, sorted part by part.
        links: subfolders and image files that are symbolic links, named in the same way.
        folders: the folder (an empty name) and every folder below it that was read: its inode, and the times
            in nanoseconds at which its entries and it itself changed last.
    """

    images: Mapping[str, tuple[str, ...]]
    links: frozenset[str]
    folders: Mapping[str, tuple[int, int, int]]


def picture_index(folder: Path) -> PictureIndex:
    """The image files below a folder's subfolders.

    Subfolders may be links, those below them are not followed; hidden subfolders of the folder are left out,
    and so are hidden files anywhere.

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
        with suppress(OSError):  # without room for it, the next process walks
            _write(where, known)
    _known[where] = known
    return known


def is_image(name: str) -> bool:
    """Whether a file of that name counts as an image."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in IMAGE_ENDINGS  # noqa: PTH122


_known: dict[str, PictureIndex] = {}
"""Indices that this process has made or read, by absolute path."""


def _walk(where: str) -> PictureIndex:
    folders, links = {"": _stamp(where)}, set[str]()
    with os.scandir(where) as entries:
        subfolders = sorted(
            (entry for entry in entries if entry.is_dir() and not entry.name.startswith(".")),
            key=lambda entry: entry.name,
        )
    images = {}
    for subfolder in subfolders:
        if subfolder.is_symlink():
            links.add(subfolder.name)
        found = _images_below(where, subfolder.name, folders, links)
        if found:
            images[subfolder.name] = tuple(sorted(found, key=lambda path: path.split("/")))
    return PictureIndex(images, frozenset(links), folders)


def _images_below(
    where: str, subfolder: str, folders: dict[str, tuple[int, int, int]], links: set[str]
) -> list[str]:
    """Image files below a subfolder; adds what was read to ``folders`` and links to ``links``."""
    found, waiting = [], [subfolder]
    while waiting:
        inside = waiting.pop()
        try:
            # Its times before its entries, so that what changes in between is seen the next time.
            folders[inside] = _stamp(f"{where}/{inside}")
            with os.scandir(f"{where}/{inside}") as entries:
                for entry in entries:
                    path = f"{inside}/{entry.name}"
                    if entry.is_dir(follow_symlinks=False):
                        waiting.append(path)
                    elif is_image(entry.name):
                        if entry.is_symlink():
                            if entry.is_dir():
                                continue
                            links.add(path)
                        found.append(path)
        except OSError:
            continue  # a folder that may not be read
    return found


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


def _file(where: str) -> Path:
    key = hashlib.sha256(where.encode(errors="surrogateescape")).hexdigest()[:32]
    return cache_folder() / "folders" / key


def _write(where: str, index: PictureIndex) -> None:
    """Keep an index in the cache: the SHA-256 of the second line, and JSON."""
    content = {**asdict(index), "links": sorted(index.links), "format": _FORMAT, "folder": where}
    line = json.dumps(content)  # ASCII, whatever bytes the names hold
    with replacing(_file(where), several=True) as aside:
        aside.write_text(f"{hashlib.sha256(line.encode()).hexdigest()}\n{line}\n")


def _read(where: str) -> PictureIndex | None:
    """The index that the cache holds; None if it is not there or damaged."""
    try:
        digest, line, _ = _file(where).read_text(encoding="ascii").split("\n")
        if hashlib.sha256(line.encode()).hexdigest() != digest:
            return None
        content = json.loads(line)
    except (OSError, ValueError):
        return None
    if (content["format"], content["folder"]) != (_FORMAT, where):
        return None
    return PictureIndex(
        {name: tuple(paths) for name, paths in content["images"].items()},
        frozenset(content["links"]),
        {name: tuple(stamp) for name, stamp in content["folders"].items()},
    )
