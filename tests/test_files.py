"""Files whole or not at all, and locks that end with their process."""

import errno
import multiprocessing
import os
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from tests.generated import in_time
from wst import files
from wst.errors import InputError
from wst.files import (
    exists,
    flush,
    is_file,
    is_folder,
    locked,
    make_folder,
    read_text,
    remove_folder,
    replacing,
    replacing_folder,
)


def test_a_file_is_replaced_at_the_end_of_the_block(tmp_path: Path) -> None:
    path = tmp_path / "new" / "x.txt"
    with replacing(path) as aside:
        aside.write_text("one")
        assert aside.parent == path.parent and not path.exists()
    with replacing(path) as aside:
        aside.write_text("two")
        assert path.read_text() == "one"
    assert path.read_text() == "two" and list(path.parent.iterdir()) == [path]


def test_an_error_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), replacing(path) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_it_is_flushed_before_it_counts_and_its_folder_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, flushed = tmp_path / "x.txt", []
    monkeypatch.setattr(files, "flush", lambda what: flushed.append((what, path.exists())))
    with replacing(path, aside=tmp_path / "elsewhere") as aside:
        aside.write_text("new")
    assert flushed == [(aside, False), (tmp_path, True)]
    with replacing(path, durable=False) as aside:
        aside.write_text("newer")
    assert len(flushed) == 2 and path.read_text() == "newer"
    with pytest.raises(OSError, match="full"), replacing(path):
        raise OSError("disk full")
    assert len(flushed) == 2
    with replacing_folder(tmp_path / "folder"):
        pass
    assert flushed[2:] == [(tmp_path, True)] and (tmp_path / "folder").is_dir()


def test_where_it_is_written(tmp_path: Path) -> None:
    path, given = tmp_path / "x.txt", tmp_path / ".partial" / "y"
    given.parent.mkdir()
    with replacing(path, aside=given) as aside:
        assert aside == given
        aside.write_text("new")
    with replacing(path, several=True) as one, replacing(path, several=True) as two:
        assert one != two
        one.write_text("one")
        two.write_text("two")
    assert path.read_text() == "one"  # the outer block ends last


def test_flush_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "x").touch()
    flush(tmp_path / "x")
    flush(tmp_path)
    with pytest.raises(FileNotFoundError):
        flush(tmp_path / "y")


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "made"
    for content in ("one", "two"):
        with replacing_folder(path) as aside:
            (aside / "x.txt").write_text(content)
    with pytest.raises(OSError, match="full"), replacing_folder(path) as aside:
        (aside / "x.txt").write_text("three")
        raise OSError("disk full")
    assert (path / "x.txt").read_text() == "two" and list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o755
    remove_folder(path)
    remove_folder(path)
    assert not list(tmp_path.iterdir())


def test_one_at_a_time(tmp_path: Path) -> None:
    path = tmp_path / "new" / ".lock"
    with locked(path) as mine:
        assert mine
        with locked(path, wait=False) as second:
            assert not second
    with locked(path, wait=False) as mine:
        assert mine and path.exists()


def hold(path: Path, ready: Connection) -> None:
    with locked(path) as mine:
        ready.send(mine)
        time.sleep(60)


@pytest.mark.slow
def test_a_lock_ends_with_a_killed_process_and_another_that_waits_gets_it(tmp_path: Path) -> None:
    path, context = tmp_path / ".lock", multiprocessing.get_context("spawn")
    ready, far_end = context.Pipe(duplex=False)
    first = context.Process(target=hold, args=(path, far_end), daemon=True)
    first.start()
    assert ready.recv() is True
    second = context.Process(target=hold, args=(path, far_end), daemon=True)
    second.start()
    assert not ready.poll(0.5)
    with locked(path, wait=False) as mine:
        assert not mine
    os.kill(first.pid or 0, signal.SIGKILL)
    assert ready.poll(30) and ready.recv() is True
    second.kill()
    second.join()
    with locked(path, wait=False) as mine:
        assert mine


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_that_cannot_lock_gets_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    def refused(descriptor: int, operation: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr("fcntl.flock", refused)
    words = "expected a file system that can lock files; found"
    with pytest.raises(InputError, match=words), locked(tmp_path / ".lock"):
        pass


def test_text_is_utf8_with_or_without_a_mark(tmp_path: Path) -> None:
    path = tmp_path / "text"
    for content in ("é\n".encode(), "\ufeffé\n".encode()):
        path.write_bytes(content)
        assert read_text(path) == "é\n"
    path.write_bytes("a\ncafé\n".encode("latin-1"))
    with pytest.raises(InputError, match=f"{path}, line 2: expected UTF-8 text; found the byte 0xe9"):
        read_text(path)
    with pytest.raises(InputError, match=f"{tmp_path}: expected a text file; found: Is a directory"):
        read_text(tmp_path)


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("fifo", "a folder, a pipe or a device"),
        ("/dev/zero", "a folder, a pipe or a device"),
        (".", "Is a directory"),
        ("huge", "at most 1,073,741,824 bytes; found 10,000,000,000"),
        ("x" * 300, "File name too long"),
        ("a\0b", "null byte"),
        ("loop", "Too many levels of symbolic links"),
        ("none", "No such file"),
    ],
)
def test_what_is_no_text_file_is_one_line_and_never_waits(tmp_path: Path, name: str, found: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "loop").symlink_to("loop")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(10**10)
    with in_time(), pytest.raises(InputError, match=found):
        read_text(tmp_path / name)


def test_a_file_that_tells_no_size_is_read_no_further_than_asked() -> None:
    """Such as those of /proc."""
    assert read_text(Path("/proc/self/status")).startswith("Name:")
    with pytest.raises(InputError, match="at most 3 bytes; found 4"):
        read_text(Path("/proc/self/status"), 3)


def test_what_no_path_can_be_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "x").write_text("x")
    for name in ("x" * 300, "loop", "loop/x", "x/y", "a\0b", "none"):
        for is_there in (exists, is_file, is_folder):
            assert not is_there(tmp_path / name)
    assert (exists(tmp_path), is_folder(tmp_path), is_file(tmp_path)) == (True, True, False)
    assert is_file(tmp_path / "x") and not is_folder(tmp_path / "x")


def test_folders_are_made_all_or_none(tmp_path: Path) -> None:
    deep = tmp_path / "a" / "b" / "c"
    assert make_folder(deep) == [tmp_path / "a", tmp_path / "a" / "b", deep] and deep.is_dir()
    assert make_folder(deep) == []
    (tmp_path / "file").write_text("x")
    for name in ("new/" + "z" * 300, "file/x", "file", "y/" * 3000, "a/new/" + "z" * 300):
        with in_time(), pytest.raises(OSError):
            make_folder(tmp_path / name)
    with in_time(), pytest.raises(OSError):
        make_folder(Path("/proc/x/y"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "file"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_of_what_could_not_be_written_no_folder_is_left(tmp_path: Path) -> None:
    with pytest.raises(OSError), replacing(tmp_path / "new" / "x"):
        raise OSError("full")
    with pytest.raises(OSError), replacing(tmp_path / "new" / ("z" * 300)) as aside:
        aside.write_text("x")
    with pytest.raises(OSError), replacing_folder(tmp_path / "new" / ("z" * 300)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_what_the_system_refuses_to_write_has_the_files_name(tmp_path: Path) -> None:
    for name in (None, "other"):
        with pytest.raises(OSError, match="No space left") as caught, replacing(tmp_path / "x"):
            raise OSError(errno.ENOSPC, "No space left on device", name)
        assert caught.value.filename == (name or str(tmp_path / "x"))
