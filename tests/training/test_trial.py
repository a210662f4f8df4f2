from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.conftest import small_study
from wst.data import splits
from wst.records import Epoch, Intent, Stage
from wst.study import Recipe
from wst.training.spec import TrialSpec, trial_spec
from wst.training.trial import DivergedError, Trial

pytestmark = pytest.mark.slow  # trains

SETTINGS = {"lr": 5e-3, "drop_path": 0.2, "scale": 1.0, "r": 2}


def _spec(root: Path, stage: Stage = "search", method: str = "wst-r2", **changes: object) -> TrialSpec:
    settings = SETTINGS if method == "wst-r2" else {"lr": 1e-2, "drop_path": 0.0}
    intent = Intent(f"digits.{method}.{stage}.0000", "digits", method, stage, 0, 0, 3, dict(settings))
    spec = trial_spec(small_study(), intent, root=root)
    return replace(spec, recipe=Recipe(epochs=3, warmup_epochs=1), **changes)  # type: ignore[arg-type]


def _without_times(epochs: list[Epoch]) -> list[Epoch]:
    return [replace(epoch, seconds=0.0) for epoch in epochs]


def _trainable(trial: Trial) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in trial.model.named_parameters() if p.requires_grad}


def test_interrupted_trial_continues_to_the_same_weights(mini_root: Path, tmp_path: Path) -> None:
    whole = Trial(_spec(mini_root))
    list(whole.epochs())

    spec = _spec(mini_root, checkpoint_path=str(tmp_path / "t.pt"), checkpoint_every=1)
    first = Trial(spec)
    next(first.epochs())
    torch.rand(100)  # another trial in this process has used the generator
    second = Trial(spec)
    assert len(second.curve) == 1
    list(second.epochs())

    assert _without_times(second.curve) == _without_times(whole.curve)
    theirs = _trainable(second)
    for name, tensor in _trainable(whole).items():
        assert torch.equal(tensor, theirs[name]), name
    assert (tmp_path / "t.pt").stat().st_size < 1_000_000


def test_trial_learns_and_leaves_the_backbone_alone(mini_root: Path) -> None:
    trial = Trial(_spec(mini_root))
    frozen = {n: p.detach().clone() for n, p in trial.model.named_parameters() if not p.requires_grad}
    curve = list(trial.epochs())
    assert [epoch.epoch for epoch in curve] == [1, 2, 3]
    assert curve[-1].val_top1 is not None and curve[-1].val_top1 > 0.5  # ten classes
    assert curve[-1].train_loss < curve[0].train_loss
    for name, parameter in trial.model.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name])


def test_same_seed_same_curve_other_seed_other_curve(mini_root: Path) -> None:
    def curve(seed: int) -> list[Epoch]:
        spec = _spec(mini_root, method="linear")
        spec = replace(spec, intent=replace(spec.intent, seed=seed), recipe=Recipe(epochs=1, warmup_epochs=0))
        return _without_times(list(Trial(spec).epochs()))

    assert curve(1) == curve(1) != curve(2)


def test_outcome_says_what_it_cost_and_on_what(mini_root: Path) -> None:
    spec = replace(_spec(mini_root), recipe=Recipe(epochs=1, warmup_epochs=0), data_hash="d")
    trial = Trial(spec)
    list(trial.epochs())
    outcome = trial.outcome("completed")
    assert (outcome.trainable_parameters, outcome.head_parameters) == (3104, 970)
    assert outcome.total_parameters == sum(p.numel() for p in trial.model.parameters())
    assert outcome.train_seconds > 0 and outcome.eval_seconds > 0 and outcome.images_per_second
    assert outcome.wall_seconds >= outcome.train_seconds + outcome.eval_seconds
    assert outcome.normalisation == "mean 0.5/0.5/0.5 std 0.5/0.5/0.5"
    assert outcome.checkpoint_hash and len(outcome.checkpoint_hash) == 64
    assert (outcome.data_hash, outcome.device) == ("d", "cpu") and outcome.peak_memory
    assert outcome.test_top1 is None and outcome.test_images is None


def test_final_trains_on_all_images_and_reads_the_test_split_once(mini_root: Path) -> None:
    trial = Trial(replace(_spec(mini_root, "final"), recipe=Recipe(epochs=1, warmup_epochs=0)))
    curve = list(trial.epochs())
    assert curve[0].val_top1 is None and curve[0].val_loss is None
    assert len(trial._labels) == 1000
    top1, images = trial.test()
    assert images == 797 and 0.1 < top1 <= 1
    assert trial.outcome("completed", (top1, images)).test_images == 797


def test_test_split_stays_closed_in_the_search(mini_root: Path) -> None:
    trial = Trial(_spec(mini_root))
    with pytest.raises(
        splits.TestSplitClosedError, match="opens in stage 'final' only; asked for in 'search'"
    ):
        trial.test()


def test_diverged_training_is_an_error(mini_root: Path) -> None:
    spec = _spec(mini_root)
    settings = {**SETTINGS, "lr": 1e30, "scale": 1e30}
    trial = Trial(replace(spec, intent=replace(spec.intent, hyperparameters=settings)))
    with pytest.raises(DivergedError, match="training loss is nan in epoch"):
        list(trial.epochs())


def test_drop_last_leaves_out_the_incomplete_batch(mini_root: Path) -> None:
    steps = {}
    for drop_last in (False, True):
        recipe = Recipe(epochs=1, warmup_epochs=0, batch_size=300, drop_last=drop_last)
        trial = Trial(replace(_spec(mini_root, method="linear"), recipe=recipe))
        steps[drop_last] = (trial._steps(), trial._images_per_epoch())
    assert steps == {False: (3, 800), True: (2, 600)}


def test_seconds_per_epoch_is_positive(mini_root: Path) -> None:
    assert Trial(_spec(mini_root)).seconds_per_epoch() > 0
