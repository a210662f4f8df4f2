"""What the tests of the ledger run in processes of their own, to be killed; it imports no torch."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from wst.ledger import Ledger
from wst.ledger import writing as ledgers
from wst.ledger.reads import logging
from wst.records import EndedTrial, Read
from wst.study import Study

CODE = {"version": "0.1", "commit": "abc", "libraries": "{}"}
_WHEN = datetime(2026, 1, 1, tzinfo=UTC)
SYSTEM_CALLS = ("rename", "replace", "symlink", "mkdir", "unlink", "rmdir")
"""Those with which files and folders come and go; between two of them half-written files alone change."""


def write(ledger: Ledger, trials: Iterable[EndedTrial]) -> None:
    """Write these trials, each from its intent to its row, with its read of the test split in between."""
    for trial in trials:
        ledger.add_intent(trial.intent)
        if trial.outcome.test_images is not None:
            ledger.add_read(read_of(trial))
        ledger.add_trial(trial.intent, trial.outcome)


def read_of(trial: EndedTrial, test_hash: str = "d") -> Read:
    """The same whenever it is asked for, so that a trial written again does not read again."""
    intent = trial.intent
    who = (intent.trial_id, intent.task, intent.variant)
    read_id = hashlib.sha256(intent.trial_id.encode()).hexdigest()[:32]
    return Read(read_id, *who, "test", test_hash, trial.outcome.test_images or 0, _WHEN, "a test")


def a_read(read_id: str, test_hash: str = "d") -> Read:
    who = ("digits.linear.final.0000", "digits", "linear")
    return Read(read_id, *who, "test", test_hash, 797, _WHEN, "a test")


def append_reads(number: int) -> None:
    """Write down 20 reads in the user's log."""
    for place in range(20):
        with logging("other", Path("elsewhere")) as append:
            append(a_read(f"{number}.{place}"))


def _no_flush() -> None:
    """A process that dies takes nothing from the kernel's cache with it."""
    os.fsync = lambda _: None


def write_for_ever(folder: Path, study: Study, trials: list[EndedTrial]) -> None:
    _no_flush()
    with Ledger(folder, study, CODE) as ledger:
        while True:
            write(ledger, trials)


def compact_for_ever(folder: Path, study: Study, trials: list[EndedTrial]) -> None:
    """Add a trial and compact; discard one that is there and add it again."""
    _no_flush()
    ledgers.COMPACT_ABOVE = 0
    while True:
        for trial in trials:
            with Ledger(folder, study, CODE) as ledger:
                write(ledger, [trial])


def change(folder: Path, study: Study, discarded: list[EndedTrial], added: list[EndedTrial]) -> None:
    """Open, which rewrites the ledger; discard trials, which does too; add some; close, which compacts."""
    ledgers.COMPACT_ABOVE = 0
    with Ledger(folder, study, CODE) as ledger:
        ledger.discard(trial.intent.trial_id for trial in discarded)
        write(ledger, added)


def _killed_at(call: int, folder: Path, *what: Any) -> bool:
    """:func:`change` in a process that SIGKILL ends at its ``call``-th system call; False when it needs
    fewer."""
    child = os.fork()
    if child:
        return os.WIFSIGNALED(os.waitpid(child, 0)[1])
    left = [call]

    def counted(function: Callable[..., Any]) -> Callable[..., Any]:
        def wrapper(*args: Any, **options: Any) -> Any:
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left[0] -= 1
            return function(*args, **options)

        return wrapper

    _no_flush()
    for name in SYSTEM_CALLS:
        setattr(os, name, counted(getattr(os, name)))
    change(folder, *what)
    os._exit(0)


def kill_at(calls: Iterable[int], start: Path, copies: Path, *what: Any) -> None:
    """Kill :func:`change` at these system calls, each in a copy of ``start`` named after it."""
    change(
        Path(shutil.copytree(start, copies.parent / "first", symlinks=True)), *what
    )  # imports what it needs
    for call in calls:
        if not _killed_at(call, Path(shutil.copytree(start, copies / str(call), symlinks=True)), *what):
            break
