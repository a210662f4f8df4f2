"""The registry of tasks and suites.

A suite on disk is a folder ``<root>/<suite folder>`` holding one folder a task, each with the list files
``train800.txt``, ``val200.txt``, ``train800val200.txt`` and ``test.txt`` (lines ``path label``), as the
VTAB-1K exports of NOAH, SSF and WST have it.  A user's own suite (:mod:`wst.data.folders`) goes by its path.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from wst.errors import InputError
from wst.suggest import one_of

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
        train, val, test: images in ``train``, ``val`` and ``test``.
        about: what the label means, and where the images come from.
        metric: what is scored.
        source: name of the data set that the images come from (TensorFlow Datasets' name for VTAB-1K).
        licence: what the source says about use, in short; its own page decides.
        class_names: a name for every label, or empty where none is known.
        layout: how the folder says what is in which split: ``vtab`` (the four list files), ``lists`` (list
            files of the user's) or ``classes`` (a subfolder a class); see :mod:`wst.data.folders`.
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
        build: makes the suite's folder below a root, out of nothing but the package, and returns it; a second
            argument says whether to replace what is there, whoever made it.  None where the images come from
            elsewhere.
    """

    name: str
    folder: str
    tasks: tuple[Task, ...]
    caveat: str = ""
    location: Path | None = None
    build: Callable[[Path, bool], Path] | None = field(default=None, compare=False, repr=False)

    def task(self, name: str) -> Task:
        """The task of that name.

        Raises:
            InputError: the suite has no such task.
        """
        for task in self.tasks:
            if task.name == name:
                return task
        raise InputError(f"task: {one_of(name, (task.name for task in self.tasks))}")
