"""Recipes: how a trial trains."""

from __future__ import annotations

import hashlib
import json
from typing import Any, Literal

from pydantic import Field, model_validator

from wst.records import Hyperparameters
from wst.study.bounds import Count, CountOrNone, Flag, NonNegative
from wst.yaml_files import Strict


class Recipe(Strict):
    """How a trial trains: the same for every trial of a study.

    AdamW; weight decay spares biases and norms (``no_decay: vectors``) or biases alone (``biases``).

    Two schedules.  ``cosine``: a linear warm-up from ``warmup_lr`` over ``warmup_epochs``, then half a cosine
    down to ``min_lr``, both stepped at every batch.  ``timm_cosine``: timm's ``CosineLRScheduler`` without
    ``warmup_prefix``, stepped once an epoch, whose cosine begins below the warm-up.  Either ends
    ``cooldown_epochs`` before the last epoch, and these run at ``min_lr``.
    """

    epochs: Count = 100
    batch_size: Count = 32
    weight_decay: NonNegative = 0.05
    """Where a variant neither fixes nor searches the hyperparameter ``weight_decay``."""
    no_decay: Literal["vectors", "biases"] = "vectors"
    schedule: Literal["cosine", "timm_cosine"] = "cosine"
    warmup_epochs: NonNegative = 10.0
    warmup_lr: NonNegative = 1e-7
    min_lr: NonNegative = 1e-8
    cooldown_epochs: CountOrNone = 0
    label_smoothing: NonNegative = Field(0.0, lt=1)
    drop_last: Flag = False
    precision: Literal["fp32", "bf16", "fp16", "auto"] = "fp32"
    """``auto``: bf16 where the device is faster with it, else fp32; a trial's row says which it was."""

    @model_validator(mode="after")
    def _warmup_fits(self) -> Recipe:
        if self.warmup_epochs + self.cooldown_epochs >= self.epochs:
            raise ValueError(
                "expected warmup_epochs + cooldown_epochs < epochs; "
                f"found warmup_epochs {self.warmup_epochs:g}, "
                f"cooldown_epochs {self.cooldown_epochs} and epochs {self.epochs}"
            )
        return self

    def complete(self, settings: Hyperparameters) -> Hyperparameters:
        """Settings with what holds where they are silent: this weight decay, no stochastic depth."""
        return {"weight_decay": self.weight_decay, "drop_path": 0.0, **settings}

    def digest(self) -> str:
        """A short hash that is equal for equal recipes."""
        return short_hash(self.model_dump(mode="json"))


def short_hash(value: Any) -> str:
    """A hash of 16 digits that is equal for equal values, whatever the order of their keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
