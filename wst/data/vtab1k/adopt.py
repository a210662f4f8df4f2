"""Adopting an export that somebody else made: check it, take it over, and note what it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from wst.data.check.check import check_tasks
from wst.data.check.report import TaskReport
from wst.data.lists import CLASS_NAMES, VTAB_NAMES
from wst.data.splits import TaskData
from wst.data.tasks import Suite, Task
from wst.data.vtab1k.builder import BEGUN, RECORD, describe, link_or_copy, read_record
from wst.errors import InputError
from wst.files import replacing

_ALIASES = {"cifar": "cifar100", "oxford_iiit_pet": "oxford_pet"}
"""Names that some exports give a folder."""


def adopt(
    export: Path,
    suite: Suite,
    tasks: Sequence[Task],
    root: Path,
    jobs: int | None = None,
    on_total: Callable[[int], None] = lambda total: None,
    on_done: Callable[[int], None] = lambda count: None,
) -> list[TaskReport]:
    """Take over the usable tasks of an export in VTAB-1K's layout; returns what was found.

    Files are linked (or copied where that is not possible) to ``root/<suite folder>``, or left where they are
    if the export is that folder.  ``build.json`` beside the lists notes hashes and encoding.

    Raises:
        InputError: there is no such folder, or a task is there already.
    """
    if not export.is_dir():
        raise InputError(f"--from-folder: expected a folder; found none at {export}")
    folders = [export.resolve() / task.folder for task in tasks]
    present = [
        TaskData(
            folder if folder.is_dir() else folder.with_name(_ALIASES.get(folder.name, folder.name)), task
        )
        for folder, task in zip(folders, tasks, strict=True)
    ]
    reports = check_tasks(present, jobs, on_total, on_done)
    for task, report in zip(tasks, reports, strict=True):
        target = root / suite.folder / task.folder
        if not report.usable:
            continue
        begun = {"adopted": str(export.resolve())}
        if target.resolve() != report.folder.resolve():
            goes_on = (target / BEGUN).is_file() and read_record(target / BEGUN) == begun
            if target.is_dir() and any(target.iterdir()) and not goes_on:
                raise InputError(f"{target}: expected no data of task {task.name!r} yet; found some")
            _write(target / BEGUN, begun)
            _take_over(report.folder, target)
        elif (target / RECORD).is_file() and "settings" not in (read_record(target / RECORD) or begun):
            raise InputError(
                f"{target / RECORD}: expected no file, or one that this command made; found another one"
            )
        record = {
            "settings": {"source": task.source, "encoding": report.encoding, "adopted": str(export)},
            "archives": {},
            **describe(report),
        }
        _write(target / RECORD, record)
        (target / BEGUN).unlink(missing_ok=True)
    return reports


def _write(file: Path, record: dict[str, Any]) -> None:
    with replacing(file) as aside:
        aside.write_text(json.dumps(record, indent=1))


def _take_over(source: Path, target: Path) -> None:
    lists = [
        name
        for name in (*(f"{name}.txt" for name in VTAB_NAMES.values()), CLASS_NAMES)
        if (source / name).is_file()
    ]
    for name in lists:
        if name != CLASS_NAMES:
            for line in (source / name).read_text(encoding="utf-8").splitlines():
                image = line.rpartition(" ")[0]
                if image and not (target / image).is_file():
                    (target / image).parent.mkdir(parents=True, exist_ok=True)
                    link_or_copy(source / image, target / image)
    for name in lists:  # after the images, so that a copy that is cut off does not look whole
        with replacing(target / name) as aside:
            aside.write_bytes((source / name).read_bytes())
