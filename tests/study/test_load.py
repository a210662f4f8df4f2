"""Overrides: any key, in the order given, also inside what a file is named for."""

from __future__ import annotations

from pathlib import Path

import pytest

from wst.errors import InputError
from wst.study import Study, load_study

TEXT = """
name: ov
suite: mini
tasks: [digits]
backbone: micro
variants:
  linear: {method: linear, space: linear}
  wst: {method: wst, space: wst, fixed: {r: 2}}
  table: {method: linear, per_task: table.yaml}
recipe: default
search: {trials: 4, objectives: [val_top1, train_seconds]}
confirm:
final: {seeds: 1}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "table.yaml").write_text("digits: {lr: 1e-3}\na.b: {lr: 1e-3}\n")
    path = tmp_path / "ov.yaml"
    path.write_text(TEXT)
    return path


def _with(file: Path, *overrides: str) -> Study:
    return load_study(str(file), overrides=overrides)


def test_a_named_space_table_or_recipe_can_be_changed_in_a_key(file: Path) -> None:
    space = _with(file, "variants.wst.space.lr.low=1e-5").variants["wst"].space
    before = _with(file).variants["wst"].space
    assert space is not None and before is not None
    assert space["lr"].low == 1e-5 and before["lr"].low != 1e-5  # type: ignore[union-attr]
    assert space.keys() == before.keys()
    assert _with(file, "recipe.epochs=30").recipe == _with(file).recipe.model_copy(update={"epochs": 30})
    table = _with(file, "variants.table.per_task.digits.lr=5e-3").variants["table"].per_task
    assert table == {"digits": {"lr": 5e-3}, "a.b": {"lr": 1e-3}}
    table = _with(file, 'variants.table.per_task."a.b".lr=5e-3').variants["table"].per_task
    assert table == {"digits": {"lr": 1e-3}, "a.b": {"lr": 5e-3}}


def test_overrides_are_done_in_the_order_given(file: Path) -> None:
    released = _with(file, "recipe=released", "recipe.epochs=30").recipe
    assert released.epochs == 30 and released.schedule == "timm_cosine"
    assert _with(file, "recipe.epochs=20", "recipe=released").recipe.epochs == 110
    assert _with(file, "seed=3", "seed=4").seed == 4


def test_a_place_in_a_list_and_a_key_that_has_no_value_yet(file: Path) -> None:
    assert _with(file, "search.objectives.1=trainable_parameters").search.objectives == (  # type: ignore[union-attr]
        "val_top1",
        "trainable_parameters",
    )
    assert _with(file, "confirm.top=2").confirm.top == 2  # type: ignore[union-attr]
    assert _with(file, "faults.retries=0").faults.retries == 0


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("seed", "--set: expected KEY=VALUE"),
        ("=1", "--set: expected KEY=VALUE"),
        ("a..b=1", "--set: expected KEY=VALUE"),
        (".a=1", "--set: expected KEY=VALUE"),
        ('"a=1', "--set: expected KEY=VALUE"),
        ("seed.x=1", "--set seed.x: expected a mapping at 'seed'; found 0"),
        ("search.objectives.7=val_top1", "expected a place in a list of 2, from 0; found '7'"),
        ("search.objectives.first=val_top1", "expected a place in a list of 2, from 0; found 'first'"),
        ("recipe.epoch=5", "recipe: expected only the keys"),
        ("recipe.epoch=5", "did you mean 'epochs'?"),
        ("variants.wst=null", "variants.wst: expected a mapping; found null"),
        ("variants.wst.space.lr.loww=1", "variants.wst.space.lr: expected only the keys"),
        ("variants.wst.space.lr.loww=1", "did you mean 'low'?"),
        ("variants.wst.space.lr.low=fast", "variants.wst.space.lr.low: expected a number; found 'fast'"),
        ("seed=[1,", "--set seed, line 1"),
        ("seed=!!int x", "--set seed, line 1: expected a whole number; found 'x'"),
        ("recipe=nowhere", "nowhere: expected a YAML file or one of the shipped recipes"),
        ("recipe=ov.yaml", "expected only the keys epochs"),
    ],
)
def test_an_override_that_does_not_fit_gets_one_line(file: Path, override: str, words: str) -> None:
    text = TEXT + "seed: 0\n"
    file.write_text(text)
    with pytest.raises(InputError) as error:
        _with(file, override)
    assert words in str(error.value) and "\n" not in str(error.value)
