from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.training.specs import SETTINGS, spec, without_times
from wst.data import splits
from wst.records import Epoch, Hyperparameters
from wst.study import Recipe
from wst.training.spec import TrialSpec
from wst.training.trial import DivergedError, Trial, score_together

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
def alone(mini_root: Path) -> Numbers:
    """The numbers of the trial that has this process to itself."""
    return _trained(spec(mini_root))


def test_numbers_are_those_of_the_trial_alone_after_another_trial(mini_root: Path, alone: Numbers) -> None:
    other: Hyperparameters = {**SETTINGS, "drop_path": 0.5}
    _trained(spec(mini_root, settings=other, seed=4, recipe=Recipe(epochs=1, warmup_epochs=0)))
    _assert_equal(_trained(spec(mini_root)), alone)


def test_numbers_are_those_of_the_trial_alone_beside_another_trial(mini_root: Path, alone: Numbers) -> None:
    trial = Trial(spec(mini_root))
    epochs = trial.epochs()
    next(epochs)
    other = Trial(spec(mini_root, settings={**SETTINGS, "drop_path": 0.5}, seed=4))
    next(other.epochs())
    torch.rand(100)  # whoever else uses the generator
    next(epochs)
    next(other.epochs())
    list(epochs)
    _assert_equal(_numbers(trial), alone)


def test_a_trial_leaves_torchs_generator_alone(mini_root: Path) -> None:
    before = torch.get_rng_state()
    next(Trial(spec(mini_root)).epochs())
    assert torch.equal(torch.get_rng_state(), before)


def test_interrupted_trial_continues_to_the_same_weights(
    mini_root: Path, tmp_path: Path, alone: Numbers
) -> None:
    kept = spec(mini_root, checkpoint_path=str(tmp_path / "t.pt"), checkpoint_every=1)
    next(Trial(kept).epochs())
    second = Trial(kept)
    assert len(second.curve) == 1
    assert second.seconds > second.curve[0].seconds  # what it took before counts
    list(second.epochs())
    _assert_equal(_numbers(second), alone)
    assert (tmp_path / "t.pt").stat().st_size < 1_000_000


def test_trials_of_one_seed_see_the_same_batches_whatever_they_drop(mini_root: Path) -> None:
    orders = []
    for rate in (0.0, 0.3):
        draws = Trial(spec(mini_root, settings={**SETTINGS, "drop_path": rate})).draws
        orders.append([draw.indices for _ in range(2) for draw in draws.epoch()])
    assert all(torch.equal(a, b) for a, b in zip(*orders, strict=True))


def test_trial_learns_and_leaves_the_backbone_alone(mini_root: Path) -> None:
    trial = Trial(spec(mini_root))
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
        once = Recipe(epochs=1, warmup_epochs=0)
        return _trained(spec(mini_root, variant="linear", seed=seed, recipe=once))[0]

    assert curve(1) == curve(1) != curve(2)


def test_cost_says_what_it_took_and_on_what(mini_root: Path) -> None:
    trial = Trial(spec(mini_root, recipe=Recipe(epochs=1, warmup_epochs=0), data_hash="d"))
    list(trial.epochs())
    cost = trial.cost()
    assert (cost.trainable_parameters, cost.head_parameters) == (3104, 970)
    assert cost.total_parameters == sum(p.numel() for p in trial.model.parameters())
    assert cost.train_seconds > 0 and cost.eval_seconds > 0 and cost.images_per_second
    assert cost.wall_seconds >= cost.train_seconds + cost.eval_seconds
    assert cost.normalisation == "mean 0.5/0.5/0.5 std 0.5/0.5/0.5"
    assert cost.checkpoint_hash and len(cost.checkpoint_hash) == 64
    assert (cost.data_hash, cost.device) == ("d", "cpu") and cost.peak_memory


def test_final_trains_on_all_images_and_scores_the_test_split(mini_root: Path) -> None:
    trial = Trial(spec(mini_root, "final", recipe=Recipe(epochs=1, warmup_epochs=0)))
    curve = list(trial.epochs())
    assert curve[0].val_top1 is None and curve[0].val_loss is None
    assert trial.draws.images_per_epoch == 1000
    before = trial.cost()
    test = trial.test()
    assert test.images == 797 and 0.1 < test.top1 <= 1
    after = trial.cost()
    scored = after.eval_seconds - before.eval_seconds
    assert scored > 0 and after.wall_seconds - before.wall_seconds == pytest.approx(scored)


def test_trials_scored_together_score_as_alone(mini_root: Path) -> None:
    once = Recipe(epochs=1, warmup_epochs=0)
    trials = [Trial(spec(mini_root, "final", "linear", seed=seed, recipe=once)) for seed in (1, 2)]
    for trial in trials:
        list(trial.epochs())
    assert score_together(trials) == [trial.test() for trial in trials]


def test_test_split_stays_closed_in_the_search(mini_root: Path) -> None:
    trial = Trial(spec(mini_root))
    with pytest.raises(
        splits.TestSplitClosedError, match="opens in stage 'final' only; asked for in 'search'"
    ):
        trial.test()


def test_diverged_training_is_an_error(mini_root: Path) -> None:
    trial = Trial(spec(mini_root, settings={**SETTINGS, "lr": 1e30, "scale": 1e30}))
    with pytest.raises(DivergedError, match="training loss is nan in epoch"):
        list(trial.epochs())


def test_lower_precision_trains_to_about_the_same(mini_root: Path, alone: Numbers) -> None:
    bf16 = Recipe(epochs=3, warmup_epochs=1, precision="bf16")
    curve, _ = _trained(spec(mini_root, recipe=bf16))
    assert curve[-1].train_loss == pytest.approx(alone[0][-1].train_loss, rel=0.05)
    assert replace(curve[-1], train_loss=0.0) != replace(alone[0][-1], train_loss=0.0)


def test_a_trials_own_weight_decay_counts(mini_root: Path, alone: Numbers) -> None:
    """Each step takes lr * weight_decay of every weight that the recipe does not spare."""
    _, strong = _trained(spec(mini_root, settings={**SETTINGS, "weight_decay": 5.0}))
    weights = [name for name, tensor in strong.items() if tensor.ndim > 1]
    assert weights and all(strong[name].norm() < 0.9 * alone[1][name].norm() for name in weights)
