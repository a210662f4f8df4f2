"""A study's live display: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleOptions, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from wst.planning.cell import Cell
from wst.planning.planner import Planner
from wst.records import Intent, Outcome
from wst.screen import printable
from wst.trackers import Tracker

_PLAIN_EVERY_S = 15.0


def duration(seconds: float) -> str:
    """Seconds as a short text: ``42 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class TaskRow:
    """One task: its trials by state, over all variants and stages.

    Attributes:
        left: trials that have not begun.
        best: variants with their best accuracy on val in per cent, the best first.
    """

    task: str
    completed: int = 0
    running: int = 0
    pruned: int = 0
    failed: int = 0
    left: int = 0
    best: tuple[str, ...] = ()


@dataclass(frozen=True)
class Snapshot:
    """What the display shows, taken between two changes: the display has a thread of its own."""

    rows: tuple[TaskRow, ...]

    @property
    def ended(self) -> int:
        """Trials that have ended, in whatever way."""
        return sum(row.completed + row.pruned + row.failed for row in self.rows)

    @property
    def running(self) -> int:
        """Trials that are running."""
        return sum(row.running for row in self.rows)

    @property
    def left(self) -> int:
        """Trials that have not begun."""
        return sum(row.left for row in self.rows)


class _Counts:
    """Takes snapshots; each looks at what has changed since the last one, not at every trial again."""

    def __init__(self, planner: Planner):
        self._planner = planner
        self._ended = dict.fromkeys(planner.cells, -1)
        self._searched = dict.fromkeys(planner.cells, 0)
        self._best: dict[str, dict[str, float]] = {task: {} for task in planner.study.tasks}
        self._rows: dict[str, TaskRow] = {}

    def snapshot(self) -> Snapshot:
        """Where the study stands."""
        planner, changed = self._planner, []
        for pair, cell in planner.cells.items():
            ended = cell.counts.total()
            if ended != self._ended[pair]:
                self._ended[pair] = ended
                self._compare(cell)
                changed.append(cell.task)
        for task in dict.fromkeys(changed):  # one variant may wait for another of the same task
            self._rows[task] = self._row(task)
        running = Counter(intent.task for intent in planner.running.values())
        return Snapshot(
            tuple(
                replace(row, running=running[task], left=max(0, row.left - running[task]))
                for task, row in self._rows.items()
            )
        )

    def _compare(self, cell: Cell) -> None:
        """Take the search trials that ended since into the best of their cell."""
        trials, best = cell.ended["search"], self._best[cell.task]
        for trial in trials[self._searched[cell.task, cell.variant] :]:
            if trial.outcome.state == "completed":
                value = trial.outcome.epochs[-1].val_top1 or 0.0
                best[cell.variant] = max(value, best.get(cell.variant, 0.0))
        self._searched[cell.task, cell.variant] = len(trials)

    def _row(self, task: str) -> TaskRow:
        cells = [self._planner.cells[task, variant] for variant in self._planner.study.variants]
        states: Counter[str] = Counter()
        for cell in cells:
            for (_, state), number in cell.counts.items():
                states[state] += number
        best = sorted(self._best[task].items(), key=lambda item: -item[1])
        return TaskRow(
            task,
            completed=states["completed"],
            pruned=states["pruned"],
            failed=states["failed"],
            left=sum(cell.remaining for cell in cells),
            best=tuple(f"{variant} {100 * value:.1f}" for variant, value in best),
        )


def fold(rows: Sequence[TaskRow], room: int) -> tuple[list[TaskRow], list[str]]:
    """What of a table fits into ``room`` lines: the rows to show, and the lines that stand for the others.

    All rows where there is room.  Else those of tasks that run or have failed, running ones first where
    even these are too many; tasks that are done and tasks that wait become one line each.
    """
    if len(rows) <= room:
        return list(rows), []
    active = [row for row in rows if row.running or row.failed]
    quiet = [row for row in rows if not (row.running or row.failed)]
    done, waiting = [row for row in quiet if not row.left], [row for row in quiet if row.left]
    lines = [_summary(named, what) for named, what in ((done, "done"), (waiting, "waiting")) if named]
    if len(active) > room - len(lines):
        by_urgency = sorted(active, key=lambda row: not row.running)
        shown = by_urgency[: max(0, room - len(lines) - 1)]
        lines.insert(0, _summary([row for row in active if row not in shown], "running or failed", "more "))
        active = [row for row in active if row in shown]
    return active, lines[: max(0, room)]


def _summary(rows: Sequence[TaskRow], what: str, more: str = "") -> str:
    names = ", ".join(row.task for row in rows)
    return f"{len(rows)} {more}{'task' if len(rows) == 1 else 'tasks'} {what}: {names}"


_COLUMNS = {"done": "completed"} | {name: name for name in ("running", "pruned", "failed", "left")}
"""Headings, and the attribute of a row below each."""


def lines(now: Snapshot, status: Sequence[str], width: int, height: int) -> list[Text]:
    """The display as at most ``height`` lines of at most ``width`` columns.

    Args:
        now: where the study stands.
        status: the parts of the line on the whole study; they break between parts.
        width: columns of the terminal, as it is now.
        height: lines that may be used.
    """
    bottom = _wrapped(status, width)
    shown, summaries = fold(now.rows, height - len(bottom) - 1)
    label = max([len(row.task) for row in now.rows] + [4])
    widths = [max(len(name), 5) for name in _COLUMNS]

    def row_text(task: str, cells: Sequence[str], best: str) -> str:
        numbers = "  ".join(f"{cell:>{w}}" for cell, w in zip(cells, widths, strict=True))
        return f"{printable(task):<{label}}  {numbers}  {best}"

    found = []
    if shown:
        found.append(Text(row_text("task", list(_COLUMNS), "best on val"), "bold"))
    for row in shown:
        counts = [str(getattr(row, name) or "-") for name in _COLUMNS.values()]
        found.append(Text(row_text(row.task, counts, ", ".join(row.best)), "red" if row.failed else ""))
    found += [Text(printable(line), "dim") for line in summaries]
    found += [Text(line) for line in bottom]
    for line in found:
        line.truncate(width, overflow="ellipsis")
        line.no_wrap = True
    return found[-height:]


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    found = [parts[0]]
    for part in parts[1:]:
        if len(found[-1]) + 2 + len(part) > width - 1:
            found[-1] += ","
            found.append(part)
        else:
            found[-1] += f", {part}"
    return found


class Progress(Tracker):
    """Shows how far a study is, from now until it is closed.

    On a terminal a table by task is redrawn in place, folded where the terminal is lower than the table.
    Elsewhere, also on a terminal that cannot move its cursor (``TERM=dumb``), one line is printed every
    15 seconds and at the end, which is what a log file wants.
    """

    def __init__(self, planner: Planner, console: Console):
        self._console = console
        self._start = time.monotonic()
        self._counts = _Counts(planner)
        self._now = self._counts.snapshot()
        self._before = self._now.ended
        self._last_line = 0.0
        self._in_place = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(self, console=console, refresh_per_second=2, transient=True)
        if self._in_place:
            self._live.start()

    def start(self, intent: Intent) -> None:
        """A trial was launched."""
        self.update()

    def end(self, intent: Intent, outcome: Outcome) -> None:
        """A trial ended."""
        self.update()

    def close(self) -> None:
        """The study has ended or was stopped."""
        self._now = self._counts.snapshot()
        if self._in_place:
            self._live.stop()
        self._print_line()

    def update(self) -> None:
        """Show where the planner stands now."""
        self._now = self._counts.snapshot()
        now = time.monotonic()
        if not self._in_place and now - self._last_line >= _PLAIN_EVERY_S:
            self._last_line = now
            self._print_line()

    def _print_line(self) -> None:
        self._console.print(", ".join(self._status()), highlight=False, soft_wrap=True)

    def _status(self) -> list[str]:
        now, elapsed = self._now, time.monotonic() - self._start
        left = now.running + now.left
        parts = [
            f"{now.ended}/{now.ended + left} trials",
            f"{now.running} running",
            f"{sum(row.pruned for row in now.rows)} pruned",
            f"{sum(row.failed for row in now.rows)} failed",
            f"{duration(elapsed)} so far",
        ]
        here = now.ended - self._before
        if left and here:
            parts.append(f"about {duration(elapsed / here * left)} left")
        return parts

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw for the terminal as it is now: over ssh its size may change without a word."""
        now, (width, height) = self._now, options.size
        bar = 1 if height > 3 else 0
        yield from lines(now, self._status(), width, max(1, height - 1 - bar))
        if bar:
            total = now.ended + now.running + now.left
            yield ProgressBar(total=total, completed=now.ended, width=min(60, width))
