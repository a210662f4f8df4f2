from __future__ import annotations

import pytest

from wst.screen import printable


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("a plain name.png", "a plain name.png"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("two\nlines\r\ttab", r"two\nlines\r\ttab"),
        ("gpj.\u202eexe", r"gpj.\u202eexe"),
        ("a\u2028b\x85c", r"a\u2028b\x85c"),
        ("caf\udce9", r"caf\xe9"),  # a byte of a path that is no UTF-8
        ("\ud800", r"\ud800"),
        ("café 猫 [/x] :smile:", "café 猫 [/x] :smile:"),
    ],
)
def test_what_a_terminal_would_obey_is_written_out(text: str, right: str) -> None:
    assert printable(text) == right
