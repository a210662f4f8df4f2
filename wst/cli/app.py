"""The command line, put together: ``wst``, its verbs and its exit statuses."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from typing import Annotated, NoReturn

import typer

from wst import __version__
from wst.cli import failures
from wst.cli.analysis import analysis_app
from wst.cli.bench import bench_app
from wst.cli.data import data_app
from wst.cli.export import export_app
from wst.cli.listing import listing_app
from wst.cli.simulate import simulate_app
from wst.cli.study import study_app
from wst.cli.train import train_app

app = typer.Typer(
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
app.add_typer(study_app)
app.add_typer(train_app)
app.add_typer(bench_app)
app.add_typer(data_app, name="data")
app.add_typer(analysis_app)
app.add_typer(simulate_app)
app.add_typer(export_app, name="export")
app.add_typer(listing_app)


@dataclass
class _Options:
    """Those before the verb."""

    debug: bool = False


def _say_version(asked: bool) -> None:
    if asked:
        print(f"wst {__version__}")
        raise typer.Exit


@app.callback()
def before_the_verb(
    context: typer.Context,
    debug: Annotated[
        bool, typer.Option("--debug", envvar="WST_DEBUG", help="Show the traceback of an error.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Wavelet-based multi-scale tuning: studies, leaderboards, comparisons."""
    context.ensure_object(_Options).debug = debug


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
        status = failures.usage(error) or failures.report(error, debug=options.debug)
    _close_stdout()
    sys.exit(status)


def _close_stdout() -> None:
    """Write out what is left, and nothing more at Python's end, when nobody would hear of an error."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
