"""The registry of tasks and suites.

A suite on disk is a folder ``<root>/<suite folder>`` holding one folder a task, each with the list files
``train800.txt``, ``val200.txt``, ``train800val200.txt`` and ``test.txt`` (lines ``path label``), as the
VTAB-1K exports of NOAH, SSF and WST have it.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from typing import Literal

from wst.errors import InputError
from wst.resources import ASSETS

Group = Literal["natural", "specialized", "structured"]
GROUPS: tuple[Group, ...] = ("natural", "specialized", "structured")


@dataclass(frozen=True)
class Task:
    """One data set with labels.

    Attributes:
        name: name used everywhere in wst.
        folder: folder below the suite's.
        group: VTAB group.
        classes: number of classes; never inferred from the labels seen, since a class may have no image
            among the 1,000 (in ``sun397`` 72 have none).
        train, val, test: images in ``train800``, ``val200`` and ``test``.
        about: what the label means, and where the images come from.
    """

    name: str
    folder: str
    group: Group
    classes: int
    train: int
    val: int
    test: int
    about: str


@dataclass(frozen=True)
class Suite:
    """A set of tasks that are averaged together.

    Attributes:
        name: name used everywhere in wst.
        folder: folder below the data root.
        tasks: in the order in which tables show them.
        caveat: a line shown under every table of this suite, or an empty string.
    """

    name: str
    folder: str
    tasks: tuple[Task, ...]
    caveat: str = ""

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
        )
        for row in rows
    )
    return {"mini": MINI, "vtab1k": Suite("vtab1k", "vtab-1k", vtab)}


def suite(name: str) -> Suite:
    """The suite of that name.

    Raises:
        InputError: there is no such suite.
    """
    known = suites()
    if name not in known:
        raise InputError(f"suite: expected one of {', '.join(known)}; found {name!r}")
    return known[name]
