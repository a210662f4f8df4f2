"""What a row says of how its trial was made, as the column ``configuration`` holds it."""

from __future__ import annotations

from typing import Any

from wst.records import Intent
from wst.study import Study


def configuration(study: Study, intent: Intent) -> dict[str, Any]:
    """Everything that defines a trial, and what its study chooses by, in plain values."""
    variant = study.variants[intent.variant]
    # A study may get a search later: rows from before it know of no objectives.
    objectives = {"objectives": list(study.search.objectives)} if study.search is not None else {}
    return {
        "suite": study.suite,
        "task": intent.task,
        "stage": intent.stage,
        "backbone": study.backbone,
        "checkpoint": study.checkpoint,
        "pretrained": study.pretrained,
        "image_size": study.image_size,
        "normalisation": study.normalisation,
        "background": study.background,
        "method": variant.method,
        "method_hash": variant.method_hash,
        "hyperparameters": intent.hyperparameters,
        "recipe": study.recipe.model_dump(mode="json"),
        "ties": study.ties,
        **objectives,
        "seed": intent.seed,
    }
