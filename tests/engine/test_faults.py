"""What may go wrong with a trial or a study, on the real engine with real training."""

from __future__ import annotations

import errno
import io
import os
import signal
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import wst.engine.job
from tests.cli.commands import caller
from tests.conftest import ROOT, small_study
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.engine import inline
from wst.engine import ray_tune as engine
from wst.engine.driver import Driver
from wst.engine.environment import Environment
from wst.engine.faults import (
    DISK_FULL,
    OutOfTime,
    StudyStoppedError,
    error_type,
    failed,
    no_room,
    time_limit,
)
from wst.engine.fingerprint import fingerprint
from wst.errors import TimeLimitError
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.records import EndedTrial
from wst.study import Study
from wst.training.spec import TrialSpec
from wst.training.trial import Trial

CODE = {"version": "0", "commit": None, "libraries": "{}"}
_CALLS: Counter[str] = Counter()


def _raise(call: int) -> None:
    raise ValueError("planted in the forward pass")


def _never_end(call: int) -> None:
    time.sleep(3600)


def _gpu_memory_twice(call: int) -> None:
    if call <= 2:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")


def _array_once(call: int) -> None:
    if call == 1:
        np.empty(2**50)


def _tensor_always(call: int) -> None:
    torch.empty(2**50)


def _slow(call: int) -> None:
    time.sleep(0.02)


FAULTS = {
    "raises": _raise,
    "endless": _never_end,
    "gpu-memory": _gpu_memory_twice,
    "array-memory": _array_once,
    "tensor-memory": _tensor_always,
    "slow": _slow,
}
"""What happens before each forward pass, by the name of the variant; with the number of the pass."""


class PlantedTrial(Trial):
    """Trains as usual, but for a fault in the forward pass."""

    def __init__(self, spec: TrialSpec):
        super().__init__(spec)
        variant = spec.intent.variant

        def before(*_: Any) -> None:
            _CALLS[variant] += 1
            FAULTS[variant](_CALLS[variant])

        if variant in FAULTS:
            self.called.register_forward_pre_hook(before)


class PlantedJob(engine.TrialJob):
    """The engine's own job; in the worker's process trials get the faults above."""

    def setup(self, config: dict[str, Any]) -> None:
        wst.engine.job.Trial = PlantedTrial  # type: ignore[misc]
        limits = {"endless": 3.0}
        specs = [replace(s, time_limit=limits.get(s.intent.variant)) for s in config["specs"]]
        super().setup({**config, "specs": specs})


def _finals(*variants: str, epochs: int, **changes: Any) -> Study:
    """A study of one final trial a variant; one slot, so that they run in this order in one worker."""
    fixed = {name: {"method": "linear", "fixed": {"lr": 0.01}} for name in variants}
    fixed |= {
        name: {"method": "wst", "fixed": {"lr": 1e30, "scale": 1e30, "r": 2}}
        for name in variants
        if name == "diverges"
    }
    return small_study(
        variants=fixed,
        recipe={"epochs": epochs, "warmup_epochs": 0},
        search=None,
        final={"seeds": 1},
        resources={"slots": 1},
        report_every=1,
        **changes,
    )


def _run(
    study: Study, ledger: Ledger, root: Path, through_ray: bool = False, **environment: Any
) -> list[EndedTrial]:
    planner = Planner(study, *history(ledger.folder))
    data = {"digits": TaskData.of(root, MINI, MINI.task("digits"))}
    here = Environment(data, fingerprint(study.frozen_backbone, data), **environment)
    driver = Driver(study, planner, ledger, here)
    if through_ray:
        engine.run(driver, job=PlantedJob)
    else:
        inline.run(driver)
    return history(ledger.folder)[1]


@pytest.fixture(autouse=True)
def _workers_find_the_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))


@pytest.mark.slow
def test_each_failure_is_a_row_with_its_reason_and_the_worker_takes_the_next_trial(
    tmp_path: Path, mini_root: Path
) -> None:
    study = _finals(
        *("before", "raises", "diverges", "endless", "gpu-memory", "array-memory", "tensor-memory", "after"),
        epochs=1,
        faults={"retries": 2, "stop_when_alike": 0},
    )
    with Ledger(tmp_path / "s", study, CODE) as ledger:
        rows = {t.intent.variant: t.outcome for t in _run(study, ledger, mini_root, through_ray=True)}
    assert {variant: (o.state, o.error_type, o.attempts) for variant, o in rows.items()} == {
        "before": ("completed", None, 1),
        "raises": ("failed", "ValueError", 1),
        "diverges": ("failed", "DivergedError", 1),
        "endless": ("failed", "TimeLimitError", 1),
        "gpu-memory": ("completed", None, 3),
        "array-memory": ("completed", None, 2),
        "tensor-memory": ("failed", "OutOfMemoryError", 3),
        "after": ("completed", None, 1),
    }
    text = {variant: outcome.error_text or "" for variant, outcome in rows.items()}
    assert "Traceback" in text["raises"] and "planted in the forward pass" in text["raises"]
    assert "training loss is nan in epoch 1" in text["diverges"]
    assert "expected an end within 3 s; found the trial still training" in text["endless"]
    assert "can't allocate memory" in text["tensor-memory"]
    completed = [o for o in rows.values() if o.state == "completed"]
    assert len({outcome.slot for outcome in completed}) == 1  # one process, before and after the failures
    assert {(outcome.test_images, len(outcome.epochs)) for outcome in completed} == {(797, 1)}


@pytest.mark.slow
def test_full_disk_and_a_limit_on_time_stop_the_study_and_it_goes_on_to_its_end(
    tmp_path: Path, mini_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """/dev/full behind a file is a disk without room: the kernel refuses every write with ENOSPC."""
    out, study = tmp_path / "s", _finals("first", "second", "slow", epochs=6)
    checkpoint = out / "checkpoints" / "digits.slow.final.0000.pt"

    def ended() -> list[str]:
        return [trial.intent.variant for trial in history(out)[1]]

    with Ledger(out, study, CODE) as ledger:
        checkpoint.parent.mkdir()
        aside = checkpoint.with_name(f".{checkpoint.name}.partial")
        aside.symlink_to("/dev/full")
        with pytest.raises(StudyStoppedError, match=r"room on the worker's disk; found .*No space left"):
            _run(study, ledger, mini_root)
    assert ended() == ["first", "second"] and not checkpoint.exists()
    assert not aside.is_symlink()

    # The time is over once the trial has a checkpoint.
    clock = SimpleNamespace(monotonic=lambda: time.monotonic() + 7200 * checkpoint.exists())
    monkeypatch.setattr(inline, "time", clock)
    with Ledger(out, study, CODE) as ledger, pytest.raises(OutOfTime):
        _run(study, ledger, mini_root, deadline=time.monotonic() + 3600)
    monkeypatch.undo()
    assert ended() == ["first", "second"]
    kept = torch.load(io.BytesIO(checkpoint.read_bytes().split(b"\n", 1)[1]), weights_only=True)["parts"]
    assert 1 <= len(kept["curve"]) < 6

    with Ledger(out, study, CODE) as ledger:
        rows = _run(study, ledger, mini_root)
    assert [t.intent.variant for t in rows] == ["first", "second", "slow"]
    assert all((t.outcome.state, len(t.outcome.epochs)) == ("completed", 6) for t in rows)
    last = rows[-1].outcome
    # Epochs from before the stop were not trained again: their times are those of then.
    assert [vars(epoch) for epoch in last.epochs[: len(kept["curve"])]] == kept["curve"]
    assert last.wall_seconds > kept["clock"]["wall"]
    assert not list(checkpoint.parent.iterdir())


STUDY = """
name: alike
suite: mini
tasks: [digits]
backbone: micro
variants:
  linear: {method: linear, space: {lr: {type: float, low: 1e-4, high: 1e-1, log: true}}}
recipe: {epochs: 1, warmup_epochs: 0}
search: {trials: 5, sampler: {type: random}}
resources: {slots: 1}
faults: {time_limit: 0.001, stop_when_alike: 4}
"""


@pytest.mark.slow
def test_study_whose_trials_fail_alike_ends_early_and_runs_them_again_once_the_cause_is_gone(
    tmp_path: Path, mini_root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "alike.yaml").write_text(STUDY)
    out, wst = tmp_path / "out", caller(monkeypatch, capsys)
    tune = ["tune", tmp_path / "alike.yaml", "--out", out, "--inline"]

    stopped = wst(*tune)
    assert stopped.status == 1 and "Traceback" not in stopped.err
    assert stopped.err.splitlines()[-2:] == [
        "wst: 4 of the last 4 trials failed with TimeLimitError: wst.errors.TimeLimitError: expected "
        "an end within 0.001 s; found the trial still training",
        f"The ledger is whole; the same command goes on with {out}.",
    ]
    intents, ended = history(out)
    assert len(ended) == 4 and all(t.outcome.error_type == "TimeLimitError" for t in ended)

    completed = wst(*tune, "--retry-failed", "--set", "faults.time_limit=null")
    assert completed.status == 0, completed.err
    rows = pd.read_parquet(out / "ledger" / "trials").sort_values("number")
    assert list(rows["number"]) == [0, 1, 2, 3, 4]
    assert set(rows["state"]) == {"completed"}
    assert list(rows["hp_lr"])[:4] == [intent.hyperparameters["lr"] for intent in intents[:4]]


def test_disk_without_room_has_one_name_whoever_reports_it(tmp_path: Path) -> None:
    own = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "x.pt")
    assert error_type(own) == error_type(OSError(errno.EDQUOT, "quota")) == DISK_FULL
    assert (
        error_type(RuntimeError("Error while serializing: I/O error: No space left on device")) == DISK_FULL
    )
    assert error_type(OSError(errno.EACCES, "denied")) == "PermissionError"

    class Full:
        """Room for small pieces alone, as a disk's last block has it."""

        def write(self, content: bytes) -> int:
            if len(content) > 10_000:
                raise own
            return len(content)

        def flush(self) -> None:
            pass

    with pytest.raises(RuntimeError, match="unexpected pos") as caught:  # PyTorch's own error over it
        torch.save({"weights": torch.zeros(10_000)}, Full())
    assert error_type(caught.value) == DISK_FULL
    found = failed(caught.value)
    assert no_room(found.error_text or "") == "OSError: [Errno 28] No space left on device: 'x.pt'"
    assert no_room("ValueError: x") is None


def test_memory_has_one_name_whoever_reports_it() -> None:
    for allocate in (lambda: torch.empty(2**50), lambda: np.empty(2**50)):
        with pytest.raises((RuntimeError, MemoryError)) as caught:
            allocate()
        assert error_type(caught.value) in ("OutOfMemoryError", "MemoryError")
    assert error_type(torch.OutOfMemoryError("CUDA out of memory")) == "OutOfMemoryError"


def test_time_limit_breaks_into_what_never_ends_and_leaves_no_timer_behind() -> None:
    before = signal.getsignal(signal.SIGALRM)
    with pytest.raises(TimeLimitError, match="expected an end within 60 s; found"), time_limit(0.01, 60):
        time.sleep(30)
    with time_limit(1000):
        pass
    with pytest.raises(TimeLimitError), time_limit(-5.0, 60):  # over before it began
        time.sleep(30)
    with time_limit(None):
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def test_time_limit_gives_back_the_handler_that_it_found() -> None:
    def own(number: int, frame: object) -> None:
        raise AssertionError("not called")

    before = signal.signal(signal.SIGALRM, own)
    try:
        with pytest.raises(ZeroDivisionError), time_limit(1000):
            assert signal.getsignal(signal.SIGALRM) is not own
            _ = 1 / 0
        assert signal.getsignal(signal.SIGALRM) is own
    finally:
        signal.signal(signal.SIGALRM, before)


def test_time_limit_does_nothing_outside_the_main_thread() -> None:
    reached = []

    def work() -> None:
        with time_limit(0.001):
            time.sleep(0.02)
            reached.append(signal.getsignal(signal.SIGALRM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert reached == [signal.getsignal(signal.SIGALRM)]
