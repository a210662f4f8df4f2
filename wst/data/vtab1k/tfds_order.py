"""The order in which TensorFlow Datasets stores the examples of a split, and VTAB's slices of it.

TensorFlow Datasets sorts the examples of a split by a 128-bit MD5 of the split's name (the salt) followed by
the example's key as text.  VTAB-1K's 800 training and 200 validation images are slices of that order, so they
follow from the keys alone (Zhai et al. 2019, "A Large-scale Study of Representation Learning with the Visual
Task Adaptation Benchmark", and the ``task_adaptation`` code that came with it).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction

from wst.errors import InputError


def hash_order(keys: Sequence[str] | Sequence[int], salt: str) -> list[int]:
    """Indices of ``keys`` in the order in which TensorFlow Datasets stores the examples.

    Args:
        keys: keys of the examples; whole numbers count as their decimal text.
        salt: name of the split (``train``, ``validation`` or ``test``).
    """
    start = hashlib.md5(salt.encode(), usedforsecurity=False)

    def digest(index: int) -> bytes:
        hasher = start.copy()
        hasher.update(str(keys[index]).encode())
        return hasher.digest()

    return sorted(range(len(keys)), key=digest)


@dataclass(frozen=True)
class Slice:
    """The part of a split's hash order between two fractions of its length, each rounded down."""

    split: str
    start: Fraction = Fraction(0)
    stop: Fraction = Fraction(1)

    def of(self, count: int) -> range:
        """Ranks that the slice takes of ``count`` examples."""
        return range(int(count * self.start), int(count * self.stop))


@dataclass(frozen=True)
class Cut:
    """Where VTAB takes its three splits from: the first 800 of ``train``, the first 200 of ``val``, all of
    ``test``."""

    train: Slice
    val: Slice
    test: Slice

    @property
    def splits(self) -> tuple[str, ...]:
        """Names of the splits that are needed."""
        return tuple(dict.fromkeys((self.train.split, self.val.split, self.test.split)))


def _tenths(split: str, start: int, stop: int) -> Slice:
    return Slice(split, Fraction(start, 10), Fraction(stop, 10))


OFFICIAL = Cut(Slice("train"), Slice("validation"), Slice("test"))
"""The data set has three splits of its own."""

VAL_FROM_TRAIN = Cut(_tenths("train", 0, 9), _tenths("train", 9, 10), Slice("test"))
"""The last tenth of the training split is for validation."""

CUTS: Mapping[str, Cut] = {
    "cifar100": VAL_FROM_TRAIN,
    "dtd": OFFICIAL,
    "oxford_flowers102": OFFICIAL,
    "oxford_iiit_pet": Cut(_tenths("train", 0, 8), _tenths("train", 8, 10), Slice("test")),
    "svhn_cropped": VAL_FROM_TRAIN,
    "sun397": OFFICIAL,
    "patch_camelyon": OFFICIAL,
    "eurosat": Cut(_tenths("train", 0, 6), _tenths("train", 6, 8), _tenths("train", 8, 10)),
    "resisc45": Cut(_tenths("train", 0, 6), _tenths("train", 6, 8), _tenths("train", 8, 10)),
    "diabetic_retinopathy_detection": OFFICIAL,
    "clevr": Cut(_tenths("train", 0, 9), _tenths("train", 9, 10), Slice("validation")),
    "dmlab": OFFICIAL,
    "kitti": OFFICIAL,
    "dsprites": Cut(_tenths("train", 0, 8), _tenths("train", 8, 9), _tenths("train", 9, 10)),
    "smallnorb": Cut(Slice("train"), _tenths("test", 0, 5), _tenths("test", 5, 10)),
}
"""Cuts by the name that TensorFlow Datasets gives a data set; ``caltech101``'s draw cannot be recomputed.

Validation and test images of ``smallnorb`` both come from the official test set, so the 1,000 images that a
final model is trained on hold 200 of the toys that it is tested on.  That is the benchmark's definition.
"""


@dataclass(frozen=True)
class Chosen:
    """One image of a VTAB split: its split in the data set and its index among that split's keys."""

    split: str
    index: int


def cut(
    rule: Cut, keys: Mapping[str, Sequence[str] | Sequence[int]], train: int, val: int, test: int
) -> dict[str, list[Chosen]]:
    """Cut ``train``, ``val`` and ``test`` out of a data set.

    Args:
        rule: where they come from.
        keys: keys of every split of the data set that the rule names.
        train, val, test: images expected in each.

    Raises:
        InputError: the data set is too small, or its test slice has another size.
    """
    orders = {name: hash_order(keys[name], name) for name in rule.splits}
    parts = {}
    expected: tuple[tuple[str, Slice, int], ...] = (
        ("train", rule.train, train),
        ("val", rule.val, val),
        ("test", rule.test, test),
    )
    for name, piece, count in expected:
        ranks = piece.of(len(orders[piece.split]))
        if len(ranks) < count or (name == "test" and len(ranks) != count):
            raise InputError(
                f"{name}: expected {'' if name == 'test' else 'at least '}{count} examples in its slice of "
                f"{piece.split!r}; found {len(ranks)} (of {len(orders[piece.split])} in the split)"
            )
        parts[name] = [Chosen(piece.split, orders[piece.split][rank]) for rank in ranks[:count]]
    return parts
