"""Readers of the file formats that the archives come in."""

from __future__ import annotations

import gzip
import lzma
import math
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TypeVar

import numpy as np

from wst.data.vtab1k.bounds import (
    MOST_OF_A_MEMBER,
    BoundedInfo,
    Room,
    bounded,
    check_tar_member,
    check_zip,
    whole,
)
from wst.errors import InputError

_Token = TypeVar("_Token")
_NORB_TYPES = {0x1E3D4C55: "u1", 0x1E3D4C54: "<i4"}


def tar_members(file: Path | IO[bytes], size: int | None = None) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of every file of a tar archive, in its order, whatever its compression.

    The content must be read before the next member is asked for.

    Args:
        file: the archive.
        size: its bytes, where it is no file of its own.

    Raises:
        InputError: the archive is damaged, or holds what none should (:mod:`.bounds`).
    """
    room = Room(file, file.stat().st_size if isinstance(file, Path) else size or 0)
    try:
        with (
            tarfile.open(file, mode="r:*", tarinfo=BoundedInfo)
            if isinstance(file, Path)
            else tarfile.open(fileobj=file, mode="r|*", tarinfo=BoundedInfo)
        ) as archive:
            for member in archive:
                check_tar_member(file, member)
                room.take(member.size)
                content = archive.extractfile(member) if member.isfile() else None
                if content is not None:
                    yield member.name.removeprefix("./"), content
    except (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError) as error:
        raise InputError(f"{file}: expected a whole tar archive; found a damaged one ({error})") from None


def open_zip(file: Path) -> zipfile.ZipFile:
    """A zip archive.

    Raises:
        InputError: it is damaged, or holds what none should (:mod:`.bounds`).
    """
    try:
        opened = zipfile.ZipFile(file)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputError(f"{file}: expected a whole zip archive; found a damaged one ({error})") from None
    try:
        check_zip(file, opened, file.stat().st_size)
    except InputError:
        opened.close()
        raise
    return opened


def pick(
    members: Iterator[tuple[str, IO[bytes]]], wanted: Mapping[str, _Token], source: Path
) -> Iterator[tuple[_Token, bytes]]:
    """Contents of the wanted members of an archive that is read from front to back.

    Raises:
        InputError: one of them is not there.
    """
    missing = dict(wanted)
    for name, content in members:
        if name in missing:
            yield missing.pop(name), whole(source, name, content, 0)
        if not missing:
            return
    if missing:
        raise InputError(f"{source}: expected a member {next(iter(missing))}; found none")


def pick_zip(
    archive: zipfile.ZipFile, wanted: Mapping[str, _Token], source: Path
) -> Iterator[tuple[_Token, bytes]]:
    """Contents of the wanted members of a zip archive, in the order in which they lie in it.

    Raises:
        InputError: one of them is not there, or is damaged.
    """
    present = {info.filename: info for info in archive.infolist()}
    for name in wanted:
        if name not in present:
            raise InputError(f"{source}: expected a member {name}; found none")
    for name in sorted(wanted, key=lambda n: present[n].header_offset):
        yield wanted[name], zip_member(archive, name, source)


def zip_member(archive: zipfile.ZipFile, name: str, source: Path) -> bytes:
    """Content of a member of a zip archive.

    Raises:
        InputError: it is not there, or is damaged.
    """
    try:
        with archive.open(name) as stream:
            return whole(source, name, stream, archive.getinfo(name).file_size)
    except KeyError:
        raise InputError(f"{source}: expected a member {name}; found none") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise InputError(f"{source}: {name}: expected a whole member; found {error}") from None


def unpacked(file: Path) -> Iterator[bytes]:
    """The content of a gzip file, a megabyte at a time.

    Raises:
        InputError: it is damaged, or unpacks to more than it may.
    """
    try:
        with gzip.open(file) as stream:
            yield from bounded(file, stream, file.stat().st_size)
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{file}: expected a whole gzip file; found a damaged one ({error})") from None


def norb_matrix(file: Path) -> np.ndarray:
    """An array in small NORB's binary format (gzip-compressed).

    Little-endian: a magic number for the type, the number of dimensions, at least three sizes, the values.

    Raises:
        InputError: the file is something else.
    """
    content = b"".join(unpacked(file))
    if len(content) < 20:
        raise InputError(f"{file}: expected a NORB matrix; found {len(content)} bytes")
    magic, dimensions = struct.unpack_from("<iI", content)
    if magic not in _NORB_TYPES:
        raise InputError(
            f"{file}: expected a NORB matrix of bytes or 32-bit integers; found magic {magic:#x}"
        )
    start = 8 + 4 * max(3, dimensions)
    shape = (
        struct.unpack_from(f"<{dimensions}i", content, 8)
        if 0 < dimensions <= 8 < start <= len(content)
        else (-1,)
    )
    if min(shape) < 0 or start + math.prod(shape) * np.dtype(_NORB_TYPES[magic]).itemsize > len(content):
        raise InputError(f"{file}: expected a whole NORB matrix; found {len(content):,} bytes")
    values = np.frombuffer(content, np.dtype(_NORB_TYPES[magic]), int(np.prod(shape)), start)
    matrix: np.ndarray = values.reshape(shape)
    return matrix


def tfrecords(stream: IO[bytes]) -> Iterator[bytes]:
    """Records of a TFRecord file: length, its checksum, data, their checksum.

    The checksums are not looked at: the archive's SHA-256 covers them.

    Raises:
        InputError: the file ends inside a record.
    """
    while head := stream.read(12):
        length = int.from_bytes(head[:8], "little")
        record = stream.read(length + 4) if length <= MOST_OF_A_MEMBER else b""
        if len(head) < 12 or len(record) < length + 4:
            raise InputError("TFRecord file: expected whole records; found one that is cut off")
        yield record[:-4]


def example_features(record: bytes) -> dict[str, bytes | int]:
    """First value of every bytes or integer feature of a serialised ``tf.train.Example``."""
    features: dict[str, bytes | int] = {}
    for _, entries in _fields(record):  # Example.features
        for _, entry in _fields(_message(entries)):  # Features.feature: a map from name to Feature
            parts = dict(_fields(_message(entry)))
            for kind, values in _fields(_message(parts[2])):  # bytes_list 1, float_list 2, int64_list 3
                for _, value in _fields(_message(values)):
                    if kind == 3 and isinstance(value, bytes):
                        value = _varint(value, 0)[0]  # packed
                    if kind != 2:
                        features.setdefault(_message(parts[1]).decode(), value)
    return features


def _message(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise InputError("TFRecord file: expected a tf.train.Example; found another message")
    return value


def _fields(message: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Numbers and values of a protocol-buffer message's fields."""
    position = 0
    while position < len(message):
        tag, position = _varint(message, position)
        kind = tag & 7
        if kind == 0:
            number, position = _varint(message, position)
            yield tag >> 3, number
            continue
        if kind == 2:
            length, position = _varint(message, position)
        else:
            length = {1: 8, 5: 4}.get(kind, len(message) + 1)
        if position + length > len(message):
            raise InputError("TFRecord file: expected a tf.train.Example; found another message")
        yield tag >> 3, message[position : position + length]
        position += length


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while position < len(message):
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
    raise InputError("TFRecord file: expected a tf.train.Example; found one that is cut off")
