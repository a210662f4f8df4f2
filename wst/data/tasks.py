"""The registry of tasks and suites.

A suite on disk is a folder ``<root>/<suite folder>`` holding one folder a task, each with the list files
``train800.txt``, ``val200.txt``, ``train800val200.txt`` and ``test.txt`` (lines ``path label``), as the
VTAB-1K exports of NOAH, SSF and WST have it.  A user's own suite (:mod:`wst.data.own`) goes by its path.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from wst.data.sources import SOURCES
from wst.errors import InputError
from wst.shipped import ASSETS

Group = Literal["natural", "specialized", "structured", "own"]
GROUPS: tuple[Group, ...] = ("natural", "specialized", "structured", "own")


@dataclass(frozen=True)
class Task:
    """One data set with labels.

    Attributes:
        name: name used everywhere in wst.
        folder: folder below the suite's.
        group: VTAB group; ``own`` for a task of the user's.
        classes: number of classes; never inferred from the labels seen, since a class may have no image
            among the 1,000 (in ``sun397`` 72 have none).
        train, val, test: images in ``train800``, ``val200`` and ``test``.
        about: what the label means, and where the images come from.
        metric: what is scored.
        source: name of the data set that the images come from (TensorFlow Datasets' name for VTAB-1K).
        licence: what the source says about use, in short; its own page decides.
        class_names: a name for every label, or empty where none is known.
        layout: how the folder says what is in which split: ``vtab`` (the four list files), ``lists`` (list
            files of the user's) or ``classes`` (a subfolder a class); see :mod:`wst.data.own`.
        cut: shares of a class that ``val`` and ``test`` take where the folder does not say.
    """

    name: str
    folder: str
    group: Group
    classes: int
    train: int
    val: int
    test: int
    about: str
    metric: str = "top-1 accuracy"
    source: str = ""
    licence: str = ""
    class_names: tuple[str, ...] = ()
    layout: Literal["vtab", "lists", "classes"] = "vtab"
    cut: tuple[float, float] = (0.2, 0.2)


@dataclass(frozen=True)
class Suite:
    """A set of tasks that are averaged together.

    Attributes:
        name: name used everywhere in wst.
        folder: folder below the data root.
        tasks: in the order in which tables show them.
        caveat: a line shown under every table of this suite, or an empty string.
        location: data root of a suite that knows its own (one named by its path); None otherwise.
    """

    name: str
    folder: str
    tasks: tuple[Task, ...]
    caveat: str = ""
    location: Path | None = None

    def task(self, name: str) -> Task:
        """The task of that name.

        Raises:
            InputError: the suite has no such task.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        names = ", ".join(task.name for task in self.tasks)
        raise InputError(f"task: expected one of {names}; found {name!r}")


MINI = Suite(
    name="mini",
    folder="mini",
    tasks=(
        Task(
            "digits", "digits", "natural", 10, 800, 200, 797, "handwritten digit (scikit-learn's 8 x 8 scans)"
        ),
        Task("emoji_group", "emoji_group", "specialized", 6, 800, 200, 261, "Unicode group of a Noto emoji"),
        Task("sprite_loc", "sprite_loc", "structured", 8, 800, 200, 1000, "x position of a rendered sprite"),
        Task("sprite_ori", "sprite_ori", "structured", 8, 800, 200, 1000, "orientation of a rendered sprite"),
        Task(
            "sprite_count",
            "sprite_count",
            "structured",
            6,
            800,
            200,
            1000,
            "number of rendered sprites, 1 to 6",
        ),
    ),
    caveat="The mini suite is a small stand-in (32 x 32 images): not comparable with VTAB-1K.",
)


@cache
def suites() -> dict[str, Suite]:
    """Suites by name."""
    with (ASSETS / "vtab1k_tasks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    vtab = tuple(
        Task(
            name=row["task"],
            folder=row["folder"],
            group=row["group"],  # type: ignore[arg-type]
            classes=int(row["classes"]),
            train=int(row["train"]),
            val=int(row["val"]),
            test=int(row["test"]),
            about=f"{row['label']} ({row['tfds_name']} {row['tfds_version']})",
            source=row["tfds_name"].split("/")[0],
            licence=SOURCES[row["tfds_name"].split("/")[0]].licence,
        )
        for row in rows
    )
    return {"mini": MINI, "vtab1k": Suite("vtab1k", "vtab-1k", vtab)}


def is_gone(name: str) -> bool:
    """Whether this is the absolute path of a user's own suite with nothing there (any more, or here).

    A resolved study names its suite so; its ledger can be read without the images.
    """
    return Path(name).is_absolute() and not Path(name).exists()


def suite(name: str) -> Suite:
    """The suite of that name, or the user's own suite at that path (see :mod:`wst.data.own`).

    Raises:
        InputError: there is no such suite.
    """
    known = suites()
    if name in known:
        return known[name]
    path = Path(name)
    if path.name == known["vtab1k"].folder and path.is_dir():
        return replace(known["vtab1k"], location=path.resolve().parent)
    if path.exists():
        from wst.data.own import own_suite

        return own_suite(path)
    raise InputError(
        f"suite: expected one of {', '.join(known)}, or the path of a folder or YAML file; found {name!r}"
    )
