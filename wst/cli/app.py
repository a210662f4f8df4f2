"""The command line, put together: ``wst``, its verbs and its exit statuses."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Annotated, Any, NoReturn

import typer

from wst.cli import failures
from wst.cli.analysis import analysis_app
from wst.cli.data import data_app
from wst.cli.export import export_app
from wst.cli.output import Json, print_json
from wst.cli.simulate import simulate_app
from wst.cli.study import study_app
from wst.cli.train import train_app
from wst.errors import InputError
from wst.methods import registry
from wst.shipped import shipped_names

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(study_app)
app.add_typer(train_app)
app.add_typer(data_app, name="data")
app.add_typer(analysis_app)
app.add_typer(simulate_app)
app.add_typer(export_app, name="export")


@dataclass
class _Options:
    """Those before the verb."""

    debug: bool = False


@app.callback()
def before_the_verb(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="WST_DEBUG", help="Show the traceback of an error.")
    ] = False,
) -> None:
    """Wavelet-based multi-scale tuning: studies, leaderboards, comparisons."""
    context.ensure_object(_Options).debug = debug


@app.command("ls")
def list_known(
    what: Annotated[
        str,
        typer.Argument(help="tasks, suites, backbones, methods, spaces, settings or studies"),
    ],
    as_json: Json = False,
) -> None:
    """List what there is."""
    from wst.data.suites import suites  # loads NumPy and Pydantic

    known: dict[str, Any] = {
        "tasks": lambda: [f"{s.name}/{t.name}" for s in suites().values() for t in s.tasks],
        "suites": lambda: list(suites()),
        "backbones": _backbones,
        "methods": registry.names,
        "spaces": lambda: shipped_names("search_spaces"),
        "settings": lambda: shipped_names("settings"),
        "studies": lambda: shipped_names("studies"),
    }
    if what not in known:
        raise InputError(f"ls: expected one of {', '.join(known)}; found {what!r}")
    found = known[what]()
    if as_json and what == "methods":
        found = [registry.described(name) for name in found]
    if as_json:
        print_json(found)
    elif what == "backbones":
        print("\n".join(f"{one['family']}: {', '.join(one['examples'])}" for one in found))
    else:
        print("\n".join(found))


def _backbones() -> list[dict[str, Any]]:
    from wst.models.backbones import FAMILIES, MICRO  # loads torch

    note = (
        "examples; all but micro are timm's, and --json lists every name; weights: --set checkpoint=FILE, or "
        "--set pretrained=true to download them"
    )
    print(note, file=sys.stderr)
    embedded = {"family": "embedded", "examples": [MICRO], "models": [MICRO]}
    return [
        embedded,
        *(
            {"family": f"{one.kind} ({one.module})", "examples": list(one.examples), "models": one.names()}
            for one in FAMILIES
        ),
    ]


def main() -> NoReturn:
    """Entry point: whatever goes wrong gets one line on stderr and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # an ASCII terminal shows what it can
            stream.reconfigure(errors="backslashreplace")
    options = _Options()
    try:
        status = app(prog_name="wst", standalone_mode=False, obj=options) or 0
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        status = 1
    except (KeyboardInterrupt, typer.Abort):
        failures.say("stopped")
        status = failures.STOPPED
    except Exception as error:
        status = _usage(error) or failures.report(error, debug=options.debug)
    _close_stdout()
    sys.exit(status)


def _usage(error: Exception) -> int | None:
    """Say in a line how a command was called wrongly; None for any other error."""
    message = getattr(error, "format_message", None)  # of a ClickException, which Typer keeps a copy of
    if message is None:
        return None
    if type(error).__name__ != "NoArgsIsHelpError":  # the help is printed then
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "wst"
        failures.say(f"{' '.join(message().split())} (see {where} --help)")
    return failures.BAD_INPUT


def _close_stdout() -> None:
    """Write out what is left, and nothing more at Python's end, when nobody would hear of an error."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
