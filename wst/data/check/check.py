"""Is a suite's data what it should be?  Every list line and every image is looked at."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from wst.data.check.image_files import UNUSABLE
from wst.data.check.known import look_at
from wst.data.check.overlap import Files, contradictions, overlap
from wst.data.check.pillow import heard
from wst.data.check.report import Finding, Level, TaskReport
from wst.data.check.scan import Scan, scan
from wst.data.hashes import remember_hashes
from wst.data.lists import SPLITS, ImageList, Split, class_names
from wst.data.splits import DataHashes, TaskData

_WANTED = {"unreadable": "a readable image", "multi-frame": "one picture a file"}


def check_tasks(
    tasks: Sequence[TaskData],
    jobs: int | None = None,
    on_total: Callable[[int], None] = lambda total: None,
    on_done: Callable[[int], None] = lambda count: None,
) -> list[TaskReport]:
    """Check tasks, one report each; every image is read and decoded, whatever is remembered of it.

    Args:
        tasks: what is expected, and where.
        jobs: parallel threads; one a CPU when left out.
        on_total, on_done: told how many image files there are, and how many more are finished.
    """
    scans = [scan(data) for data in tasks]
    files = [scanned.files() for scanned in scans]
    on_total(sum(map(len, files)))
    reports = []
    for scanned, part in zip(scans, files, strict=True):
        with (
            heard() as said,
            closing(look_at(part, scanned.data.reading, jobs, on_done, anew=True)) as looked,
        ):
            found = dict(zip(part, looked, strict=True))
        made = report(scanned, found)
        reports.append(replace(made, findings=(*made.findings, *_pillow_findings(scanned, found, said))))
    return reports


def check_task(data: TaskData, jobs: int | None = None) -> TaskReport:
    """Check one task."""
    return check_tasks([data], jobs)[0]


def report(scanned: Scan, files: Files) -> TaskReport:
    """What a task's lists and image files come to.

    Args:
        scanned: the lists.
        files: what is in the files; those of ``test`` may not have been decoded yet.
    """
    task, lists = scanned.data.task, scanned.lists
    findings = [*scanned.findings, *_image_findings(scanned, files), *_coverage(scanned)]
    # Lines that were dropped above would only be reported again as differences between the lists.
    broken = {finding.split for finding in findings if finding.level == "error"}
    whole = all(found.format or found.problem for found in files.values())
    there = len(lists) == len(SPLITS) and all(listed.images for listed in lists.values())
    shares: dict[Split, float] = {}
    if there:
        if not broken & {"train", "val", "trainval", None}:
            findings += _union(lists, files)
        sound = not any(finding.level == "error" for finding in findings)
        for split in ("val", "test"):
            shares[split], found = overlap(scanned, files, split)
            findings += found
        findings += contradictions(scanned, files)
    else:
        sound = False
    formats = Counter(found.format for found in files.values() if found.format)
    sizes = {found.size for found in files.values() if found.format}
    content = {
        split: remember_hashes(listed, scanned.stamps[split], [files[path].digest for path in listed.images])[
            0
        ]
        for split, listed in lists.items()
        if sound
    }
    return TaskReport(
        task.name,
        scanned.data.folder,
        task.classes,
        {split: len(listed.images) for split, listed in lists.items()},
        _encoding(formats),
        dict(sorted(formats.items())),
        "" if not sizes else "varies" if len(sizes) > 1 else "{} x {}".format(*sizes.pop()),
        content,
        {
            split: _pixels(listed, files)
            for split, listed in lists.items()
            if sound and (whole or split != "test")
        },
        DataHashes.of(content).all if sound else None,
        {split: _histogram(listed, task.classes) for split, listed in lists.items()},
        val_overlap=shares.get("val"),
        test_overlap=shares.get("test") if whole else None,
        whole=whole,
        findings=tuple(findings),
    )


def _histogram(listed: ImageList, classes: int) -> list[int]:
    counts = Counter(listed.labels)
    return [counts[label] for label in range(classes)]


def _pixels(listed: ImageList, files: Files) -> str:
    digest = hashlib.sha256()
    for path, label in zip(listed.images, listed.labels, strict=True):
        digest.update(files[path].pixels + label.to_bytes(4, "big"))
    return digest.hexdigest()


def _encoding(formats: Counter[str]) -> str:
    if not formats:
        return "unknown"
    lossy = {"JPEG", "MPO", "WEBP", "JPEG2000", "AVIF"} & set(formats)
    return "lossless" if not lossy else "JPEG" if set(formats) <= {"JPEG", "MPO"} else "mixed"


def _image_findings(scanned: Scan, files: Files) -> list[Finding]:
    findings = []
    seen: set[Path] = set()
    for split, listed in scanned.lists.items():
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
                    f"expected {what}; found {len(paths)} {kind}: {scanned.some(paths)} "
                    f"({files[paths[0]].detail})",
                    len(paths),
                )
            )
    return findings


def _pillow_findings(scanned: Scan, files: Files, said: Mapping[str, set[bytes]]) -> list[Finding]:
    """One line on all that Pillow warns of."""
    doubtful = set().union(*said.values())
    paths = [path for path, found in files.items() if found.digest in doubtful]
    if not paths:
        return []
    counts = Counter({text: sum(files[path].digest in own for path in paths) for text, own in said.items()})
    words = "; ".join(f"{text} ({count})" for text, count in counts.most_common())
    text = f"expected images that Pillow reads without a warning; found {len(paths)}: {scanned.some(paths)}"
    return [Finding("warning", "pillow", None, f"{text}: {words}", len(paths))]


def _coverage(scanned: Scan) -> list[Finding]:
    """Classes without an image: in ``train``, and in every split of a user's own data."""
    task = scanned.data.task
    names, found = class_names(scanned.data.folder, task), []
    splits: tuple[Split, ...] = ("train",) if task.layout == "vtab" else ("train", "val", "test")
    for split in splits:
        listed = scanned.lists.get(split)
        absent = sorted(set(range(task.classes)) - set(listed.labels)) if listed is not None else []
        if absent:
            shown = ", ".join(names[label] if names else str(label) for label in absent[:10])
            more = f" and {len(absent) - 10} more" if len(absent) > 10 else ""
            text = f"expected an image of each of {task.classes} classes; found none of {shown}{more}"
            found.append(Finding("warning", "coverage", split, text, len(absent)))
    return found


def _union(lists: dict[Split, ImageList], files: Files) -> list[Finding]:
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
