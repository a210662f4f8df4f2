"""What every data set looks like to the builder once its archives are open."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from wst.data.vtab1k.tfds_order import Chosen

Payload = bytes | np.ndarray
"""An image: the bytes of an encoded file, or (H, W) or (H, W, 3) uint8 pixels."""

Wanted = Mapping[str, Sequence[int]]
"""Indices of the wanted examples, by split of the data set."""


def as_stored(content: bytes) -> bytes:
    """Leave an image file as it is."""
    return content


@dataclass(frozen=True)
class Opened:
    """A data set that can be read.

    Attributes:
        keys: keys of the examples of every split; the order is the data set's own.
        labels: labels in the same order, by task and split.
        read: yields the wanted images as (split, index, payload), in whatever order is cheap.
        class_names: names of the classes, where the archives say them.
        process: what is done to an image file before it is stored; runs in parallel.
        parts: VTAB's splits, where they cannot be computed from the keys.
    """

    keys: Mapping[str, Sequence[str] | Sequence[int]]
    labels: Mapping[str, Mapping[str, Sequence[int] | np.ndarray]]
    read: Callable[[Wanted], Iterator[tuple[str, int, Payload]]]
    class_names: tuple[str, ...] = ()
    process: Callable[[bytes], bytes] = as_stored
    parts: Mapping[str, Sequence[Chosen]] | None = None


Opener = Callable[[Mapping[str, Path], ExitStack, Path | None], Opened]
"""Opens a data set: its archives by the names in :mod:`.sources`, a stack that closes what is kept open, and
the user's manifest for a data set that needs one."""
