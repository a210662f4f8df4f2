"""A task's list files, looked at before its images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from wst.data.check.report import SHOWN, Finding
from wst.data.class_folders import left_out
from wst.data.hashes import stamp
from wst.data.lists import SPLITS, VTAB_NAMES, ImageList, Split, scan_file
from wst.data.splits import TaskData
from wst.errors import InputError


@dataclass
class Scan:
    """A task's lists.

    Attributes:
        lists: the good lines of every list that is there.
        stamps: :func:`wst.data.hashes.stamp` of each, as the files are before any is read.
        findings: what is wrong with them.
    """

    data: TaskData
    lists: dict[Split, ImageList] = field(default_factory=dict)
    stamps: dict[Split, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def files(self, splits: Sequence[Split] = SPLITS) -> list[Path]:
        """Every image file of these splits once."""
        lists = [self.lists[split] for split in splits if split in self.lists]
        return list(dict.fromkeys(path for listed in lists for path in listed.images))

    def name(self, path: Path) -> str:
        """A file as a finding names it: from the task's folder on."""
        return path.relative_to(self.data.folder).as_posix()

    def some(self, paths: Sequence[Path]) -> str:
        """The first of several files, by name."""
        shown = ", ".join(map(self.name, paths[:SHOWN]))
        return shown + (f" and {len(paths) - SHOWN} more" if len(paths) > SHOWN else "")


def scan(data: TaskData) -> Scan:
    """Read a task's lists; every defect of theirs is a finding."""
    found = Scan(data)
    try:
        data.check_there()
    except InputError as error:
        found.findings.append(Finding("error", "folder", None, str(error).split(": ", 1)[1]))
        return found
    if data.task.layout != "vtab":
        found.findings += _ignored(data)
    for split in SPLITS:
        try:
            if data.task.layout == "vtab":
                _scan_vtab(found, split)
            else:
                found.lists[split] = data.list(split)
            if split in found.lists:
                found.stamps[split] = stamp(found.lists[split])
                found.findings += _repeated(found, split)
        except InputError as error:
            found.lists.pop(split, None)
            found.findings.append(Finding("error", "list", split, str(error)))
    return found


def _scan_vtab(found: Scan, split: Split) -> None:
    """A list of VTAB-1K's layout, whose every line is looked at."""
    file = found.data.folder / f"{VTAB_NAMES[split]}.txt"
    if not file.is_file():
        raise InputError(f"expected a list file {file}; found none")
    found.lists[split], problems = scan_file(file, found.data.task.classes)
    for kind in dict.fromkeys(problem.kind for problem in problems):
        same = [problem for problem in problems if problem.kind == kind]
        lines = ", ".join(str(problem.line) for problem in same[:SHOWN])
        more = f" and {len(same) - SHOWN} more" if len(same) > SHOWN else ""
        where = f", line{'s' if len(same) > 1 else ''} {lines}{more}" if same[0].line else ""
        text = f"{file.name}{where}: {same[0].text}"
        found.findings.append(Finding("error", kind, split, text, len(same)))
    _check_count(found, split, len(found.lists[split].images) + len(problems))


def _check_count(found: Scan, split: Split, lines: int) -> None:
    task = found.data.task
    expected = {
        "train": task.train,
        "val": task.val,
        "trainval": task.train + task.val,
        "test": task.test,
    }[split]
    if lines != expected:
        found.findings.append(
            Finding("error", "count", split, f"expected {expected:,} images; found {lines:,}")
        )


def _ignored(data: TaskData) -> list[Finding]:
    """What lies beside a task's pictures and is not read."""
    try:
        names = left_out(data.folder, data.task)
    except InputError as error:
        return [Finding("error", "folder", None, str(error))]
    if not names:
        return []
    shown = ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
    wanted = "pictures in class folders" if data.task.layout == "classes" else "list files of known names"
    text = f"expected {wanted} alone; found {len(names)} other files or folders: {shown}"
    return [Finding("warning", "ignored", None, text, len(names))]


def _repeated(found: Scan, split: Split) -> list[Finding]:
    """Lines that name a picture again, which then counts twice."""
    images = found.lists[split].images
    if split == "trainval":  # whose lines are those of the two others
        return []
    first: dict[tuple[int, int], Path] = {}
    again: dict[Path, None] = {}
    for path in images:  # a file may go by several names
        status = path.stat()
        known = first.setdefault((status.st_dev, status.st_ino), path)
        if known is not path:
            again[known] = None
    if not again:
        return []
    text = f"expected each image once; found {len(again)} again: {found.some(list(again))}"
    return [Finding("warning", "repeated", split, text, len(again))]
