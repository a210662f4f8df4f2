"""Values for every key of a model, found from the model itself: one added later needs no test of its own."""

from __future__ import annotations

import datetime
import math
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

import yaml
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter

from wst.errors import InputError
from wst.screen import printable

SECONDS, _PATIENCE = 10, 120
"""Longest that any input may take of a processor, and of a busy machine."""
Wrap = Callable[[Any], Any]


@dataclass(frozen=True)
class Place:
    """Where in a file a value can stand.

    Attributes:
        keys: on the way to it, for messages; which of several models is meant stands in between.
        around: the file's content with a value at this place.
        near: values that it may have, and those that its type and bounds speak of.
    """

    keys: tuple[str, ...]
    around: Wrap
    near: tuple[Any, ...] = ()

    @property
    def is_model(self) -> bool:
        """Whether a model stands here, all of it."""
        return bool(self.keys) and self.keys[-1].startswith("<") and self.keys[-1] != "<key>"

    def __str__(self) -> str:
        return ".".join(self.keys)


def places(model: type[BaseModel], least: Callable[[type[BaseModel], str], dict[str, Any]]) -> list[Place]:
    """Every place of a model's files.

    Args:
        model: of the file.
        least: what a model needs besides a key, for the rest of the file to be as it should.
    """
    return list(_of_model(model, least, (), lambda value: value))


def _of_model(model: type[BaseModel], least: Any, keys: tuple[str, ...], around: Wrap) -> Iterator[Place]:
    yield Place(keys, around)
    for name, field in model.model_fields.items():
        base = least(model, name)

        def here(value: Any, name: str = name, base: dict[str, Any] = base) -> Any:
            return around({**base, name: value})

        annotation: Any = field.annotation
        for note in field.metadata:
            annotation = Annotated[annotation, note]
        yield Place((*keys, name), here, _near(annotation, base.get(name)))
        yield from _inside(annotation, least, (*keys, name), here)


def _inside(annotation: Any, least: Any, keys: tuple[str, ...], around: Wrap) -> Iterator[Place]:
    """Places below one that has this annotation."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield from _of_model(annotation, least, (*keys, f"<{annotation.__name__}>"), around)
    elif origin is Annotated:
        yield from _inside(arguments[0], least, keys, around)
    elif origin in (Union, UnionType):
        for one in arguments:
            yield from _inside(one, least, keys, around)
    elif origin in (tuple, list):
        yield Place((*keys, "0"), lambda value: around([value]), _near(arguments[0], None))
        yield from _inside(arguments[0], least, (*keys, "0"), lambda value: around([value]))
    elif origin is dict or getattr(origin, "__name__", "") == "Mapping":
        key = least(dict, keys[-1])
        yield Place((*keys, "<key>"), lambda value: around(_entry(value, key)), tuple(key))
        for name in key:
            yield Place((*keys, name), lambda value, name=name: around({name: value}))
            yield from _inside(arguments[1], least, (*keys, name), lambda v, name=name: around({name: v}))


def _entry(key: Any, example: dict[str, Any]) -> Any:
    """A mapping with another key; a list of pairs where it can be none."""
    try:
        return {key: next(iter(example.values()))}
    except TypeError:
        return [key]


def _near(annotation: Any, usual: Any) -> tuple[Any, ...]:
    """Values of a type and round its bounds."""
    found: list[Any] = [usual]
    try:
        schema: Any = TypeAdapter(annotation).json_schema()
    except Exception:  # a type of our own, which JSON has no words for
        schema = {}
    waiting = [schema]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            for key, value in one.items():
                if key in ("enum", "const", "default", "examples"):
                    found += value if isinstance(value, list) else [value]
                elif key in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
                    found += [value - 1, value, value + 1, float(value)]
                else:
                    waiting.append(value)
        elif isinstance(one, list):
            waiting += one
    return tuple(found)


_WORDS = [
    "", " ", "~", "null", "no", "1", "1e-3", ".nan", "-", "a b", "a\nb", "a\tb", "a\0b", "\x1b[31m",
    "\x85", "\u2028", "\u202e",
    "\ufeff", "\udcff", "\ud800", "é猫😀", "x" * 300, "x" * 5_000, "/", ".", "..", "../..", "./x", "~/x",
    "/dev/null",
    "/dev/zero", "/proc/self/mem", "/proc/self/fd", "//", "a/b", "x" * 300 + "/x", "nope.py",
    "os:system", "nope.x:f", ":", "::", "a:b",
    "[red]", "[/x]", "%s%d", "{}", "{0}", "<b>", "&a", "*a", "!!python/object:x", "=1+1", "-x",
    "--force", "\\", "'", '"', "lr", "r",
    "digits", "mini", "vtab1k", "micro", "linear", "wst", "tpe", "white", "#fff0", "2h", "p[0]",
    "p[0..3]", "p[1..2]", "p[]", "lr[0]", "r[0..1]",
]  # fmt: skip
_NUMBERS = [
    0, -0.0, 1, -1, 2, 3, 8, 12, 30, 64, 0.1, 0.5, 0.999999999, 1.0, 1.5, 5e-324, 1e-300, 1e300, 1e308,
    -1e308, math.inf, -math.inf, math.nan,
    2**31, 2**32 - 1, 2**32, 2**53, 2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 10**30, 10**400,
    99_999, 100_000, 100_001, 10**9,
]  # fmt: skip
_OTHERS: list[Any] = [
    None, True, False, [], {}, [[]], [{}], {"": None}, {1: 2}, {None: 1}, {True: 1}, {"type": "tpe"},
    {"type": []}, {"type": None}, {"a": {"b": {}}},
    ["a", "a"], ["a", "A"], [None], [1, 1.0], [True, 1], list(range(1_001)), ["x"] * 3_000,
    datetime.date(2001, 1, 1),
    datetime.datetime(2001, 1, 1, 12), b"x\xff", {1, 2}, {"lr": 0.1}, [{"lr": 0.1}], {"lr": [0.1]},
    {"digits": [{"lr": 0.01}]}, {"digits": {"lr": 0.01}},
    {"lr": {"type": "float", "low": 0.001, "high": 0.1}}, {"ledger": "x"}, {"ledger": "x", "top": 0},
]  # fmt: skip


def _nested(levels: int, of: Callable[[Any], Any]) -> Any:
    value: Any = 1
    for _ in range(levels):
        value = of(value)
    return value


VALUES: list[Any] = [
    *_WORDS, *_NUMBERS, *_OTHERS, _nested(45, lambda v: [v]), _nested(60, lambda v: [v]), _nested(45,
    lambda v: {"a": v}), _nested(60, lambda v: {"a": v}),
]  # fmt: skip
_NESTING = st.recursive(
    st.sampled_from([*_WORDS, *_NUMBERS]),
    lambda one: (
        st.lists(one, max_size=3)
        | st.dictionaries(st.sampled_from([w for w in _WORDS if len(w) < 99]), one, max_size=3)
    ),
    max_leaves=6,
)


def values(place: Place) -> st.SearchStrategy[Any]:
    """Values for a place: those it may have and nearly has, and others."""
    odd = st.sampled_from(VALUES) | st.text(max_size=8) | st.integers() | st.floats() | _NESTING
    return odd | st.sampled_from(place.near) if place.near else odd


def as_yaml(value: Any) -> str:
    """YAML as a user's program might write it, which may not be what a reader of ours takes."""
    return str(yaml.dump(value, Dumper=yaml.SafeDumper, sort_keys=False, width=110))


@contextmanager
def in_time(seconds: int = SECONDS) -> Iterator[None]:
    """Fail when the block computes for longer, or does not end at all."""

    def late(*_: object) -> None:
        raise AssertionError(f"expected an end within {seconds} s of computing, or {_PATIENCE} s of waiting")

    before = [signal.signal(kind, late) for kind in (signal.SIGPROF, signal.SIGALRM)]
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.alarm(_PATIENCE)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before[0])
        signal.signal(signal.SIGALRM, before[1])


def check_line(error: InputError) -> None:
    """Fail if a message is no line that a terminal can show and a user can read."""
    line = str(error)
    assert line.strip() and printable(line) == line and len(line) <= 1_000, line


def names_in(folder: Path | str = ".") -> set[str]:
    """What lies in a folder."""
    return {path.name for path in Path(folder).iterdir()}


EXAMPLES = int(os.environ.get("WST_EXAMPLES", "0"))
"""Of a search by hand, with others at every run: ``WST_EXAMPLES=500 pytest ...``."""


def examples(usual: int) -> settings:
    """So many examples at each place, the same at every run."""
    return settings(
        max_examples=EXAMPLES or usual,
        derandomize=not EXAMPLES,
        database=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    )
