"""Stacked and captured steps are those of each trial alone."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tests.few import FEW
from tests.training.specs import SETTINGS, spec
from wst.data.splits import TaskData
from wst.training import stack
from wst.training.graphs import CompilerError
from wst.training.stack import CannotCompileError, CannotStackError, Stack
from wst.training.trial import Trial

ONE = torch.ones(())


class Replayed:
    """A graph without CUDA: it reads and writes where a captured one does; how many are made is counted."""

    made = 0

    def __init__(
        self,
        function: Callable[[Mapping[str, Tensor]], Sequence[Tensor]],
        tensors: Mapping[str, Tensor],
        compiled: bool,
    ):
        Replayed.made += 1
        self._function, self._into = function, {name: tensor.clone() for name, tensor in tensors.items()}
        self._results = [result.clone() for result in function(self._into)]

    def __call__(self, tensors: Mapping[str, Tensor], constant: Collection[str] = ()) -> Sequence[Tensor]:
        assert set(constant) < set(tensors)
        assert tensors.keys() == self._into.keys()
        for name, into in self._into.items():
            into.copy_(tensors[name])
        for into, result in zip(self._results, self._function(self._into), strict=True):
            into.copy_(result)
        return self._results


@pytest.fixture
def replayed(monkeypatch: pytest.MonkeyPatch) -> type[Replayed]:
    monkeypatch.setattr(stack, "Graph", Replayed)
    monkeypatch.setattr(Replayed, "made", 0)
    stack._CAPTURED.clear()
    return Replayed


def _trial(root: Path, seed: int, **settings: float) -> Trial:
    trial = Trial(spec(root, seed=seed, settings={**SETTINGS, **settings}))
    trial.model.train()
    with torch.no_grad():
        for tensor in trial.update.trainable.values():  # those that start at zero, too
            tensor += 0.05 * torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))
    return trial


def _assert_alike(trials: Sequence[Trial], stacked: Stack) -> None:
    steps = [next(trial.draws.epoch()) for trial in trials]
    found = stacked(steps, [ONE, 2 * ONE][: len(trials)])
    for i, (trial, draw) in enumerate(zip(trials, steps, strict=True)):
        loss, gradients = trial.step(trial.update.trainable, draw, (i + 1) * ONE)
        torch.testing.assert_close(found[i][0], loss)
        assert found[i][1].keys() == gradients.keys()
        for name, gradient in gradients.items():
            torch.testing.assert_close(found[i][1][name], gradient, rtol=1e-4, atol=1e-6)


def test_one_graph_serves_every_trial_of_a_kind(few_root: Path, replayed: type[Replayed]) -> None:
    made = []
    for seed, scale in enumerate((1.0, 1.0, 0.5, 2.0)):
        trial = _trial(few_root, seed, scale=scale, lr=1e-3 * (seed + 1))
        captured = Stack([trial], "captured")
        assert captured.setup_seconds == 0
        _assert_alike([trial], captured)
        assert (before := captured.setup_seconds) > 0
        _assert_alike([trial], captured)
        assert captured.setup_seconds == before
        made.append(replayed.made)
    assert made == [1, 1, 1, 1]
    Stack([_trial(few_root, 5, r=3)], "captured")
    assert len(stack._CAPTURED) == 2


def test_a_pass_is_captured_as_a_whole(few_root: Path, replayed: type[Replayed]) -> None:
    for first in (0, 2):
        trials = [_trial(few_root, first + i, scale=0.5 + i, drop_path=0.2 * i) for i in range(2)]
        captured = Stack(trials, "captured")
        for _ in range(2):
            _assert_alike(trials, captured)
    assert replayed.made == 1


def test_what_draws_numbers_itself_is_not_captured(few_root: Path, replayed: type[Replayed]) -> None:
    drawing = Trial(
        spec(
            few_root,
            method="lora",
            settings={"lr": 1e-3, "weight_decay": 0.0, "drop_path": 0.0, "dropout": 0.5},
        )
    )
    with pytest.raises(CannotStackError, match="draws no numbers itself"):
        Stack([drawing], "captured")


def test_a_graph_that_does_not_give_a_trials_own_numbers_is_found_out(
    few_root: Path, replayed: type[Replayed]
) -> None:
    """As where a method keeps a setting as a plain number, which a graph holds for good."""
    _assert_alike([trial := _trial(few_root, 0)], Stack([trial], "captured"))
    other = _trial(few_root, 1)
    forward = other.model.forward
    other.model.forward = lambda images: 3 * forward(images)  # type: ignore[method-assign]
    captured = Stack([other], "captured")
    with pytest.raises(CannotStackError, match="numbers of the step itself"):
        captured([next(other.draws.epoch())], [ONE])


def test_kinds_of_a_method_share_what_is_frozen(few_root: Path, replayed: type[Replayed]) -> None:
    """Tasks have other heads, and so graphs of their own."""
    for task in ("digits", "emoji_group"):
        made = spec(few_root)
        trial = Trial(replace(made, data=TaskData.of(few_root, FEW, FEW.task(task))))
        _assert_alike([trial], Stack([trial], "captured"))
    first, second = (kind.model for kind in stack._CAPTURED.values())
    assert replayed.made == 2
    assert first.backbone.pos_embed is second.backbone.pos_embed  # type: ignore[union-attr]


def test_what_a_graph_was_captured_of_is_kept_and_what_was_refused_is_not_tried_again(
    few_root: Path, replayed: type[Replayed], monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = [_trial(few_root, seed) for seed in range(2)]
    whole, part = next(trials[0].draws.epoch()), trials[1].draws.of(torch.arange(12))
    Stack(trials[:1], "captured")([whole], [ONE])
    Stack(trials[1:], "captured")([part], [ONE])  # another shape, captured of another trial
    (kind,) = stack._CAPTURED.values()
    assert len(kind.graphs) == 2
    assert [called is trial.called for called, trial in zip(kind.called, trials, strict=True)] == [True] * 2

    def refuse(*_: object) -> None:
        raise CompilerError("no compiler")

    monkeypatch.setattr(stack, "Graph", refuse)
    with pytest.raises(CannotCompileError, match="no compiler"):
        Stack(trials[:1], "compiled")([whole], [ONE])
    with pytest.raises(CannotCompileError, match="no compiler"):
        Stack(trials[1:], "compiled")
    stack.forget()
    assert not kind.graphs and not kind.called  # also where a stack has it still


def test_a_step_that_cannot_be_captured_is_said(few_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("operation not permitted when stream is capturing")

    monkeypatch.setattr(stack, "Graph", refuse)
    stack.forget()
    trial = _trial(few_root, 0)
    with pytest.raises(CannotStackError, match="captured; found: operation not permitted"):
        Stack([trial], "captured")([next(trial.draws.epoch())], [ONE])


def test_trials_of_other_shapes_are_not_stacked(few_root: Path) -> None:
    with pytest.raises(CannotStackError, match=r"expected tensors of one shape; found .* in 2 shapes"):
        Stack([_trial(few_root, 0), _trial(few_root, 1, r=3)])


def test_a_setting_that_is_a_plain_number_in_the_model_is_found_out(few_root: Path) -> None:
    trials = [_trial(few_root, seed) for seed in range(2)]
    forward = trials[1].model.forward
    trials[1].model.forward = lambda images: 3 * forward(images)  # type: ignore[method-assign]
    with pytest.raises(CannotStackError, match="alone"):
        Stack(trials)


def test_rounding_is_told_from_other_numbers(few_root: Path) -> None:
    """A gradient that is nothing but rounding beside the others may be any other such."""
    stacked = Stack([_trial(few_root, 0)])
    large, small, none = torch.ones(8), torch.full((8,), 1e-5), torch.full((8,), 1e-9)
    assert stacked._alike([large, small, -none], [large, small, none])
    assert not stacked._alike([large, -small, none], [large, small, none])
    assert not stacked._alike([1.01 * large, small, none], [large, small, none])
    overflown = torch.full((8,), torch.inf)
    assert stacked._alike([overflown, small], [overflown, small])
    assert not stacked._alike([overflown, 2 * small], [overflown, small])
