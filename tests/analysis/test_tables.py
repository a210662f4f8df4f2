"""One table in every format."""

from __future__ import annotations

import csv
import io
import json
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from analysis.tables import (
    Column,
    Estimate,
    Table,
    as_json,
    comma_separated,
    html_table,
    markdown,
    settings_in_words,
    show,
    terminal,
    text,
    transposed,
)

BAD = '<script>alert("x")</script>|&_%'
TABLE = Table(
    "a title",
    [Column("variant"), Column("digits", "percent", best=True), Column("trainable", "count")],
    [
        {"variant": "one", "digits": Estimate(91.23, 1.5), "trainable": 3104.0},
        {"variant": BAD, "digits": Estimate(80.0), "trainable": None},
        {"variant": "three", "digits": None, "trainable": 12},
    ],
    notes=["a note " + BAD],
)


def test_cells_in_words() -> None:
    assert text(Estimate(91.23, 1.5), "percent") == "91.2 ± 1.5"
    assert text(Estimate(91.23), "percent") == "91.2"
    assert text(None, "percent") == "-"
    assert text(1234567, "count") == "1,234,567"
    assert text(0.00001, "p") == "< 0.001"
    assert text(2**21, "bytes") == "2 MiB"
    assert text(True, "text") == "yes"
    assert text(-1.234, "difference") == "-1.23"


def test_rates_of_learning_have_three_digits_and_machines_all_of_them() -> None:
    settings = {"lr": [0.00123456], "min_lr": [1e-8], "scale": [0.1, 10.0], "r": [4], "readout": ["mean"]}
    found = settings_in_words(settings)
    assert found.shown == "lr 1.23e-3, min_lr 1.00e-8, scale 0.1 to 10, r 4, readout mean"
    assert found.full == "lr 0.00123456, min_lr 1e-08, scale 0.1 to 10, r 4, readout mean"
    table = Table("t", [Column("settings")], [{"settings": found}])
    assert found.shown in markdown(table) and found.shown in html_table(table)
    assert found.full in comma_separated(table) and found.full in as_json(table)


def test_markdown_bolds_the_best_and_breaks_no_column() -> None:
    lines = markdown(TABLE).splitlines()
    assert lines[0] == "| variant | digits | trainable |"
    assert lines[1] == "| --- | ---: | ---: |"
    assert lines[2] == "| one | **91.2 ± 1.5** | 3,104 |"
    assert "<script>" not in markdown(TABLE)
    assert lines[3].replace("\\|", "").count("|") == 4


def test_csv_has_full_precision_and_deviations() -> None:
    rows = list(csv.DictReader(io.StringIO(comma_separated(TABLE))))
    assert list(rows[0]) == ["variant", "digits", "digits std", "trainable"]
    assert rows[0]["digits"] == "91.23"
    assert rows[0]["digits std"] == "1.5"
    assert rows[1]["variant"] == BAD
    assert rows[2]["digits"] == ""


def test_json_round_trips() -> None:
    found = json.loads(as_json(TABLE, more=1))
    assert found["more"] == 1
    assert found["rows"][0] == {"variant": "one", "digits": 91.23, "digits std": 1.5, "trainable": 3104.0}
    assert found["rows"][2]["digits"] is None


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.values: list[str | None] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.values += [value for name, value in attrs if name == "data-value"]


def test_html_is_escaped_and_sortable() -> None:
    parser = _Tags()
    parser.feed(html_table(TABLE))
    assert "script" not in parser.tags
    assert parser.tags.count("tr") == 4
    assert parser.values == ["91.23", "3104.0", "80.0", "12.0"]


def _shown(width: int, *drawn: object) -> str:
    file = io.StringIO()
    console = Console(width=width, file=file)
    for one in drawn:
        console.print(one)
    return file.getvalue()


@pytest.mark.parametrize("drawn", [terminal(TABLE, 200), [transposed(TABLE)]], ids=["terminal", "transposed"])
def test_terminal_shows_every_cell(drawn: list[object]) -> None:
    shown = _shown(200, *drawn)
    assert all(words in shown for words in ("91.2±1.5", "80.0", "3,104", BAD))


@given(
    columns=st.integers(1, 24),
    names=st.lists(st.text("abcdefgh-", min_size=1, max_size=20), min_size=1, max_size=4, unique=True),
    heading=st.sampled_from(["digits", "mean of groups", "within one standard error", "sprite_count"]),
    width=st.sampled_from([80, 120, 200]),
)
@settings(max_examples=40, deadline=None)
def test_a_terminal_table_fits_and_loses_nothing(
    columns: int, names: list[str], heading: str, width: int
) -> None:
    headings = [f"{heading} {place}" for place in range(columns)]
    cells = {h: Estimate(10 + place, 1.5) for place, h in enumerate(headings)}
    table = Table(
        "T",
        [Column("variant"), *(Column(h, "percent") for h in headings), Column("settings")],
        [
            {"variant": name, **cells, "settings": "lr 0.001, scale 10, drop_path 0.1 to 0.3"}
            for name in names
        ],
    )
    drawn = terminal(table, width)
    shown = _shown(width, *drawn)
    assert max(map(len, shown.splitlines())) <= width
    for name in names:
        lines = [line for line in shown.splitlines() if line.split()[:1] == [name]]
        assert len(lines) == len(drawn)  # each part names the row
        assert [word for line in lines for word in line.split() if "±" in word] == [
            f"{10 + place}.0±1.5" for place in range(columns)
        ]


def test_a_long_word_is_broken_and_not_cut() -> None:
    name = "sprite_count.linear-default.search.0006"
    cells = {"variant": "wst", "settings": "lr 1.00e-3, scale 10, drop_path 0.1 to 0.3", "from": name}
    table = Table("T", [Column(key) for key in cells], [cells])
    shown = _shown(60, *terminal(table, 60))
    assert "…" not in shown and name[:20] in shown and name[-4:] in shown


def test_parts_of_a_wide_table_share_all_its_keys() -> None:
    keys = {"variant": "wst", "task": "digits"}
    numbers = {f"number {place}": 1234567.0 for place in range(12)}
    table = Table(
        "a title",
        [Column("variant"), Column("task"), *(Column(name, "count") for name in numbers)],
        [{**keys, **numbers}],
        keys=2,
    )
    rows = [line.split() for line in _shown(80, *terminal(table, 80)).splitlines() if "wst" in line]
    assert len(rows) > 1 and all(row[:2] == ["wst", "digits"] for row in rows)
    assert sum(len(row) - 2 for row in rows) == 12


@pytest.mark.parametrize("style", ["terminal", "markdown", "latex", "csv", "html", "json"])
def test_every_format_prints(style: str, capsys: pytest.CaptureFixture[str]) -> None:
    show(TABLE, style, Console(width=200))  # type: ignore[arg-type]
    assert "91.2" in capsys.readouterr().out


def test_an_empty_table_prints_in_every_format(capsys: pytest.CaptureFixture[str]) -> None:
    empty = Table("nothing", [Column("variant")], [])
    for style in ("terminal", "markdown", "latex", "csv", "html", "json"):
        show(empty, style, Console(width=200))  # type: ignore[arg-type]
    assert "variant" in capsys.readouterr().out
