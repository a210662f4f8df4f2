"""Whatever goes wrong: one line, the right status, no traceback but where it is asked for."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
import typer

from tests.cli.commands import Wst, caller
from tests.conftest import LR, ROOT, small_study
from wst.cli import study as verbs
from wst.errors import InputError
from wst.methods import registry
from wst.planning.planner import Planner
from wst.records import EndedTrial, Epoch, Intent, Outcome
from wst.workflows import tune


@pytest.fixture
def wst(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Wst:
    return caller(monkeypatch, capsys)


def _raise(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def fail() -> None:
        raise error

    monkeypatch.setattr(registry, "names", fail)


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (InputError("x: expected a; found b"), "x: expected a; found b"),
        (InputError("a\x1b[31m\nb"), r"a\x1b[31m\nb"),
        (OSError(errno.ENOSPC, "No space left on device"), "expected room on the disk; found: No space left"),
        (
            OSError(errno.ENOSPC, "No space left on device", "/o/x"),
            "wst: /o/x: expected room on the disk; found: No space left",
        ),
        (OSError(errno.EIO, "Input/output error"), "expected the system to do as asked; found: Input/output"),
        (OSError(errno.EMFILE, "Too many open files"), "found: Too many open files"),
        (OSError("cannot identify image file"), "found: cannot identify image file"),
        (
            OSError(errno.EROFS, "Read-only file system", "/r/x"),
            "/r/x: expected a path to use; found: Read-only",
        ),
        (
            OSError(errno.ESTALE, "Stale file handle", b"/n/\xff"),
            r"/n/\xff: expected a path to use; found: Stale",
        ),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "x" * 9999),
            "xxx: expected a path to use; found: File",
        ),
        (ConnectionRefusedError(111, "Connection refused"), "found: Connection refused"),
        (
            UnicodeEncodeError("utf-8", "\udcff", 0, 1, "surrogates not allowed"),
            "expected text and paths in UTF-8",
        ),
        (
            UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
            "expected text and paths in UTF-8",
        ),
        (MemoryError(), "expected more memory than there is; found none left\n"),
        (MemoryError("for the 9 bytes of w"), "than there is; found none left (for the 9 bytes of w)\n"),
    ],
)
def test_what_a_user_can_mend_has_status_2(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, error: Exception, line: str
) -> None:
    _raise(monkeypatch, error)
    result = wst("ls", "methods")
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("wst: ") and result.err.count("\n") == 1 and line in result.err
    assert len(result.err) < 300


def test_a_current_folder_that_was_removed_is_named(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    monkeypatch.setenv("PWD", str(gone))
    gone.rmdir()
    for error in (FileNotFoundError(2, "No such file or directory", name) for name in (None, "o/x")):
        _raise(monkeypatch, error)
        result = wst("ls", "methods")
        line = f"wst: {gone}: expected the current folder to be there; found: it was removed\n"
        assert (result.status, result.err) == (2, line)
    monkeypatch.chdir(tmp_path)
    _raise(monkeypatch, FileNotFoundError(2, "No such file or directory", "o/x"))
    assert wst("ls", "methods").err == "wst: o/x: expected a path to use; found: No such file or directory\n"


@pytest.mark.parametrize("error", [KeyError("warmup"), RecursionError("deep"), ZeroDivisionError("a\nb")])
def test_what_nobody_foresaw_has_status_70_and_its_traceback_in_a_file(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, error: Exception
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    _raise(monkeypatch, error)
    result = wst("ls", "methods")
    assert result.status == 70 and result.err.count("\n") == 1
    (file,) = tmp_path.iterdir()
    assert (
        f"{type(error).__name__}: " in result.err and f"traceback in {file}; --debug shows it" in result.err
    )
    text = file.read_text()
    assert "command: wst ls methods" in text and "Traceback (most recent call last)" in text
    assert "pyarrow " in text and "python 3." in text


def test_no_room_for_the_traceback_either(wst: Wst, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    _raise(monkeypatch, KeyError("x"))
    result = wst("ls", "methods")
    assert result.status == 70 and result.err.count("\n") == 1 and "--debug shows the traceback" in result.err


@pytest.mark.parametrize("by", ["option", "environment"])
def test_debug_shows_the_traceback_in_the_place_of_a_file(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, by: str
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    if by == "environment":
        monkeypatch.setenv("WST_DEBUG", "1")
    words = ["--debug"] if by == "option" else []
    _raise(monkeypatch, KeyError("x"))
    result = wst(*words, "ls", "methods")
    assert result.status == 70 and "Traceback (most recent call last)" in result.err
    assert result.err.splitlines()[-1] == "wst: a mistake of ours: KeyError: 'x'"
    _raise(monkeypatch, InputError("x: expected a; found b"))
    result = wst(*words, "ls", "methods")
    assert result.status == 2 and "Traceback" in result.err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [KeyboardInterrupt(), typer.Abort()])
def test_interrupted_without_a_traceback(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    _raise(monkeypatch, error)
    result = wst("ls", "methods")
    assert result.status == 130 and "Traceback" not in result.err


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["tune"], "Missing argument"),
        (["tuen"], "verb: expected one of tune, demo, "),
        (["tuen"], "; found 'tuen' (did you mean 'tune'?) (see wst --help)"),
        (
            ["data", "chek"],
            "verb: expected one of check, build, info, cache; found 'chek' (did you mean 'check'?)",
        ),
        (["xyz"], "found 'xyz' (see wst --help)"),
        (
            ["ls", "tasks", "--jsn"],
            "expected an option of wst ls; found '--jsn' (did you mean '--json'?) (see wst ls --help)",
        ),
        (["predict", "a", "b", "--top", "0"], "--top: expected a number of at least 1; found '0'"),
        (["predict", "a", "b", "--top", "x"], "--top: expected a whole number; found 'x'"),
        (["leaderboard", "x", "--format", "pdf"], "--format: expected one of terminal, markdown, "),
        (["leaderboard", "x", "--format", "markdwon"], "found 'markdwon' (did you mean 'markdown'?)"),
        (
            ["importance", "x", "--method", "fanva"],
            "--method: expected one of ped-anova, fanova; found 'fanva'",
        ),
        (["status", ""], "expected a path; found ''"),
        (["report", "x", "-o", "/"], "expected the path of a file; found '/'"),
        (["best", "x", "-o", "\udcff"], r"expected a path in UTF-8; found \xff"),
    ],
)
def test_a_command_called_wrongly_gets_one_line(wst: Wst, words: list[str], line: str) -> None:
    result = wst(*words)
    assert (result.status, result.out) == (2, "")
    assert result.err.startswith("wst: ") and result.err.count("\n") == 1 and line in result.err
    assert "Value error" not in result.err and "Input should" not in result.err


def _shell(command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    wst = f"{sys.executable} -m wst"
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", command.replace("WST", wst)],
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "status", "err"),
    [
        ("WST ls tasks | true", 1, ""),
        ("WST ls tasks > /dev/full", 2, "wst: expected room on the disk; found: No space left on device\n"),
        ("WST ls tasks >&-", 0, ""),
        ("WST ls $'\\e[31mcaf\\xc3\\xa9\\xff'", 2, r"found '\x1b[31mcaf\xe9\udcff'"),
    ],
)
def test_ends_of_a_pipe_and_of_a_disk(command: str, status: int, err: str) -> None:
    run = _shell(command, PYTHONIOENCODING="ascii", LANG="C", PYTHONUNBUFFERED="")
    # A reader that was slow to go has taken all of it.
    assert run.returncode in ((0, 1) if "| true" in command else (status,)), run.stderr
    assert run.stderr == err or (err and err in run.stderr and run.stderr.count("\n") == 1)


def _ended(planner: Planner, failing: str) -> Planner:
    """A planner as it stands when one variant's trials have failed, all of them."""
    for cell in planner.cells.values():
        for number in range(3):
            state = "failed" if cell.variant == failing else "completed"
            intent = Intent("t", cell.task, cell.variant, "search", number, number, 0, {"lr": 0.1})
            text = "Traceback ...\nDivergedError: expected a finite loss; found nan"
            outcome = (
                Outcome("failed", error_type="DivergedError", error_text=text)
                if state == "failed"
                else Outcome("completed")
            )
            cell.ended["search"].append(EndedTrial(intent, outcome))
    return planner


def test_a_cell_whose_trials_all_failed_gives_the_study_a_status_of_its_own(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = small_study(final=None)
    path = tmp_path / "study.yaml"
    path.write_text(study.to_yaml())
    monkeypatch.setattr(tune, "run_study", lambda *_, **__: _ended(Planner(study), "wst-r2"))
    monkeypatch.setattr("wst.workflows.status.status_rows", lambda folder: [])
    result = wst("tune", path, "--json")
    assert result.status == 3 and json.loads(result.out) == []
    assert result.err.splitlines()[-1] == (
        "wst: every trial failed of digits, wst-r2 (search: DivergedError); the first one's: DivergedError: "
        "expected a finite loss; found nan (all of it: error_text in the ledger)"
    )
    monkeypatch.setattr(tune, "run_study", lambda *_, **__: _ended(Planner(study), "none"))
    assert wst("tune", path, "--json").status == 0
    assert verbs.ALL_FAILED == 3


def test_shared_settings_that_no_task_had_in_common_give_it_too(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    variant = {"method": "linear", "space": {"lr": LR}, "settings": "shared"}
    taker = {"method": "linear", "settings_from": "both"}
    search = {"trials": 2, "sampler": {"type": "random"}}
    tasks = ["digits", "sprite_loc"]
    study = small_study(variants={"both": variant, "taker": taker}, search=search, tasks=tasks)
    path = tmp_path / "study.yaml"
    path.write_text(study.to_yaml())
    planner = Planner(study)
    epoch = Epoch(4, 0.1, 1.0, 0.5, 0.5, 0.0)
    while (intent := planner.ask()) is not None:
        fails = intent.number == tasks.index(intent.task)
        outcome = Outcome("failed") if fails else Outcome("completed", (epoch,))
        planner.finish(intent.trial_id, outcome)
    assert planner.done
    monkeypatch.setattr(tune, "run_study", lambda *_, **__: planner)
    monkeypatch.setattr("wst.workflows.status.status_rows", lambda folder: [])
    result = wst("tune", path, "--json")
    assert result.status == 3 and result.err.splitlines()[-1] == (
        "wst: both: expected shared settings that every task completed; found none"
    )


def test_a_folder_with_signs_of_markup_is_a_folder(
    wst: Wst, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    study = small_study(final=None)
    path = tmp_path / "study.yaml"
    path.write_text(study.to_yaml())
    monkeypatch.setattr(tune, "run_study", lambda *_, **__: _ended(Planner(study), "none"))
    for name in ("i/[/x]", "[red]i", ":smile:"):
        result = wst("tune", path, "--out", tmp_path / name)
        assert (result.status, result.err) == (0, "")
        assert f"ledger: {tmp_path / name / 'ledger'}" in result.out
    result = wst("tune", path, "--out", tmp_path / "a\x1b[31m\nb")
    assert result.status == 0 and r"a\x1b[31m\nb" in result.out and "\x1b" not in result.out
