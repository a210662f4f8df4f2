"""Pictures that are in two splits, or have two labels: compared by their pixels, whatever their files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from wst.data.check.image_files import Examined
from wst.data.check.report import Finding, Level
from wst.data.check.scan import Scan
from wst.data.lists import Split

REFUSED_FROM = 0.01
"""Share of a split of a user's own from which a study is refused unless it accepts it."""
VTAB_REFUSED_FROM = 0.05
"""The same of VTAB-1K's ``test`` and another split.  Its sources hold some pictures several times, so that a
few of them are in two splits of the true lists; no source holds so many."""
_APART: dict[Split, tuple[Split, ...]] = {"val": ("train",), "test": ("train", "val")}
"""What each split must have no image of."""

Files = Mapping[Path, Examined]


def overlap(scan: Scan, files: Files, split: Split) -> tuple[float, list[Finding]]:
    """The share of a split's images that are also in the splits it must be apart from, and what to say of it.

    Two images are the same when their pixels are; files that were not decoded, when their bytes are.  What is
    refused goes by the smaller of two splits: a whole ``val`` may be a small share of ``test``.

    Args:
        scan: the task's lists.
        files: what is in the image files.
        split: ``val`` or ``test``.
    """
    listed = scan.lists[split].images
    first: dict[bytes, Path] = {}
    for other in _APART[split]:
        for path in scan.lists[other].images:
            for key in _keys(files[path]):
                first.setdefault(key, path)
    twice = [path for path in listed if any(key in first for key in _keys(files[path]))]
    if not twice:
        return 0.0, []
    share = len(twice) / len(listed)
    shares = {other: _of_smaller(scan, files, split, other) for other in _APART[split]}
    worst = max(shares, key=lambda other: shares[other])
    if scan.data.task.layout == "vtab":
        refused = split == "test" and shares[worst] >= VTAB_REFUSED_FROM
    else:
        refused = max(share, shares[worst]) >= REFUSED_FROM
    level: Level = "error" if refused else "warning"
    example = next(first[key] for key in _keys(files[twice[0]]) if key in first)
    text = (
        f"expected no image of {' or '.join(_APART[split])}; found {len(twice):,} of {len(listed):,} "
        f"({100 * share:.1f} %): {scan.some(twice)} (the first is {scan.name(example)})"
    )
    if shares[worst] > share:
        text += f"; {100 * shares[worst]:.1f} % of {worst} are among them"
    if refused:
        text += "; a study takes it with accept: [overlap]"
    return share, [Finding(level, "overlap", split, text, len(twice))]


def _of_smaller(scan: Scan, files: Files, one: Split, other: Split) -> float:
    """The share of the smaller of two splits that is also in the larger."""
    small, large = sorted((scan.lists[split].images for split in (other, one)), key=len)
    there = {key for path in large for key in _keys(files[path])}
    return sum(any(key in there for key in _keys(files[path])) for path in small) / len(small)


def overlap_note(split: Literal["val", "test"], task: str, share: float) -> str:
    """The line that stands beside a number that rests on a split some of whose images are elsewhere."""
    return (
        f"{100 * share:.1f} % of {task}'s {split} images are also in {' or '.join(_APART[split])}: "
        f"its {split} accuracy rests on them."
    )


def _keys(examined: Examined) -> Sequence[bytes]:
    return (examined.digest, examined.pixels) if examined.pixels else (examined.digest,)


def contradictions(scan: Scan, files: Files) -> list[Finding]:
    """Pictures that occur with two labels; in training and validation together, and in test."""
    found = []
    parts: tuple[tuple[Split, tuple[Split, ...]], ...] = (("train", ("train", "val")), ("test", ("test",)))
    for where, splits in parts:
        labels: dict[bytes, int] = {}
        paths: list[Path] = []
        for split in splits:
            listed = scan.lists[split]
            for path, label in zip(listed.images, listed.labels, strict=True):
                key = files[path].pixels or files[path].digest
                if labels.setdefault(key, label) != label:
                    paths.append(path)
        if paths:
            among = " and ".join(splits)
            text = (
                f"expected one label for each picture of {among}; found another one for {len(paths)}: "
                f"{scan.some(paths)}"
            )
            found.append(Finding("warning", "contradiction", where, text, len(paths)))
    return found
