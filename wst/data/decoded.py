"""A decoded split on disk: read a block at a time, each compared with its recorded sum before it is used.

Nothing is mapped into memory: a file that is cut off while it is in use gives a short read, which can be
said and mended, where a mapping would end the process (SIGBUS).
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import numpy as np

from wst.errors import InputError

RECORD, PIXELS = "entry.json", "images.npy"
_BLOCK_BYTES = 8 << 20


def block_size(shape: tuple[int, ...]) -> int:
    """Images in a block: about 8 MB."""
    return max(1, _BLOCK_BYTES // math.prod(shape[1:]))


class DamagedError(Exception):
    """What is on disk is not what was recorded."""


class PixelFile:
    """The open pixels of an entry; they stay readable when the entry is removed.

    Args:
        entry: folder with ``images.npy`` and ``entry.json``, which has its shape and a sum for each block.
        shape: what is expected, (N, 3, size, size).
        made_of: what its record must say that it was made of.

    Raises:
        FileNotFoundError: there is no entry, or it is of another version.
        DamagedError: it is not whole, or another one's.
    """

    def __init__(self, entry: Path, shape: tuple[int, ...], made_of: Mapping[str, str]):
        self.entry, self.shape = entry, shape
        self.block = block_size(shape)
        try:
            record = json.loads((entry / RECORD).read_text())
            if not {"sums", *made_of} <= record.keys():
                raise FileNotFoundError(f"{entry}: of an earlier version")
            others = [key for key, value in made_of.items() if record[key] != value]
            if others:
                raise ValueError(f"one of other {' and '.join(others)}")
            self._sums = [bytes.fromhex(text) for text in record["sums"]]
            self._file = (entry / PIXELS).open("rb", buffering=0)
            found, fortran, dtype = self._header()
            self._start = self._file.tell()
            status = os.fstat(self._file.fileno())
        except FileNotFoundError:
            if entry.is_dir() and (entry / RECORD).is_file() != (entry / PIXELS).is_file():
                raise DamagedError("one of its files is missing") from None
            raise
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise DamagedError(str(error)) from None
        if (found, fortran, dtype) != (shape, False, np.dtype(np.uint8)):
            raise DamagedError(f"an array {found} of {dtype}")
        if len(self._sums) != -(-shape[0] // self.block):
            raise DamagedError(f"{len(self._sums)} sums")
        if status.st_size != self._start + math.prod(shape):
            raise DamagedError(f"{status.st_size:,} bytes in place of {self._start + math.prod(shape):,}")
        self.inode = status.st_ino

    def _header(self) -> tuple[tuple[int, ...], bool, np.dtype[np.uint8]]:
        if np.lib.format.read_magic(self._file) != (1, 0):
            raise ValueError("another format")
        header: tuple[tuple[int, ...], bool, np.dtype[np.uint8]]
        header = np.lib.format.read_array_header_1_0(self._file)
        return header

    def read_block(self, number: int, into: np.ndarray) -> None:
        """Read a block of images.

        Args:
            number: of the block.
            into: (block, 3, size, size) uint8, contiguous; as many images as the block has.

        Raises:
            DamagedError: it is not what was recorded.
        """
        left = memoryview(into.data).cast("B")
        digest = hashlib.sha256(left[:0])
        try:
            self._file.seek(self._start + number * self.block * math.prod(self.shape[1:]))
            while left and (count := self._file.readinto(left)):
                digest.update(left[:count])
                left = left[count:]
        except OSError as error:
            raise DamagedError(error.strerror or str(error)) from None
        if left:
            raise DamagedError("a file that was cut off")
        if digest.digest() != self._sums[number]:
            raise DamagedError("other pixels")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class DecodedSplit:
    """A split's pixels and labels.

    Args:
        pixels: the file of its pixels.
        labels: of its images.
        again: makes a file anew that turned out to be damaged.

    Attributes:
        labels: (N,) int64.
    """

    def __init__(self, pixels: PixelFile, labels: np.ndarray, again: Callable[[PixelFile, str], PixelFile]):
        self.labels = labels
        self._pixels, self._again = pixels, again

    @property
    def nbytes(self) -> int:
        """Bytes of all pixels."""
        return math.prod(self._pixels.shape)

    @property
    def images(self) -> np.ndarray:
        """(N, 3, size, size) uint8: the whole split, read into memory.

        Raises:
            InputError: as :meth:`batches`.
        """
        images, block = np.empty(self._pixels.shape, np.uint8), self._pixels.block
        for number, start in enumerate(range(0, len(images), block)):
            self._read_block(number, images[start : start + block])
        return images

    def batches(self, size: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Images and labels, ``size`` at a time.

        So a test split of any size takes the memory of one batch and one block.

        Raises:
            InputError: the file is damaged, and what was written in its place, too.
        """
        total, block = len(self.labels), self._pixels.block
        held, at = np.empty((0, *self._pixels.shape[1:]), np.uint8), -1
        for start in range(0, total, size):
            stop = min(start + size, total)
            images = np.empty((stop - start, *self._pixels.shape[1:]), np.uint8)
            for number in range(start // block, -(-stop // block)):
                first = number * block
                if number != at:
                    held, at = (
                        np.empty_like(images, shape=(min(block, total - first), *images.shape[1:])),
                        number,
                    )
                    self._read_block(number, held)
                low, high = max(start, first), min(stop, first + len(held))
                images[low - start : high - start] = held[low - first : high - first]
            yield images, self.labels[start:stop]

    def _read_block(self, number: int, into: np.ndarray) -> None:
        try:
            self._pixels.read_block(number, into)
        except DamagedError as error:
            entry = self._pixels.entry
            self._pixels = self._again(self._pixels, str(error))
            try:
                self._pixels.read_block(number, into)
            except DamagedError as second:
                raise InputError(
                    f"{entry}: expected the pixels just written; found {second} (a failing disk?)"
                ) from None
