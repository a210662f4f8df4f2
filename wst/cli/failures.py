"""What the command line says when something goes wrong: one line for whatever it is.

Bad input, and what a file system, an encoding or the memory refuses, is the user's to mend: exit status 2.
What nobody foresaw is ours: exit status 70, as ``sysexits.h`` has it, and a file with what a report needs.
"""

from __future__ import annotations

import errno
import os
import platform
import re
import shlex
import sys
import tempfile
import traceback
from contextlib import suppress
from importlib import metadata
from typing import Any

from wst.errors import InputError
from wst.screen import printable
from wst.suggest import hint, one_of

BAD_INPUT, ALL_FAILED, UNFORESEEN, STOPPED = 2, 3, 70, 130
_LIBRARIES = ("wst", "torch", "timm", "ray", "optuna", "pyarrow", "pydantic", "typer", "rich")
_NO_VERB = re.compile(r"No such command '(.*?)'\.")
_NO_CHOICE = re.compile(r"'(.*)' is not one of (.*)\.", re.DOTALL)
"""Typer's words for a verb, and for a choice, that it does not know."""


def report(error: BaseException, *, debug: bool = False) -> int:
    """Say on stderr in a line what went wrong, and give the exit status for it.

    Args:
        error: what was raised.
        debug: show the traceback before the line, in the place of a file with it.
    """
    if debug:
        traceback.print_exception(error)
    line, status = _mendable(error), BAD_INPUT
    if line is None:
        line, status = _unforeseen(error, debug), UNFORESEEN
    say(line)
    return status


def usage(error: BaseException) -> int | None:
    """Say in a line how a command was called wrongly, and give the exit status; None for any other error."""
    message = getattr(error, "format_message", None)  # of a ClickException, which Typer keeps a copy of
    if message is None:
        return None
    if type(error).__name__ != "NoArgsIsHelpError":  # the help is printed then
        context = getattr(error, "ctx", None)
        where = context.command_path if context is not None else "wst"
        say(f"{_called_wrongly(error, where) or ' '.join(message().split())} (see {where} --help)")
    return BAD_INPUT


def _called_wrongly(error: Any, where: str) -> str | None:
    """What was expected and found where Typer knows it; None where its own message has to do."""
    context, kind = getattr(error, "ctx", None), type(error).__name__
    if context is None:
        return None
    if kind == "NoSuchOption":
        known = [name for one in context.command.get_params(context) for name in one.opts]
        found = error.option_name
        return f"expected an option of {where}; found {found!r}{hint(found, known)}"
    verb = _NO_VERB.match(error.message)
    if verb is not None:
        return f"verb: {one_of(verb[1], context.command.list_commands(context))}"
    if kind != "BadParameter" or error.param is None:
        return None
    option = next((name for name in error.param.opts if name.startswith("--")), error.param.opts[0])
    problem, choice = error.__cause__, _NO_CHOICE.search(error.message)
    if choice is not None:
        text = one_of(choice[1], re.findall(r"'([^']*)'", choice[2]))
    elif type(problem).__name__ == "ValidationError":  # Pydantic's
        from wst.yaml_files import in_words

        text = in_words(problem.errors()[0])
    else:
        text = " ".join(error.message.split())
    return f"{option}: {text}"


def say(line: str) -> None:
    """One line on stderr, whatever is in it."""
    with suppress(OSError, ValueError):  # nobody listens
        print(f"wst: {printable(line.strip())}", file=sys.stderr)


def _mendable(error: BaseException) -> str | None:
    """A line on what a user can mend; None for anything else."""
    if isinstance(error, InputError):
        return str(error)
    if isinstance(error, OSError):
        return _of_the_system(error)
    if isinstance(error, UnicodeError):
        return f"expected text and paths in UTF-8; found {error}"
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # PyTorch's
        text = str(error).partition("\n")[0] if isinstance(error, MemoryError) else ""
        return f"expected more memory than there is; found none left{f' ({text})' if text else ''}"
    return None


def _of_the_system(error: OSError) -> str:
    found = error.strerror or str(error) or type(error).__name__
    where = f"{_path(error.filename)}: " if error.filename is not None else ""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"{where}expected room on the disk; found: {found}"
    if error.errno == errno.ENOENT and not _starts_at_root(error.filename) and not _stands_somewhere():
        gone = os.environ.get("PWD", "current folder")
        return f"{_path(gone)}: expected the current folder to be there; found: it was removed"
    if error.filename is not None:
        # A path that the user gave, in all likelihood: a file where a folder has to be, or no permission.
        return f"{where}expected a path to use; found: {found}"
    return f"expected the system to do as asked; found: {found}"


def _starts_at_root(name: object) -> bool:
    return isinstance(name, str | bytes | os.PathLike) and os.path.isabs(name)  # noqa: PTH117


def _stands_somewhere() -> bool:
    """Whether the current folder still exists."""
    try:
        os.getcwd()  # noqa: PTH109
    except OSError:
        return False
    return True


def _path(name: object) -> str:
    text = os.fsdecode(name) if isinstance(name, bytes) else str(name)
    return text if len(text) <= 200 else f"{text[:150]}...{text[-47:]}"  # a name too long, say


def _unforeseen(error: BaseException, debug: bool) -> str:
    text = " ".join(str(error).split()) or "no message"
    text = text if len(text) <= 200 else f"{text[:197]}..."
    line = f"a mistake of ours: {type(error).__name__}: {text}"
    if debug:
        return line
    try:
        return f"{line} (traceback in {_written(error)}; --debug shows it)"
    except OSError:
        return f"{line} (--debug shows the traceback)"


def _written(error: BaseException) -> str:
    """A new file in the folder for temporary ones, with command, versions and traceback; its path."""
    versions = []
    for name in _LIBRARIES:
        with suppress(metadata.PackageNotFoundError):
            versions.append(f"{name} {metadata.version(name)}")
    descriptor, path = tempfile.mkstemp(prefix="wst-error-", suffix=".txt")
    with open(descriptor, "w", encoding="utf-8", errors="backslashreplace") as file:  # noqa: PTH123
        file.write(
            f"command: {shlex.join(['wst', *sys.argv[1:]])}\n"
            f"python {platform.python_version()} on {platform.platform()}\n"
            f"{', '.join(versions)}\n\n"
        )
        traceback.print_exception(error, file=file)
    return path
