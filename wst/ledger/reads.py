"""Reads of test splits, counted: by a ledger's own table, and by one log of the user's for all studies.

The log lies beside the cache, in ``test-reads.jsonl``: a line a read, written before the read happens,
and never rewritten.  It counts by the hash of a test split's images and labels, so that whoever scores the
same images counts, under whatever name of study, suite or folder.  The hash is of the list's exact content:
the same images in another order, saved again, fewer of them or under other labels are others to it.
"""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from wst.data.memo import cache_folder
from wst.errors import InputError
from wst.files import locked
from wst.ledger.reading import all_reads, read_table
from wst.records import Read


def log_path() -> Path:
    """The user's log of reads; emptying the cache leaves it alone."""
    return cache_folder() / "test-reads.jsonl"


@contextmanager
def logging(study: str, folder: Path) -> Iterator[Callable[[Read], None]]:
    """The log, open and locked: gives what appends a read to it, on the disk when it returns.

    Args:
        study: name of the study that reads.
        folder: its output folder.

    Raises:
        InputError: the log cannot be written, or is no file.
    """
    path = log_path()
    try:
        with locked(path.with_suffix(".lock")):
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                    raise InputError(f"{path}: expected the log of reads, a file; found something else")

                def append(read: Read) -> None:
                    when = read.time.isoformat() if read.time is not None else None
                    entry = {**vars(read), "time": when, "study": study, "folder": str(folder.absolute())}
                    line = json.dumps(entry).encode() + b"\n"
                    size = os.fstat(descriptor).st_size
                    if size and os.pread(descriptor, 1, size - 1) != b"\n":  # a line that was cut off
                        line = b"\n" + line
                    while line:
                        line = line[os.write(descriptor, line) :]
                    os.fsync(descriptor)

                yield append
            finally:
                os.close(descriptor)
    except OSError as error:
        raise InputError(
            f"{path}: expected to write down a read of the test split there; found: {error.strerror or error}"
        ) from None


@dataclass(frozen=True)
class Log:
    """What the log holds.

    Attributes:
        entries: its lines, in order.
        damaged: the numbers, from 1, of the lines that cannot be read.
    """

    entries: tuple[Mapping[str, Any], ...] = ()
    damaged: tuple[int, ...] = ()

    @property
    def caveat(self) -> str | None:
        """A line on what is damaged."""
        if not self.damaged:
            return None
        lines = ", ".join(map(str, self.damaged[:5])) + (", ..." if len(self.damaged) > 5 else "")
        return f"{log_path()}: {len(self.damaged)} lines cannot be read and are not counted ({lines})."


def read_log() -> Log:
    """The user's log of reads; empty where there is none.

    Raises:
        InputError: it cannot be read.
    """
    path = log_path()
    try:
        if path.exists() and not path.is_file() and not path.is_dir():  # a pipe, say, which would never end
            raise InputError(f"{path}: expected the log of reads, a file; found something else")
        content = path.read_bytes()
    except FileNotFoundError:
        return Log()
    except OSError as error:
        raise InputError(f"{path}: expected the log of reads; found: {error.strerror}") from None
    entries, damaged = [], []
    for number, line in enumerate(content.splitlines(), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            if not isinstance(entry["read_id"], str) or not isinstance(entry["test_hash"], str):
                raise TypeError
        except (ValueError, KeyError, TypeError, RecursionError):
            damaged.append(number)
        else:
            entries.append(entry)
    return Log(tuple(entries), tuple(damaged))


@dataclass(frozen=True)
class TaskReads:
    """How often the test images of a task have been read.

    Attributes:
        by_variant: by the studies in question, by study and variant: the trials, each as often as it read.
        others: by all others on this machine, as the user's log has it; None where the images' hash is not
            known.
    """

    by_variant: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    others: int | None = None

    @property
    def own(self) -> int:
        """Reads by the studies in question."""
        return sum(map(len, self.by_variant.values()))

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"by this study": self.own, "by others on this machine": self.others}


def count_reads(folders: Sequence[Path], log: Log | None = None) -> dict[str, TaskReads]:
    """How often each task's test images have been read, by the task's name.

    Args:
        folders: output folders of the studies in question.
        log: the user's log; read now when left out.

    Raises:
        InputError: a folder is no study's, or the log cannot be read.
    """
    log = read_log() if log is None else log
    tables = [all_reads(folder, log.entries) for folder in folders]
    reads = pa.concat_tables(tables).to_pylist() if tables else []
    hashes: dict[str, set[str]] = {}
    for folder, own in zip(folders, tables, strict=True):
        columns = ["task", "test_hash"]
        for table in (own, read_table(folder, "trials", columns)):
            if "test_hash" in table.column_names:
                for row in table.select(columns).group_by(columns).aggregate([]).to_pylist():
                    hashes.setdefault(row["task"], set()).update(
                        [row["test_hash"]] if row["test_hash"] else []
                    )
    mine = {read["read_id"] for read in reads}
    others = Counter(entry["test_hash"] for entry in log.entries if entry["read_id"] not in mine)
    found: dict[str, dict[tuple[str, str], list[str]]] = {task: {} for task in hashes}
    for read in sorted(reads, key=lambda read: (read["trial_id"], read["read_id"])):
        by_variant = found.setdefault(read["task"], {})
        by_variant.setdefault((read["study"], read["variant"]), []).append(read["trial_id"])
    return {
        task: TaskReads(
            {who: tuple(ids) for who, ids in by_variant.items()},
            sum(others[one] for one in hashes[task]) if hashes.get(task) else None,
        )
        for task, by_variant in found.items()
    }


def read_lines(reads: Mapping[str, TaskReads], noun: str = "this study") -> list[str]:
    """How often test images were read, in words; tasks with equal numbers share a line."""
    alike: dict[tuple[int, int | None], list[str]] = {}
    for task, counted in reads.items():
        alike.setdefault((counted.own, counted.others), []).append(task)
    return [
        f"Test images of {_named(tasks, len(reads))} read {times(own)} by {noun}, {elsewhere(others)}."
        for (own, others), tasks in alike.items()
    ]


def times(number: int) -> str:
    """0 times, 1 time, 2 times."""
    return f"{number} time{'' if number == 1 else 's'}"


def elsewhere(others: int | None) -> str:
    """Reads by others, in words."""
    known = times(others) if others is not None else "an unknown number of times"
    return f"{known} by others on this machine"


def _named(tasks: Sequence[str], of: int) -> str:
    return "each task" if len(tasks) == of > 1 else ", ".join(tasks)
