"""The pictures of a front."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from analysis.figures.pareto import draw, figure, front_line, ticks, zero_of
from analysis.leaderboard.board import read_leaderboard
from analysis.pareto import front
from analysis.tables import Rounded
from wst.errors import InputError


def test_a_picture_of_another_format_is_refused(alpha: Path, tmp_path: Path) -> None:
    found = front(read_leaderboard([alpha]))
    with pytest.raises(InputError, match=r"-o: expected a file ending in .*found 'front.bmp'"):
        draw(found, tmp_path / "front.bmp")


@pytest.mark.slow
@pytest.mark.parametrize("ending", [".png", ".svg", ".pdf", ".html"])
def test_pictures_are_written_and_the_same_each_time(alpha: Path, tmp_path: Path, ending: str) -> None:
    found = front(read_leaderboard([alpha]))
    one, other = tmp_path / f"one{ending}", tmp_path / f"other{ending}"
    draw(found, one)
    draw(found, other)
    assert one.read_bytes() == other.read_bytes()
    start = {".png": b"\x89PNG", ".svg": b"<?xml", ".pdf": b"%PDF", ".html": b"<!doctype html>"}[ending]
    assert start in one.read_bytes()[:100]
    if ending == ".svg":
        assert all(f">{name}<" in one.read_text() for name in ("base", "big", "lin"))


def test_labels_from_a_ledger_are_escaped_in_the_page(alpha: Path) -> None:
    found = front(read_leaderboard([alpha]))
    bad = replace(found.points[0], label="<img src=x onerror=alert(1)>", settings=Rounded("<b>", "<b>"))
    texts = [str(trace.text) + str(trace.customdata) for trace in figure(replace(found, points=[bad])).data]
    assert "<img" not in "".join(texts)
    assert "&lt;img" in "".join(texts)
    assert "<b>" not in "".join(texts)


def test_zero_has_a_place_and_a_tick_on_the_log_axis(alpha: Path) -> None:
    found = front(read_leaderboard([alpha]))
    assert zero_of(found.points) == pytest.approx(3104 / 3)
    assert ticks(found.points)[3104 / 3] == "0"
    xs, ys = front_line(found)
    assert (xs[0], ys[0]) == (3104 / 3, found.points[0].accuracy)
    assert xs[-1] == 5000
    assert ys[-1] == pytest.approx(63)
