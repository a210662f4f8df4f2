"""W&B offline, read back from the files that its service writes; each test is a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import psutil
import pytest
from wandb.proto import wandb_internal_pb2

from tests.conftest import ROOT
from wst.trackers import run_id

pytestmark = pytest.mark.slow

_COMMON = """
import os, signal, sys, time
from pathlib import Path
import psutil
from tests.curves import curve
from tests.trackers.test_wandb import curve_of, records_of
from wst.records import Intent, Outcome
from wst.trackers import open_tracker

folder = Path(sys.argv[1])
first, second = (
    Intent(f"digits.wst-r2.search.{n:04d}", "digits", "wst-r2", "search", n, n, 3, {"lr": 0.01, "r": (1, 2)})
    for n in range(2)
)
tracker = open_tracker("wandb", folder, "mine")
"""
_KILLED = """
tracker.start(first)
tracker.start(second)
for intent, epochs in ((first, curve(first, 3)), (second, curve(second, 2))):
    tracker.epochs(intent, epochs)
tracker.end(first, Outcome("completed", epochs=tuple(curve(first, 3)), test_top1=0.5))
while list(curve_of(records_of(folder, second.trial_id), "lr")) != [1, 2]:
    time.sleep(0.2)
print(psutil.Process().children()[0].pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
_GOES_ON = """
tracker.start(second)
tracker.epochs(second, curve(second, 4))
tracker.end(second, Outcome("failed", error_type="ValueError"))
tracker.ranked([{"variant": "wst-r2", "digits": 90.5, "digits std": None}])
tracker.close()
"""


def _run(code: str, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the code as a user without a login does."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    clean |= {"HOME": str(folder.parent), "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", _COMMON + code, str(folder)],
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )


def records_of(folder: Path, name: str) -> dict[str, list[Any]]:
    """What a run's file holds, by kind: LevelDB's log format, behind seven bytes of W&B's."""
    (path,) = folder.glob(f"wandb/offline-run-*-{run_id(folder, name)}/*.wandb")
    data, at, part = path.read_bytes(), 7, b""
    found: dict[str, list[Any]] = defaultdict(list)
    while at + 7 <= len(data):
        if (left := 32768 - at % 32768) < 7:
            at += left
            continue
        size, kind = int.from_bytes(data[at + 4 : at + 6], "little"), data[at + 6]
        part += data[at + 7 : at + 7 + size]
        at += 7 + size
        if kind in (1, 4):  # a whole record, or the last part of one
            record = wandb_internal_pb2.Record.FromString(part)
            what = record.WhichOneof("record_type")
            found[what].append(getattr(record, what))
            part = b""
    return found


def curve_of(records: dict[str, list[Any]], metric: str) -> dict[int, float]:
    rows = [
        {(i.key or i.nested_key[0]): json.loads(i.value_json) for i in h.item} for h in records["history"]
    ]
    return {row["_step"]: row[metric] for row in rows}


def test_a_killed_study_has_its_curves_and_goes_on_in_the_same_runs(tmp_path: Path) -> None:
    folder = tmp_path / "study"
    folder.mkdir()
    killed = _run(_KILLED, folder)
    assert killed.stderr == (
        f"tracker wandb: no login, so it writes below {folder / 'wandb'}; `wandb sync` sends that\n"
    )
    service = int(killed.stdout)
    until = time.monotonic() + 60
    while psutil.pid_exists(service) and psutil.Process(service).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.1)
    assert sorted(curve_of(records_of(folder, "digits.wst-r2.search.0000"), "lr")) == [1, 2, 3]
    assert sorted(curve_of(records_of(folder, "digits.wst-r2.search.0001"), "lr")) == [1, 2]

    again = _run(_GOES_ON, folder)
    assert (again.returncode, again.stdout) == (0, ""), again.stderr
    records = records_of(folder, "digits.wst-r2.search.0001")
    assert sorted(curve_of(records, "val_top1")) == [1, 2, 3, 4]
    assert records["exit"][-1].exit_code == 1
    run = records["run"][0]
    assert (run.project, run.run_group, run.job_type) == ("mine", "digits.wst-r2", "search")
    assert run.display_name == "digits.wst-r2.search.0001"
    config = {item.key: json.loads(item.value_json) for item in run.config.update}
    assert config.items() >= {"task": "digits", "seed": 3, "lr": 0.01, "r": [1, 2]}.items()
    summary = {i.key: json.loads(i.value_json) for s in records["summary"] for i in s.update}
    assert (summary["state"], summary["error_type"]) == ("failed", "ValueError")
    (table,) = folder.glob("wandb/offline-run-*/files/media/table/leaderboard*.json")
    written = json.loads(table.read_text())
    assert written["columns"] == ["variant", "digits", "digits std"]
    assert written["data"] == [["wst-r2", 90.5, None]]


def test_the_users_mode_decides(tmp_path: Path) -> None:
    tell = "tracker.start(first)\ntracker.epochs(first, curve(first, 1))\ntracker.close()"
    online = _run(tell, tmp_path, WANDB_MODE="online")
    assert online.stderr.splitlines()[-1] == (
        "wst.errors.InputError: tracker wandb: expected a login (wandb login, or WANDB_API_KEY) for "
        "WANDB_MODE=online; found none"
    )
    disabled = _run(tell, tmp_path, WANDB_MODE="disabled")
    assert (disabled.returncode, disabled.stdout, disabled.stderr) == (0, "", "")
    assert not (tmp_path / "wandb").exists()
    offline = _run(tell, tmp_path, WANDB_MODE="offline")
    assert (offline.returncode, offline.stdout, offline.stderr) == (0, "", "")
    assert records_of(tmp_path, "digits.wst-r2.search.0000")["preempting"]
