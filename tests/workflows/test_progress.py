from __future__ import annotations

import io
import math
import os
import re
import threading
from collections.abc import Callable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.conftest import small_study
from tests.curves import curve
from tests.synthetic import run_all
from wst.data.suites import find_suite
from wst.planning.planner import Planner
from wst.records import Intent, Outcome
from wst.study import Study
from wst.workflows.progress import _COLUMNS, Progress, Snapshot, TaskRow, duration, fold, lines

VTAB = [task.name for task in find_suite("vtab1k").tasks]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (600, "10 min"), (7500, "2 h 05 min"), (90000, "25 h 00 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


class Slots:
    """Slots that run a planner's trials on a clock of their own, as the driver tells of it."""

    def __init__(
        self, planner: Planner, slots: int, seconds: Callable[[Intent], float], startup: float = 0.0
    ):
        self.now, self._planner, self._seconds = 0.0, planner, seconds
        self._free_at = [startup] * slots
        self._running: list[tuple[float, Intent]] = []

    def run(self, progress: Progress, until: float = math.inf) -> None:
        """Second by second; trials start at 0, before the slots' processes are there."""
        while self.now < until:
            while len(self._running) < len(self._free_at) and (intent := self._planner.ask()) is not None:
                first = self._free_at[len(self._running)] if self.now == 0 else self.now
                self._running.append((first + self._seconds(intent), intent))
                progress.start(intent)
                progress.jobs(len(self._running))
            if not self._running:
                return
            self.now += 1.0
            for ends, intent in list(self._running):
                if ends <= self.now:
                    self._running.remove((ends, intent))
                    epochs = tuple(curve(intent, self._planner.study.recipe.epochs))
                    outcome = Outcome("completed", epochs=epochs, wall_seconds=self._seconds(intent))
                    for epoch in epochs:
                        self._planner.report(intent.trial_id, epoch)
                    self._planner.tell(intent.trial_id, outcome)
                    progress.epochs(intent, epochs)
                    progress.end(intent, outcome)
                    progress.jobs(len(self._running))
            progress.tick()


def _left(line: str) -> float | None:
    """Minutes that a line says are left."""
    found = re.search(r"about (?:(\d+) h )?(\d+) (s|min) left", line)
    if found is None:
        return None
    return 60 * float(found[1] or 0) + float(found[2]) / (60 if found[3] == "s" else 1)


class _Lines(io.StringIO):
    """A file that knows when each of its lines was written."""

    clock: Callable[[], float]

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[tuple[float, str]] = []

    def write(self, text: str) -> int:
        self.lines += [(self.clock(), line) for line in text.splitlines() if line]
        return len(text)


def _told(study: Study, slots: int, seconds: Callable[[Intent], float], **more: float) -> _Lines:
    running, file = Slots(Planner(study), slots, seconds, **more), _Lines()
    file.clock = lambda: running.now
    progress = Progress(running._planner, Console(file=file, width=40), clock=lambda: running.now)
    with progress:
        running.run(progress)
    assert "\x1b" not in file.getvalue()
    return file


UNPRUNED = {"search": {"trials": 6, "sampler": {"type": "random"}}}


def test_a_file_gets_a_line_every_15_seconds_whatever_happens() -> None:
    """Trials of two minutes on two slots: lines say that two run, and when the study will end."""
    file = _told(small_study(**UNPRUNED), 2, lambda intent: 120.0, startup=10.0)
    times = [0.0, *(time for time, _ in file.lines)]
    assert max(after - before for before, after in pairwise(times)) <= 16
    end = times[-1]
    assert end == pytest.approx(8 * 120 + 10, abs=3)
    for time, line in file.lines[:-1]:
        assert re.match(r"\d+/16 trials, 2 running, ", line), line
        left = _left(line)
        if time > 140:  # one trial has ended
            assert left == pytest.approx((end - time) / 60, abs=0.6), line
        elif time < 120:
            assert left is None
    assert file.lines[-1][1].startswith("16/16 trials, 0 running, ")


def test_the_time_left_goes_by_the_kinds_of_trials() -> None:
    """A variant whose trials take four times as long as the other's; a final counts as its search does."""
    seconds = {"linear": 30.0, "wst-r2": 120.0}
    file = _told(small_study(**UNPRUNED), 1, lambda intent: seconds[intent.variant])
    end = file.lines[-1][0]
    for time, line in file.lines[:-1]:
        if 180 < time < end:  # one of each has ended
            assert _left(line) == pytest.approx((end - time) / 60, rel=0.1, abs=0.6), line


def test_the_time_left_waits_for_what_it_is_made_of() -> None:
    """A fast variant says nothing of the others, which are most of the study; a trial that takes longer than
    the one before it is not about to end."""
    fixed = {name: {"method": "bitfit", "fixed": {"lr": 0.1}} for name in "abcde"}
    now, planner = 0.0, Planner(small_study(variants=fixed, search=None, final={"seeds": 1}))
    with Progress(planner, Console(file=io.StringIO()), clock=lambda: now) as progress:

        def run(seconds: float, *halfway: str) -> None:
            nonlocal now
            intent = planner.ask()
            assert intent is not None
            progress.start(intent)
            now += seconds / 2
            progress.epochs(intent, curve(intent, 2))
            assert [part for part in progress._status() if "left" in part] == list(halfway)
            now += seconds / 2
            outcome = Outcome("completed", epochs=tuple(curve(intent, 4)), wall_seconds=seconds)
            planner.tell(intent.trial_id, outcome)
            progress.end(intent, outcome)

        run(1.0)
        run(60.0)
        run(320.0, "about 4 min left")


def test_trials_that_share_a_slot_are_all_counted_and_their_time_is_shared() -> None:
    """Two trials in one pass, of which each has had half of the slot's seconds in its row."""
    now, planner = 0.0, Planner(small_study(**UNPRUNED))
    with Progress(planner, Console(file=io.StringIO()), clock=lambda: now) as progress:
        for _ in range(8):
            pair = [intent for intent in (planner.ask(), planner.ask()) if intent is not None]
            for intent in pair:
                progress.start(intent)
            progress.jobs(1)
            if now:
                assert progress._status()[1] == "2 running"
                assert _left(progress._status()[-1]) == pytest.approx((8 * 100 - now) / 60, abs=0.6)
            now += 100.0
            for intent in pair:
                outcome = Outcome("completed", epochs=tuple(curve(intent, 4)), wall_seconds=50.0)
                planner.tell(intent.trial_id, outcome)
                progress.end(intent, outcome)
            progress.jobs(0)
    assert planner.done


def test_the_total_never_shrinks() -> None:
    """A confirming stage that finds fewer settings than it may take leaves trials out."""
    study = small_study(confirm={"top": 5, "seeds": 3})
    planner = Planner(study)
    progress = Progress(planner, Console(file=io.StringIO()))
    totals = [progress._now.total]
    while not planner.done:
        run_all(planner, stop_after=1)
        progress.update()
        totals.append(progress._now.total)
    progress.close()
    assert totals == sorted(totals) and totals[-1] == 2 * (6 + 5 * 3 + 2)
    ended = progress._now.ended
    assert ended < totals[-1] and f"{totals[-1] - ended} not needed" in progress._status()


def test_lines_come_of_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a trial trains in this very process nothing is reported for minutes."""
    monkeypatch.setattr("wst.workflows.progress._PLAIN_EVERY_S", 0.0)
    file, printed = io.StringIO(), threading.Event()
    file.write = lambda text: printed.set() or len(text)  # type: ignore[method-assign, func-returns-value]
    with Progress(Planner(small_study()), Console(file=file)):
        assert printed.wait(60)
    assert "wst progress" not in {thread.name for thread in threading.enumerate()}


def test_the_epochs_of_running_trials_are_told() -> None:
    planner = Planner(small_study())
    with Progress(planner, Console(file=io.StringIO())) as progress:
        told = []
        for epochs in (0, 1, 3):
            intent = planner.ask()
            assert intent is not None
            progress.start(intent)
            if epochs:
                progress.epochs(intent, curve(intent, epochs))
            told.append(progress._status()[1])
    assert told == ["1 running", "2 running (past epochs 0 to 1 of 4)", "3 running (past epochs 0 to 3 of 4)"]


def test_a_trial_that_waits_to_start_again_does_not_run() -> None:
    planner = Planner(small_study())
    with Progress(planner, Console(file=io.StringIO())) as progress:
        intent = planner.ask()
        assert intent is not None
        assert progress._now.running == 0  # asked for, and not launched
        progress.start(intent)
        assert progress._now.running == 1
        planner.requeue(intent.trial_id)  # out of memory
        progress.update()
        assert progress._now.running == 0


def test_dumb_terminal_gets_plain_lines() -> None:
    planner = Planner(small_study())
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, _environ={"TERM": "dumb"})
    with Progress(planner, console):
        run_all(planner)
    assert file.getvalue() == "16/16 trials, 0 running, 6 pruned, 0 failed, 0 s so far\n"


def _drawn(progress: Progress, width: int, height: int) -> list[str]:
    file = io.StringIO()
    Console(file=file, force_terminal=True, color_system=None, width=width, height=height).print(progress)
    return file.getvalue().splitlines()


def test_table_on_a_terminal_folds_cells_into_tasks() -> None:
    planner = Planner(small_study(tasks=["digits", "sprite_loc"]))
    progress = Progress(planner, Console(file=io.StringIO()))
    run_all(planner)
    progress.update()
    text = "\n".join(_drawn(progress, 100, 30))
    assert text.count("digits") == 1 and text.count("sprite_loc") == 1
    assert "linear" in text and "wst-r2" in text and "32/32 trials" in text


def test_counts_are_the_planners_after_every_change() -> None:
    """Counting what is new gives what counting everything would, also in a study that goes on."""
    study = small_study(tasks=["digits", "sprite_loc"])
    planner = Planner(study)
    run_all(planner, stop_after=5)
    progress = Progress(planner, Console(file=io.StringIO()))
    while not planner.done:
        first = planner.ask()
        assert first is not None
        progress.start(first)
        now = progress._now
        assert sum(row.running for row in now.rows) == 1
        assert {row.task for row in now.rows if row.running} == {first.task}
        planner.requeue(first.trial_id)
        run_all(planner, stop_after=1)
        progress.update()
        cells = planner.cells.values()
        now = progress._now
        assert now.left == sum(cell.remaining for cell in cells) and now.running == 0
        assert now.ended == sum(cell.counts.total() for cell in cells)
        for state in ("completed", "pruned", "failed"):
            expected = sum(n for cell in cells for (_, s), n in cell.counts.items() if s == state)
            assert sum(getattr(row, state) for row in now.rows) == expected
    for row in progress._now.rows:
        best = {}
        for variant in study.variants:
            trials = planner.cells[row.task, variant].ended["search"]
            values = [t.outcome.epochs[-1].val_top1 for t in trials if t.outcome.state == "completed"]
            best[variant] = max(v for v in values if v is not None)
        ranked = sorted(best.items(), key=lambda item: -item[1])
        assert row.best == tuple(f"{variant} {100 * value:.1f}" for variant, value in ranked)


def _study_of(running: list[str], failed: list[str], done: list[str]) -> list[TaskRow]:
    return [
        TaskRow(
            task,
            completed=100 if task in done else 5,
            running=int(task in running),
            failed=int(task in failed),
            left=0 if task in done else 95,
            best=("wst-r2 87.9", "linear 79.2", "wst-r8 70.0"),
        )
        for task in VTAB
    ]


STATUS = ("1254/2000 trials", "8 running", "731 pruned", "12 failed", "2 h 05 min so far", "about 6 h left")


def test_all_tasks_are_shown_where_they_fit() -> None:
    rows = _study_of(["dtd"], [], [])
    assert fold(rows, 19) == (rows, [])


def test_low_terminal_shows_what_runs_or_failed_and_sums_up_the_rest() -> None:
    rows = _study_of(running=["dtd", "dmlab"], failed=["pets"], done=[*VTAB[:2], "pets"])
    shown, summaries = fold(rows, 10)
    assert [row.task for row in shown] == ["dtd", "pets", "dmlab"]
    waiting = [task for task in VTAB if task not in (*VTAB[:2], "dtd", "pets", "dmlab")]
    assert summaries == [
        "2 tasks done: cifar_100, caltech101",
        f"14 tasks waiting: {', '.join(waiting)}",
    ]


def test_running_tasks_go_before_failed_ones_where_not_even_these_fit() -> None:
    rows = _study_of(running=VTAB[5:8], failed=VTAB[:5], done=[])
    shown, summaries = fold(rows, 6)
    assert [row.task for row in shown] == [VTAB[0], *VTAB[5:8]]
    assert summaries[0] == f"4 more tasks running or failed: {', '.join(VTAB[1:5])}"
    assert summaries[1].startswith("11 tasks waiting: ")


@pytest.mark.parametrize("height", range(1, 30))
@pytest.mark.parametrize("width", [20, 80, 200])
def test_display_never_exceeds_the_terminal(width: int, height: int) -> None:
    rows = _study_of(running=VTAB[3:9], failed=VTAB[:1], done=VTAB[10:])
    found = [line.plain for line in lines(Snapshot(tuple(rows)), STATUS, width, height)]
    assert len(found) <= height and all(len(line) <= width for line in found)
    assert found[-1].endswith("left") or width < 80  # the whole study's line is the last to go
    if height >= 22 and width >= 80:
        assert [line.split()[0] for line in found[1:20]] == VTAB


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(0, 2)), min_size=1, max_size=30),
    st.integers(0, 35),
)
def test_folding_loses_no_task(states: list[tuple[int, int, int]], room: int) -> None:
    rows = [TaskRow(f"t{i}", running=r, failed=f, left=n) for i, (r, f, n) in enumerate(states)]
    shown, summaries = fold(rows, room)
    assert len(shown) + len(summaries) <= room
    if room >= 3:  # one line each for the tasks done, those waiting, and those too many
        counted = sum(int(line.split()[0]) for line in summaries)
        assert len(shown) + counted == len(rows)
    assert shown == [row for row in rows if row in shown]


def test_table_fits_eighty_columns() -> None:
    rows = _study_of(running=["dtd"], failed=[], done=[])
    found = [line.plain for line in lines(Snapshot(tuple(rows)), STATUS, 80, 40)]
    assert found[0].split() == ["task", *_COLUMNS, "best", "on", "val"]
    row = next(line for line in found if line.startswith("dtd"))
    assert row.split()[:6] == ["dtd", "5", "1", "-", "-", "95"] and "wst-r2 87.9" in row
    assert [line for line in found if "trials" in line] == [
        "1254/2000 trials, 8 running, 731 pruned, 12 failed, 2 h 05 min so far,"
    ]


def test_size_is_asked_for_at_every_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Over ssh a terminal changes its size without a signal."""
    planner = Planner(small_study(suite="vtab1k", tasks=VTAB))
    run_all(planner, stop_after=100)
    progress = Progress(planner, Console(file=io.StringIO()))
    size = os.terminal_size((80, 50))
    monkeypatch.setattr(os, "get_terminal_size", lambda *_: size)
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.delenv("LINES", raising=False)
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None)

    def drawn() -> str:
        with console.capture() as capture:
            console.print(progress)
        return capture.get()

    assert len(drawn().splitlines()) == 1 + 19 + 1 + 1 and "\x1b[2J" not in drawn()
    size = os.terminal_size((80, 10))
    assert "\x1b[2J" in (resized := drawn())  # what was drawn before lies wrapped on the screen
    assert len(resized.splitlines()) <= 10 and "\x1b[2J" not in drawn()


def test_live_display_stays_inside_the_terminal() -> None:
    """What is really sent to a terminal: no frame is higher than it."""
    planner = Planner(small_study(suite="vtab1k", tasks=VTAB))
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=80, height=12, _environ={"TERM": "xterm"})
    with Progress(planner, console) as progress:
        run_all(planner, stop_after=30)
        progress.update()
        progress._live.refresh()
    frames = file.getvalue().split("\x1b[2K")
    assert "19 tasks waiting" in file.getvalue()
    assert max(frame.count("\n") for frame in frames) < 12
