"""What may go wrong with a trial or a study, by name."""

from __future__ import annotations

import errno
import os
import re
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from wst.errors import ChangedError, TimeLimitError
from wst.records import End

OUT_OF_MEMORY = frozenset({"OutOfMemoryError", "MemoryError"})
"""Error types of trials that ran out of memory: Python's, PyTorch's and Ray's."""
DISK_FULL = "DiskFullError"
CHANGED = ChangedError.__name__
WORKER_LOST = "WorkerLostError"
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class StudyStoppedError(RuntimeError):
    """A study that cannot or should not go on; its ledger is whole."""


class StudyInterrupted(KeyboardInterrupt):
    """The user asked to stop, by Ctrl-C, SIGTERM or a limit on time.

    No ``Exception``: Ray would wait for its workers to end their epochs before it passed one on.
    """


class OutOfTime(StudyInterrupted):
    """The time that the user gave is over."""


def error_type(error: BaseException) -> str:
    """The name under which an exception goes into the ledger."""
    found: BaseException | None = error
    while found is not None:  # PyTorch raises an error of its own over that of the system
        if isinstance(found, OSError) and found.errno in _NO_ROOM:
            return DISK_FULL
        found = found.__cause__ or found.__context__
    if no_room(str(error)) is not None:  # safetensors puts the system's words into an error of its own
        return DISK_FULL
    # Allocators of libraries report memory in words of their own.
    if isinstance(error, RuntimeError) and "can't allocate memory" in str(error):
        return "OutOfMemoryError"
    return type(error).__name__


def no_room(text: str) -> str | None:
    """The first line of an error's text in which the system says that a disk or a quota is full."""
    words = [os.strerror(number) for number in _NO_ROOM]
    return next((line for line in text.splitlines() if any(word in line for word in words)), None)


def message(text: str) -> str:
    """An exception's message, of a single line, from its text with the traceback."""
    last = text.strip().rpartition("\n")[2]
    return re.sub(r"^[\w.]+: ", "", last, count=1)


def too_long(limit: float) -> TimeLimitError:
    """What ends a trial that has had its time, in seconds."""
    return TimeLimitError(f"expected an end within {limit:g} s; found the trial still training")


@contextmanager
def time_limit(seconds: float | None, limit: float | None = None) -> Iterator[None]:
    """Raise :class:`TimeLimitError` inside the context once so many seconds have passed.

    It also breaks into an epoch that never ends, which is why it is a signal; so it acts in the main thread
    only, where Ray runs its workers, and does nothing elsewhere.

    Args:
        seconds: what is left; None for no limit.
        limit: the whole limit, for the message.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return

    def raise_error(number: int, frame: FrameType | None) -> None:
        raise too_long(limit or seconds)

    before = signal.signal(signal.SIGALRM, raise_error)
    signal.setitimer(signal.ITIMER_REAL, max(seconds, 1e-3))
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def failed(error: BaseException) -> End:
    """The end of a trial that raised: its class, and its message with the traceback."""
    return End(error_type(error), "".join(traceback.format_exception(error)))
