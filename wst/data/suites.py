"""Finding a suite: the shipped ones by name, a user's own by its path."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import cache
from pathlib import Path

from wst.data.folders import own_suite
from wst.data.mini import MINI
from wst.data.tasks import Suite, Task
from wst.errors import InputError
from wst.files import exists
from wst.shipped import ASSETS
from wst.suggest import hint


@cache
def suites() -> dict[str, Suite]:
    """Suites by name."""
    with (ASSETS / "vtab1k_tasks.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    names = json.loads((ASSETS / "vtab1k_classes.json").read_text())
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
            licence=row["licence"],
            class_names=tuple(names.get(row["task"], ())),
        )
        for row in rows
    )
    return {"mini": MINI, "vtab1k": Suite("vtab1k", "vtab-1k", vtab)}


def shipped_name(suite: str) -> str | None:
    """The name of a suite that comes with wst, also where a path names it; None for a user's own."""
    known = suites()
    named = known.get(suite) or next((s for s in known.values() if s.folder == Path(suite).name), None)
    return named.name if named else None


def is_gone(name: str) -> bool:
    """Whether this is the absolute path of a user's own suite with nothing there (any more, or here).

    A resolved study names its suite so; its ledger can be read without the images.
    """
    return Path(name).is_absolute() and not exists(Path(name))


def find_suite(name: str) -> Suite:
    """The suite of that name, or the user's own suite at that path (see :mod:`wst.data.folders`).

    A folder of classes is walked the first time only; then each folder below it is looked at, and no picture.
    The images that list files name are looked for each time.

    Raises:
        InputError: there is no such suite.
    """
    known = suites()
    if name in known:
        return known[name]
    path = Path(name)
    if path.name == known["vtab1k"].folder and path.is_dir():
        return replace(known["vtab1k"], location=path.resolve().parent)
    if exists(path):
        return own_suite(path)
    raise InputError(
        f"suite: expected one of {', '.join(known)}, or the path of a folder or YAML file; "
        f"found {name!r}{hint(name, known)}"
    )
