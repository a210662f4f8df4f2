"""A study without Ray, and the same numbers wherever a trial is trained."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import LR, small_study
from tests.curves import curve
from tests.synthetic import Ends, environment, run_all
from wst.data.mini import MINI
from wst.data.splits import TaskData
from wst.engine import inline
from wst.engine.driver import Driver
from wst.engine.faults import OutOfTime, StudyInterrupted, StudyStoppedError
from wst.errors import InputError
from wst.ledger import Ledger, history
from wst.planning.planner import Planner
from wst.records import Cost, End, EndedTrial, Epoch, Report, Score
from wst.study import Study
from wst.trackers import Trackers
from wst.training.spec import TrialSpec, trial_spec
from wst.training.trial import Trial
from wst.workflows.tune import run_study

CODE = {"version": "0", "commit": None, "libraries": "{}"}


class SyntheticJob:
    """Reports synthetic curves, as :class:`wst.engine.job.Job` reports real ones."""

    def __init__(self, specs: list[TrialSpec], report_epochs: frozenset[int]):
        (self._spec,), self._report_epochs = specs, report_epochs
        self._left = curve(self._spec.intent, self._spec.recipe.epochs)
        self.done = False

    def step(self) -> tuple[Report, ...]:
        new: list[Epoch] = []
        while self._left:
            new.append(self._left.pop(0))
            if new[-1].epoch in self._report_epochs:
                break
        test = Score(0.8, 797) if self._spec.intent.stage == "final" else None
        self.done = not self._left
        end = End(test=test) if self.done else None
        return (Report(self._spec.intent.trial_id, tuple(new), Cost(), end),)

    def drop(self, trial_ids: frozenset[str]) -> None:
        self.done = self.done or self._spec.intent.trial_id in trial_ids


def _run(folder: Path, study: Study, **where: Any) -> list[EndedTrial]:
    with Ledger(folder, study, CODE) as ledger:
        planner = Planner(study, *history(folder))
        inline.run(Driver(study, planner, ledger, environment(folder, study, **where)))
        assert planner.done
    return history(folder)[1]


def _summary(ended: list[EndedTrial]) -> list[tuple[object, ...]]:
    return [(t.intent.trial_id, t.intent.hyperparameters, t.outcome.state, t.outcome.epochs) for t in ended]


def test_it_gives_what_the_planner_alone_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inline, "Job", SyntheticJob)
    study = small_study()
    alone = run_all(Planner(study))
    assert _summary(_run(tmp_path / "s", study)) == _summary(alone)
    assert any(trial.outcome.state == "pruned" for trial in alone)


def test_time_that_is_over_and_sigterm_stop_it_and_it_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study()
    monkeypatch.setattr(inline, "Job", SyntheticJob)
    with pytest.raises(OutOfTime):
        _run(tmp_path / "s", study, deadline=time.monotonic() - 1)

    class Terminated(SyntheticJob):
        def step(self) -> tuple[Report, ...]:
            if self._spec.intent.number == 2:
                os.kill(os.getpid(), signal.SIGTERM)
                time.sleep(60)  # the signal comes first
            return super().step()

    monkeypatch.setattr(inline, "Job", Terminated)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(StudyInterrupted):
        _run(tmp_path / "s", study)
    assert signal.getsignal(signal.SIGTERM) is before
    monkeypatch.setattr(inline, "Job", SyntheticJob)
    assert _summary(_run(tmp_path / "s", study)) == _summary(run_all(Planner(study)))


ONE_FINAL: dict[str, Any] = {
    "variants": {"linear": {"method": "linear", "fixed": {"lr": 0.1}}},
    "search": None,
    "final": {"seeds": 1},
}


def test_study_that_has_just_ended_is_not_stopped_by_time_or_signal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = small_study(**ONE_FINAL)
    monkeypatch.setattr(inline, "Job", SyntheticJob)
    deadline = time.monotonic() - 1
    once = small_study(**ONE_FINAL, report_every=100)  # one step, after which all is over
    assert [t.outcome.state for t in _run(tmp_path / "time", once, deadline=deadline)] == ["completed"]

    with Ledger(tmp_path / "signal", study, CODE) as ledger:

        def terminate() -> None:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)  # the signal comes first

        planner = Planner(study, *history(ledger.folder))
        told = Trackers([Ends(terminate)])
        inline.run(Driver(study, planner, ledger, environment(tmp_path, study), told))
    assert len(history(tmp_path / "signal")[1]) == 1


def test_trial_out_of_memory_starts_again_and_has_the_numbers_of_one_that_did_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    launches: list[str] = []

    class Hungry(SyntheticJob):
        """The first trial finds no memory for its second report, once; the second never has any."""

        def __init__(self, specs: list[TrialSpec], report_epochs: frozenset[int]):
            super().__init__(specs, report_epochs)
            launches.append(self._spec.intent.trial_id)

        def step(self) -> tuple[Report, ...]:
            number, trial_id = self._spec.intent.number, self._spec.intent.trial_id
            reported = len(self._left) < self._spec.recipe.epochs
            if number == 1 or (number == 0 and reported and launches.count(trial_id) == 1):
                self.done = True
                return (Report(trial_id, (), None, End("OutOfMemoryError", "CUDA out of memory")),)
            return super().step()

    monkeypatch.setattr(inline, "Job", Hungry)
    changes: dict[str, Any] = {"final": None, "faults": {"retries": 2, "stop_when_alike": 0}}
    variants = {"linear": {"method": "linear", "space": {"lr": LR}}}
    random = {"trials": 3, "sampler": {"type": "random"}}
    study = small_study(variants=variants, search=random, **changes)
    rows = _run(tmp_path / "s", study)
    ends = [(t.outcome.state, t.outcome.error_type, t.outcome.attempts) for t in rows]
    assert ends == [("completed", None, 2), ("failed", "OutOfMemoryError", 3), ("completed", None, 1)]
    assert [t.outcome.epochs for t in rows[::2]] == [t.outcome.epochs for t in run_all(Planner(study))[::2]]


def test_torch_is_left_as_it_was_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Threads(SyntheticJob):
        def step(self) -> tuple[Report, ...]:
            torch.set_num_threads(self._spec.threads)
            return super().step()

    monkeypatch.setattr(inline, "Job", Threads)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        _run(tmp_path / "s", small_study(**ONE_FINAL, resources={"cpus_per_trial": 2}))
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_study_for_a_gpu_is_refused_where_there_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(inline, "Job", SyntheticJob)
    study = small_study(**ONE_FINAL, resources={"gpus_per_trial": 0.5})
    with pytest.raises(InputError, match=r"expected a GPU, for gpus_per_trial: 0\.5; found none"):
        _run(tmp_path / "s", study)
    assert not history(tmp_path / "s")[0]
    assert len(_run(tmp_path / "s", study, device="auto")) == 1


def test_most_trials_failing_alike_stop_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(SyntheticJob):
        def step(self) -> tuple[Report, ...]:
            self.done = True
            return (Report(self._spec.intent.trial_id, (), None, End("ValueError", "planted")),)

    monkeypatch.setattr(inline, "Job", Failing)
    with pytest.raises(StudyStoppedError, match="3 of the last 3 trials failed with ValueError: planted"):
        _run(tmp_path / "s", small_study(faults={"stop_when_alike": 3}))
    assert len(history(tmp_path / "s")[1]) == 3


def _numbers(epochs: tuple[Epoch, ...] | list[Epoch]) -> list[tuple[float, float | None, float | None]]:
    return [(epoch.train_loss, epoch.val_loss, epoch.val_top1) for epoch in epochs]


@pytest.mark.slow
def test_a_trial_has_the_same_numbers_alone_after_another_inline_and_through_ray(
    tmp_path: Path, mini_root: Path
) -> None:
    """With stochastic depth, whose masks are a trial's own."""
    study = small_study(
        variants={
            "wst": {"method": "wst", "fixed": {"r": 2, "drop_path": 0.3}, "space": {"lr": LR}},
        },
        recipe={"epochs": 2, "warmup_epochs": 0.5},
        search={"trials": 2},
        final={"seeds": 1},
        resources={"slots": 1},
    )
    runs = {}
    for name in ("inline", "ray"):
        run_study(study, tmp_path / name, inline=name == "inline")
        runs[name] = history(tmp_path / name)[1]
    assert len(runs["inline"]) == 3
    for one, other in zip(runs["inline"], runs["ray"], strict=True):
        assert one.intent.hyperparameters == other.intent.hyperparameters
        assert _numbers(one.outcome.epochs) == _numbers(other.outcome.epochs), one.intent.trial_id
        assert one.outcome.test_top1 == other.outcome.test_top1
    data = TaskData.of(mini_root, MINI, MINI.task("digits"))
    for trial in reversed(runs["inline"][:2]):  # in another order than they ran in
        alone = Trial(trial_spec(study, trial.intent, data=data))
        assert _numbers(list(alone.epochs())) == _numbers(trial.outcome.epochs), trial.intent.trial_id


def test_a_study_that_cannot_write_a_read_down_stops_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    steps: list[str] = []

    class Announcing(SyntheticJob):
        def step(self) -> tuple[Report, ...]:
            (tmp_path / "cache" / "test-reads.jsonl").mkdir(parents=True)  # where the log should be
            steps.append("scored" if steps else "announced")
            return (Report(self._spec.intent.trial_id, (), Cost(), reads=797),)

    monkeypatch.setattr(inline, "Job", Announcing)
    with pytest.raises(StudyStoppedError, match=r"test-reads\.jsonl: expected to write down a read"):
        _run(tmp_path / "s", small_study(**ONE_FINAL))
    assert steps == ["announced"]
