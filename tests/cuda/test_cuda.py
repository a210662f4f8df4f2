"""What only a GPU can show: that its paths run, and give the numbers of the plain ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.few import FEW
from tests.training.specs import SETTINGS, spec
from wst.data.splits import TaskData
from wst.engine.job import Job
from wst.records import Epoch, Report, Steps
from wst.study import Recipe
from wst.training import stack
from wst.training.spec import TrialSpec
from wst.training.together import Pass
from wst.training.trial import Trial

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="expected a CUDA device; found none"),
]


@pytest.fixture(autouse=True)
def _nothing_captured() -> Iterator[None]:
    stack._CAPTURED.clear()
    yield
    stack._CAPTURED.clear()
    torch.cuda.set_per_process_memory_fraction(1.0)


def _spec(
    root: Path,
    seed: int = 3,
    precision: str = "fp32",
    epochs: int = 2,
    task: str = "digits",
    steps: Steps = "eager",
    **changes: Any,
) -> TrialSpec:
    batch = 30 if steps == "compiled" else 32  # without a short last batch, which is compiled besides
    recipe = Recipe(epochs=epochs, warmup_epochs=1, precision=precision, batch_size=batch)
    settings = {**SETTINGS, "scale": 0.5 + seed}
    made = spec(root, settings=settings, seed=seed, recipe=recipe, device="cuda", **changes)
    return replace(made, data=TaskData.of(root, FEW, FEW.task(task)))


def _losses(curve: list[Epoch]) -> list[float]:
    return [epoch.train_loss for epoch in curve]


def test_data_and_model_are_on_the_device_and_numbers_are_those_of_the_cpu(few_root: Path) -> None:
    trial = Trial(_spec(few_root))
    assert trial.val is not None and trial.val.inputs.is_cuda and trial.val.inputs.dtype == torch.uint8
    assert all(parameter.is_cuda for parameter in trial.model.parameters())
    found = _losses(list(trial.epochs()))
    on_cpu = Trial(replace(_spec(few_root), device="cpu"))
    assert found == pytest.approx(_losses(list(on_cpu.epochs())), rel=1e-3)
    cost = trial.cost()
    assert cost.device == torch.cuda.get_device_name() and (cost.peak_memory or 0) > 0


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_lower_precision_learns_what_fp32_learns(few_root: Path, precision: str) -> None:
    """fp16 goes through the scaler."""
    plain = list(Trial(_spec(few_root, epochs=3)).epochs())
    lower = list(Trial(_spec(few_root, precision=precision, epochs=3)).epochs())
    assert lower[-1].val_top1 == pytest.approx(plain[-1].val_top1, abs=0.05)


def test_auto_is_bf16_where_the_device_has_it(few_root: Path) -> None:
    expected = "bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp32"
    assert Trial(_spec(few_root, precision="auto")).recipe.precision == expected


@pytest.mark.parametrize(
    ("steps", "precision"),
    [("captured", "fp32"), ("captured", "bf16"), ("captured", "fp16"), ("compiled", "bf16")],
)
def test_replayed_steps_have_the_numbers_of_eager_ones(few_root: Path, steps: Steps, precision: str) -> None:
    curves, trials = [], []
    tasks = ("digits", "emoji_group") if steps == "captured" else ("digits",)  # to compile takes a while
    for seed, task in enumerate(2 * tasks):  # the last find their graphs
        made = _spec(few_root, seed, precision, task=task, steps=steps)
        curves.append(_losses(list(Trial(made).epochs())))
        trials.append(Trial(replace(made, steps=steps)))
        list(Pass(trials[-1:]).rounds())
    assert {trial.cost().steps for trial in trials} == {steps}
    for trial, curve in zip(trials, curves, strict=True):
        assert _losses(trial.curve) == pytest.approx(curve, rel=1e-4 if precision == "fp32" else 2e-2)


@pytest.mark.parametrize("steps", ["eager", "captured", "compiled"])
def test_a_pass_has_the_numbers_of_its_trials_alone(few_root: Path, steps: Steps) -> None:
    specs = [_spec(few_root, seed, steps=steps) for seed in range(4)]
    alone = [_losses(list(Trial(one).epochs())) for one in specs]
    trials = [Trial(replace(one, steps=steps)) for one in specs]
    list(Pass(trials).rounds())
    assert [trial.cost().steps for trial in trials] == [steps] * 4
    for trial, curve in zip(trials, alone, strict=True):
        assert _losses(trial.curve) == pytest.approx(curve, rel=1e-4)


def test_a_trial_goes_on_where_it_stood(few_root: Path, tmp_path: Path) -> None:
    made = _spec(few_root, epochs=3, checkpoint_path=str(tmp_path / "state"), checkpoint_every=1)
    whole = _losses(list(Trial(replace(made, checkpoint_path=None)).epochs()))
    next(Trial(made).epochs())
    again = Trial(made)
    assert len(again.curve) == 1
    list(again.epochs())
    assert _losses(again.curve) == pytest.approx(whole, rel=1e-5)


def test_a_trial_keeps_to_its_share_of_the_memory_and_the_next_one_runs(few_root: Path) -> None:
    share = 24 * 2**20 / torch.cuda.get_device_properties(0).total_memory
    large = Recipe(epochs=1, warmup_epochs=0, batch_size=300)
    job = Job([replace(_spec(few_root), recipe=large, gpu_share=share)], {1})
    (report,) = job.step()
    assert isinstance(report, Report) and report.end is not None
    assert report.end.error_type == "OutOfMemoryError"
    del job
    (report,) = Job(
        [replace(_spec(few_root), recipe=large.model_copy(update={"batch_size": 32}), gpu_share=1.0)], {1}
    ).step()
    assert report.end is not None and report.end.error_type is None
