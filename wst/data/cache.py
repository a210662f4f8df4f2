"""Decoded splits: each image read, decoded and resized once, kept as uint8 in an entry of the cache.

An entry is named after the content of the images and the preprocessing.  What is decoded is hashed on the
way, so that an entry holds the very images that it is named after.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

import numpy as np

from wst.data import entries
from wst.data.decode import Preprocessing, decode_all
from wst.data.decoded import DecodedSplit
from wst.data.hashes import images_hash, over
from wst.data.lists import ImageList
from wst.errors import ChangedError


def load(listed: ImageList, preprocessing: Preprocessing, images: str | None = None) -> DecodedSplit:
    """The decoded split, from the cache or put there now.

    Args:
        listed: the images, and their labels.
        preprocessing: what is done to them.
        images: the images hash that they must have; the one that they have now where it is left out.

    Raises:
        ChangedError: an image that is to be decoded is no longer that of the hash.
        InputError: an image that cannot be read, or too little room for the split.
    """
    size, expected = preprocessing.size, images or images_hash(listed)
    contents = entries.Contents(
        "splits",
        (len(listed.images), 3, size, size),
        {"preprocessing": preprocessing.words, "images": expected},
        str(listed.file),
        partial(_rows, listed, preprocessing, expected),
    )
    labels = np.array(listed.labels, np.int64)
    return DecodedSplit(entries.opened(contents), labels, partial(entries.made, contents))


def _rows(listed: ImageList, preprocessing: Preprocessing, images: str) -> Iterator[np.ndarray]:
    files = list[bytes]()
    for pixels, of_file in decode_all(listed.images, preprocessing):
        files.append(of_file)
        yield pixels
    if over(files) != images:
        raise ChangedError(
            f"{listed.file}: expected its images to stay as they were while they are decoded; found them "
            "changed"
        )
