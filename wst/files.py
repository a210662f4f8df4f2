"""Files and folders that appear whole or not at all, and locks that end with the process that holds them."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path
from uuid import uuid4

from filelock import FileLock, Timeout

from wst.errors import InputError


def flush(path: Path) -> None:
    """Have the disk hold a file's content, or, where the file system can, the names in a folder."""
    folder = path.is_dir()
    with suppress(OSError) if folder else nullcontext():
        descriptor = os.open(path, os.O_RDONLY if folder else os.O_RDWR)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_text(path: Path) -> str:
    """A user's text file: UTF-8, with or without a byte order mark.

    Raises:
        InputError: it cannot be read, or holds other bytes; the message names the file and the line.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: expected a text file; found: {error.strerror}") from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: expected UTF-8 text; found the byte 0x{content[error.start]:02x} "
            "(save it as UTF-8)"
        ) from None


@contextmanager
def replacing(
    path: Path, *, aside: Path | None = None, several: bool = False, durable: bool = True
) -> Iterator[Path]:
    """Where to write a file that takes the place of ``path`` at the end of the block, in one step.

    When the block raises, what it wrote is removed, and ``path`` stays as it was.

    Args:
        path: the file to put in place; its folder is made if need be.
        aside: where to write instead, on the same file system; by default a hidden name beside ``path``.
            What a killed process left there is overwritten.
        several: others may write the same file at this moment; each gets a name of its own.
        durable: flush the file first and its folder afterwards, so that after a loss of power it is whole,
            and is there.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    own = f".{uuid4().hex[:8]}" if several else ""
    aside = aside or path.with_name(f".{path.name}{own}.partial")
    try:
        yield aside
        if durable:
            flush(aside)
        aside.replace(path)
        if durable:
            flush(path.parent)
    except BaseException as error:
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)  # of a write, which the system does not tie to a name
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that takes the place of ``path`` at the end of the block.

    What is in it is not flushed; that it took the place is.

    When the block raises, it is removed, and ``path`` stays as it was.  Of several processes that replace the
    same folder at once, one's stays.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield aside
        aside.chmod(0o755)
        remove_folder(path)
        try:
            aside.replace(path)
        except OSError:
            if not path.is_dir():
                raise
        flush(path.parent)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def remove_folder(path: Path) -> None:
    """Remove a folder, if it is there, so that nobody sees half of it."""
    if path.is_dir():
        trash = Path(tempfile.mkdtemp(prefix=f".{path.name.lstrip('.')}.", dir=path.parent))
        try:
            path.replace(trash / "removed")
        except OSError:
            pass  # another process was faster
        finally:
            shutil.rmtree(trash, ignore_errors=True)


def clear_place(path: Path, *, folder: bool) -> None:
    """Remove what keeps a file of our own, or a folder, from its place: a folder, or a file, of its name.

    Args:
        path: the place, in a folder that holds nothing but what is ours.
        folder: whether a folder belongs there.
    """
    if path.is_dir() and not path.is_symlink():
        if not folder:
            shutil.rmtree(path)
    elif folder and not path.is_dir():  # a file, or a link that leads nowhere
        path.unlink(missing_ok=True)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[bool]:
    """Hold the lock that a file stands for; yields False when it is taken and ``wait`` is off.

    The operating system frees it when the process ends, however it ends; the file stays.

    Raises:
        InputError: the file system cannot lock files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Held by the process, not by a thread, and never by the mere presence of the file, which outlives a kill.
    lock = FileLock(path, thread_local=False, fallback_to_soft=False)
    try:
        lock.acquire(blocking=wait)
    except Timeout:
        yield False
        return
    except OSError as error:
        raise InputError(
            f"{path.parent}: expected a file system that can lock files; found {error.strerror}"
        ) from None
    try:
        yield True
    finally:
        lock.release()
