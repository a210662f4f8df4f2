from __future__ import annotations

import io
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from tests.conftest import small_study
from tests.synthetic import run_all
from wst.data.suites import find_suite
from wst.planning.planner import Planner
from wst.workflows.progress import _COLUMNS, Progress, Snapshot, TaskRow, duration, fold, lines

VTAB = [task.name for task in find_suite("vtab1k").tasks]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0 s"), (89.4, "89 s"), (600, "10 min"), (7500, "2 h 05 min"), (90000, "25 h 00 min")],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_plain_lines_where_there_is_no_terminal() -> None:
    planner = Planner(small_study())
    run_all(planner, stop_after=4)
    file = io.StringIO()
    with Progress(planner, Console(file=file, width=40)) as progress:  # a log file's lines are not wrapped
        run_all(planner, stop_after=3)
        progress.update()
        progress.update()  # within 15 seconds: no second line
    lines = file.getvalue().splitlines()
    assert len(lines) == 2 and "\x1b" not in file.getvalue()
    assert lines[0].startswith("7/16 trials, 0 running, ") and "left" in lines[0]


def test_dumb_terminal_gets_plain_lines() -> None:
    planner = Planner(small_study())
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100, _environ={"TERM": "dumb"})
    with Progress(planner, console) as progress:
        run_all(planner)
        progress.update()
    assert "\x1b" not in file.getvalue() and len(file.getvalue().splitlines()) == 2


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
        progress.update()
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

    def drawn() -> int:
        with console.capture() as capture:
            console.print(progress)
        return len(capture.get().splitlines())

    assert drawn() == 1 + 19 + 1 + 1
    size = os.terminal_size((80, 10))
    assert drawn() <= 10


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
