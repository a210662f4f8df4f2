"""Large test splits, looked at beside a running search."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping
from types import TracebackType

from wst.data.check.gate import look
from wst.data.check.report import TaskReport, refuse
from wst.data.lists import Split
from wst.data.splits import TaskData
from wst.errors import InputError

_TEST: tuple[Split, ...] = ("test",)
_NICENESS = 10
_STEP_S = 0.2


class _OverError(Exception):
    """Nobody waits for the result any more."""


class Beside:
    """Decodes the test splits that a study's start left, one image at a time; pixels are thrown away.

    A thread of low priority does it while the context lasts.  What it finds out is remembered, also where it
    is cut off.

    Args:
        data: the study's tasks.
        reports: what the start found out of each.
        accept: kinds of findings that the study accepts.
        wanted: whether a test split will be read at all.
        shown_by: the command that shows every finding of a task.
        told: told the warnings on test splits, a line each, as they are found.

    Attributes:
        reports: what is known of each task by now.
    """

    def __init__(
        self,
        data: Mapping[str, TaskData],
        reports: Mapping[str, TaskReport],
        accept: Collection[str] = (),
        *,
        wanted: bool = True,
        shown_by: Callable[[str], str] = lambda task: "wst data check",
        told: Callable[[str], None] = lambda line: None,
    ):
        self.reports = dict(reports)
        self._data, self._accept, self._shown_by, self._told = data, accept, shown_by, told
        self._left = [task for task, report in reports.items() if not report.whole] if wanted else []
        self._problem: str | None = None
        self._stop: Callable[[str], None] = lambda line: None
        self._over, self._lock = threading.Event(), threading.Lock()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Beside:
        """Begin."""
        self._begin()
        return self

    def _begin(self) -> None:
        if self._left and self._thread is None:
            self._thread = threading.Thread(target=self._run, name="wst-test-splits", daemon=True)
            self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop after the image in hand."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()

    def on_problem(self, stop: Callable[[str], None]) -> None:
        """Name who is told, in the one line, of what makes a test split unusable."""
        self._stop = stop
        if self._problem is not None:
            stop(self._problem)

    def seen(self, task: str) -> bool:
        """Whether a task's test split has been looked at whole and is fit to be read."""
        return self.reports[task].whole

    def wait(self, task: str, meanwhile: Callable[[], object] = lambda: None) -> bool:
        """Wait for a task's test split, which comes next; returns :meth:`seen`.

        Args:
            task: the task.
            meanwhile: called every now and then; what it raises ends the waiting.
        """
        with self._lock:
            if task in self._left:
                self._left.remove(task)
                self._left.insert(0, task)
        self._begin()
        thread = self._thread
        while thread is not None and thread.is_alive() and not self.seen(task):
            meanwhile()
            thread.join(_STEP_S)
        return self.seen(task)

    def _run(self) -> None:
        while not self._over.is_set():
            with self._lock:
                if not self._left:
                    return
                task = self._left.pop(0)
            try:
                self._look_at(task)
            except _OverError:
                return
            except Exception as error:  # whatever it is: no result may rest on this split
                self._problem = " ".join(str(error).split()) or type(error).__name__
                self._stop(self._problem)
                return

    def _look_at(self, task: str) -> None:
        before, data = self.reports[task], self._data[task]
        (found,) = look([data], whole=True, jobs=1, on_done=self._go_on, niceness=_NICENESS)
        found = found.accepting(self._accept)
        refuse([found], self._shown_by(task))
        if found.data_hash != before.data_hash:
            raise InputError(f"data of task {task!r}: expected them to stay as they were; found them changed")
        known = before.warnings(_TEST)
        for line in found.warnings(_TEST):
            if line not in known:
                self._told(f"{task}: warning: {line}")
        self.reports[task] = found

    def _go_on(self, count: int) -> None:
        if self._over.is_set():
            raise _OverError
