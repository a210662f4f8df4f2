"""The engine on a real Ray; most tests use trials that need no training."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import ray
from ray import tune
from ray._private import worker as ray_worker
from ray.tune.schedulers import TrialScheduler

from tests.conftest import ROOT, small_study
from tests.engine.jobs import FailingJob, SlowJob, SyntheticJob
from tests.synthetic import Ends, environment, run_all
from wst.engine import ray_tune as engine
from wst.engine.driver import Driver
from wst.engine.faults import OutOfTime, StudyInterrupted, StudyStoppedError
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.records import EndedTrial
from wst.study import Study
from wst.trackers import Trackers

CODE = {"version": "0", "commit": None, "libraries": "{}"}


def run(
    folder: Path,
    study: Study,
    job: type[tune.Trainable] = SyntheticJob,
    on_end: Callable[[], None] = lambda: None,
    address: str | None = None,
) -> list[EndedTrial]:
    with Ledger(folder, study, CODE) as ledger:
        planner = Planner(study, *history(folder))
        told = Trackers([Ends(on_end)])
        where = environment(folder.parent, study, address=address)
        engine.run(Driver(study, planner, ledger, where, told), job=job)
        assert planner.done
    return history(folder)[1]


@pytest.fixture(autouse=True)
def _workers_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


_JOINING = """
import os, sys
from ray._raylet import AuthenticationTokenLoader, Config, GcsClient
for token in sys.argv[2:]:
    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        os.environ.pop(name, None)
    if token:
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()
    try:
        print(GcsClient(address=sys.argv[1]).internal_kv_get(b"session_name", b"session", timeout=30))
    except Exception as error:
        print(type(error).__name__)
"""


def _intrude(home: Path) -> list[str]:
    """What another user's program, who has no token, a wrong one or ours, learns from this process' Ray."""
    address = ray.get_runtime_context().gcs_address
    tokens = ["", "0" * 64, os.environ["RAY_AUTH_TOKEN"]]
    run = subprocess.run(
        [sys.executable, "-c", _JOINING, address, *tokens],
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=300,
    )
    return run.stdout.splitlines()


def _listening() -> set[str]:
    """Addresses on which this process and its children listen."""
    return {
        connection.laddr.ip
        for process in [psutil.Process(), *psutil.Process().children(recursive=True)]
        for connection in process.net_connections(kind="tcp")
        if connection.status == psutil.CONN_LISTEN
    }


@pytest.mark.slow
def test_failures_are_rows_the_study_goes_on_and_nobody_else_has_a_part_in_its_ray(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray listens on loopback, asks for a token, and its files are its user's, however long TMPDIR is."""
    long = tmp_path / ("long" * 30)
    long.mkdir()
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr("tempfile.tempdir", str(long))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    study = small_study(resources={"slots": 2}, final=None, faults={"stop_when_alike": 0})
    addresses: set[str] = set()
    answers: list[str] = []
    folders: set[Path] = set()
    names = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER")
    settings = {name: os.environ.get(name) for name in names}

    def look() -> None:
        addresses.update(_listening())
        if not answers:
            answers.extend(_intrude(tmp_path))
            inside = Path(ray_worker._global_node.get_session_dir_path())
            folders.update(path for path in inside.parents if path.name.startswith("wst-run-"))
            commands = [" ".join(p.cmdline()) for p in psutil.Process().children(recursive=True)]
            assert commands and not any(os.environ["RAY_AUTH_TOKEN"] in command for command in commands)
            assert all(folder.stat().st_mode & 0o777 == 0o700 for folder in folders)

    ended = run(tmp_path / "s", study, FailingJob, on_end=look)
    assert addresses and addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}
    assert answers[:2] == ["AuthenticationError", "AuthenticationError"] and "session_" in answers[2]
    assert len(folders) == 1 and not any(folder.exists() for folder in folders) and not list(long.iterdir())
    assert {name: os.environ.get(name) for name in settings} == settings
    assert len(ended) == 12
    failed = [t for t in ended if t.outcome.state == "failed"]
    assert len(failed) == 6 and all(t.intent.number % 2 for t in failed)
    assert failed[0].outcome.error_type == "ValueError"
    assert "planted in" in (failed[0].outcome.error_text or "")


@pytest.mark.slow
def test_sigterm_stops_within_seconds_and_leaves_a_whole_ledger(tmp_path: Path) -> None:
    """Ctrl-C takes the same way; tests/engine/test_interruption.py presses it in a process of its own."""
    study = small_study(resources={"slots": 2})
    started = threading.Event()

    def signal_later() -> None:
        started.wait(60)
        time.sleep(1)
        os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=signal_later)
    thread.start()
    with pytest.raises(engine.StudyInterrupted, match="SIGTERM"):
        run(tmp_path / "s", study, SlowJob, on_end=started.set)
    thread.join()
    assert not [p for p in psutil.Process().children(recursive=True) if "raylet" in p.name()]
    intents, ended = history(tmp_path / "s")
    assert len(ended) < 16
    assert len(run_all(Planner(study, intents, ended))) == 16 - len(ended)


def test_study_that_has_just_ended_is_not_stopped_by_time_or_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(variants={"linear": {"method": "linear", "fixed": {"lr": 0.1}}}, search=None)
    late = environment(tmp_path, study, deadline=time.monotonic() - 1)
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        planner = Planner(study)
        driver = Driver(study, planner, ledger, late)
        interruption = engine._Interruption(driver)
        with pytest.raises(OutOfTime):
            interruption.stop_all()
        with interruption.listening():
            os.kill(os.getpid(), signal.SIGTERM)
            while interruption._signal is None:
                time.sleep(0.01)
        with pytest.raises(StudyInterrupted):
            interruption.stop_all()
        run_all(planner)
        assert driver.finished and not interruption.stop_all()
        driver.fatal = "s: expected room; found none"
        with pytest.raises(StudyStoppedError):
            interruption.stop_all()


def test_no_step_follows_a_report_that_could_not_be_written_down() -> None:
    """The next one might read the test split; and none may come before its report was taken."""
    driver: Any = SimpleNamespace(take=lambda *_: frozenset(), running=lambda _: 1, fatal=None)
    scheduler, trial = engine._Scheduler(driver), SimpleNamespace(trial_id="a")
    assert scheduler.on_trial_result(None, trial, {"reports": ()}) == TrialScheduler.CONTINUE
    driver.fatal = "the log cannot be written"
    assert scheduler.on_trial_result(None, trial, {"reports": ()}) == TrialScheduler.STOP
    assert os.environ["TUNE_RESULT_BUFFER_LENGTH"] == "1"
