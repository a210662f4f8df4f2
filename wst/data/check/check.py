"""Is a suite's data what it should be?  Every list line and every image is looked at."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from wst.data.check.image_files import UNUSABLE, Examined, examine_all
from wst.data.class_folders import left_out
from wst.data.hashes import remember_hashes
from wst.data.lists import SPLITS, VTAB_NAMES, ImageList, Split, class_names, scan_file
from wst.data.splits import DataHashes, TaskData
from wst.errors import InputError

Level = Literal["error", "warning"]
_SHOWN = 5
_WANTED = {"unreadable": "a readable image", "multi-frame": "one picture a file"}


@dataclass(frozen=True)
class Finding:
    """One defect of one task.

    Attributes:
        level: ``error`` makes the task unusable.
        kind: ``folder``, ``list``, ``count``, ``syntax``, ``label``, ``outside``, ``missing``, ``coverage``,
            ``union``, ``overlap``, ``ignored``, or what is wrong with images
            (:data:`.image_files.ImageProblem`).
        split: where, or None for the whole task.
        text: what was expected and found, in words.
        count: how many lines, images or classes have it.
    """

    level: Level
    kind: str
    split: Split | None
    text: str
    count: int = 1

    def __str__(self) -> str:
        return f"{self.level}: {f'{self.split}: ' if self.split else ''}{self.text}"


@dataclass(frozen=True)
class TaskReport:
    """What was found out about one task.

    Attributes:
        sizes: images listed in each split.
        encoding: ``JPEG``, ``lossless``, ``mixed`` or ``unknown``; exports in JPEG score differently.
        formats: image files by format.
        image_size: ``width x height``, or ``varies``.
        content: content hash of each split (files and labels, in order).
        pixels: hash of each split's RGB pixels and labels, the same for every lossless encoding.
        data_hash: the hash that goes into the ledger; None if the task is not usable.
        histogram: images of each label, by split.
    """

    task: str
    folder: Path
    classes: int
    sizes: dict[Split, int] = field(default_factory=dict)
    encoding: str = "unknown"
    formats: dict[str, int] = field(default_factory=dict)
    image_size: str = ""
    content: dict[Split, str] = field(default_factory=dict)
    pixels: dict[Split, str] = field(default_factory=dict)
    data_hash: str | None = None
    histogram: dict[Split, list[int]] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a study may run on it."""
        return not any(finding.level == "error" for finding in self.findings)

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **{name: value for name, value in vars(self).items() if name not in ("folder", "findings")},
            "folder": str(self.folder),
            "usable": self.usable,
            "findings": [vars(finding) for finding in self.findings],
        }


@dataclass
class _Scan:
    """A task's lists, before its images are looked at."""

    data: TaskData
    lists: dict[Split, ImageList] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)


def check_tasks(
    tasks: Sequence[TaskData],
    jobs: int | None = None,
    on_total: Callable[[int], None] = lambda total: None,
    on_done: Callable[[int], None] = lambda count: None,
) -> list[TaskReport]:
    """Check tasks, one report each.

    Args:
        tasks: what is expected, and where.
        jobs: parallel threads; one a CPU when left out.
        on_total, on_done: told how many image files there are, and how many more are finished.
    """
    scans = [_scan(data) for data in tasks]
    files = [_files(scan) for scan in scans]
    on_total(sum(map(len, files)))
    looked_at = (
        found
        for data, part in zip(tasks, files, strict=True)
        for found in examine_all(part, jobs, on_done, data.reading)
    )
    return [
        _report(scan, {path: next(looked_at) for path in part})
        for scan, part in zip(scans, files, strict=True)
    ]


def check_task(data: TaskData, jobs: int | None = None) -> TaskReport:
    """Check one task."""
    return check_tasks([data], jobs)[0]


def _scan(data: TaskData) -> _Scan:
    scan, task = _Scan(data), data.task
    try:
        data.check_there()
    except InputError as error:
        scan.findings.append(Finding("error", "folder", None, str(error).split(": ", 1)[1]))
        return scan
    if task.layout == "classes":
        scan.findings += _ignored(scan)
    for split in SPLITS:
        if task.layout != "vtab":
            try:
                scan.lists[split] = data.list(split)
            except InputError as error:
                scan.findings.append(Finding("error", "list", split, str(error)))
            continue
        file = data.folder / f"{VTAB_NAMES[split]}.txt"
        if not file.is_file():
            scan.findings.append(Finding("error", "list", split, f"expected a list file {file}; found none"))
            continue
        scan.lists[split], problems = scan_file(file, task.classes)
        for kind in dict.fromkeys(problem.kind for problem in problems):
            same = [problem for problem in problems if problem.kind == kind]
            lines = ", ".join(str(problem.line) for problem in same[:_SHOWN])
            more = f" and {len(same) - _SHOWN} more" if len(same) > _SHOWN else ""
            scan.findings.append(
                Finding(
                    "error",
                    kind,
                    split,
                    f"line{'s' if len(same) > 1 else ''} {lines}{more}: {same[0].text}",
                    len(same),
                )
            )
        _check_count(scan, split, len(scan.lists[split].images) + len(problems))
    return scan


def _check_count(scan: _Scan, split: Split, lines: int) -> None:
    task = scan.data.task
    expected = {
        "train": task.train,
        "val": task.val,
        "trainval": task.train + task.val,
        "test": task.test,
    }[split]
    if lines != expected:
        scan.findings.append(
            Finding("error", "count", split, f"expected {expected:,} images; found {lines:,}")
        )


def _files(scan: _Scan) -> list[Path]:
    """Every image file of a task once."""
    return list(dict.fromkeys(path for listed in scan.lists.values() for path in listed.images))


def _report(scan: _Scan, files: dict[Path, Examined]) -> TaskReport:
    task, lists = scan.data.task, scan.lists
    findings = [*scan.findings, *_image_findings(scan, files)]
    covered: tuple[Split, ...] = ("train",) if task.layout == "vtab" else ("train", "val", "test")
    findings += filter(None, (_coverage(scan, split) for split in covered))
    # Lines that were dropped above would only be reported again as differences between the lists.
    broken = {finding.split for finding in findings if finding.level == "error"}
    if not broken & {"train", "val", "trainval", None} and len(lists) == len(SPLITS):
        findings += _union(lists, files)
    findings += _overlaps(scan, files)
    formats = Counter(found.format for found in files.values() if found.format)
    sizes = {found.size for found in files.values() if found.format}
    usable = not any(finding.level == "error" for finding in findings)
    content = {
        split: remember_hashes(listed, [files[path].digest for path in listed.images])
        for split, listed in lists.items()
        if usable
    }
    return TaskReport(
        task.name,
        scan.data.folder,
        task.classes,
        {split: len(listed.images) for split, listed in lists.items()},
        _encoding(formats),
        dict(sorted(formats.items())),
        "" if not sizes else "varies" if len(sizes) > 1 else "{} x {}".format(*sizes.pop()),
        content,
        {split: _pixels(listed, files) for split, listed in lists.items() if usable},
        DataHashes.of(content).all if usable else None,
        {split: _histogram(listed, task.classes) for split, listed in lists.items()},
        tuple(findings),
    )


def _histogram(listed: ImageList, classes: int) -> list[int]:
    counts = Counter(listed.labels)
    return [counts[label] for label in range(classes)]


def _pixels(listed: ImageList, files: dict[Path, Examined]) -> str:
    digest = hashlib.sha256()
    for path, label in zip(listed.images, listed.labels, strict=True):
        digest.update(files[path].pixels + label.to_bytes(4, "big"))
    return digest.hexdigest()


def _encoding(formats: Counter[str]) -> str:
    if not formats:
        return "unknown"
    lossy = {"JPEG", "MPO", "WEBP", "JPEG2000"} & set(formats)
    return "lossless" if not lossy else "JPEG" if set(formats) <= {"JPEG", "MPO"} else "mixed"


def _image_findings(scan: _Scan, files: dict[Path, Examined]) -> list[Finding]:
    findings = []
    seen: set[Path] = set()
    for split, listed in scan.lists.items():
        by_kind: dict[str, list[Path]] = {}
        for path in dict.fromkeys(listed.images):
            problem = files[path].problem
            if problem is not None and path not in seen:  # once, though trainval lists it again
                by_kind.setdefault(problem, []).append(path)
                seen.add(path)
        for kind, paths in by_kind.items():
            level: Level = "error" if kind in UNUSABLE else "warning"
            what = _WANTED.get(kind, "8-bit RGB or grey")
            findings.append(
                Finding(
                    level,
                    kind,
                    split,
                    f"expected {what}; found {len(paths)} {kind}: {_some(scan, paths)} "
                    f"({files[paths[0]].detail})",
                    len(paths),
                )
            )
    return findings


def _some(scan: _Scan, paths: Sequence[Path]) -> str:
    shown = ", ".join(path.relative_to(scan.data.folder).as_posix() for path in paths[:_SHOWN])
    return shown + (f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else "")


def _ignored(scan: _Scan) -> list[Finding]:
    try:
        names = left_out(scan.data.folder, scan.data.task)
    except InputError as error:
        return [Finding("error", "folder", None, str(error))]
    if not names:
        return []
    shown = ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")
    text = f"expected pictures in class folders alone; found {len(names)} other files: {shown}"
    return [Finding("warning", "ignored", None, text, len(names))]


def _coverage(scan: _Scan, split: Split) -> Finding | None:
    listed = scan.lists.get(split)
    if listed is None:
        return None
    folder, task = scan.data.folder, scan.data.task
    names = class_names(folder, task)
    absent = sorted(set(range(task.classes)) - set(listed.labels))
    if not absent:
        return None
    shown = ", ".join(names[label] if names else str(label) for label in absent[:10])
    more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
    return Finding(
        "warning",
        "coverage",
        split,
        f"expected an image of each of {task.classes} classes; found none of {shown}{more}",
        len(absent),
    )


def _union(lists: dict[Split, ImageList], files: dict[Path, Examined]) -> list[Finding]:
    """``trainval`` must hold exactly what the two others do, in any order."""

    def bag(split: Split) -> Counter[tuple[bytes, int]]:
        listed = lists[split]
        return Counter(zip((files[p].digest for p in listed.images), listed.labels, strict=True))

    parts, both = bag("train") + bag("val"), bag("trainval")
    if parts == both:
        return []
    strange, lacking = (both - parts).total(), (parts - both).total()
    return [
        Finding(
            "error",
            "union",
            "trainval",
            "expected the images and labels of train and val together; "
            f"found {strange} others, and {lacking} lacking",
            max(strange, lacking),
        )
    ]


def _overlaps(scan: _Scan, files: dict[Path, Examined]) -> list[Finding]:
    """Images that occur, byte for byte, in two splits that should be apart."""
    findings = []
    pairs: tuple[tuple[Split, Split], ...] = (
        ("train", "test"),
        ("val", "test"),
        ("train", "val"),
    )
    for first, second in pairs:
        if first not in scan.lists or second not in scan.lists:
            continue
        of_first = {files[p].digest: p for p in scan.lists[first].images if files[p].format}
        twice = [p for p in scan.lists[second].images if files[p].digest in of_first]
        if twice:
            example = of_first[files[twice[0]].digest].relative_to(scan.data.folder).as_posix()
            findings.append(
                Finding(
                    "warning",
                    "overlap",
                    second,
                    f"expected no image of {first}; found {len(twice)}: {_some(scan, twice)} "
                    f"(the first is {example})",
                    len(twice),
                )
            )
    return findings
