"""Jobs of real trials."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.conftest import small_study
from tests.few import FEW
from wst.data import splits
from wst.data.splits import TaskData
from wst.engine.job import Job
from wst.models.adapters import read_card
from wst.records import Cost, End, Epoch, Intent, Score, Stage
from wst.study import Recipe
from wst.training.spec import TrialSpec, trial_spec
from wst.training.trial import Trial, score_together

Ended = tuple[End, tuple[Epoch, ...]]

pytestmark = pytest.mark.slow  # trains


def _spec(root: Path, number: int, stage: Stage = "final", **changes: Any) -> TrialSpec:
    settings = {"lr": 1e-2, "weight_decay": 0.05, "drop_path": 0.0}
    intent = Intent(
        f"digits.linear.{stage}.{number:04d}", "digits", "linear", stage, number, number, number + 1, settings
    )
    spec = trial_spec(small_study(), intent, data=TaskData.of(root, FEW, FEW.task("digits")))
    return replace(spec, recipe=Recipe(epochs=2, warmup_epochs=1), **changes)


def _run(*specs: TrialSpec) -> dict[str, Ended]:
    """All steps of a job; ends and curves, by trial."""
    job = Job(specs, {1, 2})
    epochs: dict[str, list[Any]] = {spec.intent.trial_id: [] for spec in specs}
    outcomes = {}
    while True:
        for report in job.step():
            epochs[report.trial_id] += report.epochs
            if report.end is not None:
                outcomes[report.trial_id] = report.end, tuple(epochs[report.trial_id])
        if job.done:
            return outcomes


def _result(ended: Ended) -> tuple[object, ...]:
    end, curve = ended
    return end.error_type, end.test, [(epoch.epoch, epoch.train_loss) for epoch in curve]


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Batches read from test splits."""
    read: list[str] = []
    original = TaskData.open

    def opened(self: TaskData, name: Any, size: int, stage: Stage) -> Any:
        split = original(self, name, size, stage)
        if name != "test":
            return split

        class Counted:
            labels = split.labels

            def batches(self, size: int) -> Any:
                for batch in split.batches(size):
                    read.append(name)
                    yield batch

        return Counted()

    monkeypatch.setattr(TaskData, "open", opened)
    return read


def test_seeds_in_one_job_end_as_alone_and_read_the_test_split_once(
    few_root: Path, opened: list[str]
) -> None:
    first, second = _spec(few_root, 0), _spec(few_root, 1)
    alone = {**_run(first), **_run(second)}
    batches = len(opened) // 2
    opened.clear()
    together = _run(first, second)
    assert len(opened) == batches > 1
    assert {k: _result(v) for k, v in together.items()} == {k: _result(v) for k, v in alone.items()}


def test_killed_job_of_several_seeds_goes_on_with_what_was_trained(few_root: Path, tmp_path: Path) -> None:
    specs = [
        _spec(few_root, number, checkpoint_path=str(tmp_path / f"{number}.pt"), checkpoint_every=1)
        for number in range(2)
    ]
    whole = {k: _result(v) for k, v in _run(*(_spec(few_root, number) for number in range(2))).items()}
    job = Job(specs, {1, 2})
    for _ in range(3):  # the first is trained, the second has an epoch
        job.step()
    del job
    assert {k: _result(v) for k, v in _run(*specs).items()} == whole


def test_a_killed_pass_goes_on_where_each_of_its_trials_stood(few_root: Path, tmp_path: Path) -> None:
    specs = [
        _spec(few_root, i, checkpoint_path=str(tmp_path / f"{i}.pt"), checkpoint_every=1, together=2)
        for i in range(2)
    ]
    alone = [ended for i in range(2) for ended in _run(_spec(few_root, i)).values()]
    job = Job(specs, {1, 2})
    assert [[epoch.epoch for epoch in report.epochs] for report in job.step()] == [[1], [1]]
    del job
    for (end, curve), (expected_end, expected) in zip(_run(*specs).values(), alone, strict=True):
        assert end.test is not None and expected_end.test is not None
        assert end.test.top1 == pytest.approx(expected_end.test.top1, abs=0.01)
        losses = [epoch.train_loss for epoch in curve]
        assert losses == pytest.approx([epoch.train_loss for epoch in expected], rel=1e-4)


def test_a_trial_that_has_had_its_time_leaves_its_pass_alone(
    few_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = Trial.seconds.fget  # type: ignore[attr-defined]
    spent = property(lambda self: seconds(self) + (1e6 if self.spec.intent.number == 1 else 0))
    monkeypatch.setattr(Trial, "seconds", spent)
    ends = _run(*(_spec(few_root, i, "search", time_limit=5e5, together=3) for i in range(3)))
    assert [end.error_type for _, (end, _) in sorted(ends.items())] == [None, "TimeLimitError", None]


def test_more_trials_than_a_pass_holds_train_in_several(few_root: Path) -> None:
    job = Job([_spec(few_root, i, together=2) for i in range(3)], set())
    assert [len(group) for group in job._left] == [2, 1]


def test_a_seed_that_gives_no_numbers_on_test_fails_alone_and_counts_as_read(
    few_root: Path, tmp_path: Path
) -> None:
    once = Recipe(epochs=1, warmup_epochs=0, batch_size=500)
    path = tmp_path / "a.safetensors"
    first, second = (_spec(few_root, number, adapter_path=str(path)) for number in range(2))
    exploding = replace(
        first.intent, hyperparameters={**first.intent.hyperparameters, "lr": 1e37, "weight_decay": 0.0}
    )
    ends = _run(replace(first, recipe=once, intent=exploding), replace(second, recipe=once))
    failed, sound = (ends[f"digits.linear.final.000{number}"][0] for number in range(2))
    assert failed.error_type == "DivergedError" and failed.test == Score(None, 300)
    assert sound.error_type is None and sound.test is not None and sound.test.top1 is not None
    assert read_card(path).trial_id == "digits.linear.final.0001"  # the sound one's


def test_one_seed_that_fails_leaves_the_others_alone(few_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = Trial.epochs

    def epochs(self: Trial) -> Iterator[Epoch]:
        if self.spec.intent.number == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB")
        yield from original(self)

    monkeypatch.setattr(Trial, "epochs", epochs)
    ends = _run(*(_spec(few_root, number) for number in range(3)))
    assert [end.error_type for _, (end, _) in sorted(ends.items())] == [None, "OutOfMemoryError", None]
    assert "CUDA out of memory" in (ends["digits.linear.final.0001"][0].error_text or "")


def test_trial_that_fails_to_say_how_it_ended_has_failed(
    few_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(self: Trial) -> Cost:
        raise OSError("the weights file has gone")

    monkeypatch.setattr(Trial, "cost", gone)
    job = Job([_spec(few_root, 0, "search")], set())
    reports = job.step()
    assert job.done
    assert [r.end.error_type for r in reports if r.end is not None] == ["OSError"]


def test_adapter_that_has_no_place_fails_its_trial_alone_before_the_test_split_is_read(
    few_root: Path, tmp_path: Path, opened: list[str]
) -> None:
    (tmp_path / "file").write_text("")
    specs = [
        _spec(few_root, number, adapter_path=str(tmp_path / folder / f"{number}.safetensors"))
        for number, folder in enumerate(["a", "file", "b"])
    ]
    ends = [end for _, (end, _) in sorted(_run(*specs).items())]
    assert [end.error_type for end in ends] == [None, "InputError", None]
    assert f"{tmp_path / 'file'}: expected a place for the adapter" in (ends[1].error_text or "")
    assert [end.test.images if end.test else None for end in ends] == [300, None, 300]
    assert (tmp_path / "a" / "0.safetensors").exists() and (tmp_path / "b" / "2.safetensors").exists()
    opened.clear()
    job, reports = Job([specs[1]], set()), []
    while not job.done:
        reports += job.step()
    assert not opened and not any(report.reads for report in reports)


def test_adapter_that_cannot_be_saved_hides_no_score(
    few_root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Trial, test: object) -> None:
        raise OSError("no room")

    monkeypatch.setattr(Trial, "save_adapter", full)
    ((end, _),) = _run(_spec(few_root, 0, adapter_path=str(tmp_path / "a.safetensors"))).values()
    assert (end.error_type, end.test is not None and end.test.images) == ("OSError", 300)


@pytest.mark.parametrize("stage", ["search", "final"])
def test_trial_that_fails_reports_the_epochs_since_its_last_report_and_its_cost(
    few_root: Path, monkeypatch: pytest.MonkeyPatch, stage: Stage
) -> None:
    original = Trial.epoch

    def epoch(self: Trial) -> Any:
        if len(self.curve) == 2:
            raise ValueError("planted")
        return original(self)

    monkeypatch.setattr(Trial, "epoch", epoch)
    spec = replace(_spec(few_root, 0, stage), recipe=Recipe(epochs=3, warmup_epochs=1))
    ((report,),) = [Job([spec], set()).step()]
    assert report.end is not None and report.end.error_type == "ValueError"
    assert [epoch.epoch for epoch in report.epochs] == [1, 2]
    assert report.cost is not None and report.cost.train_seconds > 0


def test_seeds_that_cannot_be_scored_keep_their_curves_and_costs(
    few_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(trials: list[Trial]) -> list[Score]:
        raise OSError("the test split has gone")

    monkeypatch.setattr("wst.engine.job.score_together", fail)
    job = Job([_spec(few_root, number) for number in range(2)], set())
    assert job.step() == ()
    assert [(report.reads, len(report.epochs)) for report in job.step()] == [(300, 2), (300, 2)]
    first, second = job.step()
    for report in (first, second):
        assert report.end is not None and (report.end.error_type, report.end.test) == ("OSError", None)
        assert [epoch.epoch for epoch in report.epochs] == [1, 2]
        assert report.cost is not None and report.cost.train_seconds > 0
    assert job.done


def test_epoch_that_never_ends_is_broken_into(few_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(self: Trial) -> Iterator[Epoch]:
        time.sleep(60)
        yield from ()

    _run(_spec(few_root, 0))  # what loads on first use does not count
    monkeypatch.setattr(Trial, "epochs", hang)
    ((end, _),) = _run(_spec(few_root, 0, "search", time_limit=6.0)).values()
    assert end.error_type == "TimeLimitError" and end.error_text is not None
    assert "expected an end within 6 s" in end.error_text
    assert "in hang" in end.error_text  # the traceback


def test_confirm_trains_like_a_search_and_cannot_open_the_test_split(few_root: Path) -> None:
    ((_, searched),) = _run(_spec(few_root, 0, "search")).values()
    ((end, confirmed),) = _run(_spec(few_root, 0, "confirm")).values()
    assert [replace(e, seconds=0.0) for e in searched] == [replace(e, seconds=0.0) for e in confirmed]
    assert end == End()
    trial = Trial(_spec(few_root, 0, "confirm"))
    with pytest.raises(splits.TestSplitClosedError, match="opens in stage 'final' only"):
        score_together([trial])


def test_no_test_image_is_opened_before_a_step_has_said_so(few_root: Path, opened: list[str]) -> None:
    """Also where the last seed fails, after which only the others are scored."""
    job = Job([_spec(few_root, 0), _spec(few_root, 1), _spec(few_root, 2, method="missing")], {2})
    said: list[str] = []
    while not job.done:
        before = len(opened)
        reports = job.step()
        if len(opened) > before:
            assert len(said) == 2, "read before it was said"
        said += [report.trial_id for report in reports if report.reads == 300]
    assert said == ["digits.linear.final.0000", "digits.linear.final.0001"] and opened
