"""What the command line says when something goes wrong: one line for whatever it is.

Bad input, and what a file system, an encoding or the memory refuses, is the user's to mend: exit status 2.
What nobody foresaw is ours: exit status 70, as ``sysexits.h`` has it, and a file with what a report needs.
"""

from __future__ import annotations

import errno
import os
import platform
import shlex
import sys
import tempfile
import traceback
from contextlib import suppress
from importlib import metadata

from wst.errors import InputError
from wst.screen import printable

BAD_INPUT, ALL_FAILED, UNFORESEEN, STOPPED = 2, 3, 70, 130
_LIBRARIES = ("wst", "torch", "timm", "ray", "optuna", "pyarrow", "pydantic", "typer", "rich")


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
