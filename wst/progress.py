"""A study's live display: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from wst.planner import Cell, Planner

_PLAIN_EVERY_S = 15.0


def duration(seconds: float) -> str:
    """Seconds as a short text: ``42 s``, ``3 min``, ``2 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


@dataclass(frozen=True)
class _Snapshot:
    """What the display shows, taken between two changes: the display has a thread of its own."""

    ended: int
    left: int
    running: int
    pruned: int
    failed: int
    rows: tuple[tuple[str, ...], ...]


def _snapshot(planner: Planner) -> _Snapshot:
    """Totals, and for every task: completed, running, pruned, failed, left, best so far."""
    rows = []
    for task in planner.study.tasks:
        cells = [cell for cell in planner.cells.values() if cell.task == task]
        states = [t.outcome.state for cell in cells for t in cell.ended]
        running = sum(intent.task == task for intent in planner.running.values())
        left = sum(map(planner.remaining, cells)) - running
        counts = (states.count("completed"), running, states.count("pruned"), states.count("failed"), left)
        best = ", ".join(filter(None, map(_best, cells)))
        rows.append((task, *(str(count or "-") for count in counts), best))
    ended = [t.outcome.state for cell in planner.cells.values() for t in cell.ended]
    return _Snapshot(
        ended=len(ended),
        left=sum(map(planner.remaining, planner.cells.values())),
        running=len(planner.running),
        pruned=ended.count("pruned"),
        failed=ended.count("failed"),
        rows=tuple(rows),
    )


class Progress:
    """Shows how far a study is; use as a context manager and call :meth:`update` after every change.

    On a terminal a table by task is redrawn in place.  Elsewhere one line is printed every 15 seconds and at
    the end, which is what a log file wants.
    """

    def __init__(self, planner: Planner, console: Console):
        self._planner, self._console = planner, console
        self._start = time.monotonic()
        self._now = _snapshot(planner)
        self._before = self._now.ended
        self._last_line = 0.0
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._now = _snapshot(self._planner)
        if self._console.is_terminal:
            self._live.__exit__(None, None, None)
        self._console.print(self._line(), highlight=False)

    def update(self) -> None:
        """A trial started or ended."""
        self._now = _snapshot(self._planner)
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= _PLAIN_EVERY_S:
            self._last_line = now
            self._console.print(self._line(), highlight=False)

    def _line(self) -> str:
        now, elapsed = self._now, time.monotonic() - self._start
        parts = [
            f"{now.ended}/{now.ended + now.left} trials",
            f"{now.running} running",
            f"{now.pruned} pruned",
            f"{now.failed} failed",
            f"{duration(elapsed)} so far",
        ]
        here = now.ended - self._before
        if now.left and here:
            parts.append(f"about {duration(elapsed / here * now.left)} left")
        return ", ".join(parts)

    def _table(self) -> Group:
        now = self._now
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("task", no_wrap=True)
        for name in ("done", "running", "pruned", "failed", "left"):
            table.add_column(name, justify="right")
        table.add_column("best on val200 so far", no_wrap=True)
        for row in now.rows:
            table.add_row(*row, style="red" if row[4] != "-" else "")
        bar = ProgressBar(total=now.ended + now.left, completed=now.ended, width=60)
        return Group(table, Text(self._line()), bar)


def _best(cell: Cell) -> str:
    best = cell.best()
    return f"{cell.variant} {100 * (best.outcome.epochs[-1].val_top1 or 0):.1f}" if best else ""
