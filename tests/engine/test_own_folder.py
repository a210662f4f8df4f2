from __future__ import annotations

import multiprocessing
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import pytest

from wst.engine import own_folder as module
from wst.engine.own_folder import own_folder
from wst.errors import InputError


@pytest.fixture
def short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place for such folders; pytest's are too long, so it has a short name."""
    place = Path("/tmp") / f"t{os.getpid()}"
    place.symlink_to(tmp_path)
    monkeypatch.setattr(module, "_places", lambda: [place])
    yield place
    place.unlink()


def test_it_is_this_user_s_alone_and_goes_with_the_block(short: Path) -> None:
    with own_folder() as folder:
        assert folder.parent == short and folder.stat().st_mode & 0o777 == 0o700
        (folder / "ray" / "session").mkdir(parents=True)
        with own_folder() as second:
            assert second != folder
        assert folder.is_dir() and not second.exists()
        socket = f"{folder}{module._SOCKET}"
        assert len(socket) <= len(f"{short}/wst-run-12345678{module._SOCKET}")
    assert not list(short.iterdir())
    with pytest.raises(KeyboardInterrupt), own_folder():
        raise KeyboardInterrupt
    assert not list(short.iterdir())


def test_place_is_the_user_s_where_sockets_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = tmp_path / ("x" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "none"))
    assert module._places() == [long, Path("/tmp")]
    monkeypatch.setenv("RAY_TMPDIR", "/")
    assert module._places() == [Path("/"), long, Path("/tmp")]
    monkeypatch.delenv("RAY_TMPDIR")
    with own_folder() as folder:
        assert folder.parent == Path("/tmp")
        assert len(f"{folder}{module._SOCKET}") <= 103
    monkeypatch.setattr(module, "_places", lambda: [long])
    with pytest.raises(InputError, match=r"^TMPDIR: expected .* at most .* bytes; found /"), own_folder():
        pass
    assert not list(long.iterdir())


def hold(place: Path, ready: Connection) -> None:
    module._places = lambda: [place]  # type: ignore[assignment]
    with own_folder() as folder:
        ready.send(folder)
        signal.pause()


def test_what_a_killed_study_left_goes_at_the_next_start(short: Path) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(short, theirs))
    process.start()
    left = ours.recv()
    (left / "ray").mkdir()
    with own_folder():
        assert left.is_dir()  # it lives
    process.kill()
    process.join()
    other = short / "wst-runner"
    other.mkdir()
    (short / "wst-run-link").symlink_to(other)
    assert left.is_dir()
    with own_folder():
        assert not left.exists()
    assert sorted(path.name for path in short.iterdir()) == ["wst-run-link", "wst-runner"]


def test_other_users_folders_stay(short: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (short / "wst-run-theirs").mkdir()
    monkeypatch.setattr(os, "getuid", lambda: short.stat().st_uid + 1)
    with own_folder():
        pass
    assert (short / "wst-run-theirs").is_dir()
