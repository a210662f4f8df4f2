from __future__ import annotations

import subprocess
import sys
import threading
from collections import deque

import pytest

from wst.engine.watchdog import watched

_STUCK = """
import time
from wst.engine import watchdog
watchdog._EVERY_S = 0.05
with watchdog.watched(lambda: ("node manager: expected it to run; found it ended", 3), patience_s=0.2):
    time.sleep(600)
"""


@pytest.mark.slow
def test_process_that_stays_stuck_ends_with_a_line() -> None:
    ended = subprocess.run([sys.executable, "-c", _STUCK], capture_output=True, text=True, timeout=300)
    assert (ended.returncode, ended.stderr) == (3, "wst: node manager: expected it to run; found it ended\n")


def test_what_passes_is_let_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("wst.engine.watchdog._EVERY_S", 0.01)
    answers, over = deque([("late", 1), None] * 10), threading.Event()

    def stuck() -> tuple[str, int] | None:
        if answers:
            return answers.popleft()
        over.set()
        return None

    with watched(stuck, patience_s=0.02):
        assert over.wait(300)
