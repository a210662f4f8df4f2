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
Hyperparameters = dict[str, Scalar]


def stable_seed(*parts: object) -> int:
    """A 32-bit seed that depends on the parts alone, on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(repr(parts).encode()).digest()[:4], "big")


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
class Outcome:
    """How a trial ended, and what it cost.

    Accuracies are fractions in [0, 1]; ``*_seconds`` are wall-clock; ``peak_memory`` is in bytes, on the
    accelerator where there is one, else of the process.
    """

    state: State
    epochs: tuple[Epoch, ...] = ()
    error_type: str | None = None
    error_text: str | None = None
    attempts: int = 1
    test_top1: float | None = None
    test_images: int | None = None
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
class Report:
    """What a job says of one of its trials.

    Attributes:
        trial_id: the trial.
        epochs: those since its last report.
        outcome: how it ended, or would if it were stopped here; without epochs.
        ended: whether it has ended.
    """

    trial_id: str
    epochs: tuple[Epoch, ...]
    outcome: Outcome
    ended: bool


@dataclass(frozen=True)
class EndedTrial:
    """An intent and its outcome, as the ledger gives them back for a replay."""

    intent: Intent
    outcome: Outcome = field(repr=False)
