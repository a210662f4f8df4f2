"""The vocabulary, and what passes between planner, trial, engine and ledger: plain frozen records."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

Stage = Literal["search", "confirm", "final"]
State = Literal["completed", "pruned", "failed"]
Normalisation = Literal["checkpoint", "half", "imagenet"]
"""Mean and standard deviation of the input: those the weights were trained with, 0.5, or ImageNet's."""
Scalar = bool | int | float | str
Value = Scalar | tuple[Scalar, ...]
"""Of a hyperparameter; several where a method takes one for each block, say."""
Hyperparameters = dict[str, Value]


def stable_seed(*parts: object) -> int:
    """A 32-bit seed that depends on the parts alone, on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


@dataclass(frozen=True)
class Backbone:
    """A frozen backbone and its pre-trained weights.

    Attributes:
        name: ``micro``, or the name of a timm model.
        checkpoint: file with the weights; ``micro`` brings its own.
        pretrained: take the weights that timm knows under the name, from its cache or the network.
        image_size: side of the square input in pixels; the backbone's own when None.
        normalisation: of the input.
    """

    name: str
    checkpoint: str | None = None
    pretrained: bool = False
    image_size: int | None = None
    normalisation: Normalisation = "checkpoint"


@dataclass(frozen=True)
class Settings:
    """One configuration, by who takes it: the optimiser, the backbone, the method.

    Attributes:
        lr: peak learning rate.
        weight_decay: AdamW's, on the parameters that the recipe does not spare.
        drop_path: stochastic-depth rate of the backbone's last block.
        method: the method's own hyperparameters.
    """

    lr: float
    weight_decay: float
    drop_path: float
    method: Hyperparameters = field(default_factory=dict)

    @classmethod
    def of(cls, hyperparameters: Hyperparameters) -> Settings:
        """Those of a trial: all in one table, as a study, an intent and the ledger have them."""
        trial = {name: float(hyperparameters[name]) for name in OF_THE_TRIAL}  # type: ignore[arg-type]
        return cls(**trial, method=of_the_method(hyperparameters))


OF_THE_TRIAL = ("lr", "weight_decay", "drop_path")
"""Hyperparameters that every trial has, whatever its method."""


def of_the_method(hyperparameters: Hyperparameters) -> Hyperparameters:
    """The method's own among a trial's hyperparameters."""
    return {name: value for name, value in hyperparameters.items() if name not in OF_THE_TRIAL}


@dataclass(frozen=True)
class Intent:
    """A trial that was decided on: made durable before it is launched.

    Attributes:
        trial_id: ``<task>.<variant>.<stage>.<number>``.
        ask_order: place among all asks of the study, from 0; the order in which a study is replayed.
        seed: seeds initialisation, shuffling and stochastic depth.
        parent: trial whose settings this one uses: in the stages after the search, and where a search comes
            upon settings again.
        reason: why these settings, in words.
    """

    trial_id: str
    task: str
    variant: str
    stage: Stage
    number: int
    ask_order: int
    seed: int
    hyperparameters: Hyperparameters
    parent: str | None = None
    reason: str = ""
    time: datetime | None = None


@dataclass(frozen=True)
class Epoch:
    """Metrics of one epoch, counted from 1; the learning rate is that of the epoch's last step.

    Validation columns are None where a stage has no validation split (``final`` trains on it).
    """

    epoch: int
    lr: float
    train_loss: float
    val_loss: float | None
    val_top1: float | None
    seconds: float


@dataclass(frozen=True)
class Score:
    """Top-1 accuracy in [0, 1] on so many images, each scored once."""

    top1: float
    images: int


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What running a trial took so far, and with what it ran.

    ``*_seconds`` are wall-clock; ``peak_memory`` is in bytes, on the accelerator where there is one, else of
    the process.
    """

    trainable_parameters: int | None = None
    head_parameters: int | None = None
    total_parameters: int | None = None
    train_seconds: float = 0.0
    eval_seconds: float = 0.0
    wall_seconds: float = 0.0
    images_per_second: float | None = None
    peak_memory: int | None = None
    device: str | None = None
    node: str | None = None
    slot: str | None = None
    checkpoint_hash: str | None = None
    normalisation: str | None = None
    data_hash: str | None = None
    preprocessing: str | None = None
    started: datetime | None = None
    ended: datetime | None = None


@dataclass(frozen=True)
class Outcome(Cost):
    """How a trial ended, and what it cost; accuracies are fractions in [0, 1]."""

    state: State
    epochs: tuple[Epoch, ...] = ()
    error_type: str | None = None
    error_text: str | None = None
    attempts: int = 1
    test_top1: float | None = None
    test_images: int | None = None


@dataclass(frozen=True)
class End:
    """How a trial ended by itself: trained to its last epoch, or with an error.

    Attributes:
        error_type, error_text: of a trial that failed; None where it was completed.
        test: its score on the test split, in stage ``final``.
    """

    error_type: str | None = None
    error_text: str | None = None
    test: Score | None = None


@dataclass(frozen=True)
class Report:
    """What a job knows of one of its trials.

    Attributes:
        trial_id: the trial.
        epochs: those since its last report.
        cost: what it took so far; None where the trial cannot say.
        end: how it ended; None while it goes on.
    """

    trial_id: str
    epochs: tuple[Epoch, ...]
    cost: Cost | None
    end: End | None = None


@dataclass(frozen=True)
class EndedTrial:
    """An intent and its outcome, as the ledger gives them back for a replay."""

    intent: Intent
    outcome: Outcome = field(repr=False)
