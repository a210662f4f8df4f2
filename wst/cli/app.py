"""The command line, put together: ``wst``, its verbs and its exit statuses.

Only what the verb at hand needs is imported: help comes at once, and a study's first line soon.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import NoReturn

from wst.cli.verbs import VERBS, overall_help


def main() -> NoReturn:
    """Entry point: whatever goes wrong gets one line on stderr and an exit status."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # an ASCII terminal shows what it can
            stream.reconfigure(errors="backslashreplace")
    options = {"debug": False}
    try:
        status = _run(sys.argv[1:], options)
        if sys.stdout is not None:
            sys.stdout.flush()
    except BrokenPipeError:
        status = 1
    except BaseException as error:
        status = _told(error, options["debug"])
    _close_stdout()
    sys.exit(status)


def _run(words: list[str], options: dict[str, bool]) -> int:
    """Do what was asked for; the exit status."""
    asked_by_shell = "_WST_COMPLETE" in os.environ
    if not asked_by_shell and words in ([], ["-h"], ["--help"]):
        print(overall_help())
        return 0 if words else 2
    from wst.cli.group import application

    verb = VERBS.get(next((word for word in words if not word.startswith("-")), ""))
    app = application(*([verb.module] if verb else []))
    return app(prog_name="wst", standalone_mode=False, obj=options) or 0


def _told(error: BaseException, debug: bool) -> int:
    """Say what went wrong; the exit status for it."""
    import typer

    from wst.cli import failures

    if isinstance(error, KeyboardInterrupt | typer.Abort):
        failures.say("stopped")
        return failures.STOPPED
    if not isinstance(error, Exception):
        raise error
    return failures.usage(error) or failures.report(error, debug=debug)


def _close_stdout() -> None:
    """Write out what is left, and nothing more at Python's end, when nobody would hear of an error."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
