from __future__ import annotations

from pathlib import Path

from tests.training.specs import spec
from wst.models.backbones import InputSpec
from wst.records import Epoch, Score
from wst.training.adapter import card

IMAGES = InputSpec(32, (0.5, 0.4, 0.3), (0.2, 0.1, 0.3))


def test_card_says_what_was_trained_and_what_it_reached(few_root: Path) -> None:
    trained = spec(few_root, data_hash="d", weights="w")
    found = card(trained, IMAGES, Epoch(3, 0.1, 0.2, 0.3, 0.8, 1.0), Score(0.75, 797))
    assert (found.backbone, found.method, found.suite, found.task) == ("micro", "wst", "mini", "digits")
    assert found.hyperparameters == {"scale": 1.0, "r": 2} and found.checkpoint_hash == "w"
    assert (found.image_size, found.mean, found.std) == (32, (0.5, 0.4, 0.3), (0.2, 0.1, 0.3))
    assert (found.val_top1, found.test_top1, found.test_images) == (0.8, 0.75, 797)
    assert (found.seed, found.data_hash) == (3, "d")
    assert (found.study, found.trial_id) == ("small", "digits.wst-r2.search.0000")


def test_card_of_what_was_neither_trained_nor_scored(few_root: Path) -> None:
    found = card(spec(few_root), IMAGES, None, None)
    assert (found.val_top1, found.test_top1, found.test_images) == (None, None, None)
