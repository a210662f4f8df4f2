"""Trials on kept features: the numbers of those on images, and what is computed once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.training.specs import LINEAR, spec, without_times
from wst.data import entries
from wst.methods import registry
from wst.models.halves import Halves
from wst.records import Epoch, Score
from wst.study import Recipe
from wst.training import features
from wst.training.spec import TrialSpec
from wst.training.trial import Trial

OWN = '''
from torch import nn
from wst.methods import method


class Shifted(nn.Module):
    def __init__(self, block, width):
        super().__init__()
        import torch
        self.block, self.shift = block, nn.Parameter(torch.zeros(width))

    def forward(self, tokens):
        return self.block(tokens) + self.shift


@method(untouched=lambda backbone: len(backbone.blocks) - 1)
def adapt(backbone):
    """A shift behind the last block."""
    backbone.blocks[-1] = Shifted(backbone.blocks[-1], backbone.embed_dim)
    return backbone
'''
Numbers = tuple[list[Epoch], dict[str, torch.Tensor], Score | None]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, few_root: Path) -> None:
    monkeypatch.setenv("WST_CACHE", str(tmp_path / "cache"))
    features._RESIDENT.clear()


def _numbers(made: TrialSpec, **how: Any) -> Numbers:
    trial = Trial(made, **how)
    list(trial.epochs())
    trained = {n: p.detach().clone() for n, p in trial.model.named_parameters() if p.requires_grad}
    return without_times(trial.curve), trained, trial.test() if made.intent.stage == "final" else None


def _assert_equal(one: Numbers, other: Numbers) -> None:
    assert one[0] == other[0] and one[2] == other[2]
    assert one[1].keys() == other[1].keys()
    assert all(torch.equal(one[1][name], other[1][name]) for name in one[1])


def _kept() -> list[entries.CacheEntry]:
    return [entry for entry in entries.entries() if entry.kind == "features"]


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["search", "final"])
@pytest.mark.parametrize("method", ["linear", "lst", "own"])
def test_numbers_are_those_of_images_bit_for_bit(
    method: str, stage: Any, few_root: Path, tmp_path: Path
) -> None:
    if method == "own":
        method = str(tmp_path / "shift.py")
        Path(method).write_text(OWN)
    short = Recipe(epochs=2, warmup_epochs=1)
    own = {"method": method, "method_hash": registry.source_hash(method)}
    made = spec(few_root, stage, "linear", recipe=short, **own)
    on_features = _numbers(made)
    assert len(_kept()) == (1 if stage == "final" else 2)
    _assert_equal(on_features, _numbers(made, keeps_features=False))


@pytest.mark.slow
def test_bf16_has_the_same_numbers_too(few_root: Path) -> None:
    made = spec(few_root, variant="linear", recipe=Recipe(epochs=2, warmup_epochs=0, precision="bf16"))
    _assert_equal(_numbers(made), _numbers(made, keeps_features=False))


def test_they_are_computed_once_for_all_trials_of_a_task(
    few_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []
    first = features.Features.first
    monkeypatch.setattr(features.Features, "first", lambda s, x: (seen.append(len(x)), first(s, x))[1])
    for lr in (1e-2, 1e-3):
        for again in range(2):
            Trial(spec(few_root, variant="linear", settings={**LINEAR, "lr": lr}))
            if again:
                features._RESIDENT.clear()  # as in another process
    assert sum(seen) == 4 + 300 + 200  # an example a trial, and every image once
    (val, train) = sorted(_kept(), key=lambda entry: entry.images)
    assert (val.images, train.images) == (200, 300)


def test_others_are_kept_apart(few_root: Path) -> None:
    Trial(spec(few_root, variant="linear"))
    Trial(spec(few_root, variant="linear", settings={**LINEAR, "readout": "mean_of_normed"}))
    Trial(spec(few_root, variant="linear", recipe=Recipe(precision="bf16")))
    assert len(_kept()) == 6


SHORT = Recipe(epochs=1, warmup_epochs=0)


@pytest.fixture(scope="module")
def before(few_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Numbers:
    """Of a short trial on kept features."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WST_CACHE", str(tmp_path_factory.mktemp("before")))
        numbers = _numbers(spec(few_root, variant="linear", recipe=SHORT))
        assert len(_kept()) == 2
    return numbers


def test_a_damaged_entry_is_made_again(few_root: Path, before: Numbers) -> None:
    made = spec(few_root, variant="linear", recipe=SHORT)
    Trial(made)
    for entry in _kept():
        file = entry.folder / "images.npy"
        content = bytearray(file.read_bytes())
        content[-5] ^= 1
        file.write_bytes(content)
    features._RESIDENT.clear()
    _assert_equal(_numbers(made), before)


@pytest.mark.parametrize("lacks", ["allowance", "room", "memory"])
def test_too_large_ones_are_not_kept(
    lacks: str, few_root: Path, before: Numbers, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = spec(few_root, variant="linear", recipe=SHORT)
    if lacks == "allowance":
        monkeypatch.setattr(features, "MOST_BYTES", 1000)
    elif lacks == "room":
        monkeypatch.setattr(entries, "room", lambda: 100_000)
    else:
        monkeypatch.setattr(features, "usable_cpus", lambda: 1 << 40)
    _assert_equal(_numbers(made), before)
    assert not _kept()


def test_a_method_without_a_hash_keeps_none(few_root: Path, tmp_path: Path) -> None:
    (tmp_path / "shift.py").write_text(OWN)
    made = spec(few_root, variant="linear", method=str(tmp_path / "shift.py"))
    Trial(made)
    assert not _kept()
    Trial(replace(made, method_hash=registry.source_hash(made.method)))
    assert len(_kept()) == 2


def test_a_method_that_touches_more_than_it_says_keeps_none(few_root: Path, tmp_path: Path) -> None:
    text = OWN.replace("blocks[-1]", "blocks[0]").replace("len(backbone.blocks) - 1", "len(backbone.blocks)")
    (tmp_path / "wrong.py").write_text(text)
    method = str(tmp_path / "wrong.py")
    made = spec(few_root, variant="linear", method=method, method_hash=registry.source_hash(method))
    assert Trial(made).halves is not None and not _kept()


def test_stochastic_depth_keeps_none(few_root: Path) -> None:
    Trial(spec(few_root, variant="linear", settings={**LINEAR, "drop_path": 0.1}))
    assert not _kept()


def test_halves_are_there_where_something_is_untouched(few_root: Path) -> None:
    assert isinstance(Trial(spec(few_root, variant="linear")).halves, Halves)
    assert Trial(spec(few_root)).halves is None
