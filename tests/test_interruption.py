"""A real study in a real process, killed with SIGKILL together with its Ray, and started again."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import psutil
import pytest

from wst.ledger import history

STUDY = """
name: killed
suite: mini
tasks: [digits]
backbone: micro
variants:
  linear: {method: linear, space: {lr: {type: float, low: 1e-4, high: 1e-1, log: true}}}
recipe: {epochs: 3, warmup_epochs: 1}
search:
  trials: 4
  sampler: {type: tpe, n_startup_trials: 2}
  pruner: {type: successive_halving, min_resource: 1, reduction_factor: 2}
final: {seeds: 1}
resources: {slots: 1}
report_every: 1
checkpoint_every: 1
"""
# What may differ between a disturbed and an undisturbed run: times, places and code.
VARYING = [
    "train_seconds",
    "eval_seconds",
    "wall_seconds",
    "images_per_second",
    "peak_memory",
    "slot",
    "started",
    "ended",
    "seconds",
]


def _start(study: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "wst", "tune", str(study), "--out", str(out)]
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _kill_all(process: subprocess.Popen[bytes]) -> None:
    parent = psutil.Process(process.pid)
    family = [parent, *parent.children(recursive=True)]
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    psutil.wait_procs(family, timeout=20)


def _ended(out: Path) -> int:
    where = out / "ledger" / "trials"
    return len(list(where.glob("*.parquet"))) if where.is_dir() else 0


def _tables(out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    tables = []
    for name, keys in (("trials", ["trial_id"]), ("epochs", ["trial_id", "epoch"])):
        frame = pd.read_parquet(out / "ledger" / name)
        tables.append(frame.drop(columns=VARYING, errors="ignore").sort_values(keys).reset_index(drop=True))
    return tables[0], tables[1]


def _wait(process: subprocess.Popen[bytes], out: Path, trials: int, seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while _ended(out) < trials and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)


@pytest.mark.slow
def test_killed_study_ends_as_the_undisturbed_one(tmp_path: Path, mini_root: Path) -> None:
    study = tmp_path / "killed.yaml"
    study.write_text(STUDY)
    assert _start(study, tmp_path / "whole").wait(timeout=200) == 0

    out = tmp_path / "cut"
    process = _start(study, out)
    _wait(process, out, 2)
    time.sleep(0.4)  # into the next trial
    assert process.poll() is None, "the study ended before it could be killed"
    _kill_all(process)
    assert 2 <= _ended(out) < 5
    assert {t.intent.trial_id for t in history(out)[1]} <= {i.trial_id for i in history(out)[0]}
    assert _start(study, out).wait(timeout=200) == 0

    for disturbed, undisturbed in zip(_tables(out), _tables(tmp_path / "whole"), strict=True):
        pd.testing.assert_frame_equal(disturbed, undisturbed)
    assert _ended(out) == 5
    assert not list((out / "checkpoints").glob("*"))


@pytest.mark.slow
def test_ctrl_c_stops_cleanly_and_says_how_to_go_on(tmp_path: Path, mini_root: Path) -> None:
    study = tmp_path / "killed.yaml"
    study.write_text(STUDY)
    out = tmp_path / "out"
    process = _start(study, out)
    _wait(process, out, 1)
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(timeout=60) == 130
    log = out.with_suffix(".log").read_text()
    assert "Stopped. The ledger is whole; the same command goes on with" in log
    assert "Traceback" not in log
    assert 1 <= len(history(out)[1]) < 5
