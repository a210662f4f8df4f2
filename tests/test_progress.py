from __future__ import annotations

import io

import pytest
from rich.console import Console

from tests.conftest import small_study
from tests.synthetic import run_all
from wst.planner import Planner
from wst.progress import Progress, duration


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
    with Progress(planner, Console(file=file, width=100)) as progress:
        run_all(planner, stop_after=3)
        progress.update()
        progress.update()  # within 15 seconds: no second line
    lines = file.getvalue().splitlines()
    assert len(lines) == 2 and "\x1b" not in file.getvalue()
    assert lines[0].startswith("7/16 trials, 0 running, ") and "left" in lines[0]


def test_table_on_a_terminal_folds_cells_into_tasks() -> None:
    planner = Planner(small_study(tasks=["digits", "sprite_loc"]))
    run_all(planner)
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, width=100)
    progress = Progress(planner, console)
    console.print(progress._table())
    text = file.getvalue()
    assert text.count("digits") == 1 and text.count("sprite_loc") == 1
    assert "linear" in text and "wst-r2" in text and "32/32 trials" in text
