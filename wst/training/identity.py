"""What a trial is, so that its state goes on in no other one."""

from __future__ import annotations

import json

from wst.models.backbones import InputSpec
from wst.study import Recipe
from wst.training.spec import TrialSpec


def identity(spec: TrialSpec, recipe: Recipe, images: InputSpec) -> dict[str, str]:
    """What decides a trial's numbers, by name: hashes of what it reads, and what it does with that.

    Paths are not in it: the same bytes at another place make the same trial.

    Args:
        spec: the trial.
        recipe: its recipe, with the precision that it comes to.
        images: size and normalisation of its model's images.
    """
    final = spec.intent.stage == "final"
    method = spec.method if spec.method_hash is None else spec.method_hash
    return {
        "trial": spec.intent.trial_id,
        "stage": spec.intent.stage,
        "seed": str(spec.intent.seed),
        "settings": json.dumps(spec.intent.hyperparameters, sort_keys=True),
        "method": method,
        "recipe": recipe.digest(),
        "backbone": spec.backbone.name,
        "weights": str(spec.weights),
        "image size": str(images.size),
        "preprocessing": spec.data.preprocessing(images.size).words,
        "normalisation": images.describe_normalisation(),
        "data": str(spec.data_hash if final else spec.tuning_hash or spec.data_hash),
    }
