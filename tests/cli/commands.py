"""``wst`` in this process, and every option of every verb."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, get_args, get_origin

import pytest
import typer

from wst.cli import app as cli
from wst.cli.group import application


@dataclass(frozen=True)
class Result:
    status: int
    out: str
    err: str


Wst = Callable[..., Result]
_get_command = cache(typer.main.get_command)
"""Of all verbs' signatures, which takes longer than most calls."""


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    """Calls the command line as a shell does, but in this process."""

    def call(*words: object) -> Result:
        monkeypatch.setattr("sys.argv", ["wst", *map(str, words)])
        monkeypatch.setattr("typer.main.get_command", _get_command)
        with pytest.raises(SystemExit) as stop:
            cli.main()
        captured = capsys.readouterr()
        return Result(int(stop.value.code or 0), captured.out, captured.err)

    return call


@dataclass(frozen=True)
class Parameter:
    """An option or argument of a verb: how it is written, and what it takes."""

    verb: str
    name: str
    kind: type
    argument: bool


def parameters() -> Iterator[Parameter]:
    """Those of all verbs, from the functions' signatures."""
    for verb, function in _verbs(application()):
        for key, found in inspect.signature(function, eval_str=True).parameters.items():
            if get_origin(found.annotation) is not Annotated:
                continue
            kind, says = get_args(found.annotation)[:2]
            while get_args(kind):  # list[Path], Path | None
                kind = next(one for one in get_args(kind) if one is not type(None))
            names = [name for name in says.param_decls or () if name.startswith("-")]
            usual = f"--{key.strip('_').replace('_', '-')}"
            argument = type(says).__name__ == "ArgumentInfo"
            yield Parameter(verb, key if argument else (names or [usual])[-1], kind, argument)


def _verbs(app: typer.Typer, before: str = "") -> Iterator[tuple[str, Any]]:
    for command in app.registered_commands:
        assert command.callback is not None
        yield before + (command.name or command.callback.__name__), command.callback
    for group in app.registered_groups:
        assert group.typer_instance is not None
        inner = f"{before}{group.name} " if isinstance(group.name, str) else before
        yield from _verbs(group.typer_instance, inner)
