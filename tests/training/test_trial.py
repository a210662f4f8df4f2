from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.specs import SETTINGS, spec, without_times
from wst.data import splits
from wst.machine import usable_cpus
from wst.records import Backbone, Epoch, Hyperparameters, Score
from wst.shipped import ASSETS
from wst.study import Recipe
from wst.training import state
from wst.training.finite import DivergedError
from wst.training.identity import identity
from wst.training.spec import TrialSpec
from wst.training.trial import Trial, score_together
from wst.training.update import Update

pytestmark = pytest.mark.slow  # trains

Numbers = tuple[list[Epoch], dict[str, torch.Tensor]]


def _numbers(trial: Trial) -> Numbers:
    """The curve without its times, and the trainable tensors."""
    trained = {name: p.detach().clone() for name, p in trial.model.named_parameters() if p.requires_grad}
    return without_times(trial.curve), trained


def _trained(of: TrialSpec) -> Numbers:
    trial = Trial(of)
    list(trial.epochs())
    return _numbers(trial)


def _assert_equal(found: Numbers, expected: Numbers) -> None:
    assert found[0] == expected[0]
    assert found[1].keys() == expected[1].keys()
    for name, tensor in expected[1].items():
        assert torch.equal(found[1][name], tensor), name


@pytest.fixture(scope="module")
def alone(few_root: Path) -> Numbers:
    """The numbers of the trial that has this process to itself."""
    return _trained(spec(few_root))


def test_numbers_are_those_of_the_trial_alone_after_another_trial(few_root: Path, alone: Numbers) -> None:
    other: Hyperparameters = {**SETTINGS, "drop_path": 0.5}
    _trained(spec(few_root, settings=other, seed=4, recipe=Recipe(epochs=1, warmup_epochs=0)))
    _assert_equal(_trained(spec(few_root)), alone)


def test_numbers_are_those_of_the_trial_alone_beside_another_trial(few_root: Path, alone: Numbers) -> None:
    trial = Trial(spec(few_root))
    epochs = trial.epochs()
    next(epochs)
    other = Trial(spec(few_root, settings={**SETTINGS, "drop_path": 0.5}, seed=4))
    next(other.epochs())
    torch.rand(100)  # whoever else uses the generator
    next(epochs)
    next(other.epochs())
    list(epochs)
    _assert_equal(_numbers(trial), alone)


def test_a_trial_leaves_torchs_generator_alone(few_root: Path) -> None:
    before = torch.get_rng_state()
    next(Trial(spec(few_root)).epochs())
    assert torch.equal(torch.get_rng_state(), before)


def test_interrupted_trial_continues_to_the_same_weights(
    few_root: Path, tmp_path: Path, alone: Numbers
) -> None:
    kept = spec(few_root, checkpoint_path=str(tmp_path / "t.pt"), checkpoint_every=1)
    next(Trial(kept).epochs())
    second = Trial(kept)
    assert len(second.curve) == 1
    assert second.seconds > second.curve[0].seconds  # what it took before counts
    list(second.epochs())
    _assert_equal(_numbers(second), alone)
    assert (tmp_path / "t.pt").stat().st_size < 1_000_000


def test_a_trial_validated_at_its_reports_has_the_same_numbers_there(few_root: Path, alone: Numbers) -> None:
    curve, trained = _trained(spec(few_root, validated=frozenset({1})))
    assert [epoch.val_top1 is None for epoch in curve] == [False, True, False]  # the last in any case
    among = [
        replace(epoch, val_loss=None, val_top1=None) if i == 1 else epoch for i, epoch in enumerate(alone[0])
    ]
    _assert_equal((curve, trained), (among, alone[1]))


def test_trials_of_one_seed_see_the_same_batches_whatever_they_drop(few_root: Path) -> None:
    orders = []
    for rate in (0.0, 0.3):
        draws = Trial(spec(few_root, settings={**SETTINGS, "drop_path": rate})).draws
        orders.append([draw.indices for _ in range(2) for draw in draws.epoch()])
    assert all(torch.equal(a, b) for a, b in zip(*orders, strict=True))


def test_trial_learns_and_leaves_the_backbone_alone(few_root: Path) -> None:
    trial = Trial(spec(few_root))
    frozen = {n: p.detach().clone() for n, p in trial.model.named_parameters() if not p.requires_grad}
    curve = list(trial.epochs())
    assert [epoch.epoch for epoch in curve] == [1, 2, 3]
    assert curve[-1].val_top1 is not None and curve[-1].val_top1 > 0.5  # ten classes
    assert curve[-1].train_loss < curve[0].train_loss
    for name, parameter in trial.model.named_parameters():
        if name in frozen:
            assert torch.equal(parameter, frozen[name])


def test_same_seed_same_curve_other_seed_other_curve(few_root: Path) -> None:
    def curve(seed: int) -> list[Epoch]:
        once = Recipe(epochs=1, warmup_epochs=0)
        return _trained(spec(few_root, variant="linear", seed=seed, recipe=once))[0]

    assert curve(1) == curve(1) != curve(2)


def test_cost_says_what_it_took_and_on_what(few_root: Path) -> None:
    trial = Trial(spec(few_root, recipe=Recipe(epochs=1, warmup_epochs=0), data_hash="d"))
    list(trial.epochs())
    cost = trial.cost()
    assert (cost.trainable_parameters, cost.head_parameters) == (3104, 970)
    assert cost.total_parameters == sum(p.numel() for p in trial.model.parameters())
    assert cost.train_seconds > 0 and cost.eval_seconds > 0 and cost.images_per_second
    assert cost.wall_seconds >= cost.train_seconds + cost.eval_seconds
    assert cost.normalisation == "mean 0.5/0.5/0.5 std 0.5/0.5/0.5"
    assert cost.checkpoint_hash and len(cost.checkpoint_hash) == 64
    assert (cost.data_hash, cost.device) == ("d", "cpu") and cost.peak_memory


def test_final_trains_on_all_images_and_scores_the_test_split(few_root: Path) -> None:
    trial = Trial(spec(few_root, "final", recipe=Recipe(epochs=1, warmup_epochs=0)))
    curve = list(trial.epochs())
    assert curve[0].val_top1 is None and curve[0].val_loss is None
    assert trial.draws.images_per_epoch == 500
    before = trial.cost()
    test = trial.test()
    assert test.images == 300 and 0.1 < test.top1 <= 1
    after = trial.cost()
    scored = after.eval_seconds - before.eval_seconds
    assert scored > 0 and after.wall_seconds - before.wall_seconds == pytest.approx(scored)


def test_trials_scored_together_score_as_alone(few_root: Path) -> None:
    once = Recipe(epochs=1, warmup_epochs=0)
    trials = [Trial(spec(few_root, "final", "linear", seed=seed, recipe=once)) for seed in (1, 2)]
    for trial in trials:
        list(trial.epochs())
    assert score_together(trials) == [trial.test() for trial in trials]


def test_test_split_stays_closed_in_the_search(few_root: Path) -> None:
    trial = Trial(spec(few_root))
    with pytest.raises(
        splits.TestSplitClosedError, match="opens in stage 'final' only; asked for in 'search'"
    ):
        trial.test()


def test_diverged_training_is_an_error(few_root: Path) -> None:
    trial = Trial(spec(few_root, settings={**SETTINGS, "lr": 1e30, "scale": 1e30}))
    with pytest.raises(DivergedError, match="training loss is nan in epoch"):
        list(trial.epochs())


ONE_STEP = Recipe(epochs=1, warmup_epochs=0, batch_size=500)
EXPLODES: Hyperparameters = {**SETTINGS, "lr": 1e30}
"""The loss is finite before the only step, and the weights are large after it."""


def test_weights_that_break_in_the_last_step_are_an_error(few_root: Path, tmp_path: Path) -> None:
    path = tmp_path / "t.pt"
    trial = Trial(spec(few_root, settings=EXPLODES, recipe=ONE_STEP, checkpoint_path=str(path)))
    with pytest.raises(DivergedError, match=r"validation loss is (nan|inf) in epoch 1"):
        list(trial.epochs())
    assert trial.curve == [] and not path.exists()


def test_what_breaks_in_the_last_step_of_a_final_leaves_the_test_split_unread(
    few_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = Trial(spec(few_root, "final", recipe=ONE_STEP))
    update = Update.__call__

    def breaks(self: Update, *arguments: Any) -> torch.Tensor:
        loss = update(self, *arguments)
        with torch.no_grad():
            next(p for p in trial.model.parameters() if p.requires_grad).view(-1)[0] = torch.nan
        return loss

    monkeypatch.setattr(Update, "__call__", breaks)
    with pytest.raises(DivergedError, match="is not finite after epoch 1"):
        list(trial.epochs())


def test_a_final_that_gives_no_numbers_on_test_has_no_accuracy_and_leaves_no_adapter(
    few_root: Path, tmp_path: Path
) -> None:
    path = tmp_path / "a.safetensors"
    broken = Trial(
        spec(few_root, "final", settings=EXPLODES, recipe=ONE_STEP, adapter_path=str(path), seed=1)
    )
    sound = Trial(spec(few_root, "final", recipe=ONE_STEP, seed=2))
    for trial in (broken, sound):
        list(trial.epochs())
    test, other = score_together([broken, sound])
    assert test == Score(None, 300)
    assert other.top1 is not None
    with pytest.raises(DivergedError, match="test loss is not finite on 300 images"):
        broken.save_adapter(test)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 4},
        {"settings": {**SETTINGS, "lr": 1e-3}},
        {"recipe": Recipe(epochs=3, warmup_epochs=1, label_smoothing=0.1)},
        {"tuning_hash": "other images"},
        {"backbone": Backbone("micro", normalisation="imagenet")},
    ],
    ids=["seed", "settings", "recipe", "data", "normalisation"],
)
def test_the_state_of_another_trial_is_not_gone_on_with(
    few_root: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, Any]
) -> None:
    path = {"checkpoint_path": str(tmp_path / "t.pt"), "checkpoint_every": 1}
    next(Trial(spec(few_root, **path)).epochs())  # type: ignore[arg-type]
    assert Trial(spec(few_root, **{**path, **changes})).curve == []  # type: ignore[arg-type]
    assert "found that of another trial" in caplog.text
    assert len(Trial(spec(few_root, **path)).curve) == 1  # type: ignore[arg-type]


def test_the_same_weights_elsewhere_are_the_same_trial(few_root: Path, tmp_path: Path) -> None:
    copy = shutil.copy(ASSETS / "micro.safetensors", tmp_path / "copy.safetensors")
    kept = {"checkpoint_path": str(tmp_path / "t.pt"), "checkpoint_every": 1}
    next(Trial(spec(few_root, **kept)).epochs())  # type: ignore[arg-type]
    moved = spec(few_root, backbone=Backbone("micro", str(copy)), **kept)
    assert len(Trial(moved).curve) == 1


def _lacking(parts: dict[str, Any]) -> None:
    del parts["draws"]["noise"]


def _reshaped(parts: dict[str, Any]) -> None:
    trainable = parts["update"]["trainable"]
    trainable |= {name: torch.zeros(1) for name in trainable}  # which would be broadcast


def _gap(parts: dict[str, Any]) -> None:
    parts["curve"][0]["epoch"] = 2


@pytest.mark.parametrize("change", [_lacking, _reshaped, _gap])
def test_a_state_that_does_not_fit_begins_again_with_the_same_numbers(
    few_root: Path, tmp_path: Path, alone: Numbers, caplog: pytest.LogCaptureFixture, change: Any
) -> None:
    path = tmp_path / "t.pt"
    kept = spec(few_root, checkpoint_path=str(path), checkpoint_every=1)
    trial = Trial(kept)
    next(trial.epochs())
    parts = trial._parts()
    change(parts)
    state.save(path, identity(kept, trial.recipe, trial.input), parts)
    _assert_equal(_trained(kept), alone)
    assert "it begins again" in caplog.text


def test_lower_precision_trains_to_about_the_same(few_root: Path, alone: Numbers) -> None:
    bf16 = Recipe(epochs=3, warmup_epochs=1, precision="bf16")
    curve, _ = _trained(spec(few_root, recipe=bf16))
    assert curve[-1].train_loss == pytest.approx(alone[0][-1].train_loss, rel=0.05)
    assert replace(curve[-1], train_loss=0.0) != replace(alone[0][-1], train_loss=0.0)


def test_a_trials_own_weight_decay_counts(few_root: Path, alone: Numbers) -> None:
    """Each step takes lr * weight_decay of every weight that the recipe does not spare."""
    _, strong = _trained(spec(few_root, settings={**SETTINGS, "weight_decay": 5.0}))
    weights = [name for name, tensor in strong.items() if tensor.ndim > 1]
    assert weights and all(strong[name].norm() < 0.9 * alone[1][name].norm() for name in weights)


def test_a_trial_takes_no_more_threads_than_there_are_processors(few_root: Path) -> None:
    before = torch.get_num_threads()
    try:
        Trial(spec(few_root, threads=10_000))
        assert torch.get_num_threads() == usable_cpus()
    finally:
        torch.set_num_threads(before)
