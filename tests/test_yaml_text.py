"""YAML as it is written: scalars of YAML 1.2, one line for everything else, and the same value back."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wst.errors import InputError
from wst.yaml_text import read_yaml, shown, write_yaml


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("'7e2'", "7e2"),
        ("7e2", 700.0),
        ("1e-3", 1e-3),
        ("['1e-3', 1e-3]", ["1e-3", 1e-3]),
        (".5", 0.5),
        ("5.", 5.0),
        ("+1", 1),
        ("010", 10),
        ("0o10", 8),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("1:30", "1:30"),
        ("2001-01-01", "2001-01-01"),
        ("2001-99-99", "2001-99-99"),
        ("[yes, no, on, off, y, n]", ["yes", "no", "on", "off", "y", "n"]),
        ("[true, False, TRUE]", [True, False, True]),
        ("[null, ~, Null]", [None, None, None]),
        ("", None),
        ("{a: , b: 'null'}", {"a": None, "b": "null"}),
        ("{no: 1, 'true': 2}", {"no": 1, "true": 2}),
        ("[.inf, -.INF, inf, nan]", [math.inf, -math.inf, "inf", "nan"]),
        ("!!str 5", "5"),
        ("!!float 1", 1.0),
        ("a: &x {b: 1}\nc: *x", {"a": {"b": 1}, "c": {"b": 1}}),
        ("{a: 1}: 2".replace("{a: 1}", "<<"), {"<<": 2}),
        (str(2**63 - 1), 2**63 - 1),
    ],
)
def test_a_scalar_is_what_is_written(text: str, right: object) -> None:
    found = read_yaml(text, "f")
    assert found == right and type(found) is type(right)


def test_not_a_number_is_one() -> None:
    assert math.isnan(read_yaml(".nan", "f"))


_LAUGHS = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{chr(98 + i)}: &{chr(98 + i)} [{', '.join(['*' + chr(97 + i)] * 10)}]\n" for i in range(9)
)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: !!int x", "f, line 1: expected a whole number; found 'x'"),
        ("a: !!bool maybe", "expected true or false; found 'maybe'"),
        ("!!null x", "expected null"),
        ("!!float x", "expected a number"),
        ("a: !!python/object/apply:os.system [x]", "found the tag !!python/object/apply:os.system"),
        ("a: !!binary aGk=", "found the tag !!binary"),
        ("!!set {a}", "found the tag !!set"),
        ("!!timestamp 2001-01-01", "found the tag !!timestamp"),
        ("!mine x", "found the tag !mine"),
        ("!!map [1]", "expected a mapping for !!map"),
        ("!!seq {}", "expected a list for !!seq"),
        ("!!str [1]", "expected a single value for !!str"),
        ("a: " + "9" * 5000, "expected a whole number of at most 64 bits"),
        ("0x" + "f" * 5000, "expected a whole number of at most 64 bits"),
        (str(2**63), "expected a whole number of at most 64 bits"),
        ("[" * 100_000, "expected at most 50 levels"),
        ("- " * 20_000, "expected at most 50 levels"),
        (_LAUGHS, "expected at most 30,000 values and keys"),
        ("\n".join(f"k{i}: {i}" for i in range(30_000)), "expected at most 30,000 values and keys"),
        ("x" * 1_000_001, "expected at most 1,000,000 signs; found 1,000,001"),
        ("&x [1, *x]", "one that holds itself"),
        ("a: *z", "undefined alias 'z'"),
        ("a:\n\tb: 1", "f, line 2: found character"),
        ("a: 1\nb: \x08", r"f, line 2: expected text; found the sign '\x08'"),
        ("a: \0", r"found the sign '\x00'"),
        ('a: "\\ud800"', "expected a text that UTF-8 can hold"),
        ("a: 1\n---\nb: 2", "f, line 2: expected a single document in the stream, but found another"),
        ("a: 1\na: 2", "f, line 2: expected each key once; found 'a' twice"),
        ("1: 2\n1.0: 3", "expected each key once"),
        ("? [1]\n: 2", "expected a text as a key; found [1]"),
        ("a: 'x", "unexpected end of stream"),
        ("%YAML 9.9\n---\na: 1", "incompatible"),
    ],
)
def test_anything_else_gets_one_line(text: str, words: str) -> None:
    with pytest.raises(InputError) as error:
        read_yaml(text, "f")
    assert words in str(error.value)
    assert "\n" not in str(error.value) and len(str(error.value)) < 200


_PLAIN = (
    "7e2 1e-3 null ~ true no on 1:30 010 0o7 0x1f 1_000 .inf .nan 2001-01-01 << = - ' & * ! { [1] -.5 +1 1."
)
_ODD = [
    "",
    "? x",
    "a: b",
    "# x",
    " x ",
    '"',
    "&x",
    "*x",
    "!x",
    "%x",
    "x\ny",
    "\t",
    "\x85",
    "\u2028",
    "\ufeff",
    "é猫😀",
]
_LIKE_OTHERS = st.sampled_from([*_PLAIN.split(), *_ODD, "x" * 200, "a b " * 60])
_TEXTS = _LIKE_OTHERS | st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_SCALARS = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | _TEXTS
_VALUES = st.recursive(
    _SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_TEXTS, inner, max_size=4)
)


@given(_VALUES)
def test_what_is_written_is_read_as_it_was(value: Any) -> None:
    found = read_yaml(write_yaml(value), "f")
    assert found == value and repr(found) == repr(value)  # repr: 1 is no 1.0 and no True


@given(st.text(max_size=40) | st.text("[]{}:,-?&*!|>'\"%@`# \n\t01e.~<=", max_size=30))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    try:
        read_yaml(text, "f")
    except InputError as error:
        assert "\n" not in str(error)


def test_what_would_be_refused_is_not_written() -> None:
    with pytest.raises(InputError, match="expected at most 30,000 values and keys"):
        write_yaml([0] * 30_000)


@pytest.mark.parametrize(
    ("value", "right"),
    [
        (None, "null"),
        (True, "true"),
        ({"a": None, "b": [False]}, "{a: null, b: [false]}"),
        ("x" * 61, f"'{'x' * 57}'..."),
        (10**400, "a whole number of 1,329 bits"),
        ([[[[[[1]]]]]], "[[[[...]]]]"),
        ({"a": {"b": {"c": {"d": {"e": 1}}}}}, "{a: {b: {c: {d: ...}}}}"),
        (list(range(100)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16..."),
    ],
)
def test_a_message_shows_a_value_as_yaml_has_it_and_in_short(value: object, right: str) -> None:
    assert shown(value) == right
