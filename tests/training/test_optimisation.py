from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from timm.scheduler import CosineLRScheduler
from torch import nn

from wst.models.create import create_model
from wst.shipped import find_yaml
from wst.study import Recipe
from wst.training.optimisation import learning_rate, optimiser
from wst.yaml_files import read_yaml


def shipped(name: str) -> Recipe:
    path = find_yaml("recipes", name)
    return Recipe.model_validate(read_yaml(path.read_text(), str(path)))


def test_released_schedule_is_timms() -> None:
    """The authors step timm's scheduler with the 1-based epoch after training it."""
    peak = 3e-3
    recipe = shipped("released")
    dummy = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=peak)
    scheduler = CosineLRScheduler(
        dummy,
        t_initial=100,
        lr_min=1e-8,
        warmup_t=10,
        warmup_lr_init=1e-7,
        cycle_limit=1,
        warmup_prefix=False,
    )
    theirs = []
    for epoch in range(1, 111):
        theirs.append(dummy.param_groups[0]["lr"])
        scheduler.step(epoch)
    ours = [learning_rate(recipe, peak, epoch - 1 + 0.7) for epoch in range(1, 111)]
    assert ours == pytest.approx(theirs, rel=1e-12)
    assert ours[0] == 1e-7
    assert max(ours) == ours[10] == pytest.approx(0.9755 * peak, rel=1e-4)
    assert ours[50] == pytest.approx(0.5 * peak, rel=1e-4)
    assert ours[100:] == [1e-8] * 10


def test_released_recipe_is_the_authors() -> None:
    recipe = shipped("released")
    assert (recipe.epochs, recipe.batch_size, recipe.weight_decay) == (110, 32, 0.05)
    assert (recipe.drop_last, recipe.precision, recipe.no_decay) == (True, "fp16", "biases")


def test_default_recipe_file_is_the_default() -> None:
    assert shipped("default") == Recipe()


def test_study_may_name_a_recipe_and_change_it(tmp_path: Any) -> None:
    from wst.study import load_study

    path = tmp_path / "s.yaml"
    path.write_text(
        "name: s\nsuite: mini\nbackbone: micro\nrecipe: released\nfinal: {seeds: 1}\n"
        "variants: {a: {method: linear, fixed: {lr: 0.1}}}\n"
    )
    assert load_study(str(path)).recipe == shipped("released")
    changed = load_study(str(path), overrides=["recipe.precision=fp32"]).recipe
    assert (changed.precision, changed.epochs) == ("fp32", 110)


@given(
    epochs=st.integers(2, 50),
    share=st.floats(0, 0.9),
    peak=st.floats(1e-5, 1.0),
    at=st.floats(0, 1, exclude_max=True),
)
def test_default_schedule_rises_to_the_peak_and_falls_to_the_end(
    epochs: int, share: float, peak: float, at: float
) -> None:
    recipe = Recipe(epochs=epochs, warmup_epochs=share * epochs)
    rate = learning_rate(recipe, peak, at * epochs)
    assert recipe.min_lr <= rate <= peak * (1 + 1e-12)
    assert learning_rate(recipe, peak, recipe.warmup_epochs) == pytest.approx(peak)
    later = min(at + 0.01, 1 - 1e-9) * epochs
    if at * epochs >= recipe.warmup_epochs:
        assert learning_rate(recipe, peak, later) <= rate + 1e-12


def test_weight_decay_groups() -> None:
    model = create_model("micro", method="wst", num_classes=3, r=2)
    vectors = optimiser(model, Recipe(), 1e-3, 0.05).param_groups
    assert [group["weight_decay"] for group in vectors] == [0.05, 0.0]
    assert all(p.ndim > 1 for p in vectors[0]["params"]) and all(p.ndim == 1 for p in vectors[1]["params"])
    trainable = sum(p.requires_grad for p in model.parameters())
    assert sum(len(group["params"]) for group in vectors) == trainable

    norm = nn.LayerNorm(4)
    wrapped = nn.Sequential(norm)
    released = optimiser(wrapped, shipped("released"), 1e-3, 0.05).param_groups
    assert released[0]["params"][0] is norm.weight and released[1]["params"][0] is norm.bias


def test_learning_rate_is_never_nan() -> None:
    recipe = shipped("released")
    assert all(math.isfinite(learning_rate(recipe, 1e-3, e / 7)) for e in range(7 * 110))
