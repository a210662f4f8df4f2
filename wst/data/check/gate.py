"""The check that a study's data passes before anything rests on it.

Every image of ``train`` and ``val`` is decoded whole, and of a test split where it is small; a large one is
looked at beside the running search (:mod:`.beside`).  The result is remembered until a list or a file
changes, and what is in each image by its content, so that a second start looks at names and times alone.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path

import PIL

from wst.data import memo
from wst.data.check.check import report
from wst.data.check.image_files import Examined
from wst.data.check.known import EXAMINER, look_at
from wst.data.check.report import TaskReport
from wst.data.check.scan import Scan, scan
from wst.data.lists import Split, class_names
from wst.data.splits import TaskData

CHECKER = 2
"""Version of the check; what another one found is found out anew."""
TESTS_AT_ONCE = 5_000
"""Test images of a study that are looked at before it starts, those of the smallest splits."""
TUNING: tuple[Split, ...] = ("train", "val", "trainval")


def look(
    tasks: Sequence[TaskData],
    *,
    whole: bool = False,
    jobs: int | None = None,
    on_total: Callable[[int], None] = lambda total: None,
    on_done: Callable[[int], None] = lambda count: None,
    niceness: int = 0,
) -> list[TaskReport]:
    """Check a study's tasks, one report each.

    Where a list is not as it must be, no image is looked at.

    Args:
        tasks: what is expected, and where.
        whole: look at every test split, whatever its size.
        jobs: parallel threads; one a CPU when left out.
        on_total, on_done: told how many image files there are to look at, and how many more are finished.
        niceness: of the threads, see :func:`.known.look_at`.
    """
    scans = [scan(data) for data in tasks]
    if any(finding.level == "error" for scanned in scans for finding in scanned.findings):
        return [_of_lists(scanned) for scanned in scans]
    at_once = set(range(len(scans))) if whole else _small(scans)
    keys = list(map(_key, scans))
    found = {i: known for i, key in enumerate(keys) if (known := _recalled(key, i in at_once)) is not None}
    missing = [i for i in range(len(scans)) if i not in found]
    if missing:
        on_total(sum(len(scans[i].files()) for i in missing))
    for i in missing:
        files = _look_at(scans[i], i in at_once, jobs, on_done, niceness)
        found[i] = report(scans[i], files)
        if found[i].data_hash is not None:  # a file that could not be read may be readable the next time
            memo.keep(memo.CHECKS, keys[i], found[i].as_record())
    return [found[i] for i in range(len(scans))]


def _of_lists(scanned: Scan) -> TaskReport:
    task = scanned.data.task
    sizes = {split: len(listed.images) for split, listed in scanned.lists.items()}
    return TaskReport(task.name, scanned.data.folder, task.classes, sizes, findings=tuple(scanned.findings))


def _small(scans: Sequence[Scan]) -> set[int]:
    """The tasks whose test splits are looked at before the study starts."""
    sizes = sorted((len(scanned.lists["test"].images), i) for i, scanned in enumerate(scans))
    chosen, total = set[int](), 0
    for size, i in sizes:
        total += size
        if total <= TESTS_AT_ONCE:
            chosen.add(i)
    return chosen


def _key(scanned: Scan) -> str:
    """Everything that a report hangs on: the task, its lists, its files as the disk has them, the checker."""
    data = scanned.data
    parts = (
        (CHECKER, EXAMINER, PIL.__version__, data.task, str(data.folder), data.reading),
        scanned.findings,
        class_names(data.folder, data.task),
        sorted(scanned.stamps.items()),
    )
    return hashlib.sha256(repr(parts).encode(errors="surrogateescape")).hexdigest()[:32]


def _recalled(key: str, whole: bool) -> TaskReport | None:
    record = memo.recall(memo.CHECKS, key)
    if record is None:
        return None
    known = TaskReport.of_record(record)
    return known if known.whole or not whole else None


def _look_at(
    scanned: Scan, whole: bool, jobs: int | None, on_done: Callable[[int], None], niceness: int
) -> dict[Path, Examined]:
    """What is in a task's files; of a test split that waits, only what is remembered of the same contents."""
    reading = scanned.data.reading
    now = scanned.files() if whole else scanned.files(TUNING)
    with closing(look_at(now, reading, jobs, on_done, niceness=niceness)) as looked_at:
        files = dict(zip(now, looked_at, strict=True))
    later = [path for path in scanned.files(("test",)) if path not in files]
    with closing(look_at(later, reading, jobs, on_done, unknown=False)) as looked_at:
        return files | dict(zip(later, looked_at, strict=True))
