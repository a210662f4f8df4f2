"""What a check of a task finds, as plain values."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

from wst.data.lists import Split
from wst.data.splits import DataHashes
from wst.errors import InputError

Level = Literal["error", "warning"]
SHOWN = 5
"""Files or lines that a finding names."""


@dataclass(frozen=True)
class Finding:
    """One defect of one task.

    Attributes:
        level: ``error`` makes the task unusable.
        kind: ``folder``, ``list``, ``count``, ``syntax``, ``label``, ``outside``, ``missing``, ``coverage``,
            ``union``, ``overlap``, ``repeated``, ``contradiction``, ``ignored``, ``pillow``, or what is wrong
            with images (:data:`.image_files.ImageProblem`).
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
        return f"{self.level}: {self.words}"

    @property
    def words(self) -> str:
        """Split and text."""
        return f"{f'{self.split}: ' if self.split else ''}{self.text}"


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
        data_hash: the hash that goes into the ledger; None if lists or images are not as they must be.
        histogram: images of each label, by split.
        val_overlap: share of the images of ``val`` whose pixels are those of one in ``train``.
        test_overlap: share of the images of ``test`` whose pixels are those of one in ``train`` or ``val``;
            None while the pixels of ``test`` have not been looked at.
        whole: every image was decoded.
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
    val_overlap: float | None = None
    test_overlap: float | None = None
    whole: bool = False
    findings: tuple[Finding, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether a study may run on it."""
        return not any(finding.level == "error" for finding in self.findings)

    @property
    def hashes(self) -> DataHashes:
        """Hashes of the splits, by what a result rests on; of a task whose lists and images are right."""
        return DataHashes.of(self.content)

    def as_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **{name: value for name, value in vars(self).items() if name not in ("folder", "findings")},
            "folder": str(self.folder),
            "usable": self.usable,
            "findings": [asdict(finding) for finding in self.findings],
        }

    @classmethod
    def of_record(cls, record: dict[str, Any]) -> TaskReport:
        """From :meth:`as_record`, also as JSON gives it back."""
        found = {f.name: record[f.name] for f in fields(cls)}
        findings = tuple(Finding(**finding) for finding in record["findings"])
        return cls(**{**found, "folder": Path(record["folder"]), "findings": findings})

    def accepting(self, kinds: Collection[str]) -> TaskReport:
        """With the findings of these kinds as warnings: a user has seen them and goes on."""
        return replace(
            self,
            findings=tuple(
                replace(finding, level="warning") if finding.kind in kinds else finding
                for finding in self.findings
            ),
        )

    def warnings(self, splits: Collection[Split]) -> tuple[str, ...]:
        """The warnings on these splits and on the task as a whole, in words."""
        return tuple(
            finding.words
            for finding in self.findings
            if finding.level == "warning" and (finding.split is None or finding.split in splits)
        )


def refuse(reports: Sequence[TaskReport], all_shown_by: str) -> None:
    """Refuse data that no study may run on.

    Args:
        reports: of a study's tasks.
        all_shown_by: command that shows every finding.

    Raises:
        InputError: the line that ``wst data check`` has for the first error, and how many more there are.
    """
    errors = [f"{r.task}: {f}" for r in reports for f in r.findings if f.level == "error"]
    if errors:
        more = f"{len(errors) - 1} more: " if errors[1:] else ""
        raise InputError(f"{errors[0]} ({more}{all_shown_by})")
