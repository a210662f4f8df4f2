"""What an archive may hold: names inside it, files alone, and no more than its size lets expect.

Nothing is unpacked by name; but an archive that names a place outside itself, or unpacks without end, is not
the one that was asked for.
"""

from __future__ import annotations

import posixpath
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from gzip import GzipFile
from pathlib import PureWindowsPath
from typing import IO

from wst.errors import InputError

MOST_OF_A_MEMBER = 2 << 30
"""Bytes of a member that is read whole."""
MOST_MEMBERS = 1_000_000
_RATIO, _ROOM = 200, 1 << 30
"""An archive may unpack to so many times its size, and so many bytes besides: text packs to a twentieth or
so, an archive of nothing but zeros to a thousandth."""
_MOST_OF_A_HEADER = 1 << 20
_HEADERS = (
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
)


class BoundedInfo(tarfile.TarInfo):
    """A member of a tar archive whose long names and extra headers, read into memory at once, stay small."""

    def _proc_member(self, archive: tarfile.TarFile) -> tarfile.TarInfo:
        if self.type in _HEADERS and not 0 <= self.size <= _MOST_OF_A_HEADER:
            raise InputError(f"{archive.name!s}: expected headers of at most 1 MB; found {self.size:,} bytes")
        processed: tarfile.TarInfo = super()._proc_member(archive)  # type: ignore[misc]
        return processed


def check_name(archive: object, name: str) -> None:
    """Refuse a member whose name leads out of the archive.

    Raises:
        InputError: it does.
    """
    outside = (
        name.startswith(("/", "\\"))
        or PureWindowsPath(name).drive
        or ".." in name.replace("\\", "/").split("/")
        or "\0" in name
    )
    if outside:
        raise InputError(f"{archive}: expected members inside the archive; found {name!r}")


def check_tar_member(archive: object, member: tarfile.TarInfo) -> None:
    """Refuse a member of a tar archive that is no file, folder, or link to one in the archive.

    Raises:
        InputError: it is none of these.
    """
    check_name(archive, member.name)
    if member.islnk() or member.issym():
        start = posixpath.dirname(member.name) if member.issym() else ""
        target = posixpath.normpath(posixpath.join(start, member.linkname))
        if posixpath.isabs(target) or target.split("/")[0] == "..":
            raise InputError(
                f"{archive}: expected links inside the archive; found {member.name!r} to {member.linkname!r}"
            )
    elif not (member.isreg() or member.isdir()):
        raise InputError(f"{archive}: expected files and folders; found a device or pipe, {member.name!r}")


def check_zip(archive: object, opened: zipfile.ZipFile, size: int) -> None:
    """Refuse a zip archive with members that a tar archive must not have, or that is a bomb.

    Args:
        archive: its name, for the message.
        opened: the archive.
        size: its bytes.

    Raises:
        InputError: it is one.
    """
    room = Room(archive, size)
    for info in opened.infolist():
        check_name(archive, info.filename)
        kind = stat.S_IFMT(info.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise InputError(
                f"{archive}: expected files and folders; found a link, device or pipe, {info.filename!r}"
            )
        room.take(info.file_size)


class Room:
    """Counts what comes out of an archive.

    Args:
        archive: its name, for the message.
        size: its bytes.
    """

    def __init__(self, archive: object, size: int):
        self._archive, self._left = archive, _RATIO * size + _ROOM
        self._most, self._members = self._left, 0

    def take(self, count: int, members: int = 1) -> None:
        """Count a member of so many bytes.

        Raises:
            InputError: it is more than the archive may have.
        """
        self._left -= count
        self._members += members
        if self._left < 0 or count < 0:
            raise InputError(
                f"{self._archive}: expected at most {self._most / 1e9:,.1f} GB when unpacked; found more"
            )
        if self._members > MOST_MEMBERS:
            raise InputError(f"{self._archive}: expected at most {MOST_MEMBERS:,} members; found more")


def whole(archive: object, name: str, stream: IO[bytes], declared: int) -> bytes:
    """The content of a member.

    Args:
        archive: for the message.
        name: of the member.
        stream: its content.
        declared: bytes that it says it has.

    Raises:
        InputError: it has more than a picture or a table has.
    """
    if declared <= MOST_OF_A_MEMBER:
        content = stream.read(MOST_OF_A_MEMBER + 1)
        if len(content) <= MOST_OF_A_MEMBER:
            return content
    raise InputError(f"{archive}: {name}: expected at most {MOST_OF_A_MEMBER / 1e9:.1f} GB; found more")


def bounded(archive: object, stream: IO[bytes] | GzipFile, size: int) -> Iterator[bytes]:
    """A stream that unpacks one file, a megabyte at a time.

    Args:
        archive: for the message.
        stream: what unpacks.
        size: bytes of what it unpacks.

    Raises:
        InputError: it unpacks to more than it may.
    """
    room = Room(archive, size)
    while piece := stream.read(1 << 20):
        room.take(len(piece), 0)
        yield piece
