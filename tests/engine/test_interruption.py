"""A real study in real processes, disturbed in three ways one after another, ends as the undisturbed one.

Its trials wait in every forward pass, so that each is caught in the middle however quick the machine is.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
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
  slow: {method: ./slow.py, space: {lr: {type: float, low: 1e-4, high: 1e-1, log: true}}}
recipe: {epochs: 2, warmup_epochs: 1}
search:
  trials: 5
  sampler: {type: tpe, n_startup_trials: 2}
  pruner: {type: successive_halving, min_resource: 1, reduction_factor: 2}
confirm: {top: 2, seeds: 1}
final: {seeds: 1}
resources: {slots: 1}
report_every: 1
checkpoint_every: 1
"""
SLOW = """
import time
from torch import nn

def adapt(backbone: nn.Module) -> nn.Module:
    backbone.register_forward_pre_hook(lambda *_: time.sleep(0.005))
    return backbone
"""
# What may differ between a disturbed and an undisturbed run: times, places, and the count of lost workers.
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
    "time",
    "attempts",
]
SHOWN = [
    "trial_id",
    "parent",
    "state",
    "epochs",
    "val_top1_last",
    "val_loss",
    "hp_lr",
    "ask_order",
    "attempts",
]

_PATIENCE_S = 600.0


def _start(study: Path, out: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "wst", "tune", str(study), "--out", str(out), *options]
    with out.with_suffix(".log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    driver = psutil.Process(process.pid)
    return [driver, *driver.children(recursive=True)]


def _kill(victims: list[psutil.Process]) -> None:
    for victim in victims:
        with contextlib.suppress(psutil.NoSuchProcess):
            victim.kill()
    psutil.wait_procs(victims, timeout=20)


def _kill_worker(process: subprocess.Popen[bytes]) -> None:
    """Ray gives a worker the name of what it runs, while it runs."""
    workers: list[psutil.Process] = []
    for _ in _patiently():
        with contextlib.suppress(psutil.NoSuchProcess):
            workers = [p for p in _family(process) if "Trainable" in (p.cmdline() or [""])[0]]
        if workers:
            break
    assert len(workers) == 1  # one slot
    _kill(workers)


def _patiently() -> Iterator[None]:
    deadline = time.monotonic() + _PATIENCE_S
    while time.monotonic() < deadline:
        yield
        time.sleep(0.1)


def _ended(out: Path) -> list[str]:
    return [t.intent.trial_id for t in history(out)[1]] if (out / "ledger").exists() else []


def _files(out: Path, table: str) -> int:
    """Rows of so small a ledger, without reading it: each is a file."""
    return len(list((out / "ledger" / table).glob("*.parquet")))


def _until(process: subprocess.Popen[bytes], out: Path, trials: int) -> None:
    """Wait until so many have ended and another is under way."""
    for _ in _patiently():
        assert process.poll() is None, out.with_suffix(".log").read_text()
        ended = _files(out, "trials")
        if ended >= trials and _files(out, "intents") > ended:
            return
    raise AssertionError(f"expected {trials} trials within {_PATIENCE_S} s; found {len(_ended(out))}")


def _tables(out: Path) -> list[pd.DataFrame]:
    tables = []
    for name, keys in (
        ("trials", ["trial_id"]),
        ("epochs", ["trial_id", "epoch"]),
        ("intents", ["trial_id"]),
    ):
        frame = pd.read_parquet(out / "ledger" / name)
        tables.append(frame.drop(columns=VARYING, errors="ignore").sort_values(keys).reset_index(drop=True))
    return tables


@pytest.mark.slow
def test_study_disturbed_in_three_ways_ends_as_the_undisturbed_one(tmp_path: Path, mini_root: Path) -> None:
    study = tmp_path / "killed.yaml"
    study.write_text(STUDY)
    (tmp_path / "slow.py").write_text(SLOW)
    assert _start(study, tmp_path / "whole", "--inline").wait(timeout=_PATIENCE_S) == 0
    asked_for = _ended(tmp_path / "whole")
    assert {trial_id.split(".")[2] for trial_id in asked_for} == {"search", "confirm", "final"}
    out, known = tmp_path / "cut", set[str]()

    def whole_ledger() -> int:
        """Nothing that was there has gone; returns the number of ended trials."""
        ended = _ended(out)
        assert known <= set(ended) and len(set(ended)) == len(ended)
        assert set(ended) <= {intent.trial_id for intent in history(out)[0]}
        known.update(ended)
        return len(ended)

    process = _start(study, out)
    _until(process, out, 1)
    _kill_worker(process)  # the study goes on by itself

    _until(process, out, 3)
    _kill(_family(process))  # driver and all its Ray
    assert 3 <= whole_ledger() < len(asked_for)

    process = _start(study, out)
    _until(process, out, 5)  # after the search
    process.send_signal(signal.SIGINT)  # SIGTERM takes the same way; tests/engine/test_ray_tune.py sends it
    assert process.wait(timeout=_PATIENCE_S) == 130
    assert 5 <= whole_ledger() < len(asked_for)
    log = out.with_suffix(".log").read_text()
    assert log.count("Stopped. The ledger is whole; the same command goes on with") == 1
    assert "Traceback" not in log

    # Inline, which is quicker; that Ray gives the same numbers, tests/engine/test_inline.py shows.
    assert _start(study, out, "--inline").wait(timeout=_PATIENCE_S) == 0
    assert whole_ledger() == len(asked_for)
    for folder in (out, tmp_path / "whole"):  # for whoever sees it fail
        print(pd.read_parquet(folder / "ledger" / "trials")[SHOWN].sort_values("ask_order").to_string())
    print(log)
    for disturbed, undisturbed in zip(_tables(out), _tables(tmp_path / "whole"), strict=True):
        pd.testing.assert_frame_equal(disturbed, undisturbed)
    assert sorted(pd.read_parquet(out / "ledger" / "trials")["attempts"]) == [1] * (len(asked_for) - 1) + [2]
    assert not list((out / "checkpoints").glob("*"))
