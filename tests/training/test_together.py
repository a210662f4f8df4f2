"""Trials in one pass have the curves that they have alone."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.few import FEW
from tests.training.specs import LINEAR, SETTINGS, spec
from wst.data.splits import TaskData
from wst.models.backbones import weights_id
from wst.records import Epoch, Hyperparameters
from wst.study import Recipe
from wst.training.finite import DivergedError
from wst.training.graphs import CompilerError
from wst.training.spec import TrialSpec
from wst.training.stack import CannotStackError, Stack
from wst.training.together import Pass
from wst.training.trial import Trial

pytestmark = pytest.mark.slow  # trains

_RECIPE = Recipe(epochs=2, warmup_epochs=1)
_TASKS = ("digits", "emoji_group", "sprite_count", "sprite_loc")


def _member(root: Path, task: str, number: int, method: str = "wst", **settings: object) -> TrialSpec:
    found: Hyperparameters = {**(SETTINGS if method == "wst" else LINEAR), **settings}  # type: ignore[dict-item]
    made = spec(root, settings=found, seed=number, recipe=_RECIPE, method=method)
    intent = replace(made.intent, trial_id=f"{task}.{method}.search.{number:04d}", task=task, number=number)
    return replace(made, intent=intent, data=TaskData.of(root, FEW, FEW.task(task)))


def _alike(found: list[Epoch], expected: list[Epoch]) -> bool:
    """Equal up to rounding: an image in a hundred may change sides."""
    return len(found) == len(expected) and all(
        one.train_loss == pytest.approx(other.train_loss, rel=1e-4)
        and one.val_loss == pytest.approx(other.val_loss, rel=1e-4)
        and one.val_top1 == pytest.approx(other.val_top1, abs=0.01)
        and one.lr == other.lr
        for one, other in zip(found, expected, strict=True)
    )


@pytest.fixture(scope="module")
def alone(few_root: Path) -> list[tuple[TrialSpec, list[Epoch]]]:
    """Four tasks alone: learning rate, scale, stochastic depth, seed, head and images differ."""
    specs = [
        _member(few_root, task, i, lr=1e-3 * (i + 1), scale=0.5 + i, drop_path=0.1 * i)
        for i, task in enumerate(_TASKS)
    ]
    assert len({one.data.task.classes for one in specs}) > 2
    return [(one, list(Trial(one).epochs())) for one in specs]


def test_four_tasks_in_one_pass_have_their_own_curves(alone: list[tuple[TrialSpec, list[Epoch]]]) -> None:
    trials = [Trial(one) for one, _ in alone]
    together = Pass(trials)
    assert {trial.cost().pass_size for trial in trials} == {4}
    (pass_id,) = {trial.cost().pass_id for trial in trials}
    assert (pass_id or "").startswith(f"{alone[0][0].intent.trial_id}/")
    rounds = list(together.rounds())
    assert [len(ended) for ended in rounds] == [4, 4]
    assert all(_alike(trial.curve, curve) for trial, (_, curve) in zip(trials, alone, strict=True))
    for trial in trials:  # seconds are shares of the same steps
        assert sum(epoch.seconds for epoch in trial.curve) <= trial.seconds
    # what is frozen is there once
    assert len({trial.model.backbone.pos_embed.data_ptr() for trial in trials}) == 1  # type: ignore[union-attr]


def test_one_that_leaves_and_one_that_fails_change_no_other(
    alone: list[tuple[TrialSpec, list[Epoch]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [Trial(one) for one, _ in alone]
    together = Pass(trials)
    rounds = together.rounds()
    next(rounds)
    together.drop([trials[1]])
    monkeypatch.setattr(trials[2], "_validate", lambda epoch: (float("nan"), 0.1))
    ((first, *others),) = list(rounds)
    assert [trial for trial, _ in (first, *others)] == [trials[0], trials[2], trials[3]]
    assert isinstance(others[0][1], DivergedError)
    curves = [curve for _, curve in alone]
    assert all(_alike(trials[i].curve, curves[i]) for i in (0, 3))
    assert [len(trials[i].curve) for i in (1, 2)] == [1, 1]
    assert _alike(trials[1].curve, curves[1][:1])


def test_trials_whose_stack_gives_up_go_on_alone(
    few_root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    specs = [_member(few_root, "digits", i, "linear") for i in range(2)]
    curves = [list(Trial(one).epochs()) for one in specs]
    original, calls = Stack.__call__, []

    def give_up(self: Stack, *arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 3:
            raise CannotStackError("planted")
        return original(self, *arguments)

    monkeypatch.setattr(Stack, "__call__", give_up)
    trials = [Trial(one) for one in specs]
    list(Pass(trials).rounds())
    assert len(calls) == 3 and "planted; trials do their own steps" in caplog.text
    assert all(_alike(trial.curve, curve) for trial, curve in zip(trials, curves, strict=True))


class _Refused:
    """A graph of a device that cannot compile, and has room for none that is captured."""

    def __init__(self, function: object, tensors: object, compiled: bool):
        if compiled:
            raise CompilerError("no compiler")
        raise torch.OutOfMemoryError("no room")


def test_what_cannot_be_compiled_is_captured_and_what_has_no_room_there_goes_on_plainly(
    few_root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    made = _member(few_root, "digits", 0, "linear")
    curve = list(Trial(made).epochs())
    monkeypatch.setattr("wst.training.stack.Graph", _Refused)
    trial = Trial(made)
    together = Pass([trial])
    together._how = "compiled"  # as on a GPU
    together._stack = together._made()
    list(together.rounds())
    first, second = (record.message for record in caplog.records)
    assert "no compiler; they are captured as they are" in first
    assert "room for captured steps; found too little memory; trials do their own steps" in second
    assert trial.cost().steps == "eager" and _alike(trial.curve, curve)


def test_heads_on_kept_features_are_trained_in_one_product(few_root: Path) -> None:
    specs = [_member(few_root, "digits", i, "linear", lr=1e-3 * 4**i) for i in range(3)]
    specs = [replace(one, weights=weights_id(one.backbone)) for one in specs]
    curves = [list(Trial(one).epochs()) for one in specs]
    trials = [Trial(one) for one in specs]
    assert all(trial.halves is not None for trial in trials)
    list(Pass(trials).rounds())
    assert trials[0].shared is not None
    assert all(_alike(trial.curve, curve) for trial, curve in zip(trials, curves, strict=True))


def test_trials_that_cannot_share_a_pass_do_their_own_steps(
    few_root: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As those of a method that draws numbers itself."""
    once = Recipe(epochs=1, warmup_epochs=0)
    made = [_member(few_root, "digits", i, "lora", dropout=0.5 * i) for i in range(2)]
    specs = [replace(one, recipe=once) for one in made]
    curves = [list(Trial(one).epochs()) for one in specs]
    trials = [Trial(one) for one in specs]
    list(Pass(trials).rounds())
    assert [trial.cost().pass_size for trial in trials] == [None, None]
    assert "trials do their own steps" in caplog.text
    found = [[epoch.val_loss for epoch in trial.curve] for trial in trials]
    assert found == [[epoch.val_loss for epoch in curve] for curve in curves]
