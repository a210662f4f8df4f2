"""Files and folders that appear whole or not at all, and locks that end with the process that holds them."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
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


def exists(path: Path) -> bool:
    """Whether something is there that we may look at.

    A path that no file can have (a name too long, links in a circle) and one behind a folder that is closed
    to us are not there, where :meth:`pathlib.Path.exists` raises.
    """
    with suppress(OSError):
        return path.exists()
    return False


def is_file(path: Path) -> bool:
    """Whether there is a regular file that we may look at; as :func:`exists`."""
    with suppress(OSError):
        return path.is_file()
    return False


def is_folder(path: Path) -> bool:
    """Whether there is a folder that we may look at; as :func:`exists`."""
    with suppress(OSError):
        return path.is_dir()
    return False


@contextmanager
def readable(what: object) -> Iterator[None]:
    """Turn what a file system refuses in the block into an :class:`InputError`: a name too long, no
    permission, links in a circle, a folder that has just gone.

    Args:
        what: is named where the system names no file.
    """
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or what}: expected a path to read; found: {error.strerror or error}"
        ) from None


def read_text(path: Path, most: int = 2**30) -> str:
    """A user's text file: UTF-8, with or without a byte order mark.

    Args:
        path: a regular file: a pipe could keep one waiting for ever, and a device never ends.
        most: bytes of it.

    Raises:
        InputError: it cannot be read, is no such file, or holds other bytes; the message names the file and
            the line.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise InputError(f"{path}: expected a text file; found a folder, a pipe or a device")
            # The size is looked at first, as memory is asked for at once; files in /proc have none.
            content = file.read(most + 1) if status.st_size <= most else b""
    except InputError:
        raise
    except (OSError, ValueError) as error:  # a NUL in the name
        found = error.strerror if isinstance(error, OSError) else error
        raise InputError(f"{path}: expected a text file; found: {found}") from None
    size = max(status.st_size, len(content))
    if size > most:
        raise InputError(f"{path}: expected a text file of at most {most:,} bytes; found {size:,}")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path}, line {line}: expected UTF-8 text; found the byte 0x{content[error.start]:02x} "
            "(save it as UTF-8)"
        ) from None


def make_folder(path: Path) -> list[Path]:
    """Make a folder and those above it; returns those that were not there, the uppermost first.

    Where it cannot be made, those above it are not left behind either.

    Raises:
        OSError: the system's word.
    """
    wanted, made, asked = [path], list[Path](), set[Path]()
    try:
        while wanted:
            try:
                wanted[-1].mkdir()
                made.append(wanted.pop())
            except FileNotFoundError:  # that above it is to be made first
                above = wanted[-1].parent
                if above in asked:  # /proc says so whatever is above
                    raise
                asked.add(above)
                wanted.append(above)
            except OSError:  # it is there, maybe of another process since a moment
                if not wanted.pop().is_dir():
                    raise
    except BaseException:
        _remove_empty(made)
        raise
    return made


def _remove_empty(folders: Sequence[Path]) -> None:
    for folder in reversed(folders):
        with suppress(OSError):
            folder.rmdir()


def _without_waiting(path: str, flags: int) -> int:
    """Who opens a pipe waits for its other end otherwise."""
    return os.open(path, flags | os.O_NONBLOCK)


@contextmanager
def replacing(
    path: Path, *, aside: Path | None = None, several: bool = False, durable: bool = True
) -> Iterator[Path]:
    """Where to write a file that takes the place of ``path`` at the end of the block, in one step.

    When the block raises, what it wrote is removed with the folders made for it, and ``path`` stays as it
    was.

    Args:
        path: the file to put in place; its folder is made if need be.
        aside: where to write instead, on the same file system; by default a hidden name beside ``path``.
            What a killed process left there is overwritten.
        several: others may write the same file at this moment; each gets a name of its own.
        durable: flush the file first and its folder afterwards, so that after a loss of power it is whole,
            and is there.
    """
    made = make_folder(path.parent)
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
        if not several:  # others may be about to write there
            _remove_empty(made)
        raise


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """A folder to fill that takes the place of ``path`` at the end of the block.

    What is in it is not flushed; that it took the place is.

    When the block raises, it is removed, and ``path`` stays as it was.  Of several processes that replace the
    same folder at once, one's stays.
    """
    made = make_folder(path.parent)
    try:
        aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    except BaseException:
        _remove_empty(made)
        raise
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
    make_folder(path.parent)
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
