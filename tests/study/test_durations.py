from __future__ import annotations

import pytest

from wst.study.durations import parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("3h", 10800),
        ("90 min", 5400),
        ("1h30m", 5400),
        ("45s", 45),
        ("20", 20),
        ("0.5h", 1800),
        ("1d 2h", 93600),
    ],
)
def test_reads_what_people_write(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "soon", "3 hours", "-5", "0", "h", "3h later", "inf", "nan"])
def test_refuses_the_rest_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a duration above 0, such as 90 min or 3h; found "):
        parse_duration(text)
