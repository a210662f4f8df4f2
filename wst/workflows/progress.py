"""A study's live display: a table on a terminal, plain lines elsewhere."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from rich.console import Console, ConsoleDimensions, ConsoleOptions, RenderResult
from rich.control import Control
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.text import Text

from wst.planning.cell import STAGES, Cell
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Intent, Outcome, Stage
from wst.screen import printable
from wst.trackers import Tracker

_PLAIN_EVERY_S = 15.0
_Kind = tuple[str, Stage]
"""Of a trial: variant and stage, which decide how long it takes."""


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
    """What the display shows, taken between two changes: the display has threads of its own.

    Attributes:
        rows: one a task.
        total: trials of the study; no fewer than ever before.
        past: the last epoch that each of the running trials has reported; 0 for none yet.
        ready: when the study will have ended, on the display's clock; None where nothing tells.
    """

    rows: tuple[TaskRow, ...]
    total: int = 0
    past: tuple[int, ...] = ()
    ready: float | None = None

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


@dataclass
class _Running:
    """A trial that was launched and has not ended."""

    intent: Intent
    began: float
    epoch: int = 0
    seconds: float = 0.0
    """From its start to its end, as its epochs so far suggest."""

    @property
    def kind(self) -> _Kind:
        return self.intent.variant, self.intent.stage


class _Pace:
    """What trials of each kind take, from those that have ended; the start of their processes is no part."""

    def __init__(self, epochs: int):
        self._full = epochs
        self._trials: Counter[_Kind] = Counter()
        self._seconds: Counter[_Kind] = Counter()
        self._epochs: Counter[_Kind] = Counter()

    def add(self, trial: EndedTrial) -> None:
        """Take a trial in; one that failed or need not run tells nothing."""
        intent, outcome = trial.intent, trial.outcome
        if outcome.attempts and outcome.state != "failed":
            kind = intent.variant, intent.stage
            self._trials[kind] += 1
            self._seconds[kind] += outcome.wall_seconds  # type: ignore[assignment]
            self._epochs[kind] += len(outcome.epochs)

    def knows(self, variant: str) -> bool:
        """Whether a trial of that variant has ended."""
        return any(kind[0] == variant and trials for kind, trials in self._trials.items())

    def seconds(self, kind: _Kind) -> float:
        """Of a trial on average.

        Where none of its kind has ended, by the epochs of its variant's others; where there are none either,
        by those of an average variant.
        """
        if self._trials[kind]:
            return self._seconds[kind] / self._trials[kind]
        known = [kind[0]] if self.knows(kind[0]) else {variant for variant, _ in self._epochs}
        paces = [self._an_epoch(variant) for variant in known]
        return self._full * sum(paces) / len(paces) if paces else 0.0

    def _an_epoch(self, variant: str) -> float:
        kinds = [kind for kind in self._epochs if kind[0] == variant]
        return sum(self._seconds[kind] for kind in kinds) / max(1, sum(self._epochs[kind] for kind in kinds))


class _Counts:
    """Counts trials; each look is at what has changed since the last one, not at every trial again."""

    def __init__(self, planner: Planner):
        self._planner = planner
        self.pace = _Pace(planner.study.recipe.epochs)
        self._ended = dict.fromkeys(planner.cells, -1)
        self._taken: Counter[tuple[str, str, Stage]] = Counter()
        self._best: dict[str, dict[str, float]] = {task: {} for task in planner.study.tasks}
        self._rows: dict[str, TaskRow] = {}
        self._pending: dict[str, Counter[_Kind]] = {}

    def look(self, running: Iterable[_Running]) -> tuple[tuple[TaskRow, ...], Counter[_Kind]]:
        """A row a task, and how many trials of each kind have not begun."""
        planner, changed = self._planner, []
        for pair, cell in planner.cells.items():
            ended = cell.counts.total()
            if ended != self._ended[pair]:
                self._ended[pair] = ended
                self._take(cell)
                changed.append(cell.task)
        for task in dict.fromkeys(changed):  # one variant may wait for another of the same task
            self._rows[task], self._pending[task] = self._row(task)
        by_task, left = Counter(one.intent.task for one in running), Counter[_Kind]()
        for pending in self._pending.values():
            left.update(pending)
        left.subtract(Counter(one.kind for one in running))
        rows = (
            replace(row, running=by_task[task], left=max(0, row.left - by_task[task]))
            for task, row in self._rows.items()
        )
        return tuple(rows), left

    def _take(self, cell: Cell) -> None:
        """Take the trials of a cell in that ended since."""
        best = self._best[cell.task]
        for stage in STAGES:
            trials, key = cell.ended[stage], (cell.task, cell.variant, stage)
            for trial in trials[self._taken[key] :]:
                self.pace.add(trial)
                if stage == "search" and trial.outcome.state == "completed":
                    value = trial.outcome.epochs[-1].val_top1 or 0.0
                    best[cell.variant] = max(value, best.get(cell.variant, 0.0))
            self._taken[key] = len(trials)

    def _row(self, task: str) -> tuple[TaskRow, Counter[_Kind]]:
        cells = [self._planner.cells[task, variant] for variant in self._planner.study.variants]
        states: Counter[str] = Counter()
        for cell in cells:
            for (_, state), number in cell.counts.items():
                states[state] += number
        best = sorted(self._best[task].items(), key=lambda item: -item[1])
        pending = Counter({(cell.variant, stage): cell.pending(stage) for cell in cells for stage in STAGES})
        row = TaskRow(
            task,
            completed=states["completed"],
            pruned=states["pruned"],
            failed=states["failed"],
            left=pending.total(),
            best=tuple(f"{variant} {100 * value:.1f}" for variant, value in best),
        )
        return row, pending


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
    Elsewhere, also on a terminal that cannot move its cursor (``TERM=dumb``), a line is printed every 15
    seconds, whatever happens or does not, and one at the end, which is what a log file wants.

    Args:
        planner: of the study.
        console: where to.
        clock: seconds that never go back.
    """

    def __init__(self, planner: Planner, console: Console, clock: Callable[[], float] = time.monotonic):
        self._planner, self._console, self._clock = planner, console, clock
        self._start = self._last_line = clock()
        self._counts = _Counts(planner)
        self._running: dict[str, _Running] = {}
        self._jobs = self._most_jobs = 1
        self._now = Snapshot(())
        self._size: ConsoleDimensions | None = None
        self.update()
        self._printing, self._over = threading.Lock(), threading.Event()
        self._lines = threading.Thread(target=self._keep_printing, daemon=True, name="wst progress")
        self._in_place = console.is_terminal and not console.is_dumb_terminal
        self._live = Live(self, console=console, refresh_per_second=2, transient=True)
        if self._in_place:
            self._live.start()
        else:
            self._lines.start()

    def start(self, intent: Intent) -> None:
        """A trial was launched."""
        self._running[intent.trial_id] = _Running(intent, self._clock())
        self.update()

    def epochs(self, intent: Intent, epochs: Sequence[Epoch]) -> None:
        """A running trial has come further."""
        one, now = self._running[intent.trial_id], epochs[-1].epoch
        one.epoch = now
        one.seconds = (self._clock() - one.began) * self._planner.study.recipe.epochs / now
        self.update()

    def end(self, intent: Intent, outcome: Outcome) -> None:
        """A trial ended."""
        self._running.pop(intent.trial_id, None)
        self.update()

    def jobs(self, number: int) -> None:
        """So many slots have work now."""
        self._jobs, self._most_jobs = number, max(number, self._most_jobs)
        self.update()

    def close(self) -> None:
        """The study has ended or was stopped."""
        self._over.set()
        if self._in_place:
            self._live.stop()
        else:
            self._lines.join()
        self.update()
        self._print_line()

    def update(self) -> None:
        """Look where the planner stands now."""
        # One that ran out of memory waits to be started again, and runs no more.
        running = [one for name, one in self._running.items() if name in self._planner.running]
        rows, left = self._counts.look(running)
        now = Snapshot(rows, past=tuple(one.epoch for one in running), ready=self._ready(running, left))
        self._now = replace(now, total=max(self._now.total, now.ended + now.running + now.left))

    def _ready(self, running: Sequence[_Running], left: Counter[_Kind]) -> float | None:
        """When all will have ended, if the slots that had work so far go on at the pace so far.

        None as long as three quarters of what is to come are of variants of which no trial has ended.
        """
        now, pace = self._clock(), self._counts.pace
        left = +left
        known = sum(number for kind, number in left.items() if pace.knows(kind[0]))
        known += sum(one.epoch > 0 or pace.knows(one.intent.variant) for one in running)
        if 4 * known <= left.total() + len(running):
            return None
        share = self._jobs / len(running) if running else 1.0  # of a slot that each trial has
        to_go = []
        for one in running:
            # One that is slower than those before it, or that the pruner let pass, takes longer.
            whole = max(share * one.seconds, pace.seconds(one.kind))
            to_go.append(max(0.0, whole - share * (now - one.began)))
        work = sum(number * pace.seconds(kind) for kind, number in left.items())
        return now + max((sum(to_go) + work) / self._most_jobs, max(to_go, default=0.0))

    def tick(self) -> None:
        """Print a line where it is time for one."""
        with self._printing:
            if self._clock() - self._last_line >= _PLAIN_EVERY_S:
                self._last_line = self._clock()
                self._print_line()

    def _keep_printing(self) -> None:
        with suppress(OSError, ValueError):  # nobody listens
            while not self._over.wait(1.0):
                self.tick()

    def _print_line(self) -> None:
        self._console.print(", ".join(self._status()), highlight=False, soft_wrap=True)

    def _status(self) -> list[str]:
        now, time_now = self._now, self._clock()
        parts = [
            f"{now.ended}/{now.total} trials",
            f"{now.running} running{self._past(now)}",
            f"{sum(row.pruned for row in now.rows)} pruned",
            f"{sum(row.failed for row in now.rows)} failed",
            f"{duration(time_now - self._start)} so far",
        ]
        spared = now.total - now.ended - now.running - now.left
        if spared:
            parts.insert(4, f"{spared} not needed")
        if now.running + now.left and now.ready is not None and now.ready > time_now:
            parts.append(f"about {duration(now.ready - time_now)} left")
        return parts

    def _past(self, now: Snapshot) -> str:
        first, last = min(now.past, default=0), max(now.past, default=0)
        if not last:
            return ""
        which = f"epoch {last}" if first == last else f"epochs {first} to {last}"
        return f" (past {which} of {self._planner.study.recipe.epochs})"

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw for the terminal as it is now: over ssh its size may change without a word."""
        now, (width, height) = self._now, options.size
        if self._size not in (None, options.size):  # lines that no longer fit were wrapped, who knows where
            yield Control.clear()
            yield Control.home()
        self._size = options.size
        bar = 1 if height > 3 else 0
        yield from lines(now, self._status(), width, max(1, height - 1 - bar))
        if bar:
            spared = now.total - now.ended - now.running - now.left
            yield ProgressBar(total=now.total, completed=now.ended + spared, width=min(60, width))
