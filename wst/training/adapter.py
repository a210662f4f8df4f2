"""The card of the adapter that a trial leaves."""

from __future__ import annotations

from wst.models.adapters import Card
from wst.models.backbones import InputSpec
from wst.records import Epoch, Score
from wst.training.spec import TrialSpec


def card(spec: TrialSpec, images: InputSpec, last: Epoch | None, test: Score | None) -> Card:
    """What a trial's trainable tensors are.

    Args:
        spec: what was trained.
        images: size and normalisation.
        last: the last epoch; None where nothing was trained.
        test: the score on the test split; None where it was not read.
    """
    reading = spec.data.reading
    return Card(
        backbone=spec.backbone.name,
        checkpoint_hash=spec.weights or "",
        method=spec.method,
        method_hash=spec.method_hash,
        hyperparameters=spec.settings.method,
        suite=spec.suite,
        task=spec.intent.task,
        classes=spec.data.task.classes,
        class_names=spec.data.class_names,
        image_size=images.size,
        upright=reading.upright,
        background=reading.background,
        mean=images.mean,
        std=images.std,
        data_hash=spec.data_hash,
        seed=spec.intent.seed,
        val_top1=last.val_top1 if last else None,
        test_top1=test.top1 if test else None,
        test_images=test.images if test else None,
        study=spec.study,
        trial_id=spec.intent.trial_id,
    )
