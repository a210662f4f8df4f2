"""A study's live display: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time

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


class Progress:
    """Shows how far a study is; use as a context manager and call :meth:`update` after every change.

    On a terminal a table by task is redrawn in place.  Elsewhere one line is printed every 15 seconds and at
    the end, which is what a log file wants.
    """

    def __init__(self, planner: Planner, console: Console):
        self._planner, self._console = planner, console
        self._start = time.monotonic()
        self._before = sum(len(cell.ended) for cell in planner.cells.values())
        self._last_line = 0.0
        self._live = Live(console=console, get_renderable=self._table, refresh_per_second=2, transient=True)

    def __enter__(self) -> Progress:
        if self._console.is_terminal:
            self._live.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        if self._console.is_terminal:
            self._live.__exit__(None, None, None)
        self._console.print(self._line(), highlight=False)

    def update(self) -> None:
        """A trial started or ended."""
        now = time.monotonic()
        if not self._console.is_terminal and now - self._last_line >= _PLAIN_EVERY_S:
            self._last_line = now
            self._console.print(self._line(), highlight=False)

    def _totals(self) -> tuple[int, int, float | None]:
        """(ended, all, seconds left or None while unknown)."""
        cells = self._planner.cells.values()
        ended = sum(len(cell.ended) for cell in cells)
        left = sum(self._planner.remaining(cell) for cell in cells)
        here = ended - self._before
        rate = (time.monotonic() - self._start) / here if here else None
        return ended, ended + left, rate * left if rate is not None else None

    def _line(self) -> str:
        ended, total, left = self._totals()
        states = [t.outcome.state for cell in self._planner.cells.values() for t in cell.ended]
        parts = [
            f"{ended}/{total} trials",
            f"{len(self._planner.running)} running",
            f"{states.count('pruned')} pruned",
            f"{states.count('failed')} failed",
            f"{duration(time.monotonic() - self._start)} so far",
        ]
        if left:
            parts.append(f"about {duration(left)} left")
        return ", ".join(parts)

    def _table(self) -> Group:
        ended, total, _ = self._totals()
        table = Table(box=None, pad_edge=False, header_style="bold")
        table.add_column("task", no_wrap=True)
        for name in ("done", "running", "pruned", "failed", "left"):
            table.add_column(name, justify="right")
        table.add_column("best on val200 so far", no_wrap=True)
        for task in self._planner.study.tasks:
            cells = [cell for cell in self._planner.cells.values() if cell.task == task]
            states = [t.outcome.state for cell in cells for t in cell.ended]
            running = sum(intent.task == task for intent in self._planner.running.values())
            left = sum(self._planner.remaining(cell) for cell in cells) - running
            best = ", ".join(filter(None, map(_best, cells)))
            table.add_row(
                task,
                str(states.count("completed")),
                str(running or "-"),
                str(states.count("pruned") or "-"),
                Text(str(states.count("failed") or "-"), style="red" if "failed" in states else ""),
                str(left),
                best,
            )
        return Group(table, ProgressBar(total=total, completed=ended, width=60), Text(self._line()))


def _best(cell: Cell) -> str:
    best = cell.best()
    return f"{cell.variant} {100 * (best.outcome.epochs[-1].val_top1 or 0):.1f}" if best else ""
