"""First starts at the same time, on an empty cache that is too small for all of them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.data.trees import class_folders

START = """
import sys
from dataclasses import replace
from wst.data import mini
from wst.data.check.gate import look
from wst.data.check.report import refuse
from wst.data.splits import TaskData, data_root
from wst.data.suites import find_suite

task = next(task for task in mini.MINI.tasks if task.name == "sprite_loc")
mini.MINI = replace(mini.MINI, tasks=(replace(task, train=40, val=20, test=20),))
suites = [mini.MINI, find_suite(sys.argv[1])]
print("ready", flush=True)
sys.stdin.readline()
total = 0
for suite in suites if sys.argv[2] == "0" else reversed(suites):
    data = TaskData.of(data_root(suite, None), suite, suite.tasks[0])
    (report,) = look([data])
    refuse([report], "")
    for split in ("train", "val", "trainval", "test"):
        opened = data.open(split, 32, "final")
        total += sum(int(images.sum()) + int(labels.sum()) for images, labels in opened.batches(7))
assert "torch" not in sys.modules
print(total)
"""


@pytest.mark.slow
def test_eight_first_starts_at_once(tmp_path: Path) -> None:
    own = class_folders(tmp_path / "own", {"cat": 40, "dog": 40})
    largest = 64 * 3 * 32 * 32
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "WST_CACHE": str(tmp_path / "cache"),
        "WST_CACHE_LIMIT": f"{largest + 4096}B",  # room for one split: each evicts the others' all the time
    }
    starts = [
        subprocess.Popen(
            [sys.executable, "-c", START, str(own), str(number % 2)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for number in range(8)
    ]
    for start in starts:
        assert start.stdout is not None and start.stdout.readline() == "ready\n"
    for start in starts:
        assert start.stdin is not None
        start.stdin.write("go\n")
        start.stdin.flush()
    ends = [start.communicate(timeout=200) for start in starts]
    assert [start.returncode for start in starts] == [0] * 8, [err for _, err in ends]
    assert len({out for out, _ in ends}) == 1 and all(err == "" for _, err in ends)
    left = [path.name for path in (tmp_path / "cache" / "splits").iterdir() if path.name.startswith(".")]
    assert not left
