"""Opening a task's splits, with the guard on the test split."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wst.data import cache
from wst.data.decode import Preprocessing, Reading
from wst.data.decoded import DecodedSplit
from wst.data.folders import read_own
from wst.data.hashes import Hashes, content_hash, hashes
from wst.data.lists import SPLITS, VTAB_NAMES, ImageList, Split, class_names, read_file
from wst.data.memo import cache_folder
from wst.data.tasks import Suite, Task
from wst.errors import ChangedError, InputError
from wst.files import is_folder, locked
from wst.records import Stage

TRAINING_SPLIT: dict[Stage, Split] = {
    "search": "train",
    "confirm": "train",
    "final": "trainval",
}


class TestSplitClosedError(RuntimeError):
    """The test split was asked for outside stage ``final``."""


def data_root(suite: Suite, root: str | None) -> Path:
    """The folder that holds the suite's folder.

    A suite that can build itself is built in the cache when none is given; one named by its path brings its
    own.

    Raises:
        InputError: no root was given for a suite that needs one, one for a suite that has its own, or it is
            no folder.
    """
    if suite.location is not None:
        if root is not None and Path(root).resolve() != suite.location.resolve():
            raise InputError(f"--root: expected none, since the suite is a path itself; found {root}")
        return suite.location
    if root is None:
        if suite.build is not None:
            return _built(suite)
        raise InputError(f"--root: expected the folder that holds {suite.folder}; found none given")
    if not is_folder(Path(root)):
        raise InputError(f"--root: expected a folder; found none at {root}")
    return Path(root)


def _built(suite: Suite, anew: bool = False) -> Path:
    """Where the cache keeps a suite that builds itself; one process builds, the others wait."""
    kept = cache_folder() / "data"
    assert suite.build is not None
    if anew or not (kept / suite.folder).is_dir():
        with locked(kept / f".{suite.folder}.building"):
            if anew or not (kept / suite.folder).is_dir():
                suite.build(kept, True)
    return kept


def build_again(suite: Suite, root: str | None) -> bool:
    """Make the data anew of a suite that the cache keeps; False where it does not: they are the user's.

    Args:
        suite: the suite.
        root: as given to :func:`data_root`.
    """
    if suite.build is None or suite.location is not None or root is not None:
        return False
    _built(suite, anew=True)
    return True


@dataclass(frozen=True)
class TaskData:
    """A task and where its images are on this machine.

    Attributes:
        folder: the task's own folder.
        task: the task.
        background: colour that its transparent pictures are laid on; None drops their transparency.
        expected: content hash that each split must have whenever it is opened; of one that is not named, any.
    """

    folder: Path
    task: Task
    background: str | None = None
    expected: Mapping[Split, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, root: Path, suite: Suite, task: Task, background: str | None = None) -> TaskData:
        """The data of a task whose suite's folder lies in ``root``."""
        return cls(root / suite.folder / task.folder, task, background)

    @property
    def reading(self) -> Reading:
        """How its picture files become pixels.

        A user's own pictures are turned upright; those of VTAB-1K are taken as published results took them.
        """
        return Reading(upright=self.task.layout != "vtab", background=self.background)

    def preprocessing(self, size: int) -> Preprocessing:
        """What is done to its images for a model that takes ``size`` pixels a side."""
        return Preprocessing(size, self.reading)

    @property
    def class_names(self) -> tuple[str, ...]:
        """A name for every label, or empty where none is known."""
        return class_names(self.folder, self.task)

    def check_there(self) -> None:
        """Refuse a task whose folder does not exist.

        Raises:
            InputError: it does not.
        """
        if not self.folder.is_dir():
            raise InputError(f"data of task {self.task.name!r}: expected a folder {self.folder}; found none")

    def list(self, split: Split) -> ImageList:
        """The images of a split.

        Raises:
            InputError: the list file is missing, a line is not ``path label``, a label is out of range, or a
                path leaves the task's folder or names no file; the message names file and line.
        """
        self.check_there()
        if self.task.layout != "vtab":
            return read_own(self.folder, self.task, split)
        file = self.folder / f"{VTAB_NAMES[split]}.txt"
        if not file.is_file():
            raise InputError(f"data of task {self.task.name!r}: expected a list file {file}; found none")
        return read_file(file, self.task.classes)

    def open(self, split: Split, size: int, stage: Stage) -> DecodedSplit:
        """A decoded split of images of ``size`` pixels a side, for a trial of the given stage.

        Raises:
            TestSplitClosedError: ``test`` outside stage ``final``.
            ChangedError: it is not as expected.
            InputError: the data is missing or unreadable.
        """
        listed, found = self.listed(split, stage)
        return cache.load(listed, self.preprocessing(size), found.images)

    def listed(self, split: Split, stage: Stage) -> tuple[ImageList, Hashes]:
        """What :meth:`open` would open: its list, and the hashes of that; no image is decoded.

        Raises:
            TestSplitClosedError, ChangedError, InputError: as :meth:`open`.
        """
        if split == "test" and stage != "final":
            raise TestSplitClosedError(
                f"test split of {self.task.name}: opens in stage 'final' only; asked for in {stage!r}"
            )
        expected = self.expected.get(split)
        try:
            listed = self.list(split)
            found = hashes(listed)
        except InputError as error:
            if expected is None:
                raise
            raise ChangedError(
                f"data of task {self.task.name!r}: expected {split} to stay as it was; found: {error}"
            ) from None
        if expected not in (None, found.content):
            raise ChangedError(
                f"data of task {self.task.name!r}: expected images and labels of {split} to stay as they "
                f"were (hash {expected[:12]}); found others ({found.content[:12]})"
            )
        return listed, found

    def hashes(self) -> DataHashes:
        """Hashes over files and labels; the bytes are hashed, no image is scored.

        Raises:
            InputError: a list file or an image is missing or unreadable.
        """
        return DataHashes.of({split: content_hash(self.list(split)) for split in SPLITS})


@dataclass(frozen=True)
class DataHashes:
    """SHA-256 over a task's image files and labels, by what a result rests on.

    Attributes:
        all: all splits, the test split among them: what a final trial rests on.
        tuning: ``train`` and ``val``: what search and confirmation rest on.
        test: the test split: what a read of it reads, whatever it was trained on.
        content: each split by itself, where known.
    """

    all: str
    tuning: str
    test: str
    content: Mapping[Split, str] = field(default_factory=dict, hash=False)

    @classmethod
    def of(cls, splits: Mapping[Split, str]) -> DataHashes:
        """From the content hash of each split (:func:`wst.data.hashes.content_hash`)."""
        return cls(
            _combined(splits, SPLITS), _combined(splits, ("train", "val")), splits["test"], dict(splits)
        )


def _combined(splits: Mapping[Split, str], names: Sequence[Split]) -> str:
    lines = "\n".join(f"{split} {splits[split]}" for split in names)
    return hashlib.sha256(lines.encode()).hexdigest()
